"""The compose stack, from the first start to the last trace removed.

Tests run in this order; the stack keeps its history.
"""

import hashlib
import json
import re
import shlex
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Producer, TopicPartition

from headrace.ledger.entries import entries
from headrace.ledger.folder import Folder
from headrace.local import compose
from headrace.local.client.rest import UNFINISHED_TASK
from headrace.local.embedded.layout import Layout
from headrace.settings import ROOT
from headrace.verify.result import Report
from scheduler import running
from tests.compose.containers import LABEL, PROJECT, Stack, ended, finished, free_ports, run_in, wait_until

PIPELINES = ("important_messages", "shop_orders")
BATCH: dict[str, Any] = {"records": 20_000, "malformed": 0.02, "seed": 7}
LONG = 100_000
"""Enough for a run to be caught in the middle."""

SHELL = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
DOCUMENTED = [
    line
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
    for block in SHELL.findall(page.read_text())
    for line in block.splitlines()
    if line.startswith("docker ")
]
"""Docker's commands in the docs, with their comments."""
SUBMIT = next(line for line in DOCUMENTED if "spark-submit" in line)
ELSEWHERE = re.compile(r"compose (up|down|-f)|Ctrl-C|spark-submit|docker pull")
"""Those that start or stop the stack, go on until they are stopped, or publish: other tests run them. And one
that needs a registry."""


def as_written(stack: Stack, line: str) -> str:
    """Run a command of the docs; only the project has another name."""
    words = shlex.split(line.replace("headrace_default", f"{PROJECT}_default"), comments=True)
    return stack.docker(*words[1:])


def test_without_secrets_it_says_what_to_do(checkout: Stack) -> None:
    """Compose alone starts nothing with secrets that everybody knows."""
    said = checkout.compose("config", check=False)
    assert "make compose-up" in said


@pytest.fixture(scope="module")
def batches(stack: Stack) -> dict[str, Report]:
    """Both pipelines at once, each with its first batch.

    Two drivers beside each other, and a cluster with room for one application.
    """
    started = {pipeline: stack.ingesting(pipeline, **BATCH) for pipeline in PIPELINES}
    return {pipeline: stack.ingested(process, pipeline) for pipeline, process in started.items()}


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_a_demo_is_green_and_ran_on_the_workers(
    stack: Stack, batches: dict[str, Report], pipeline: str
) -> None:
    """Both DAGs; the executors were the cluster's, not the driver's own."""
    report = batches[pipeline]
    assert sum(account.landed for account in report.receipts) == BATCH["records"]
    assert sum(reason.count for reason in report.quarantine) > 0
    run = entries(stack.folder(pipeline))[0].run
    assert stack.was_served(f"{pipeline} {run}")


def test_two_runs_at_once_fit_into_the_limits(stack: Stack, batches: dict[str, Report]) -> None:
    """No process was killed for want of memory, and no container had to start again."""
    assert batches
    said = stack.docker("inspect", "--format", "{{.State.OOMKilled}} {{.RestartCount}}", *stack.containers())
    assert set(said.splitlines()) == {"false 0"}


def test_containers_know_whom_they_run_as(stack: Stack) -> None:
    """None is root; those that write into data/ own the checkout and have a name, which Hadoop asks for."""
    services = (
        "kafka",
        "spark-master",
        "spark-worker",
        "postgres",
        "api-server",
        "scheduler",
        "dag-processor",
        "triggerer",
        "housekeeping",
    )
    users = {service: stack.user(service) for service in services}
    assert {number for number, _ in users.values()}.isdisjoint({"0"})
    owner = stack.secrets["HEADRACE_UID"]
    assert owner == str((stack.root / "data").stat().st_uid)
    for service in ("spark-master", "spark-worker", "scheduler"):
        assert users[service][0] == owner, service
        assert users[service][1], service


def test_what_runs_in_a_container_can_not_become_more(stack: Stack) -> None:
    """No service has a capability, can gain one, or can write who there is."""
    look = "grep -E '^(CapBnd|CapEff|NoNewPrivs)' /proc/self/status; test ! -w /etc/passwd && echo accounts are read-only"
    for service in (
        "kafka",
        "spark-master",
        "spark-worker",
        "postgres",
        "api-server",
        "scheduler",
        "dag-processor",
        "triggerer",
    ):
        said = stack.compose("exec", "-T", service, "sh", "-c", look).split()
        assert said == [
            "CapEff:",
            "0" * 16,
            "CapBnd:",
            "0" * 16,
            "NoNewPrivs:",
            "1",
            "accounts",
            "are",
            "read-only",
        ], service


@dataclass(frozen=True)
class Meanwhile:
    """An embedded stack that makes the same batches, by runs of the same names, while the next tests go on.

    Attributes:
        made: Per pipeline its folder and report, once they are there.
        down: Stops it, for which Python has to be in its main thread.
    """

    made: Future[dict[str, tuple[Folder, Report]]]
    down: ExitStack


@pytest.fixture(scope="module")
def meanwhile(stack: Stack, batches: dict[str, Report], layout: Layout) -> Iterator[Meanwhile]:
    """Begin with it."""
    assert batches
    runs = {pipeline: entries(stack.folder(pipeline))[0].run for pipeline in PIPELINES}
    (kafka,), (ui,) = free_ports(1, following=1), free_ports(1, following=3)

    def make() -> dict[str, tuple[Folder, Report]]:
        scheduler = down.enter_context(running(Path(base), layout, kafka, ui))
        for pipeline, run in runs.items():
            scheduler.switch_on(f"{pipeline}_verify", f"{pipeline}_ingest")
            scheduler.airflow.trigger(f"{pipeline}_ingest", run, BATCH)
        return {
            pipeline: (scheduler.folder(pipeline), scheduler.account_of(pipeline, run))
            for pipeline, run in runs.items()
        }

    with (
        tempfile.TemporaryDirectory(prefix="hr-") as base,
        ExitStack() as down,
        ThreadPoolExecutor(1) as pool,
    ):
        yield Meanwhile(pool.submit(make), down)


@pytest.fixture(scope="module")
def embedded(meanwhile: Meanwhile) -> dict[str, tuple[Folder, Report]]:
    """What the embedded stack made of the batches."""
    made = meanwhile.made.result()
    meanwhile.down.close()
    return made


PRODUCE_SOME = """
set -m  # or an interrupt would not reach what runs in the background
headrace produce important_messages --every 0.1 > /tmp/said 2>&1 & producer=$!
until [ "$(grep -c test-topic- /tmp/said)" -ge 11 ]; do sleep 0.2; done
kill -INT "$producer"; wait "$producer"; cat /tmp/said
"""


def end(stack: Stack, topic: str) -> int:
    """How many offsets a topic has, told by a client that shares nothing with Headrace."""
    consumer = Consumer({"bootstrap.servers": stack.external, "group.id": "tests"})
    partitions = consumer.list_topics(topic, 30).topics[topic].partitions
    ends = [
        consumer.get_watermark_offsets(TopicPartition(topic, partition), 30)[1] for partition in partitions
    ]
    consumer.close()
    return sum(ends)


@pytest.mark.usefixtures("meanwhile")
def test_host_and_containers_produce_into_one_ledger(stack: Stack) -> None:
    """A producer on the host comes through EXTERNAL, one in a container through INTERNAL.

    Submitted by hand, as the docs say, all of it is accounted for.
    """
    before = end(stack, "test-topic")
    producer = Producer({"bootstrap.servers": stack.external})
    for number in range(100):
        producer.produce("test-topic", f'"important {number}"'.encode(), b"host")
    assert producer.flush(30) == 0
    said = stack.compose("exec", "-T", "scheduler", "timeout", "120", "bash", "-c", PRODUCE_SOME, check=False)
    landed = end(stack, "test-topic") - before
    assert landed - 100 - said.count("test-topic-") in {0, 1}, (
        f"one may have landed as the producer was stopped, and not been told: {said}"
    )
    assert landed >= 110
    assert f"{landed} read = " in as_written(stack, SUBMIT)
    newest = entries(stack.folder())[-1]
    assert stack.was_served(f"important_messages {newest.run}")
    assert sum(map(len, newest.ranges)) == landed
    assert "Green" in stack.headrace("verify", "important_messages")


@pytest.mark.parametrize(
    "line",
    [line for line in DOCUMENTED if not ELSEWHERE.search(line)],
    ids=lambda line: line.partition(" #")[0].strip(),
)
def test_a_documented_command_works_as_written(stack: Stack, line: str) -> None:
    """Whatever is in the docs to be copied ends without an error."""
    as_written(stack, line)


def test_host_verbs_know_the_stack(stack: Stack) -> None:
    """Status and the topics work from the host as in the embedded stack."""
    assert "spark-worker" in stack.headrace("status")
    assert "test-topic" in stack.headrace("topics", "list")


def test_a_saved_connection_counts(stack: Stack) -> None:
    """For the verbs as for the DAGs, on the host and in a container, and after another start.

    Once it is deleted, the stack's own is back.
    """
    path, elsewhere = "/api/v2/connections/kafka_default", "kafka.invalid:9092"
    with stack.airflow() as airflow:
        before = airflow.connection("kafka_default")
        body = {
            "connection_id": "kafka_default",
            "conn_type": "kafka",
            "extra": json.dumps({"bootstrap.servers": elsewhere}),
        }
        airflow.ask("PATCH", path, body)
        stack.up()
        said = [
            stack.headrace("topics", "list", check=False),
            stack.compose("exec", "-T", "scheduler", "headrace", "topics", "list", check=False),
        ]
        airflow.ask("DELETE", path)
        stack.up()
        assert airflow.connection("kafka_default") == before
    assert [elsewhere in each for each in said] == [True, True], said


OVERRIDE = "docker-compose.override.yml"


def test_an_override_changes_a_connection(stack: Stack) -> None:
    """The file in the docs is one that compose reads by itself, and tasks see the connection in it."""
    (example,) = re.findall(
        r"^```yaml\n(.*?)^```$", (ROOT / "docs" / "growing.md").read_text(), re.MULTILINE | re.DOTALL
    )
    override = stack.root / OVERRIDE
    override.write_text(example)
    try:
        configured = json.loads(stack.docker("compose", "config", "--format", "json"))["services"]
    finally:
        override.unlink()
    before = json.loads(stack.docker("compose", "config", "--format", "json"))["services"]["scheduler"][
        "environment"
    ]
    now = configured["scheduler"]["environment"]
    changed = {name for name in now if now[name] != before.get(name)}
    assert changed == {"AIRFLOW_CONN_SPARK_DEFAULT"}
    assert json.loads(now["AIRFLOW_CONN_SPARK_DEFAULT"])["host"] == "spark://master.example.com"


def advertise(stack: Stack, internal: str, external: str) -> None:
    """Let the broker send its clients to these addresses."""
    (stack.root / OVERRIDE).write_text(
        json.dumps(
            {
                "services": {
                    "kafka": {
                        "environment": {
                            "KAFKA_ADVERTISED_LISTENERS": f"INTERNAL://{internal},EXTERNAL://{external}"
                        }
                    }
                }
            }
        )
    )
    stack.docker("compose", "up", "--detach", "--wait", "--no-deps", "kafka")


def amiss(stack: Stack, **environment: str) -> dict[str, str]:
    """What doctor finds wrong: check and message."""
    said = finished(stack.started("doctor", "--compose", more=environment), check=False)
    found = re.findall(r"^BAD +(\S+) +((?:.|\n(?!ok |BAD ))*)", said, re.MULTILINE)
    return {name: " ".join(message.split()) for name, message in found}


def test_doctor_tells_faults_apart(stack: Stack) -> None:
    """Two rounds of several faults at once, each under its own name and none under another's.

    Then all is well again.
    """
    env = stack.root / ".env"
    try:
        env.chmod(0o644)
        stack.compose("stop", "triggerer")
        advertise(stack, internal="kafka:29092", external="kafka.invalid:9092")
        found = amiss(stack, HEADRACE_KAFKA_IMAGE="apache/kafka:3.9.0")
        assert found.keys() == {"secrets", "versions", "services", "EXTERNAL"}
        assert "others can read" in found["secrets"]
        assert "apache/kafka:3.9.0 is not kafka" in found["versions"]
        assert "triggerer is exited" in found["services"]
        assert "kafka.invalid:9092" in found["EXTERNAL"]
        env.chmod(0o600)
        stack.compose("rm", "--force", "triggerer")
        advertise(
            stack,
            internal="localhost:29092",
            external=f"localhost:{stack.environment['HEADRACE_KAFKA_PORT']}",
        )
        found = amiss(stack)
        assert found.keys() == {"services", "INTERNAL"}
        assert "without a container: triggerer" in found["services"]
        assert "localhost:29092" in found["INTERNAL"]
    finally:
        env.chmod(0o600)
        (stack.root / OVERRIDE).unlink(missing_ok=True)
        stack.up()
    assert amiss(stack) == {}


def test_doctor_misses_the_secrets(stack: Stack) -> None:
    """Without .env nothing of it can be asked, and the first line says why."""
    env = stack.root / ".env"
    aside = env.rename(stack.root / "aside")
    try:
        assert "`make compose-up` writes it" in amiss(stack)["secrets"]
    finally:
        aside.rename(env)


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


def rows(folder: Path) -> list[tuple[Any, ...]]:
    """The rows of the first micro-batch, all but the time at which the broker took them."""
    files = f"'{folder}/micro_batch=0/*.parquet'"
    return duckdb.connect().execute(f"SELECT * EXCLUDE (_timestamp) FROM read_parquet({files}, hive_partitioning=false) ORDER BY _topic, _partition, _offset").fetchall()  # fmt: skip


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_the_embedded_stack_gives_the_same(
    stack: Stack, embedded: dict[str, tuple[Folder, Report]], batches: dict[str, Report], pipeline: str
) -> None:
    """The same rows at the same offsets, the same counts per partition, the same figures in the report."""
    (here, report), there = embedded[pipeline], stack.folder(pipeline)
    assert rows(here.events) == rows(there.events) != []
    assert rows(here.quarantine) == rows(there.quarantine) != []
    ours, theirs = entries(here)[0], entries(there)[0]
    assert (ours.ranges, ours.accounts) == (theirs.ranges, theirs.accounts)
    assert figures(report) == figures(batches[pipeline])


def landed(stack: Stack, topic: str, batch: str) -> list[tuple[bytes, bytes]]:
    """Key and value of each record of a batch in Kafka, by a client that shares nothing with Headrace."""
    consumer = Consumer(
        {
            "bootstrap.servers": stack.external,
            "group.id": "tests",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "isolation.level": "read_committed",
        }
    )
    found, unread = [], set(consumer.list_topics(topic, 30).topics[topic].partitions)
    consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in unread])
    while unread:
        messages = consumer.consume(50_000, timeout=30)
        assert messages, f"{topic} {unread} cannot be read to the end"
        for message in messages:
            if message.error() is None:
                if (message.key() or b"").startswith(batch.encode()):
                    found.append((message.key(), message.value()))
            else:
                assert message.error().code() == KafkaError._PARTITION_EOF, message.error()  # noqa: SLF001  that is its public name
                unread.discard(message.partition())
    consumer.close()
    return found


@pytest.mark.parametrize("victim", ["spark-worker", "kafka", "scheduler"])
def test_a_kill_in_the_middle_of_a_run_loses_nothing(stack: Stack, victim: str) -> None:
    """After the restart the run, its retry or the next run is green, and every record is there once.

    Red in between is fine.
    """
    run = run_in(stack.headrace("run", "important_messages", "--records", str(LONG), "--seed", "7"))
    folder = stack.folder()
    with stack.airflow() as airflow:
        ingest = airflow.run("important_messages_ingest", run)

        at_work(stack, f"important_messages {run}", cores=2)
        stack.compose("kill", victim)
        assert [entry for entry in entries(folder) if entry.run == run] == [], "too late: it is published"
        stack.up()
        (stream,) = [task for task in airflow.tasks(ingest) if task.name == "stream_to_parquet"]
        final = ended(airflow, ingest)
    assert stream.state in UNFINISHED_TASK
    if final.state != "success":
        stack.ingest(records=0)
    assert "Green" in stack.headrace("verify", "important_messages", run)
    batch = hashlib.sha256(f"important_messages\0{run}".encode()).hexdigest()[:12] + "-"
    records = landed(stack, "test-topic", batch)
    assert sorted(key for key, _ in records) == [f"{batch}{number:010}".encode() for number in range(LONG)]
    keys = f"SELECT _key, count(*) FROM '{folder.events}/**/*.parquet' WHERE starts_with(_key::varchar, '{batch}') GROUP BY ALL"
    assert dict(duckdb.connect().execute(keys).fetchall()) == {
        key: 1 for key, value in records if b"important" in value
    }


def at_work(stack: Stack, name: str, cores: int) -> str:
    """Wait until an application whose name starts so has this many cores; returns its id."""
    found: list[str] = []

    def look() -> bool:
        found.extend(
            each["id"]
            for each in stack.cluster()["activeapps"]
            if each["name"].startswith(name) and each["cores"] == cores
        )
        return bool(found)

    wait_until(f"{name} has {cores} cores", look)
    return found[0]


@dataclass(frozen=True)
class Guarded:
    """A run on three workers, with a broker that asks for a password, after the stack was down.

    Attributes:
        services: What they had said until it went down.
        executors: Of it, on each worker, while its stream ran.
        arguments: Of all processes at that time.
    """

    services: str
    report: Report
    executors: list[int]
    arguments: str


@pytest.fixture(scope="module")
def guarded(stack: Stack) -> Guarded:
    """Such a run, watched."""
    services = stack.compose("logs", "--no-color")
    stack.compose("down", "--timeout", "20")
    stack.overrides.append("docker/sasl.yml")
    stack.up("--scale", "spark-worker=3")
    wait_until("three workers are alive", lambda: stack.cluster()["aliveworkers"] == 3)
    process = stack.ingesting(**BATCH)
    executors = stack.executors(at_work(stack, "important_messages", cores=6), workers=3)
    arguments = "".join(
        each(stack, "sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '")
        for each in (in_scheduler, in_workers)
    )
    return Guarded(services, stack.ingested(process), executors, arguments)


def in_scheduler(stack: Stack, *command: str) -> str:
    """What a command prints where the tasks run."""
    return stack.compose("exec", "-T", "scheduler", *command)


def in_workers(stack: Stack, *command: str) -> str:
    """What a command prints in all workers."""
    return "".join(
        stack.compose("exec", "-T", "--index", str(index + 1), "spark-worker", *command) for index in range(3)
    )


def test_three_workers_share_the_work(guarded: Guarded) -> None:
    """The cluster grows by one option."""
    assert guarded.executors == [1, 1, 1]
    assert sum(account.landed for account in guarded.report.receipts) == BATCH["records"]


def test_down_keeps_the_data(stack: Stack, guarded: Guarded) -> None:
    """Kafka goes on with the offsets that the ledger knows, and Airflow still knows its runs."""
    assert guarded.report.ever.micro_batches > len(guarded.report.micro_batches) > 0
    with stack.airflow() as airflow:
        known = {run.id for run in airflow.runs("important_messages_ingest")}
    published = {entry.run for entry in entries(stack.folder())[:-1]}
    assert known.intersection(published)


def test_a_login_is_no_argument(stack: Stack, guarded: Guarded) -> None:
    """Arguments are seen by everybody on a machine.

    Those of the stream and of its executors hold no secret.
    """
    assert "filter_stream.py" in guarded.arguments
    assert "CoarseGrainedExecutorBackend" in guarded.arguments
    assert told(stack, guarded.arguments) == []


def test_the_login_s_file_is_in_memory(stack: Stack, guarded: Guarded) -> None:
    """It is made for each stream and goes with it; what a kill leaves goes with the container."""
    assert guarded
    assert in_scheduler(
        stack,
        "sh",
        "-c",
        "stat -f -c %T /run/headrace; stat -c %a /run/headrace/private; find /run/headrace -type f",
    ).split() == [
        "tmpfs",
        "700",
    ]


WRONG = "certainly-not-it"


def test_a_wrong_password_is_told_at_once(stack: Stack, guarded: Guarded) -> None:
    """Preflight is red and says whose login was refused, not with what."""
    assert guarded
    stack.compose("run", "--rm", "--no-deps", "-T", "connections", more={"KAFKA_CLIENT_PASSWORD": WRONG})
    said = stack.headrace("run", "important_messages", "--wait", check=False)
    assert "preflight of important_messages_ingest is red" in said
    assert "refuses the login of user 'headrace'" in said
    assert WRONG not in said


def told(stack: Stack, *texts: str) -> list[str]:
    """The names of the secrets that stand in a text."""
    secrets = {name: value for name, value in stack.secrets.items() if name != "HEADRACE_UID"} | {
        "WRONG": WRONG
    }
    assert len(secrets) == 7
    return [name for name, value in secrets.items() if any(value in text for text in texts)]


def test_no_log_and_no_file_holds_a_secret(stack: Stack, guarded: Guarded) -> None:
    """Not what services, tasks and executors log, nor what is published, nor a task's arguments in the UI."""
    services = guarded.services + stack.compose("logs", "--no-color")
    tasks = in_scheduler(stack, "sh", "-c", "cat $(find /opt/airflow/logs -type f)")
    executors = in_workers(stack, "sh", "-c", "cat /tmp/spark-work/*/*/std*")
    data = "".join(
        path.read_text(errors="replace") for path in (stack.root / "data").rglob("*") if path.is_file()
    )
    with stack.airflow() as airflow:
        rendered = json.dumps(airflow.ask("GET", "/api/v2/dags/~/dagRuns/~/taskInstances?limit=1000"))
    assert "micro-batch" in tasks
    assert "Executor" in executors
    assert '"schema"' in data
    assert '"--pipeline"' in rendered
    assert told(stack, services, tasks, executors, data, rendered) == []


def test_secrets_are_in_no_image_and_their_file_is_private(stack: Stack) -> None:
    """They come by the environment, from a file that only its owner reads."""
    assert (stack.root / ".env").stat().st_mode & 0o777 == 0o600
    images = set(stack.compose("config", "--images").split())
    assert (
        told(
            stack,
            *(
                stack.docker("image", "inspect", image) + stack.docker("history", "--no-trunc", image)
                for image in images
            ),
        )
        == []
    )


def test_only_this_machine_is_listened_to(stack: Stack) -> None:
    """Each published port is bound to 127.0.0.1."""
    configured = json.loads(stack.compose("config", "--format", "json"))["services"]
    bound = [port["host_ip"] for service in configured.values() for port in service.get("ports", [])]
    assert Counter(bound) == {"127.0.0.1": 3}


def test_down_v_leaves_nothing(stack: Stack) -> None:
    """And the pipeline refuses to go on as if nothing had happened."""
    stack.overrides.clear()
    assert {name for name in stack.volumes() if not name.startswith(f"{PROJECT}_")} == set(), (
        "a volume without a name outlives down"
    )
    down_v(stack)
    stack.up("kafka", "spark-worker")
    create = ["headrace", "topics", "create", "important_messages", "--bootstrap-servers", compose.INTERNAL]
    for command in (create, shlex.split(SUBMIT, comments=True)[4:]):
        said = stack.compose(
            "run", "--rm", "--no-deps", "-T", "scheduler", "bash", "-c", shlex.join(command), check=False
        )
        assert "is gone from Kafka" in said
        assert "headrace reset important_messages" in said
    down_v(stack)


def down_v(stack: Stack) -> None:
    """Remove all that the stack is made of, and see that it is gone."""
    used = stack.volumes()
    stack.compose("down", "--volumes", "--remove-orphans", "--timeout", "2")
    for kind in ("ps --all", "network ls", "volume ls"):
        assert stack.docker(*kind.split(), "--quiet", "--filter", LABEL).split() == [], kind
    assert used.isdisjoint(stack.docker("volume", "ls", "--quiet").split())
