"""
# Repair a pipeline

For all pipelines, by hand only. Choose a pipeline and an action, and say why. Nothing is written before a person agrees under *Required Actions*.

**`accept`**: records left Kafka before a stream published them (they are lost), or before verify could prove that they were published
rightly (they are unproven). Accepting writes that down in the ledger, and the pipeline goes on after it. Everything that was proven stays
where it is, and every later report says what was accepted, by whom, when and why.

| task | what it does | red means | do |
|---|---|---|---|
| `survey` | judges all that is not proven yet, and lists what can't be any more; if there is nothing, the run ends here | the list would mean nothing: another Kafka, the checkpoint is gone | what the log says |
| `ask` | waits for an answer, for as long as it takes: *Required Actions* shows just what would be accepted | | |
| `write` | accepts just what was shown, if the answer says so | the ledger has moved on since | trigger a new run |

`headrace accept PIPELINE --reason …` does the same on a command line.
"""

from airflow.sdk import dag

from headrace.airflow.repair import ask, repair_params, survey, write
from headrace.airflow.tasks import DAG_DEFAULTS


@dag(
    dag_id="headrace_repair",
    description="Accepts what left Kafka before it was published or proven.",
    schedule=None,
    is_paused_upon_creation=False,  # it runs by hand only, and asks first
    params=repair_params(__file__),
    doc_md=__doc__,
    tags=["headrace"],
    # A question that waits for its answer keeps no other pipeline waiting.
    **{**DAG_DEFAULTS, "max_active_runs": 16},
)
def repair() -> None:
    """Show what would be done, ask, and then do what was agreed to."""
    found = survey()
    ask(found) >> write(found)


repair()
