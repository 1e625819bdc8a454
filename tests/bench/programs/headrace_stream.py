"""Headrace's own stream, as `spark-submit` runs it, for several pipelines in one process.

    spark-submit headrace_stream.py SERVERS FOLDER PIPELINE.toml…

Everything is on: ledger, audit, quarantine, publishing. A job has its pipeline's name, and goes from the
opening of the ledger to the account of what the stream did.
"""

import sys
from pathlib import Path

from spark_apps import filter_stream
from tests.bench.measure import job

servers, folder, *pipelines = sys.argv[1:]
for number, pipeline in enumerate(pipelines):
    options = ["--bootstrap-servers", servers, "--data", f"{folder}/{number}", "--run", "bench"]
    with job(Path(pipeline).stem):
        filter_stream.main(["--pipeline", pipeline, *options])
