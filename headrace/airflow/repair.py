"""The tasks of the DAG `headrace_repair`.

They show what would be done, ask, and then do just what was agreed to.
"""

import logging
from pathlib import Path
from typing import Any

from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk import Param, get_current_context, task
from airflow.sdk.exceptions import AirflowSkipException

from headrace.airflow.connections import kafka_config
from headrace.airflow.outcomes import without_traceback
from headrace.contract.pipeline import Pipeline
from headrace.errors import RefusedError
from headrace.settings import Settings

log = logging.getLogger(__name__)

ACCEPT, LEAVE = "Accept", "Leave as it is"


def repair_params(dag_file: str) -> dict[str, Param]:
    """The form: one of the pipelines beside the DAG file, what to do, and why."""
    names = sorted(path.stem for path in Path(dag_file).parent.glob("*.toml"))
    return {
        "pipeline": Param(next(iter(names), ""), type="string", enum=names or [""], title="Pipeline"),
        "action": Param(
            "accept",
            type="string",
            enum=["accept"],
            title="Action",
            description="accept: write down what left Kafka before it was published or proven, and go on after it.",
        ),
        "reason": Param(
            "",
            type="string",
            maxLength=1000,
            title="Reason",
            description="Why it happened, or why it is acceptable. Every later report says so.",
        ),
    }


def survey() -> Any:
    """List what can't be published or proven any more; if there is nothing, the run ends here."""

    @task.short_circuit(task_id="survey", doc_md=survey.__doc__)
    def run() -> dict[str, Any] | None:
        import msgspec

        from headrace import accepting
        from headrace.kafka.client import Kafka

        params = get_current_context()["params"]
        with without_traceback():
            if not params["reason"].strip():
                raise RefusedError(
                    "The form's field Reason is empty. Every later report says why this was accepted: trigger a new run."
                )
            pipeline, folder = _pipeline(params["pipeline"])
            listed = accepting.unprovable(folder, pipeline, Kafka(kafka_config()))
        if not listed:
            log.info("Nothing to accept: nothing is lost, and all that left Kafka was proven.")
            return None
        lines = list(accepting.explain(listed))
        for line in lines:
            log.info("%s", line)
        text = "\n".join([f"- {line.strip()}" if line.startswith(" ") else f"\n{line}\n" for line in lines])
        return {"listed": msgspec.to_builtins(listed), "text": text, "digest": listed.digest}

    return run()


def ask(found: Any) -> HITLOperator:
    """Wait for an answer, for as long as it takes."""
    question = HITLOperator(  # noqa: AIR001  the name is the function's
        task_id="ask",
        doc_md=ask.__doc__,
        subject="Accept this in {{ params.pipeline }}?",
        body=(
            "{{ ti.xcom_pull(task_ids='survey')['text'] }}\n\nReason: {{ params.reason }}\n\nAfterwards run {{ params.pipeline }}_ingest, or clear "
            "what failed in it. (The list's digest: {{ ti.xcom_pull(task_ids='survey')['digest'][:12] }})"
        ),
        options=[ACCEPT, LEAVE],
        execution_timeout=None,  # it would be the answer's
        retries=0,
    )
    found >> question
    return question


def write(found: Any) -> Any:
    """Accept just what was shown, if the answer says so."""

    @task(task_id="write", doc_md=write.__doc__)
    def run(found: dict[str, Any]) -> int:
        import msgspec

        from headrace import accepting
        from headrace.kafka.client import Kafka
        from headrace.ledger.accept import Unprovable

        context = get_current_context()
        params, answer = context["params"], context["ti"].xcom_pull(task_ids="ask")
        user = answer["responded_by_user"] or {}
        by = user.get("name") or user.get("id") or "unknown"
        if answer["chosen_options"] != [ACCEPT]:
            raise AirflowSkipException(f"{by} chose to leave it as it is; nothing was written.")
        with without_traceback():
            pipeline, folder = _pipeline(params["pipeline"])
            listed = msgspec.convert(found["listed"], Unprovable)
            entry = accepting.accept(
                folder,
                pipeline,
                Kafka(kafka_config()),
                listed,
                by=by,
                reason=params["reason"].strip(),
                run=context["run_id"],
                shown=found["digest"],
            )
        log.info(
            "accepted by %s, as entry %d of the ledger. Now trigger %s_ingest.",
            by,
            entry.number,
            pipeline.name,
        )
        return entry.number

    return run(found)


def _pipeline(name: str) -> tuple[Pipeline, Any]:
    from headrace.ledger.folder import Folder

    settings = Settings.from_environment()
    return Pipeline.load(settings.dags / f"{name}.toml"), Folder(settings.data / name)
