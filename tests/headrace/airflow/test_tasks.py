"""How tasks end: what is tried again and what is not."""

import errno
import json
import os
import warnings
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.apache.spark.hooks.spark_submit import SparkSubmitHook
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from headrace import documents
from headrace.contract.pipeline import Pipeline
from headrace.errors import BrokerError, Exit, HeadraceError, LedgerError, MistakeError
from headrace.ledger.folder import Folder
from headrace.ledger.identity import Identity
from headrace.settings import ROOT

with warnings.catch_warnings(action="ignore"):  # a library of Airflow's imports a deprecated test client
    from headrace.airflow import tasks


@pytest.mark.parametrize(
    ("error", "again"), [(BrokerError("no answer"), True), (LedgerError("out of balance"), False), (MistakeError("a typing error"), False)]
)
def test_only_what_may_pass_is_tried_again(error: HeadraceError, again: bool) -> None:  # noqa: FBT001, a column of the table above
    """The surroundings may recover; a red result and a mistake stay what they are."""
    with pytest.raises(AirflowException, match=str(error)) as caught, tasks.plainly():
        raise error
    assert isinstance(caught.value, AirflowFailException) is not again


@pytest.mark.parametrize(
    ("code", "again"), [(Exit.RED_STREAM, False), (Exit.USAGE, False), (Exit.SURROUNDINGS, True), (1, True), (-9, True), (137, True)]
)
def test_a_stream_is_tried_again_unless_it_is_red(code: int, again: bool, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: FBT001
    """A driver that was killed, found its surroundings amiss, or did not even start, can come to its end the next time."""

    def submit(*_: Any) -> None:
        raise AirflowException(f"Cannot execute: spark-submit. Error code is: {code}.\nLast spark-submit output:\n...")

    monkeypatch.setattr(SparkSubmitHook, "submit", submit)
    monkeypatch.setattr(tasks, "kafka_config", lambda: {"bootstrap.servers": "kafka:9092"})
    stream = tasks.StreamToParquet(task_id="stream_to_parquet", pipeline="one", application="app.py")
    with pytest.raises(AirflowException) as caught:
        stream.execute({})
    assert isinstance(caught.value, AirflowFailException) is not again


def test_what_the_app_says_is_the_task_s_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """An alert shows the exception and nothing else: the reason and what to do, in lines that fit."""
    reason = "t-0 offsets 0 to 24: never published, and gone from Kafka. They are lost. " * 3

    def submit(hook: SparkSubmitHook, *_: Any) -> None:
        arguments = hook._application_args or []  # noqa: SLF001, what the command is made of
        Path(arguments[arguments.index("--reason") + 1]).write_text(reason)
        raise AirflowException("Cannot execute: spark-submit. Error code is: 11.\nLast spark-submit output:\n...")

    monkeypatch.setattr(SparkSubmitHook, "submit", submit)
    monkeypatch.setattr(tasks, "kafka_config", lambda: {"bootstrap.servers": "kafka:9092"})
    with pytest.raises(AirflowFailException) as caught:
        tasks.StreamToParquet(task_id="stream_to_parquet", pipeline="one", application="app.py").execute({})
    assert " ".join(str(caught.value).split()) == reason.strip()
    assert max(map(len, str(caught.value).splitlines())) <= 100
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(("number", "again"), [(errno.ENOSPC, True), (errno.EMFILE, True), (errno.EACCES, False), (errno.EROFS, False)])
def test_what_the_system_refuses_is_named(number: int, again: bool) -> None:  # noqa: FBT001, a column of the table above
    """Room may be made; an owner does not change by itself."""
    with pytest.raises(AirflowException, match="/data/p") as caught, tasks.plainly():
        raise OSError(number, os.strerror(number), "/data/p")
    assert isinstance(caught.value, AirflowFailException) is not again


def test_a_stream_that_leaves_no_word_is_not_green(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """spark-submit's exit code alone does not say that the app ran: that of an earlier run is not taken for its word."""
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "streamed.json").write_text("an earlier run's")
    monkeypatch.setenv("HEADRACE_DATA", str(tmp_path))
    monkeypatch.setattr(SparkSubmitHook, "submit", lambda *_: None)
    monkeypatch.setattr(tasks, "kafka_config", dict)
    with pytest.raises(AirflowException, match=r"streamed\.json was not updated") as caught:
        tasks.StreamToParquet(task_id="stream_to_parquet", pipeline="one", application="app.py").execute({})
    assert not isinstance(caught.value, AirflowFailException)


def test_preflight_refuses_fields_that_have_changed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Before a batch of the new kind is in Kafka."""
    now, then = (Pipeline.load(ROOT / "dags" / f"{name}.toml") for name in ("important_messages", "shop_orders"))
    identity = Identity(pipeline=now.name, checkpoint=None, topics={}, start={}, contract=then.contract)
    documents.write(Folder(tmp_path / now.name).identity, identity)
    monkeypatch.setenv("HEADRACE_DATA", str(tmp_path))
    monkeypatch.setattr(tasks, "spark_master", lambda: "local[2]")
    with pytest.raises(AirflowFailException, match="The fields of important_messages have changed"):
        tasks.preflight(now).operator.python_callable()


def test_what_has_expired_is_neither_sent_nor_reported_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Tasks of a run of last year that are cleared: the batch counts as sent, and the report says which task makes it again."""
    pipeline = Pipeline.load(ROOT / "dags" / "important_messages.toml")
    context = {"run_id": "old", "params": {"records": 10, "malformed": 0.0, "seed": 1}}
    monkeypatch.setenv("HEADRACE_DATA", str(tmp_path))
    monkeypatch.setattr(tasks, "get_current_context", lambda: context)
    monkeypatch.setattr(tasks, "kafka_config", lambda: {"bootstrap.servers": "127.0.0.1:1"})
    folder = Folder(tmp_path / pipeline.name)
    documents.make_folder(folder.receipts)
    folder.expired.write_text(f'{{"run":"old","sha256":"{"0" * 64}"}}\n')
    assert tasks.produce_batch(pipeline).operator.python_callable() == {}
    with pytest.raises(AirflowFailException, match="Clear `check`"):
        tasks.report(pipeline, {}).operator.python_callable({})


def test_credentials_reach_the_app_by_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Arguments are seen by everybody on the machine; the file only by its owner, and only while the app runs."""
    config = {"bootstrap.servers": "kafka:9092", "sasl.password": "secret"}
    seen: list[Path] = []

    def submit(hook: SparkSubmitHook, *_: Any) -> None:
        arguments = hook._application_args or []  # noqa: SLF001, what the command is made of
        seen.append(Path(arguments[arguments.index("--kafka") + 1]))
        assert json.loads(seen[0].read_text()) == config
        assert seen[0].stat().st_mode & 0o077 == 0
        (tmp_path / "one").mkdir()
        (tmp_path / "one" / "streamed.json").write_text("its word")

    monkeypatch.setenv("HEADRACE_DATA", str(tmp_path))
    monkeypatch.setattr(SparkSubmitHook, "submit", submit)
    monkeypatch.setattr(tasks, "kafka_config", lambda: config)
    tasks.StreamToParquet(task_id="stream_to_parquet", pipeline="one", application="app.py").execute({})
    assert not seen[0].exists()
