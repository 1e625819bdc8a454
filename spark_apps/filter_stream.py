r"""Filter a pipeline's topics into Parquet, once, up to what is there now.

    spark-submit spark_apps/filter_stream.py --pipeline dags/important_messages.toml \
        --bootstrap-servers localhost:9092

All checks, the lock and the account of each micro-batch are in here, in the driver: submitted by hand it is
as safe as from Airflow, and a second one at the same time is refused. It ends with 0, or 11 (red), 2 (usage),
3 (unavailable).
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

from pyspark.errors import StreamingQueryException
from pyspark.sql import DataFrame

from headrace import documents
from headrace.contract.pipeline import Pipeline
from headrace.diagnosis import diagnose, of_system
from headrace.errors import Exit, HeadraceError
from headrace.kafka.client import Kafka
from headrace.ledger.folder import Folder
from headrace.ledger.opening import check_receipts, open_ledger
from headrace.ledger.progress import Started, Streamed, completed_receipts, streamed_runs
from headrace.progress import Progress
from headrace.settings import Settings
from spark_apps.progress import Reading, records_read
from spark_apps.publisher import Publisher
from spark_apps.session import spark_session
from spark_apps.source import add_kafka_arguments, kafka_settings, kafka_stream

log = logging.getLogger("headrace")

LOCK_TIMEOUT = 300.0
"""Seconds to wait for another stream to end: one that Airflow gave up on, while its driver lives on."""

PLANNING = "waiting for Spark to plan the next micro-batch, or to end"


def main(arguments: Sequence[str]) -> None:
    """Run the app; raises `HeadraceError` for everything it refuses or finds broken."""
    options = parse(arguments)
    pipeline = Pipeline.load(options.pipeline)
    kafka = kafka_settings(options)
    folder = Folder(options.data / pipeline.name)
    with (
        Progress(f"waiting for the lock of {folder.root}") as progress,
        folder.locked(f"the stream of run {options.run}", timeout=LOCK_TIMEOUT),
    ):
        progress.now("checking the ledger against Kafka")
        started_at = datetime.now(UTC)
        identity = open_ledger(folder, pipeline, Kafka(kafka))
        documents.write(folder.started, Started(run=options.run, started_at=started_at))
        owed = completed_receipts(folder)
        progress.now("starting Spark")
        spark = spark_session(f"{pipeline.name} {options.run}", len(identity.start))
        publisher = Publisher(folder, pipeline.contract, options.run)
        reading = Reading()
        progress.doing = lambda: (
            reading(*at_work, records_read(spark)) if (at_work := publisher.at_work) else PLANNING
        )
        run_to_end(
            kafka_stream(spark, pipeline, kafka, identity.start, pipeline.max_records_per_micro_batch),
            folder,
            publisher,
        )
        if not publisher.published:
            log.info("nothing new in %s", ", ".join(topic.name for topic in pipeline.topics))
        progress.now("checking the receipts")
        check_receipts(folder, Kafka(kafka), owed)
        documents.write(
            folder.streamed,
            Streamed(
                run=options.run,
                started_at=started_at,
                ended_at=datetime.now(UTC),
                receipts=streamed_runs(folder, owed),
            ),
        )


def run_to_end(records: DataFrame, folder: Folder, publisher: Publisher) -> None:
    """Publish what is there now, micro-batch by micro-batch, then return."""
    query = (
        records.writeStream.option("checkpointLocation", str(folder.checkpoint))
        .trigger(availableNow=True)
        .foreachBatch(publisher)
        .start()
    )
    try:
        query.awaitTermination()
    except StreamingQueryException:
        if publisher.error:
            raise publisher.error from None
        raise


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="filter_stream.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pipeline", type=Path, required=True, help="the pipeline's TOML file")
    add_kafka_arguments(parser)
    parser.add_argument(
        "--data", type=Path, default=Settings.from_environment().data, help="where the pipelines' folders lie"
    )
    parser.add_argument(
        "--run",
        default=f"by_hand__{datetime.now(UTC):%Y-%m-%dT%H:%M:%S}",
        help="name of this run in the ledger",
    )
    parser.add_argument("--reason", type=Path, help="a file for why it failed, for whatever started it")
    return parser.parse_args(arguments)


def cluster_name() -> str:
    """How to call the cluster in a diagnosis."""
    with suppress(HeadraceError):
        return f"Kafka at {kafka_settings(parse(sys.argv[1:]))['bootstrap.servers']}"
    return "Kafka"


def fail(reason: str, code: Exit) -> NoReturn:
    """End with a reason, which is the last line of the log; a traceback would bury it."""
    if place := parse(sys.argv[1:]).reason:
        with suppress(OSError):
            place.write_text(reason)
    log.error("%s", reason)
    sys.exit(code)


if __name__ == "__main__":
    logging.basicConfig(stream=sys.stdout, format="%(message)s", level=logging.WARNING)
    log.setLevel(logging.INFO)
    try:
        main(sys.argv[1:])
    except HeadraceError as error:
        fail(str(error), Exit.RED_STREAM if error.exit_code == Exit.RED else error.exit_code)
    except Exception as error:
        known = (
            of_system(error, f"a file below {parse(sys.argv[1:]).data}")
            if isinstance(error, OSError | MemoryError)
            else None
        )
        if means := str(known) if known else diagnose(str(error), cluster_name()):
            # What the diagnosis is about, without its trace.
            log.warning("%s: %s", type(error).__name__, str(error).partition("\n")[0][:500])
            fail(means, Exit.UNAVAILABLE)
        log.exception("The stream failed. Everything published before is complete; retrying is safe.")
        sys.exit(Exit.UNAVAILABLE)
