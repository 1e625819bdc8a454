"""Verify of all that a pipeline published, as the command and the task call it.

python headrace_verify.py SERVERS FOLDER PIPELINE.toml
"""

import sys
from pathlib import Path

from headrace.contract.pipeline import Pipeline
from headrace.kafka.client import Kafka
from headrace.ledger.folder import Folder
from headrace.verify.run import Verification
from headrace.verify.scope import everything
from headrace.verify.settle import draw_number

servers, data, file = sys.argv[1:]
pipeline = Pipeline.load(Path(file))
folder = Folder(Path(data) / pipeline.name)
scope, number = everything(folder), draw_number(folder, "bench")
report = Verification(folder, pipeline, Kafka({"bootstrap.servers": servers}), scope, number).run("bench")
if report.state != "green":
    sys.exit(f"It is {report.state}.")
