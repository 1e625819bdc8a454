"""The tasks of an ingest. What a task needs is imported when it runs."""

import logging
from datetime import UTC, datetime
from inspect import getdoc
from typing import Any

from airflow.sdk import get_current_context, task

from headrace.airflow.assets import published
from headrace.airflow.connections import SPARK, kafka_config, spark_master
from headrace.airflow.outcomes import hold, without_traceback
from headrace.airflow.spark_operator import StreamToParquet
from headrace.contract.pipeline import Pipeline
from headrace.settings import ROOT, Settings

log = logging.getLogger(__name__)
"""Use this, not `print`: printed lines may appear later, in a folded group."""


def preflight(pipeline: Pipeline) -> Any:
    """Fail in seconds where the run would fail in minutes."""

    @task(task_id="preflight", doc_md=getdoc(preflight))
    def run() -> None:
        from headrace.kafka.client import Kafka
        from headrace.ledger.folder import Folder
        from headrace.ledger.opening import check_can_start
        from headrace.preflight import check_against_ledger, check_file, checks

        folder = Folder(Settings.from_environment().data / pipeline.name)
        with without_traceback():
            log.info("Spark runs on %s (%s)", spark_master(), SPARK)
            check_file(pipeline)
            check_against_ledger(pipeline, folder)
            kafka = Kafka(kafka_config())
            for line in checks(kafka, folder.root):
                log.info("%s", line)
            for warning in check_can_start(folder, pipeline, kafka):
                log.warning("%s", warning)

    return run()


def create_topics(pipeline: Pipeline) -> Any:
    """Create the topics that don't exist; one that exists and differs from the pipeline file is an error."""

    @task(task_id="create_topics", doc_md=getdoc(create_topics))
    def run() -> list[str]:
        from headrace.kafka.admin import wider
        from headrace.kafka.client import Kafka
        from headrace.ledger.folder import Folder
        from headrace.ledger.opening import require_known_topics
        from headrace.text import plural

        with without_traceback():
            kafka = Kafka(kafka_config())
            require_known_topics(Folder(Settings.from_environment().data / pipeline.name), kafka)
            created = kafka.create(pipeline.topics)
            for warning in wider(pipeline.topics, kafka.describe([topic.name for topic in pipeline.topics])):
                log.warning("%s", warning)
        for topic in pipeline.topics:
            log.info(
                "topic %s: %s, %s",
                topic.name,
                "created" if topic.name in created else "is there",
                plural(topic.partitions, "partition"),
            )
        return created

    return run()


def produce_batch(pipeline: Pipeline) -> Any:
    """Produce the run's demo batch, or what is missing of it, and keep the receipt."""

    @task(task_id="produce_batch", doc_md=getdoc(produce_batch))
    def run() -> dict[str, Any]:
        from headrace.ledger.folder import Folder
        from producers.batch import produce_batch as produce

        began = datetime.now(UTC)
        context = get_current_context()
        params = context["params"]
        folder = Folder(Settings.from_environment().data / pipeline.name)
        with without_traceback():
            receipt = produce(
                pipeline,
                folder,
                kafka_config(),
                context["run_id"],
                records=params["records"],
                malformed=params["malformed"],
                seed=params["seed"],
            )
        if receipt is None:
            log.info(
                "the batch was complete and verified before, and its receipt has expired ([retention]); nothing was sent"
            )
            return {}
        for landing in receipt.landings:
            log.info(
                "%s: %s records acknowledged, offsets %d to %d",
                landing.place,
                f"{landing.count:,}",
                landing.lowest_offset,
                landing.highest_offset,
            )
        if receipt.completed_at and receipt.completed_at < began:
            log.info("the batch was complete before; nothing was sent")
        log.info(
            "all %s records acknowledged; seed %d, digest %s",
            f"{receipt.records:,}",
            receipt.seed,
            receipt.digest,
        )
        return {"records": receipt.records, "seed": receipt.seed, "digest": receipt.digest}

    return run()


def stream_to_parquet(pipeline: Pipeline) -> Any:
    """Filter whatever is new into Parquet, each micro-batch published at once and accounted for."""
    stream = StreamToParquet(
        task_id="stream_to_parquet",
        doc_md=getdoc(stream_to_parquet),
        application=str(ROOT / "spark_apps" / "filter_stream.py"),
        conn_id=SPARK,
        name=pipeline.name,
        pipeline=pipeline,
        application_args=[
            "--pipeline",
            str(pipeline.path),
            "--data",
            str(Settings.from_environment().data),
            "--run",
            "{{ run_id }}",
        ],
        outlets=[published(pipeline)],
    )
    hold(stream, "stream_to_parquet")
    return stream
