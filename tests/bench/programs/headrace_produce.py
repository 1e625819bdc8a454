"""Produce a pipeline's demo batch, as the task does: resumable, each acknowledgement counted, with a receipt.

python headrace_produce.py SERVERS FOLDER PIPELINE.toml
"""

import sys
from pathlib import Path

from headrace.contract.pipeline import Pipeline
from headrace.ledger.folder import Folder
from producers.batch import produce_batch

servers, data, file = sys.argv[1:]
pipeline = Pipeline.load(Path(file))
folder = Folder(Path(data) / pipeline.name)
folder.root.mkdir()
receipt = produce_batch(pipeline, folder, {"bootstrap.servers": servers}, "bench")
if receipt is None or receipt.digest is None:
    sys.exit("The batch is not complete.")
