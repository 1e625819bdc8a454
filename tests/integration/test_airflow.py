"""The DAGs in a real scheduler, on a real broker, with a real Spark. One stack serves the whole module."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import duckdb
import psutil
import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from brokers import free_port
from headrace.contract.pipeline import Pipeline
from headrace.contract.verdicts import Reason
from headrace.errors import Exit, UnavailableError
from headrace.ledger.entries import entries
from headrace.local import connections
from headrace.local.client.console import Say
from headrace.local.client.rest import Run
from headrace.local.embedded import stack
from headrace.local.embedded.layout import Layout
from headrace.scaffold import write_pipeline
from headrace.settings import Settings
from scheduler import WITHIN, Scheduler, running, until

pytestmark = pytest.mark.timeout(900)

INGEST = ("important_messages_ingest", "shop_orders_ingest")
VERIFY = ("important_messages_verify", "shop_orders_verify")
DAGS = (*INGEST, *VERIFY)
NEW = "cold_rooms"
QUICK = ("first", ":" * 120)
"""Runs that are triggered one after the other. In the name of a file, a colon is three characters."""

EVERY_30_S = re.compile(
    r"starting Spark$|checking the |waiting for |micro-batch \d+: reading [\d,]+ offsets \("
)
"""What a stream adds to its log on a machine where it takes longer than that."""

PREFLIGHT = '''
"""A preflight whose connection {constant} is another one."""
from pathlib import Path
from airflow.sdk import dag
from headrace.airflow import connections
from headrace.airflow.tasks import DAG_DEFAULTS
from headrace.airflow.ingest_tasks import preflight
from headrace.contract.pipeline import Pipeline

connections.{constant} = "{connection}"

@dag(dag_id="{connection}", **DAG_DEFAULTS)
def one() -> None:
    preflight(Pipeline.load(Path(__file__).with_name("important_messages.toml")))

one()
'''


def add_a_task(file: Path, last: str) -> None:
    """Hang a task behind the last one of a DAG, which runs after a red one, too.

    As a user would who has never heard of `outcome`.
    """
    text = file.read_text().replace("from airflow.sdk import dag\n", "from airflow.sdk import dag, task\n")
    assert text.count(f">> {last}\n") == 1
    before, decorator, after = text.replace(f">> {last}\n", f">> {last} >> tell_everyone()\n").partition(
        "\n@dag("
    )
    file.write_text(
        f'{before}\n@task(trigger_rule="all_done")\ndef tell_everyone() -> None: ...\n\n{decorator}{after}'
    )


def edit(dags: Path) -> None:
    """What a user added to a pipeline."""
    add_a_task(dags / "important_messages.py", "report(pipeline, scope)")


@pytest.fixture(scope="module")
def scheduler(archived: Layout, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scheduler]:
    """A stack with both pipelines switched on."""
    with running(tmp_path_factory.mktemp("scheduler"), archived, free_port(), free_port(), edit) as one:
        one.switch_on(*VERIFY, *INGEST)
        yield one


@dataclass(frozen=True)
class Begun:
    """The first runs, which go on while the first tests look at other things.

    Attributes:
        tick: When the new pipeline's schedule ticks.
        files: That the driver of the run `malformed` had mapped, before it was killed.
    """

    tick: datetime
    files: set[Path]


@pytest.fixture(scope="module", autouse=True)
def begun(scheduler: Scheduler) -> Begun:
    """Begin them; the first driver of one is killed."""
    scheduler.airflow.trigger(
        "shop_orders_ingest", "malformed", {"records": 300, "malformed": 0.3, "seed": 7}
    )
    scheduler.airflow.trigger("important_messages_ingest", QUICK[0], {})
    for run in QUICK[1:]:
        scheduler.airflow.trigger("important_messages_ingest", run, {"records": 100})

    tick = (datetime.now(UTC) + timedelta(seconds=100)).replace(second=0, microsecond=0)
    file, wiring = write_pipeline(scheduler.settings.dags, NEW)
    add_a_task(wiring, "stream_to_parquet(pipeline)")
    schedule = f'schedule = "{tick.minute} {tick.hour} {tick.day} {tick.month} *"'
    text = re.sub(r"^# schedule .*", schedule, file.read_text(), flags=re.MULTILINE)
    file.write_text(re.sub(r"^# (\[limits\]|freshness)", r"\1", text, flags=re.MULTILINE))
    scheduler.switch_on(f"{NEW}_verify", f"{NEW}_ingest")

    driver = until("Java and Python of the driver run", lambda: drivers(scheduler, "shop_orders"))
    files = {Path(each.path) for process in driver for each in process.memory_maps()}
    for process in driver:
        process.kill()
    return Begun(tick, files)


def drivers(scheduler: Scheduler, pipeline: str) -> list[psutil.Process] | None:
    """Java and Python processes of a pipeline's stream, once both are there."""
    found = []
    for process in scheduler.supervisor.processes():
        with suppress(psutil.NoSuchProcess):
            if {str(scheduler.settings.dags / f"{pipeline}.toml"), "--kafka"} <= set(process.cmdline()):
                found.append(process)
    return (
        found
        if {"java", "python"} <= {process.name().lower().rstrip("0123456789.") for process in found}
        else None
    )


def events(scheduler: Scheduler, dag: str, run: str) -> list[str]:
    """Names of the assets for which a run emitted an event."""
    return [
        event["name"]
        for event in scheduler.details(f"assets/events?source_dag_id={dag}&source_run_id={quote(run)}")[
            "asset_events"
        ]
    ]


def ends(scheduler: Scheduler, run: Run, task: str, lines: int) -> str:
    """The end of a task's log, as a person reads it: wherever its lines break."""
    return " ".join("\n".join(scheduler.airflow.log(run, scheduler.task(run, task))[-lines:]).split())


# What holds of the DAGs themselves. The first runs are under way.


@pytest.mark.parametrize("dag", DAGS)
def test_a_dag_says_what_it_is_and_whose(scheduler: Scheduler, dag: str) -> None:
    """It has tags, an owner, a description, and its file's page as documentation."""
    details = scheduler.details(f"dags/{dag}/details")
    assert {tag["name"] for tag in details["tags"]} >= {"headrace", dag.rpartition("_")[0]}
    assert details["owners"] == ["headrace"]
    assert details["description"]
    assert "red means" in details["doc_md"]


@pytest.mark.parametrize("dag", DAGS)
def test_runs_of_a_dag_follow_each_other(scheduler: Scheduler, dag: str) -> None:
    """Two at once would only wait for each other's lock."""
    assert scheduler.details(f"dags/{dag}/details")["max_active_runs"] == 1


@pytest.mark.parametrize("dag", DAGS)
def test_every_task_is_tried_again(scheduler: Scheduler, dag: str) -> None:
    """A broker that restarts or a driver that was killed costs a try, not the run.

    What repeats another's reason does so once.
    """
    tries = {task["task_id"]: task["retries"] for task in scheduler.details(f"dags/{dag}/tasks")["tasks"]}
    assert tries.pop("outcome") == 0
    assert all(number >= 1 for number in tries.values())


@pytest.mark.parametrize("dag", DAGS)
def test_outcome_is_the_only_leaf_of_ours(scheduler: Scheduler, dag: str) -> None:
    """A run takes its state from its leaves: any other one could turn a red run green."""
    tasks = scheduler.details(f"dags/{dag}/tasks")["tasks"]
    leaves = {task["task_id"] for task in tasks if not task["downstream_task_ids"]}
    assert leaves - {"tell_everyone"} == {"outcome"}


@pytest.mark.parametrize("dag", DAGS)
def test_a_backfill_is_not_offered(scheduler: Scheduler, dag: str) -> None:
    """What a run reads is decided by offsets, not by dates."""
    assert scheduler.details(f"dags/{dag}/details")["is_backfillable"] is False


@pytest.mark.parametrize("dag", INGEST)
def test_the_form_has_limits_and_help_and_folds_nothing(scheduler: Scheduler, dag: str) -> None:
    """Each param says what it is for and what it may be; one in a section of its own would be folded."""
    params = scheduler.details(f"dags/{dag}/details")["params"]
    schemas = {name: param["schema"] for name, param in params.items()}
    assert {name: (schema.get("minimum"), schema.get("maximum")) for name, schema in schemas.items()} == {
        "records": (0, 10_000_000),
        "malformed": (0, 1),
        "seed": (0, None),
    }
    assert all(
        schema["title"] and params[name]["description"] and "section" not in schema
        for name, schema in schemas.items()
    )


@pytest.mark.parametrize(
    "conf", [{"records": -1}, {"records": 10_000_001}, {"malformed": 1.1}, {"seed": -1}, {"records": "many"}]
)
def test_params_outside_of_their_limits_are_refused(scheduler: Scheduler, conf: dict[str, Any]) -> None:
    """No run is made of them."""
    with pytest.raises(UnavailableError, match="refuses POST"):
        scheduler.airflow.trigger("shop_orders_ingest", "refused", conf)


@pytest.mark.parametrize("dag", INGEST)
def test_switched_on_a_schedule_waits_for_its_next_tick(scheduler: Scheduler, dag: str) -> None:
    """The tick before it is not made up for."""
    assert [
        run for run in scheduler.details(f"dags/{dag}/dagRuns")["dag_runs"] if run["run_type"] == "scheduled"
    ] == []


def test_a_broken_pipeline_file_is_one_error_that_reads_well(scheduler: Scheduler) -> None:
    """It names file, key, what was found and what is expected, for every mistake; all other DAGs go on."""
    shipped, broken = (scheduler.settings.dags / name for name in ("important_messages", "broken"))
    text = shipped.with_suffix(".toml").read_text().replace("important_messages", "broken")
    text = re.sub(r"^partitions .*", 'partitions = "three"', text, flags=re.MULTILINE).replace(
        "\nrecords ", "\nrecods "
    )
    broken.with_suffix(".toml").write_text(text)
    broken.with_suffix(".py").write_text(
        shipped.with_suffix(".py").read_text().replace("important_messages", "broken")
    )
    try:
        errors = until("Airflow has read the broken file", scheduler.airflow.import_errors)
        stale = [dag for dag in DAGS if (scheduler.airflow.dag(dag) or {"is_stale": True})["is_stale"]]
    finally:
        broken.with_suffix(".py").unlink()
        broken.with_suffix(".toml").unlink()
    (error,) = errors
    assert Path(error.file).name == "broken.py"
    assert error.text.rstrip().endswith(
        f"{broken}.toml cannot be used:\n"
        "  the 1st topic's partitions: found 'three'; expected a whole number from 1 to 2147483647\n"
        "  demo.recods: there is no such key; did you mean records?"
    )
    assert stale == []


def test_preflight_is_red_without_a_connection(scheduler: Scheduler) -> None:
    """Stock Airflow would submit to YARN.

    The run ends at once, with the fix, since another try can't help.
    """
    run = preflight_with(scheduler, "SPARK", "spark_missing")
    assert scheduler.ended(run.dag, run.id).state == "failed"
    assert scheduler.task(run, "preflight").tries == 1
    assert "There is no connection spark_missing. Add it under Admin → Connections" in ends(
        scheduler, run, "preflight", 1
    )


def test_preflight_is_red_if_the_broker_is_elsewhere(scheduler: Scheduler) -> None:
    """A wrong port is named, with whose it is; the broker may come back, so it is tried again."""
    servers = f"127.0.0.1:{free_port()}"
    connection = {
        "connection_id": "kafka_elsewhere",
        "conn_type": "kafka",
        "extra": json.dumps({"bootstrap.servers": servers}),
    }
    scheduler.airflow.ask("POST", "/api/v2/connections", connection)
    run = preflight_with(scheduler, "KAFKA", "kafka_elsewhere")
    until("preflight was tried", lambda: scheduler.task(run, "preflight").state == "up_for_retry")
    end = ends(scheduler, run, "preflight", 1)
    scheduler.airflow.ask("PATCH", "/api/v2/dags/kafka_elsewhere/dagRuns/run", {"state": "failed"})
    assert f"Kafka can't be reached at {servers}" in end
    assert "which is bootstrap.servers. `headrace status` shows" in end


def preflight_with(scheduler: Scheduler, constant: str, connection: str) -> Run:
    """Run a preflight with another connection."""
    file = scheduler.settings.dags / f"{connection}.py"
    file.write_text(PREFLIGHT.format(constant=constant, connection=connection))
    scheduler.switch_on(connection)
    scheduler.airflow.trigger(connection, "run", {})
    return scheduler.airflow.run(connection, "run")


# What the runs have come to.


def test_a_killed_driver_is_tried_again(scheduler: Scheduler) -> None:
    """The second try publishes what the first did not, and verify finds every record once."""
    run = scheduler.ended("shop_orders_ingest", "malformed")
    assert (run.state, scheduler.task(run, "stream_to_parquet").tries) == ("success", 2)
    assert scheduler.account_of("shop_orders", "malformed").state == "green"


def test_a_driver_starts_from_the_archive(begun: Begun, archived: Layout) -> None:
    """Its Java reads Spark's classes from there; one of the user's own cannot."""
    assert (archived.spark_classes in begun.files) == (Settings.from_environment().java_home is None)


@pytest.mark.parametrize(("pipeline", "run"), [("important_messages", "first"), ("shop_orders", "malformed")])
def test_both_dags_of_a_pipeline_run_green(scheduler: Scheduler, pipeline: str, run: str) -> None:
    """Triggered over REST without a logical date; verify follows by itself."""
    assert scheduler.ended(f"{pipeline}_ingest", run).state == "success"
    report = scheduler.account_of(pipeline, run)
    assert scheduler.ended(f"{pipeline}_verify", report.run).state == "success"


def test_a_green_run_skips_its_last_task(scheduler: Scheduler) -> None:
    """The scheduler does, without starting a process; a task behind `report` runs."""
    ingest = scheduler.ended("important_messages_ingest", QUICK[0])
    for run in (
        ingest,
        scheduler.ended(
            "important_messages_verify", scheduler.account_of("important_messages", QUICK[0]).run
        ),
    ):
        outcome = scheduler.task(run, "outcome")
        assert (run.state, outcome.state, outcome.tries) == ("success", "skipped", 0)


def test_verify_is_started_by_what_was_published(scheduler: Scheduler) -> None:
    """Nobody triggers it, and it has no schedule but the asset."""
    report = scheduler.account_of("shop_orders", "malformed")
    assert (
        scheduler.details(f"dags/shop_orders_verify/dagRuns/{quote(report.run)}")["run_type"]
        == "asset_triggered"
    )


def test_green_is_announced(scheduler: Scheduler) -> None:
    """Consumers that schedule on the asset `verified` are told."""
    report = scheduler.account_of("shop_orders", "malformed")
    assert events(scheduler, "shop_orders_verify", report.run) == ["shop_orders_verified"]
    found = scheduler.details(
        f"assets/events?source_dag_id=shop_orders_verify&source_run_id={quote(report.run)}"
    )["asset_events"]
    extra = found[0]["extra"]
    assert extra["headline"].startswith("Green: all 300 ")
    assert extra["waiting"].keys() == {"records", "partitions", "oldest_seconds"}


def test_the_quarantine_holds_every_kind_of_malformed_record(scheduler: Scheduler) -> None:
    """Each reason that JSON records can have."""
    scheduler.account_of("shop_orders", "malformed")
    quarantine = scheduler.folder("shop_orders").quarantine
    reasons = duckdb.connect().execute(f"SELECT DISTINCT reason FROM '{quarantine}/**/*.parquet'").fetchall()
    assert {reason for (reason,) in reasons} == set(Reason)


def test_a_task_log_tells_the_story_in_a_screen(scheduler: Scheduler) -> None:
    """Of Spark's start-up nothing is left but the command.

    A micro-batch has a line when it begins, and one that accounts for it.
    """
    run = scheduler.ended("important_messages_ingest", "first")
    lines = scheduler.airflow.log(run, scheduler.task(run, "stream_to_parquet"))
    command, begun, micro_batch = [line for line in lines if not EVERY_30_S.match(line)]
    assert command.startswith("Spark-Submit cmd: spark-submit")
    assert begun == "micro-batch 0: reading 1,000 offsets of 3 partitions"
    assert re.fullmatch(
        r"micro-batch 0: 1,000 read = \d+ kept \+ \d+ filtered \+ 0 quarantined, 3 partitions, [\d.]+ s",
        micro_batch,
    )


def test_quick_ingests_lose_no_verification(scheduler: Scheduler) -> None:
    """However their events are merged, in the end some report has verified each receipt."""
    for run in QUICK:
        assert scheduler.ended("important_messages_ingest", run).state == "success"
        assert scheduler.account_of("important_messages", run)


def test_nothing_new_is_not_announced(scheduler: Scheduler) -> None:
    """Consumers of the data would otherwise run for nothing."""
    scheduler.account_of("shop_orders", "malformed")
    scheduler.airflow.trigger("shop_orders_verify", "idle", {})
    assert scheduler.ended("shop_orders_verify", "idle").state == "success"
    assert events(scheduler, "shop_orders_verify", "idle") == []


def test_clearing_a_batch_that_was_produced_sends_nothing(scheduler: Scheduler) -> None:
    """The receipt is complete: the topics stay as they are, and the run ends green again."""
    topics = ["orders-web", "orders-store"]
    scheduler.account_of("shop_orders", "malformed")
    before = scheduler.kafka.end(topics)
    scheduler.airflow.ask(
        "POST",
        "/api/v2/dags/shop_orders_ingest/clearTaskInstances",
        {
            "dry_run": False,
            "dag_run_id": "malformed",
            "task_ids": ["produce_batch"],
            "only_failed": False,
            "reset_dag_runs": True,
        },
    )
    run = scheduler.ended("shop_orders_ingest", "malformed")
    assert (run.state, scheduler.task(run, "produce_batch").tries) == ("success", 2)
    assert scheduler.kafka.end(topics) == before


@dataclass(frozen=True)
class Corrupted:
    """What came of a run one of whose files was corrupted before verify looked at it.

    Attributes:
        log: That of its stream while it ran, as it is read then.
    """

    exit_code: int
    said: str
    verify: Run
    log: list[str]
    file: Path
    content: bytes


@pytest.fixture(scope="module")
def corrupted(scheduler: Scheduler) -> Corrupted:
    """A run that the command waits for. No slot is free for verify's tasks until the file is corrupted."""
    for quick in QUICK:
        scheduler.account_of("important_messages", quick)
    known = {run.id for run in scheduler.airflow.runs("important_messages_ingest")}
    command = [
        sys.executable,
        "-m",
        "headrace.cli",
        "run",
        "important_messages",
        "--records",
        "100",
        "--wait",
    ]
    with subprocess.Popen(
        command, env=scheduler.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as following:
        try:
            run = until(
                "the command has triggered a run",
                lambda: next(
                    (
                        run
                        for run in scheduler.airflow.runs("important_messages_ingest")
                        if run.id not in known
                    ),
                    None,
                ),
            )
            until(
                "the stream runs",
                lambda: any(
                    task.name == "stream_to_parquet" and task.state == "running"
                    for task in scheduler.airflow.tasks(run)
                ),
            )
            scheduler.slots(0)
            where = f"dags/{run.dag}/dagRuns/{quote(run.id)}/taskInstances/stream_to_parquet/logs/1?full_content=true"
            log = [
                message if isinstance(message, str) else message["event"]
                for message in scheduler.details(where)["content"]
            ]
            assert scheduler.ended(run.dag, run.id).state == "success"
            (path,) = scheduler.newest_files("important_messages")
            content = path.read_bytes()
            path.write_bytes(content[: len(content) // 2])
            scheduler.slots(16)
            said, _ = following.communicate(timeout=WITHIN)
        finally:
            following.kill()
            scheduler.slots(16)
    return Corrupted(
        following.returncode,
        said,
        scheduler.airflow.runs("important_messages_verify")[-1],
        log,
        path,
        content,
    )


def test_verify_is_red_if_a_file_was_corrupted(scheduler: Scheduler, corrupted: Corrupted) -> None:
    """Though a task of the user's own ran after the report, and succeeded."""
    states = {task.name: task.state for task in scheduler.airflow.tasks(corrupted.verify)}
    assert {name: states[name] for name in ("report", "tell_everyone", "outcome")} == {
        "report": "failed",
        "tell_everyone": "success",
        "outcome": "failed",
    }
    assert corrupted.verify.state == "failed"


def test_the_log_of_a_running_task_begins_with_the_task(corrupted: Corrupted) -> None:
    """Nobody is asked for it who is not there."""
    assert corrupted.log
    assert not any("served logs" in line for line in corrupted.log)


def test_red_is_not_tried_again(scheduler: Scheduler, corrupted: Corrupted) -> None:
    """Another look would find the same."""
    for name in ("report", "outcome"):
        task = scheduler.task(corrupted.verify, name)
        assert (task.state, task.tries) == ("failed", 1)


def test_a_red_log_ends_with_where_it_is_and_what_to_do(scheduler: Scheduler, corrupted: Corrupted) -> None:
    """The file, the offsets that it held, and the way out.

    In the log of the report, and of the run's last task.
    """
    end = ends(scheduler, corrupted.verify, "report", 5)
    assert ends(scheduler, corrupted.verify, "outcome", 1) == ends(scheduler, corrupted.verify, "report", 1)
    assert f"{corrupted.file.parent.name}/{corrupted.file.name}" in end
    assert re.search(r"rows of test-topic-\d, offsets \d+ to \d+", end)
    assert "Do: Put back the named file from a copy" in end


def test_red_is_not_announced(scheduler: Scheduler, corrupted: Corrupted) -> None:
    """Nothing that schedules on the asset `verified` starts."""
    assert events(scheduler, corrupted.verify.dag, corrupted.verify.id) == []


def test_the_command_that_waits_exits_red(corrupted: Corrupted) -> None:
    """And says why, as the log does."""
    assert (corrupted.exit_code, "Do: Put back the named file" in corrupted.said) == (Exit.RED, True)


def test_green_again_once_the_file_is_put_back(scheduler: Scheduler, corrupted: Corrupted) -> None:
    """What was red is looked at by the next run, triggered by hand here."""
    corrupted.file.write_bytes(corrupted.content)
    scheduler.airflow.trigger(corrupted.verify.dag, "mended", {})
    assert scheduler.ended(corrupted.verify.dag, "mended").state == "success"


def test_a_new_pipeline_runs_on_its_schedule(scheduler: Scheduler, begun: Begun) -> None:
    """Two files from `headrace new`, and nothing else touched: green when its tick has come."""
    run = until("the schedule has ticked", lambda: next(iter(scheduler.airflow.runs(f"{NEW}_ingest")), None))
    assert run.id.startswith(f"scheduled__{begun.tick:%Y-%m-%dT%H:%M}")
    report = scheduler.account_of(NEW, run.id)
    assert report.state == "green"
    assert [limit.name for limit in report.limits] == ["freshness"]


def test_limits_are_looked_at_by_the_clock_too(scheduler: Scheduler, begun: Begun) -> None:
    """At the pipeline's own ticks, beside the runs that follow what is published.

    What proves nothing new is not announced.
    """

    def by_clock() -> Run | None:
        return next(
            (run for run in scheduler.airflow.runs(f"{NEW}_verify") if run.id.startswith("scheduled__")), None
        )

    run = scheduler.ended(f"{NEW}_verify", until("the clock has started a verify run", by_clock).id)
    assert run.state == "success"
    assert run.id.startswith(f"scheduled__{begun.tick:%Y-%m-%dT%H:%M}")
    first = next(run for run in scheduler.airflow.runs(f"{NEW}_ingest"))
    scheduler.account_of(NEW, first.id)
    announced = [
        each.id
        for each in scheduler.airflow.runs(f"{NEW}_verify")
        if events(scheduler, f"{NEW}_verify", each.id)
    ]
    assert len(announced) == 1


def test_a_deleted_topic_is_not_created_again(scheduler: Scheduler) -> None:
    """A batch in a new topic of that name would be refused by the stream.

    Preflight refuses before there is one.
    """
    pipeline = Pipeline.load(scheduler.settings.dags / f"{NEW}.toml")
    topics = [topic.name for topic in pipeline.topics]
    scheduler.kafka.delete(topics[0])
    run = scheduler.airflow.runs(f"{NEW}_ingest")[0]
    until("the topic is gone", lambda: topics[0] not in scheduler.kafka.topics())
    scheduler.airflow.trigger(run.dag, "without-topic", {})
    ended = scheduler.ended(run.dag, "without-topic")
    assert ended.state == "failed"
    preflight = scheduler.task(ended, "preflight")
    assert (preflight.state, preflight.tries) == ("failed", 1)
    assert f"Topic {topics[0]} is gone from Kafka" in ends(scheduler, ended, "preflight", 1)
    assert scheduler.task(ended, "create_topics").state == "upstream_failed"
    assert scheduler.task(ended, "tell_everyone").state == "success"
    assert f"preflight failed: Topic {topics[0]} is gone from Kafka" in ends(scheduler, ended, "outcome", 1)
    assert f"Topic {topics[0]} is gone from Kafka" in scheduler.tab(ended), (
        "what the listener kept in the task's process"
    )
    assert topics[0] not in scheduler.kafka.topics()


def test_a_saved_connection_counts(scheduler: Scheduler) -> None:
    """For the DAGs and the command, secrets included, and after another start.

    Once it is deleted, the stack's own is back.
    """
    path, before = "/api/v2/connections/kafka_default", scheduler.airflow.connection("kafka_default")
    servers = f"localhost:{free_port()}"
    extra = {
        "bootstrap.servers": servers,
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "PLAIN",
        "sasl.username": "me",
        "sasl.password": "x",
    }
    body = {"connection_id": "kafka_default", "conn_type": "kafka", "extra": json.dumps(extra)}
    scheduler.airflow.ask("PATCH", path, body)
    try:
        run = preflight_with(scheduler, "KAFKA", "kafka_default")
        until("preflight was tried", lambda: scheduler.task(run, "preflight").state == "up_for_retry")
        said = [ends(scheduler, run, "preflight", 1)]
        scheduler.airflow.ask("PATCH", "/api/v2/dags/kafka_default/dagRuns/run", {"state": "failed"})
        command = [sys.executable, "-m", "headrace.cli", "topics", "list"]
        said.append(
            subprocess.run(
                command, env=scheduler.environment, capture_output=True, text=True, check=False
            ).stderr
        )
        stack.up(scheduler.settings, Say())
        assert connections.kafka_config(scheduler.settings) == extra
    finally:
        scheduler.airflow.ask("DELETE", path)
        stack.up(scheduler.settings, Say())
    assert [f"Kafka can't be reached at {servers}" in each for each in said] == [True, True], said
    assert scheduler.airflow.connection("kafka_default") == before
    assert connections.kafka_config(scheduler.settings) == {
        "bootstrap.servers": scheduler.settings.bootstrap_servers
    }


def test_a_dag_that_was_switched_off_stays_off(scheduler: Scheduler) -> None:
    """The command does not switch it on again, unless it is told to."""
    dags = {dag: scheduler.airflow.was_switched_off(dag) for dag in (*VERIFY, *INGEST)}
    assert not any(dags.values()), dags
    scheduler.airflow.ask(
        "PATCH", "/api/v2/dags/shop_orders_ingest?update_mask=is_paused", {"is_paused": True}
    )
    command = [sys.executable, "-m", "headrace.cli", "run", "shop_orders", "--records", "10"]
    found = subprocess.run(command, env=scheduler.environment, capture_output=True, text=True, check=False)
    assert (found.returncode, scheduler.details("dags/shop_orders_ingest")["is_paused"]) == (
        Exit.USAGE,
        True,
    ), found.stderr
    assert "`headrace run shop_orders --unpause`" in found.stderr
    found = subprocess.run(
        [*command, "--unpause"], env=scheduler.environment, capture_output=True, text=True, check=False
    )
    assert (found.returncode, scheduler.details("dags/shop_orders_ingest")["is_paused"]) == (0, False), (
        found.stderr
    )


def test_what_left_kafka_is_accepted_in_the_ui(scheduler: Scheduler) -> None:
    """The survey lists it, Required Actions shows just that, and the answer writes it down, with who and why.

    Then the pipeline goes on.
    """
    name, dag = "important_messages", "headrace_repair"
    pipeline = Pipeline.load(scheduler.settings.dags / f"{name}.toml")
    topic = pipeline.topics[0].name
    for run in scheduler.airflow.runs(INGEST[0]):
        scheduler.ended(INGEST[0], run.id)
    end = scheduler.kafka.end([topic]).by_topic()[topic][0]
    leave_unread(scheduler, topic, 20, end + 8)
    scheduler.switch_on(dag)
    scheduler.airflow.trigger(dag, "repair", {"pipeline": name, "reason": "retention was too short"})
    run = scheduler.airflow.run(dag, "repair")
    until("the question waits for an answer", lambda: scheduler.task(run, "ask").state == "awaiting_input")
    question = f"dags/{dag}/dagRuns/repair/taskInstances/ask/-1/hitlDetails"
    shown = scheduler.details(question)
    assert shown["subject"] == "Accept this in important_messages?"
    assert f"{topic}-0: offsets {end:,} to {end + 7:,}" in shown["body"]
    assert "Reason: retention was too short" in shown["body"]
    # Answered at once, Airflow may take the end of the process that asked for the end of the task.
    noted = "Received executor event with state success for task instance TaskInstanceKey(dag_id='headrace_repair', task_id='ask'"
    log = Layout.of(scheduler.settings).log("scheduler")
    until("the scheduler knows that it was asked", lambda: noted in log.read_text(errors="replace"))
    scheduler.airflow.ask("PATCH", f"/api/v2/{question}", {"chosen_options": ["Accept"], "params_input": {}})
    run = scheduler.ended(dag, "repair")
    tasks = scheduler.airflow.tasks(run)
    assert run.state == "success", [(each, scheduler.airflow.log(run, each)[-5:]) for each in tasks]
    accepted = entries(scheduler.folder(name))[-1].accepted
    assert accepted
    assert (accepted.by, accepted.reason, [(each.partition, len(each)) for each in accepted.lost]) == (
        "admin",
        "retention was too short",
        [(0, 8)],
    )
    assert accepted.shown
    scheduler.airflow.trigger(INGEST[0], "behind", {"records": 10})
    assert scheduler.ended(INGEST[0], "behind").state == "success"
    report = scheduler.account_of(name, "behind")
    assert (report.state, report.ever.lost, report.waiting.offsets) == ("green", 8, 0)


def test_a_repair_without_anything_to_accept_asks_nothing(scheduler: Scheduler) -> None:
    """The run ends with the survey."""
    scheduler.airflow.trigger(
        "headrace_repair", "nothing", {"pipeline": "important_messages", "reason": "to be sure"}
    )
    run = scheduler.ended("headrace_repair", "nothing")
    assert run.state == "success"
    assert [scheduler.task(run, task).state for task in ("survey", "ask", "write")] == [
        "success",
        "skipped",
        "skipped",
    ]


def leave_unread(scheduler: Scheduler, topic: str, count: int, until_offset: int) -> None:
    """Write records into the first partition that leave Kafka up to an offset before a stream reads them."""
    servers = {"bootstrap.servers": scheduler.settings.bootstrap_servers}
    producer, admin = Producer(servers), AdminClient(servers)
    for _ in range(count):
        producer.produce(topic, b"important", partition=0)
    assert producer.flush(30) == 0
    for removed in admin.delete_records([TopicPartition(topic, 0, until_offset)]).values():
        removed.result(30)
