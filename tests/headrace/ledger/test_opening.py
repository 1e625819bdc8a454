"""What a stream would refuse is refused before a topic is created or a record sent.

Looking changes nothing.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from headrace.cli import pipelines
from headrace.contract.pipeline import Pipeline
from headrace.errors import (
    BrokerError,
    Code,
    HeadraceError,
    LedgerError,
    RefusedError,
    TopicDiffersError,
    UnavailableError,
)
from headrace.kafka.cluster import TopicFacts
from headrace.ledger.opening import (
    RUNNING,
    check_can_start,
    offsets_waiting,
    open_ledger,
    require_known_topics,
)
from headrace.local import doctor
from headrace.settings import Settings
from ledgers import Ledger, others


def state(folder: Path) -> dict[Path, bytes]:
    """All files of a folder, with their content."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def age_out(one: Ledger) -> None:
    """Records leave Kafka unread."""
    one.kafka.first = 25


def create_again(one: Ledger) -> None:
    """The topic has another id."""
    one.kafka.ids = "other"


def delete(one: Ledger) -> None:
    """The topic is gone."""
    one.kafka.ids = None


def compact(one: Ledger) -> None:
    """Its policy changed."""
    one.kafka.config = {"cleanup.policy": "compact"}


def shorten(one: Ledger) -> None:
    """The broker lost the end of the partition."""
    one.kafka.records = one.kafka.records[:15]


def fill_again(one: Ledger) -> None:
    """The broker lost the end of the partition, and others filled it."""
    one.kafka.records = [*one.kafka.records[:10], *[(b"x", b"another")] * 30]


def lose_the_checkpoint(one: Ledger) -> None:
    """Its folder is gone."""
    shutil.rmtree(one.folder.checkpoint)


def lose_a_micro_batch(one: Ledger) -> None:
    """Its folder is gone."""
    shutil.rmtree(one.folder.events / "micro_batch=0")


def change_the_fields(one: Ledger) -> None:
    """The file has others than what is published."""
    text = one.pipeline.path.read_text().replace(
        'format = "text"', 'format = "json"\nfields = {value = "string"}'
    )
    one.pipeline.path.write_text(text)
    one.pipeline = Pipeline.load(one.pipeline.path)


def begin_late(one: Ledger) -> None:
    """A partition was added, and has lost its first records by now."""
    one.kafka.partitions, one.kafka.lost_partition = 2, 3


# Fmt: skip.
REFUSED = [
    age_out,
    create_again,
    delete,
    compact,
    shorten,
    fill_again,
    lose_the_checkpoint,
    lose_a_micro_batch,
    change_the_fields,
    begin_late,
]


@pytest.mark.parametrize("happens", REFUSED, ids=lambda each: each.__name__)
def test_what_the_stream_would_refuse_is_foreseen(tmp_path: Path, happens: Callable[[Ledger], None]) -> None:
    """With the same error, and without a change on disk."""
    one = Ledger.made(tmp_path, others(40), [10, 20])
    assert one.verify() == {}
    assert check_can_start(one.folder, one.pipeline, one.kafka) == []
    happens(one)
    before = state(one.folder.root)
    with pytest.raises(HeadraceError) as foreseen:
        check_can_start(one.folder, one.pipeline, one.kafka)
    assert state(one.folder.root) == before
    with pytest.raises(type(foreseen.value)) as refused:
        open_ledger(one.folder, one.pipeline, one.kafka)
    assert str(foreseen.value) == str(refused.value)


def test_a_stream_that_runs_is_left_alone(tmp_path: Path) -> None:
    """What it is about to publish would look like a ledger that disagrees with its checkpoint."""
    one = Ledger.made(tmp_path, others(40), [10, 20])
    lose_a_micro_batch(one)
    with one.folder.locked("a stream"):
        assert check_can_start(one.folder, one.pipeline, one.kafka) == [RUNNING]


def test_a_stream_that_began_meanwhile_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was not there at first, and what was read is old by now."""
    one = Ledger.made(tmp_path, others(40), [10, 20])
    lose_a_micro_batch(one)
    answers = iter([False, True])
    monkeypatch.setattr(type(one.folder), "is_being_written", lambda _: next(answers))
    assert check_can_start(one.folder, one.pipeline, one.kafka) == [RUNNING]


@pytest.mark.parametrize("torn", ["metadata", "commits/1", "offsets/2"])
def test_what_a_power_cut_left_is_said_and_left_to_the_stream(tmp_path: Path, torn: str) -> None:
    """It removes or restores that when it starts."""
    one = Ledger.made(tmp_path, others(40), [10, 20])
    (one.folder.checkpoint / torn).write_bytes(b"")
    before = state(one.folder.root)
    (said,) = check_can_start(one.folder, one.pipeline, one.kafka)
    assert "torn files in the checkpoint" in said
    assert state(one.folder.root) == before
    open_ledger(one.folder, one.pipeline, one.kafka)
    assert check_can_start(one.folder, one.pipeline, one.kafka) == []


def test_what_waits_is_counted(tmp_path: Path) -> None:
    """All of a partition before the first micro-batch, and what is behind the newest one after that."""
    one = Ledger.made(tmp_path, others(40))
    assert offsets_waiting(one.folder, one.pipeline, one.kafka) == 40
    one.publish(0, 0, 25)
    assert offsets_waiting(one.folder, one.pipeline, one.kafka) == 15
    shorten(one)
    assert offsets_waiting(one.folder, one.pipeline, one.kafka) == 0


def test_before_the_first_stream_no_topic_is_missed(tmp_path: Path) -> None:
    """The run creates them; asking leaves no folder behind."""
    one = Ledger.made(tmp_path, others(40))
    shutil.rmtree(one.folder.root)
    delete(one)
    assert check_can_start(one.folder, one.pipeline, one.kafka) == []
    require_known_topics(one.folder, one.kafka)
    assert not one.folder.root.exists()


def test_a_topic_of_the_ledger_is_not_created_again(tmp_path: Path) -> None:
    """A new one of that name would start at offset 0, and the stream would refuse it later."""
    one = Ledger.made(tmp_path, others(40), [10])
    require_known_topics(one.folder, one.kafka)
    delete(one)
    with pytest.raises(RefusedError, check=Code.TOPIC_GONE.fits):
        require_known_topics(one.folder, one.kafka)


@pytest.fixture
def check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[Ledger], str]:
    """Run `headrace check`; returns what it prints."""

    def run(one: Ledger) -> str:
        for name, place in {
            "DAGS": one.pipeline.path.parent,
            "DATA": one.folder.root.parent,
            "HOME": tmp_path / "home",
        }.items():
            monkeypatch.setenv(f"HEADRACE_{name}", str(place))
        for name in (
            "describe",
            "require_rights",
            "earliest",
            "end",
            "read",
            "record_batches",
            "offsets_for_time",
        ):
            monkeypatch.setattr(
                f"headrace.kafka.client.Kafka.{name}",
                lambda _, *args, name=name, **named: getattr(one.kafka, name)(*args, **named),
            )
        pipelines.check("p")
        return capsys.readouterr().out

    return run


def test_check_says_whether_a_stream_can_start(tmp_path: Path, check: Callable[[Ledger], str]) -> None:
    """Beside what the file means."""
    one = Ledger.made(tmp_path, others(40), [10])
    assert "Kafka     the topics are as the file says; a stream can start" in check(one)
    one.kafka.partitions = 3
    assert (
        "Warning   topic t has 3 partitions in Kafka, 1 in the pipeline file. All of them are read"
        in check(one)
    )
    one.kafka.partitions = 1
    lose_the_checkpoint(one)
    with pytest.raises(RefusedError, check=Code.CHECKPOINT_OTHER.fits):
        check(one)


def test_check_refuses_a_disk_without_room(
    tmp_path: Path, check: Callable[[Ledger], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As preflight does, though it writes nothing; doctor looks there, too."""
    one = Ledger.made(tmp_path, others(40), [10])
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=499 << 20))
    with pytest.raises(UnavailableError, check=Code.DISK_FULL.fits):
        check(one)
    settings = Settings.from_environment({"HEADRACE_DATA": str(tmp_path / "nowhere" / "yet")})
    with pytest.raises(UnavailableError, check=Code.DISK_FULL.fits):
        doctor._data(settings)  # noqa: SLF001


def test_check_without_kafka_says_so_and_is_no_error(
    tmp_path: Path, check: Callable[[Ledger], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file's part is worth having alone."""
    one = Ledger.made(tmp_path, others(40), [10])

    def silent(*_: Any) -> dict[str, TopicFacts]:
        raise BrokerError("Kafka can't be reached at nowhere")

    monkeypatch.setattr(type(one.kafka), "describe", silent)
    said = check(one)
    assert "reads     t (1 partition)" in said
    assert "Kafka     not checked: Kafka can't be reached at nowhere" in said


def test_check_without_the_connection_says_so_and_is_no_error(
    tmp_path: Path, check: Callable[[Ledger], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Airflow that can't be asked where Kafka is, is as good as no Kafka."""

    def unknown(_: object) -> dict[str, str]:
        raise UnavailableError("Airflow can't read the connection")

    monkeypatch.setattr("headrace.local.connections.kafka_config", unknown)
    assert "Kafka     not checked: Airflow can't read the connection" in check(
        Ledger.made(tmp_path, others(40), [10])
    )


def test_check_shows_a_topic_that_differs(tmp_path: Path, check: Callable[[Ledger], str]) -> None:
    """Fewer partitions than the file asks for, with the command that adds them."""
    one = Ledger.made(tmp_path, others(40), [10])
    one.pipeline.path.write_text(one.pipeline.path.read_text().replace("partitions = 1", "partitions = 3"))
    with pytest.raises(
        TopicDiffersError, match="`headrace topics extend t --partitions 3` adds what is missing"
    ):
        check(one)


def test_a_ledger_without_identity_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    """identity.json is gone."""
    one = Ledger.made(tmp_path, others(40), [10])
    one.folder.identity.unlink()
    with pytest.raises((RefusedError, LedgerError), check=Code.IDENTITY_MISSING.fits):
        check_can_start(one.folder, one.pipeline, one.kafka)
