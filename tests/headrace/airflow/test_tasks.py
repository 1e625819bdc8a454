"""How tasks end: what is tried again and what is not."""

import errno
import json
import logging
import os
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.apache.spark.hooks.spark_submit import SparkSubmitHook
from airflow.sdk import DAG, TaskGroup, task
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from headrace import documents, progress
from headrace.contract.pipeline import Pipeline
from headrace.effort import COMPILE_LITTLE
from headrace.errors import BrokerError, Exit, HeadraceError, LedgerError, UsageError
from headrace.kafka.client import Kafka
from headrace.kafka.offsets import Offsets
from headrace.ledger import opening
from headrace.ledger.folder import Folder
from headrace.ledger.identity import Identity
from headrace.local.embedded import spark
from headrace.local.embedded.layout import Layout
from headrace.settings import ROOT, Settings

with warnings.catch_warnings(action="ignore"):  # a library of Airflow's imports a deprecated test client
    from headrace import dag_names
    from headrace.airflow import ingest_tasks, outcomes, spark_operator, tasks, verify_tasks
    from headrace.airflow.params import demo_params

PIPELINE = Pipeline.load(ROOT / "dags" / "important_messages.toml")


class FakeTaskInstance:
    """What a task sees of its run: the states of the others, and what they left."""

    def __init__(self, states: dict[str, str], left: dict[str, str]) -> None:
        self.states = states
        self.left = left

    def get_task_states(
        self, dag_id: str, task_ids: list[str], run_ids: list[str]
    ) -> dict[str, dict[str, str]]:
        """Of the tasks that were asked for."""
        assert dag_id == "one"
        return {
            run: {name: state for name, state in self.states.items() if name in task_ids} for run in run_ids
        }

    try_number = 1

    def xcom_pull(self, task_ids: str, key: str) -> dict[str, Any] | None:
        """What a task left."""
        return (
            {"try": 1, "reason": self.left[task_ids]}
            if key == dag_names.REASON and task_ids in self.left
            else None
        )

    def xcom_push(self, key: str, value: dict[str, Any]) -> None:
        """Leave it."""
        self.left[key] = value["reason"]


def stream(pipeline: Pipeline = PIPELINE) -> spark_operator.StreamToParquet:
    """The task that submits."""
    return spark_operator.StreamToParquet(
        task_id="stream_to_parquet", pipeline=pipeline, application="app.py"
    )


@pytest.fixture(autouse=True)
def _much_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that Kafka is not asked."""
    monkeypatch.setattr(opening, "offsets_waiting", lambda *_: 10**9)


@pytest.mark.parametrize(
    ("name", "waiting", "is_short"),
    [
        ("important_messages", 0, True),
        ("important_messages", 249_999, True),
        ("important_messages", 250_000, False),
        ("shop_orders", 214_285, True),
        ("shop_orders", 214_286, False),
        ("shop_orders", None, False),
    ],
)
@pytest.mark.parametrize("given", [None, "-Dmine=1"])
def test_java_compiles_little_for_a_short_run(
    name: str, waiting: int | None, is_short: bool, given: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By records and columns. The user's own options win; where Kafka can't be asked, the app says why."""

    def count(_: Folder, __: Pipeline, kafka: Kafka) -> int:
        assert kafka.timeout <= 5  # a broker that is silent is not waited for twice
        if waiting is None:
            raise BrokerError("It does not answer.")
        return waiting

    seen: list[str | None] = []
    monkeypatch.setattr(opening, "offsets_waiting", count)
    monkeypatch.setattr(
        SparkSubmitHook, "submit", lambda *_: seen.append(os.environ.get("SPARK_SUBMIT_OPTS"))
    )
    monkeypatch.setattr(spark_operator, "kafka_config", lambda: {"bootstrap.servers": "kafka:9092"})
    monkeypatch.delenv("SPARK_SUBMIT_OPTS", raising=False)
    if given:
        monkeypatch.setenv("SPARK_SUBMIT_OPTS", given)
    with pytest.raises(AirflowException, match="was not updated"):
        stream(Pipeline.load(ROOT / "dags" / f"{name}.toml")).execute({})
    assert seen == [f"{COMPILE_LITTLE} {given or ''}".strip() if is_short else given]
    assert os.environ.get("SPARK_SUBMIT_OPTS") == given


@pytest.fixture
def ingest() -> DAG:
    """An ingest with a task of the user's own in between, and one after it that runs after a red, too."""
    with DAG("one", schedule=None, **tasks.DAG_DEFAULTS) as dag:

        @task
        def export() -> None: ...

        @task(trigger_rule="all_done")
        def tell_everyone() -> None: ...

        (
            tasks.preflight(PIPELINE)
            >> tasks.create_topics(PIPELINE)
            >> export()
            >> tasks.stream_to_parquet(PIPELINE)
            >> tell_everyone()
        )
    return dag


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A state folder of its own."""
    monkeypatch.setenv("HEADRACE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (BrokerError("no answer"), True),
        (LedgerError("out of balance"), False),
        (UsageError("a typing error"), False),
    ],
)
def test_only_what_may_pass_is_tried_again(error: HeadraceError, again: bool) -> None:
    """The surroundings may recover; a red result and a mistake stay what they are."""
    with pytest.raises(AirflowException, match=str(error)) as caught, outcomes.without_traceback():
        raise error
    assert isinstance(caught.value, AirflowFailException) is not again


@pytest.mark.parametrize(
    ("code", "again"),
    [
        (Exit.RED_STREAM, False),
        (Exit.USAGE, False),
        (Exit.UNAVAILABLE, True),
        (1, True),
        (-9, True),
        (137, True),
    ],
)
def test_a_stream_is_tried_again_unless_it_is_red(
    code: int, again: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A driver that was killed, found Kafka down, or did not even start, can succeed the next time."""

    def submit(*_: Any) -> None:
        raise AirflowException(
            f"Cannot execute: spark-submit. Error code is: {code}.\nLast spark-submit output:\n..."
        )

    monkeypatch.setattr(SparkSubmitHook, "submit", submit)
    monkeypatch.setattr(spark_operator, "kafka_config", lambda: {"bootstrap.servers": "kafka:9092"})
    with pytest.raises(AirflowException) as caught:
        stream().execute({})
    assert isinstance(caught.value, AirflowFailException) is not again


def test_what_the_app_says_is_the_task_s_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """An alert shows the exception and nothing else: the reason and what to do, in lines that fit."""
    reason = "t-0 offsets 0 to 24 left Kafka before a stream could publish them: they are lost. " * 3

    def submit(hook: SparkSubmitHook, *_: Any) -> None:
        arguments = hook._application_args or []  # noqa: SLF001, what the command is made of
        Path(arguments[arguments.index("--reason") + 1]).write_text(reason)
        raise AirflowException(
            "Cannot execute: spark-submit. Error code is: 11.\nLast spark-submit output:\n..."
        )

    monkeypatch.setattr(SparkSubmitHook, "submit", submit)
    monkeypatch.setattr(spark_operator, "kafka_config", lambda: {"bootstrap.servers": "kafka:9092"})
    with pytest.raises(AirflowFailException) as caught:
        stream().execute({})
    assert " ".join(str(caught.value).split()) == reason.strip()
    assert max(map(len, str(caught.value).splitlines())) <= 100
    assert caught.value.__suppress_context__


@pytest.mark.parametrize("is_ours", [True, False])
def test_spark_s_settings_are_written_again_where_they_are_ours(
    is_ours: bool,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """On the embedded stack, what the user has changed since its start counts.

    An Airflow of one's own has a Spark of its own.
    """
    conf = Layout.of(Settings.from_environment()).spark_conf
    spark.prepare(conf, "connector.jar", None)
    settings = conf / "spark-defaults.conf"
    settings.write_text("as it was")
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "spark-defaults.conf").write_text("spark.driver.memory 3g\n")
    monkeypatch.setattr(spark, "SHARED", shared)
    monkeypatch.setenv("SPARK_CONF_DIR", str(conf if is_ours else tmp_path / "another"))
    seen: list[str] = []
    monkeypatch.setattr(SparkSubmitHook, "submit", lambda *_: seen.append(settings.read_text()))
    monkeypatch.setattr(spark_operator, "kafka_config", lambda: {"bootstrap.servers": "kafka:9092"})
    with pytest.raises(AirflowException, match="was not updated"):
        stream().execute({})
    assert ("spark.driver.memory 3g" in seen[0]) is is_ours
    assert (seen[0] == "as it was") is not is_ours


@pytest.mark.parametrize(
    ("number", "again"),
    [(errno.ENOSPC, True), (errno.EMFILE, True), (errno.EACCES, False), (errno.EROFS, False)],
)
def test_what_the_system_refuses_is_named(number: int, again: bool) -> None:
    """Room may be made; an owner does not change by itself."""
    with pytest.raises(AirflowException, match="/data/p") as caught, outcomes.without_traceback():
        raise OSError(number, os.strerror(number), "/data/p")
    assert isinstance(caught.value, AirflowFailException) is not again


def test_a_stream_that_leaves_no_word_is_not_green(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """spark-submit's exit code alone does not say that the app ran.

    That of an earlier run is not taken for its word.
    """
    (tmp_path / PIPELINE.name).mkdir()
    (tmp_path / PIPELINE.name / "streamed.json").write_text("an earlier run's")
    monkeypatch.setenv("HEADRACE_DATA", str(tmp_path))
    monkeypatch.setattr(SparkSubmitHook, "submit", lambda *_: None)
    monkeypatch.setattr(spark_operator, "kafka_config", lambda: {"bootstrap.servers": "kafka:9092"})
    with pytest.raises(AirflowException, match=r"streamed\.json was not updated") as caught:
        stream().execute({})
    assert not isinstance(caught.value, AirflowFailException)


def test_preflight_refuses_fields_that_have_changed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Before a batch of the new kind is in Kafka."""
    now, then = (
        Pipeline.load(ROOT / "dags" / f"{name}.toml") for name in ("important_messages", "shop_orders")
    )
    identity = Identity(
        pipeline=now.name, checkpoint=None, topics={}, start=Offsets(), contract=then.contract
    )
    documents.write(Folder(tmp_path / now.name).identity, identity)
    monkeypatch.setenv("HEADRACE_DATA", str(tmp_path))
    monkeypatch.setattr(ingest_tasks, "spark_master", lambda: "local[2]")
    with pytest.raises(AirflowFailException, match="The fields of important_messages have changed"):
        tasks.preflight(now).operator.python_callable()


def test_what_has_expired_is_neither_sent_nor_reported_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Tasks of a run of last year that are cleared.

    The batch counts as sent, and the report says which task makes it again.
    """
    pipeline = Pipeline.load(ROOT / "dags" / "important_messages.toml")
    context = {"run_id": "old", "params": {"records": 10, "malformed": 0.0, "seed": 1}}
    monkeypatch.setenv("HEADRACE_DATA", str(tmp_path))
    for module in (ingest_tasks, verify_tasks):
        monkeypatch.setattr(module, "get_current_context", lambda: context)
    monkeypatch.setattr(ingest_tasks, "kafka_config", lambda: {"bootstrap.servers": "127.0.0.1:1"})
    folder = Folder(tmp_path / pipeline.name)
    documents.make_folder(folder.receipts)
    folder.expired.write_text(f'{{"run":"old","sha256":"{"0" * 64}"}}\n')
    assert tasks.produce_batch(pipeline).operator.python_callable() == {}
    with DAG("one", schedule=None):
        reported = tasks.report(pipeline, {})
    with pytest.raises(AirflowFailException, match="Clear `check`"):
        reported.operator.python_callable({})


def test_credentials_reach_the_app_by_a_file(
    home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Arguments are seen by everybody on the machine.

    The file only by its owner, and only while the app runs.
    """
    config = {"bootstrap.servers": "kafka:9092", "sasl.password": "secret"}
    seen: list[Path] = []

    def submit(hook: SparkSubmitHook, *_: Any) -> None:
        arguments = hook._application_args or []  # noqa: SLF001, what the command is made of
        seen.append(Path(arguments[arguments.index("--kafka") + 1]))
        assert json.loads(seen[0].read_text()) == config
        assert seen[0].stat().st_mode & 0o077 == 0
        assert seen[0].is_relative_to(home)
        (tmp_path / PIPELINE.name).mkdir()
        (tmp_path / PIPELINE.name / "streamed.json").write_text("its word")

    monkeypatch.setenv("HEADRACE_DATA", str(tmp_path))
    monkeypatch.setattr(SparkSubmitHook, "submit", submit)
    monkeypatch.setattr(spark_operator, "kafka_config", lambda: config)
    stream().execute({})
    assert not seen[0].exists()


def test_the_last_task_runs_if_the_stream_fails_and_nothing_is_behind_it(ingest: DAG) -> None:
    """A run takes its state from its leaves, and `tell_everyone` always succeeds.

    A DAG file of before this task gets it as it is.
    """
    outcome = ingest.get_task("outcome")
    assert outcome.upstream_task_ids == {"stream_to_parquet"}
    assert {each.task_id for each in ingest.leaves} == {"outcome", "tell_everyone"}
    assert (outcome.trigger_rule, outcome.retries) == ("one_failed", 0)


def test_verify_has_it_behind_the_report() -> None:
    """Also where the user's wiring puts the tasks into a group."""
    with DAG("one", schedule=None, **tasks.DAG_DEFAULTS) as dag, TaskGroup("mine"):
        scope = tasks.collect(PIPELINE)
        tasks.check(PIPELINE, scope) >> tasks.report(PIPELINE, scope)
    assert [each.task_id for each in dag.leaves] == ["mine.outcome"]
    assert dag.get_task("mine.outcome").upstream_task_ids == {"mine.report"}


def test_a_red_calls_the_user_s_callback_once() -> None:
    """The task that failed did; the one that repeats its reason would alert a second time."""
    with DAG("one", schedule=None, default_args={"on_failure_callback": print}) as dag:
        tasks.stream_to_parquet(PIPELINE)
    assert dag.get_task("stream_to_parquet").has_on_failure_callback
    assert not dag.get_task("outcome").has_on_failure_callback


@pytest.mark.parametrize("way", [">>", "<<", "group >>", "group <<"])
def test_nothing_can_be_hung_behind_the_last_task(way: str) -> None:
    """A green run would skip it: the DAG file is in error, and the message has the way out."""
    with DAG("one", schedule=None) as dag:
        with TaskGroup("mine", prefix_group_id=False) as group:
            tasks.stream_to_parquet(PIPELINE)

        @task(trigger_rule="all_done")
        def tell_everyone() -> None: ...

        before = group if way.startswith("group") else dag.get_task("outcome")
        with pytest.raises(
            UsageError,
            match=r"Hang it behind stream_to_parquet: `stream_to_parquet\(\.\.\.\) >> tell_everyone`",
        ):
            before >> tell_everyone() if way.endswith(">>") else tell_everyone() << before


@pytest.mark.parametrize(
    ("states", "left", "says"),
    [
        (
            {"stream_to_parquet": "failed"},
            {"stream_to_parquet": "t-0: gone.\nDo this."},
            "t-0: gone.\nDo this.",
        ),
        ({"stream_to_parquet": "failed"}, {}, "stream_to_parquet failed; its log says why."),
        (
            {"preflight": "failed", "stream_to_parquet": "upstream_failed"},
            {"preflight": "No broker."},
            "preflight failed:\nNo broker.",
        ),
        (
            {"export": "failed", "stream_to_parquet": "upstream_failed"},
            {},
            "export failed; its log says why.",
        ),
        (
            {"preflight": "failed", "stream_to_parquet": "failed"},
            {"preflight": "1", "stream_to_parquet": "2"},
            "2",
        ),
        (
            {"export_0": "failed", "stream_to_parquet": "upstream_failed"},
            {},
            "A task before this one failed; its log says why.",
        ),
    ],
)
def test_the_last_task_gives_the_reason_of_the_one_that_failed(
    ingest: DAG, states: dict[str, str], left: dict[str, str], says: str
) -> None:
    """The report's or the stream's own text; of an earlier task, with its name."""
    context: Any = {"ti": FakeTaskInstance(states, left), "run_id": "a run"}
    outcome: Any = ingest.get_task("outcome")
    with pytest.raises(AirflowFailException) as caught:
        outcome.execute(context)
    assert str(caught.value) == says


def test_a_task_that_fails_leaves_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same as its exception says; if that is not possible, the exception is all."""
    instance = FakeTaskInstance({}, {})
    monkeypatch.setattr(outcomes, "get_current_context", lambda: {"ti": instance})
    with pytest.raises(AirflowException) as caught, outcomes.without_traceback():
        raise BrokerError("Kafka at nowhere:9092 did not answer. " * 5)
    assert instance.left == {dag_names.REASON: str(caught.value)}
    monkeypatch.setattr(outcomes, "get_current_context", dict)
    with pytest.raises(AirflowException, match="no answer"), outcomes.without_traceback():
        raise BrokerError("no answer")


def test_a_run_for_a_date_of_the_past_is_not_offered(ingest: DAG) -> None:
    """What a run reads is decided by offsets: a backfill would only run the same again."""
    assert isinstance(ingest.allowed_run_types, frozenset)
    assert {"scheduled", "manual", "asset_triggered"} <= set(ingest.allowed_run_types)
    assert "backfill" not in ingest.allowed_run_types


def test_the_form_shows_every_param_at_once() -> None:
    """Airflow's form opens only what is in no section of its own."""
    assert all("section" not in param.schema for param in demo_params(PIPELINE).values())


def test_the_start_of_spark_is_no_silence(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Until the app's first line the task says what it waits for, and from then on nothing of its own."""
    monkeypatch.setattr(progress, "EVERY", 0.0)
    caplog.set_level(logging.INFO)
    said = threading.Event()
    monkeypatch.setattr(progress.log, "info", lambda *_: said.set())

    def lines() -> Iterator[str]:
        yield f"{spark_operator.NOISE}\n"
        assert said.wait(60.0)
        yield "micro-batch 0: reading\n"
        for thread in threading.enumerate():
            if thread.name == "progress":
                thread.join(60.0)
        said.clear()
        yield "micro-batch 0: read\n"

    hook = SparkSubmitHook()
    hook.__class__ = spark_operator.QuietSparkSubmit
    hook._process_spark_submit_log(lines())  # noqa: SLF001, what `submit` calls
    assert not said.is_set()
    assert not any(spark_operator.NOISE in line for line in caplog.messages)
