"""How tasks end: what is tried again and what is not."""

import json
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


def test_a_stream_that_leaves_no_word_is_not_green(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """spark-submit's exit code alone does not say that the app ran: that of an earlier run is not taken for its word."""
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "streamed.json").write_text("an earlier run's")
    monkeypatch.setenv("HEADRACE_DATA", str(tmp_path))
    monkeypatch.setattr(SparkSubmitHook, "submit", lambda *_: None)
    monkeypatch.setattr(tasks, "kafka_config", dict)
    with pytest.raises(AirflowException, match=r"no new streamed\.json") as caught:
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


def test_credentials_reach_the_app_by_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Arguments are seen by everybody on the machine; the file only by its owner, and only while the app runs."""
    config = {"bootstrap.servers": "kafka:9092", "sasl.password": "secret"}
    seen: list[Path] = []

    def submit(hook: SparkSubmitHook, *_: Any) -> None:
        option, name = (hook._application_args or [])[-2:]  # noqa: SLF001, what the command is made of
        assert option == "--kafka"
        seen.append(Path(name))
        assert json.loads(seen[0].read_text()) == config
        assert seen[0].stat().st_mode & 0o077 == 0
        (tmp_path / "one").mkdir()
        (tmp_path / "one" / "streamed.json").write_text("its word")

    monkeypatch.setenv("HEADRACE_DATA", str(tmp_path))
    monkeypatch.setattr(SparkSubmitHook, "submit", submit)
    monkeypatch.setattr(tasks, "kafka_config", lambda: config)
    tasks.StreamToParquet(task_id="stream_to_parquet", pipeline="one", application="app.py").execute({})
    assert not seen[0].exists()
