"""
# Important messages

Sends a batch of chat messages to Kafka, filters whatever is new into Parquet, and proves that no record was lost.
What is kept and from where: `important_messages.toml`, beside this file.

**`important_messages_ingest`** runs on the schedule in the TOML file, or when triggered; the form asks for the batch's size, the share of malformed records and a seed.

| task | red means | do |
|---|---|---|
| `preflight` | Kafka, Spark's connector, a connection or the output folder is not as needed | what the log says, then clear the task |
| `create_topics` | a topic exists and differs from the pipeline file | the log shows both sides; change the file, or the topic |
| `produce_batch` | the broker did not acknowledge every record | clear the task: it sends only what is missing |
| `stream_to_parquet` | the stream was refused, or failed | the log ends with the reason; clearing is always safe, nothing is published twice |
| `outcome` | a task before it failed; a green run skips it | what it says, which is that task's reason; clear that task and those after it |

**`important_messages_verify`** runs after each ingest that finished, and judges everything new again, without Spark.

| task | red means | do |
|---|---|---|
| `collect` | the ledger can't be read | the log names the file |
| `check` | the broker does not answer | clear the task when it does |
| `report` | **not every record is accounted for** | the log names partitions and offsets, the report says what each finding means |
| `outcome` | a task before it failed; a green run skips it | what it says, which is that task's reason |

Green means: every offset of every partition is accounted for, up to the end of the topic: as kept, filtered, quarantined or an explained gap,
or as waiting, which the report counts.
Data that others build on: schedule on the asset `important_messages_verified`, not on `important_messages_published`.
"""

from airflow.sdk import dag

from headrace.airflow.params import demo_params
from headrace.airflow.tasks import (
    DAG_DEFAULTS,
    check,
    collect,
    create_topics,
    preflight,
    produce_batch,
    report,
    schedule,
    stream_to_parquet,
    verify_schedule,
)
from headrace.contract.pipeline import Pipeline

pipeline = Pipeline.beside(__file__)
common = {**DAG_DEFAULTS, "doc_md": __doc__, "tags": ["headrace", pipeline.name]}


@dag(
    dag_id="important_messages_ingest",
    description=pipeline.description,
    schedule=schedule(pipeline),
    params=demo_params(pipeline),
    **common,
)
def ingest() -> None:
    """Topics, batch, stream."""
    preflight(pipeline) >> create_topics(pipeline) >> produce_batch(pipeline) >> stream_to_parquet(pipeline)


@dag(
    dag_id="important_messages_verify",
    description=f"Proves that no record of {pipeline.name} was lost.",
    schedule=verify_schedule(pipeline),
    **common,
)
def verify() -> None:
    """Scope, findings, report. Tasks of your own go behind `report`; one that runs after a red, too, does not make the run green."""
    scope = collect(pipeline)
    check(pipeline, scope) >> report(pipeline, scope)


ingest()
verify()
