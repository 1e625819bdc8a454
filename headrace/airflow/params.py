"""The form that appears when an ingest DAG is triggered, and the same names over REST."""

from airflow.sdk import Param

from headrace.contract.pipeline import Pipeline
from headrace.errors import UsageError

MAX_RECORDS = 10_000_000


def demo_params(pipeline: Pipeline) -> dict[str, Param]:
    """Size and contents of the demo batch. Without sections of their own, which the form would fold.

    Raises `UsageError` for a pipeline without a `[demo]` section.
    """
    if pipeline.demo is None:
        raise UsageError(
            f"{pipeline.path}: there is no [demo] section, so its DAG can't have demo_params. Remove one or add the other."
        )
    return {
        "records": Param(
            pipeline.demo.records,
            type="integer",
            minimum=0,
            maximum=MAX_RECORDS,
            title="Records",
            description=f"How many records to produce before filtering: 0 to {MAX_RECORDS:,}. 0 only publishes what others wrote.",
        ),
        "malformed": Param(
            pipeline.demo.malformed,
            type="number",
            minimum=0,
            maximum=1,
            title="Malformed share",
            description="Share of records made unusable on purpose, 0 to 1. They belong in the quarantine, and verify checks that they are there.",
        ),
        "seed": Param(
            None,
            type=["null", "integer"],
            minimum=0,
            title="Seed",
            description="The same seed makes the same payloads again. Empty: one is drawn and kept in the receipt.",
        ),
    }
