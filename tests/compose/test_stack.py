"""The compose stack, from the first start to the last trace removed. Tests run in this order; the stack keeps its history."""

import json
from collections import Counter
from pathlib import Path

import duckdb
import pytest
from confluent_kafka import Producer
from pyspark.sql import SparkSession

import brokers
from headrace.contract.pipeline import Pipeline
from headrace.ledger.entries import entries
from headrace.ledger.folder import Folder
from headrace.local.layout import Layout
from headrace.report.model import Report
from headrace.settings import ROOT
from slices import Slice, broken
from tests.compose.containers import LABEL, Stack, ended, run_in, wait_until

SEED = 7
RECORDS = 20_000
LONG = 400_000
"""Enough for a run to be caught in the middle."""


def test_without_secrets_it_says_what_to_do(checkout: Stack) -> None:
    """Compose alone starts nothing with secrets that everybody knows."""
    said = checkout.compose("config", check=False)
    assert "make compose-up" in said


def test_a_demo_is_green_and_ran_on_the_workers(stack: Stack) -> None:
    """Both DAGs of both pipelines; the executors were the cluster's, not the driver's own."""
    for pipeline in ("important_messages", "shop_orders"):
        report = stack.ingest(pipeline, records=RECORDS, malformed=0.02, seed=SEED)
        assert sum(account.landed for account in report.receipts) >= RECORDS
        assert sum(reason.count for reason in report.quarantine) > 0
        run = entries(stack.folder(pipeline))[0].run
        assert stack.executors(f"{pipeline} {run}") == [1]


def figures(report: Report) -> object:
    """What a report says, but for times, places and the names of runs and files."""
    return (
        report.state,
        report.balance,
        [(receipt.state, receipt.wanted, receipt.landed, receipt.partitions) for receipt in report.receipts],
        [(each.id, each.state, each.checked, each.found) for each in report.invariants],
        report.quarantine,
        report.ever,
    )


ROWS = "SELECT _topic, _partition, _offset, _key, value FROM '{}/**/*.parquet' ORDER BY ALL"


def test_the_embedded_stack_gives_the_same(stack: Stack, layout: Layout, spark: SparkSession, tmp_path: Path) -> None:
    """The same seeded batch, run by the same name: the same rows at the same offsets, the same counts, the same figures."""
    assert spark
    there = entries(stack.folder())[0]
    port = int(stack.environment["HEADRACE_SPARK_PORT"]) + 1
    with brokers.broker(tmp_path / "broker", port, layout.jars, layout.java_home):
        pipeline = Pipeline.load(ROOT / "dags" / "important_messages.toml")
        here = Slice(pipeline, Folder(tmp_path / "data" / pipeline.name), f"127.0.0.1:{port}")
        here.kafka.create(pipeline.topics)
        here.ingest(there.run, records=RECORDS, malformed=0.02, seed=SEED)
        report = here.verify()
    assert broken(report) == {}
    for kind in ("events", "quarantine"):
        query = ROWS if kind == "events" else ROWS.replace("value FROM", "_value, reason FROM")
        ours, theirs = (duckdb.connect().execute(query.format(folder.root / kind)).fetchall() for folder in (here.folder, stack.folder()))
        assert ours == [row for row in theirs if row[2] < there.ranges[row[1]].until_offset]
        assert len(ours) > 0
    assert here.ledger[0].accounts == there.accounts
    assert figures(report) == figures(stack.report(there.run))


def test_host_and_containers_produce_into_one_ledger(stack: Stack) -> None:
    """A producer on the host comes through EXTERNAL, one in a container through INTERNAL; each record is accounted for."""
    before = sum(len(each) for entry in entries(stack.folder()) for each in entry.ranges)
    producer = Producer({"bootstrap.servers": stack.external})
    for number in range(100):
        producer.produce("test-topic", f'"important {number}"'.encode(), b"host")
    assert producer.flush(30) == 0
    command = ["timeout", "--signal=INT", "8", "headrace", "produce", "important_messages", "--every", "0.1"]
    said = stack.compose("exec", "-T", "scheduler", *command, check=False)
    inside = said.count("test-topic-")
    assert inside > 0, said
    report = stack.ingest(records=0)
    now = sum(len(each) for entry in entries(stack.folder()) for each in entry.ranges)
    assert now - before == 100 + inside
    assert sum(each.kept + each.filtered + each.quarantined for each in report.balance) == 100 + inside


def test_host_verbs_know_the_stack(stack: Stack) -> None:
    """Status, doctor, verify and the topics work from the host as in the embedded stack."""
    assert "spark-worker" in stack.headrace("status")
    assert "BAD" not in stack.headrace("doctor", "--compose")
    assert "test-topic" in stack.headrace("topics", "list")
    assert "Green" in stack.headrace("verify", "important_messages")


def test_doctor_tells_faults_apart(stack: Stack) -> None:
    """A service that is down, and secrets that are gone or open to others, are told as such."""
    stack.compose("stop", "triggerer")
    assert "triggerer is exited" in stack.headrace("doctor", "--compose", check=False)
    stack.up()
    env = stack.root / ".env"
    env.chmod(0o644)
    assert "others can read" in stack.headrace("doctor", "--compose", check=False)
    env.chmod(0o600)
    assert "BAD" not in stack.headrace("doctor", "--compose")


@pytest.mark.parametrize("victim", ["spark-worker", "kafka", "scheduler"])
def test_a_kill_in_the_middle_of_a_run_loses_nothing(stack: Stack, victim: str) -> None:
    """After the restart the run, its retry or the next run is green, and every record is there once. Red in between is fine."""
    running = stack.started("run", "important_messages", "--records", str(LONG), "--seed", str(SEED))
    said, _ = running.communicate(timeout=120)
    run = run_in(said)
    with stack.airflow() as airflow:
        ingest = airflow.run("important_messages_ingest", run)

        def is_streaming() -> bool:
            return any(task.name == "stream_to_parquet" and task.state == "running" for task in airflow.tasks(ingest))

        wait_until("the stream is running", is_streaming)
        wait_until("executors are at work", lambda: bool(stack.cluster()["activeapps"]))
        stack.compose("kill", victim)
        stack.up()
        final = ended(airflow, ingest)
    if final.state != "success":
        stack.ingest(records=0)
    assert "Green" in stack.headrace("verify", "important_messages", run)
    folder = stack.folder()
    prefix = json.loads(folder.receipt(run).read_text())["landings"]
    assert sum(landing["count"] for landing in prefix) == LONG
    positions = f"SELECT _topic, _partition, _offset, count(*) FROM '{folder.events}/**/*.parquet' GROUP BY ALL HAVING count(*) > 1"
    assert duckdb.connect().execute(positions).fetchall() == []


def test_three_workers_share_the_work(stack: Stack) -> None:
    """The cluster grows by one option."""
    stack.up("--scale", "spark-worker=3", "--no-recreate")
    wait_until("three workers are alive", lambda: stack.cluster()["aliveworkers"] == 3)
    report = stack.ingest(records=RECORDS, seed=SEED)
    run = next(receipt.run for receipt in report.receipts)
    assert stack.executors(f"important_messages {run}", workers=3) == [1, 1, 1]


def test_a_broker_that_asks_for_a_password(stack: Stack) -> None:
    """With the right one all of it is green; with a wrong one preflight says so at once, and no log holds either."""
    stack.overrides.append("docker/sasl.yml")
    stack.up("--scale", "spark-worker=1")
    assert stack.ingest(records=RECORDS, seed=SEED).state == "green"
    stack.up("--scale", "spark-worker=1", more={"KAFKA_CLIENT_PASSWORD": "certainly-not-it"})
    said = stack.headrace("run", "important_messages", "--wait", check=False)
    assert "preflight of important_messages_ingest is red" in said
    assert "refuses the login of user 'headrace'" in said
    assert "certainly-not-it" not in said + logs(stack)


def logs(stack: Stack) -> str:
    """All that services and tasks ever logged."""
    tasks = stack.compose("exec", "-T", "scheduler", "sh", "-c", "cat $(find /opt/airflow/logs -type f)")
    return tasks + stack.compose("logs", "--no-color")


def test_secrets_stay_where_they_belong(stack: Stack) -> None:
    """None is in a log, in an image, or readable by others."""
    values = [value for name, value in stack.secrets.items() if name != "HEADRACE_UID"]
    assert len(values) == 6
    assert (stack.root / ".env").stat().st_mode & 0o777 == 0o600
    images = set(stack.compose("config", "--images").split())
    seen = logs(stack) + "".join(stack.docker("image", "inspect", image) + stack.docker("history", "--no-trunc", image) for image in images)
    assert [value for value in values if value in seen] == []


def test_only_this_machine_is_listened_to(stack: Stack) -> None:
    """Each published port is bound to 127.0.0.1."""
    configured = json.loads(stack.compose("config", "--format", "json"))["services"]
    bound = [port["host_ip"] for service in configured.values() for port in service.get("ports", [])]
    assert Counter(bound) == {"127.0.0.1": 3}


def test_nothing_runs_as_root_that_need_not(stack: Stack) -> None:
    """Every process but PostgreSQL's start script has a user of its own."""
    for service in ("kafka", "spark-master", "spark-worker", "api-server", "scheduler", "dag-processor", "triggerer"):
        assert stack.compose("exec", "-T", service, "id", "-u").strip() != "0", service


def test_down_keeps_the_data_and_down_v_leaves_nothing(stack: Stack) -> None:
    """What `down` leaves is taken up again; after `down -v` the pipeline refuses to go on as if nothing had happened."""
    stack.overrides.clear()
    stack.compose("down", "--timeout", "20")
    stack.up()
    assert stack.ingest(records=100).state == "green"
    stack.compose("down", "--volumes", "--timeout", "20")
    for kind in ("ps --all", "network ls", "volume ls"):
        assert stack.docker(*kind.split(), "--quiet", "--filter", LABEL).split() == [], kind
    stack.up()
    said = stack.headrace("run", "important_messages", "--wait", check=False)
    assert "was deleted and made anew" in said
    assert "headrace reset important_messages" in said
    stack.compose("down", "--volumes", "--remove-orphans", "--timeout", "20")
    for kind in ("ps --all", "network ls", "volume ls"):
        assert stack.docker(*kind.split(), "--quiet", "--filter", LABEL).split() == [], kind
