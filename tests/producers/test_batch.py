"""A batch and its receipt, without a broker: producer and cluster are played."""

from collections.abc import Callable, Iterator, Mapping
from math import inf
from pathlib import Path
from typing import Any

import msgspec
import pytest
from confluent_kafka import KafkaError
from hypothesis import given
from hypothesis import strategies as st

from headrace import documents
from headrace.contract.pipeline import Pipeline
from headrace.errors import BrokerError, BusyError, Code, DeliveryError, UsageError
from headrace.kafka.cluster import Block
from headrace.kafka.offsets import Extent, OffsetRange, Offsets, TopicPartition
from headrace.ledger import verified_receipts
from headrace.ledger.folder import Folder
from headrace.ledger.receipts import DIGEST_MODULUS, Receipt, ReceiptState, fingerprint, receipt_sha256
from headrace.settings import ROOT
from producers import batch
from producers.acknowledgements import Acknowledgements
from producers.batch import produce_batch

PIPELINE = Pipeline.load(ROOT / "dags" / "important_messages.toml")
TOPIC, PARTITIONS = "test-topic", 3
RUN = "by_hand__2026-11-22T12:00:00"

Record = tuple[bytes, bytes | None]


class FakeMessage:
    """What a delivery report tells of a record."""

    def __init__(self, topic: str, partition: int, offset: int) -> None:
        self._place = (topic, partition, offset)

    def topic(self) -> str:
        """Where it went."""
        return self._place[0]

    def partition(self) -> int:
        """Where it went."""
        return self._place[1]

    def offset(self) -> int:
        """Where it is; meaningless for a refused one."""
        return self._place[2]

    def latency(self) -> float:
        """Seconds from sending to the report."""
        return 60.0


class FakeBroker:
    """Three partitions in memory; a producer and a cluster at once.

    `refuses` says which error a sequence number gets.
    """

    def __init__(self, refuses: Mapping[int, KafkaError] | None = None) -> None:
        self.partitions: list[list[Record]] = [[] for _ in range(PARTITIONS)]
        self.refuses = dict(refuses or {})
        self.config: dict[str, str] = {}
        self.servers = "nowhere"
        self.topics = {TOPIC, "joined"}
        self.holds = TOPIC
        """The topic in which the records lie."""
        self.sent = 0
        self._reports: list[Callable[[], None]] = []

    def produce(
        self, topic: str, value: bytes | None, key: bytes, on_delivery: Callable[[Any, Any], None]
    ) -> None:
        """Take a record, or refuse it; the report comes with the next poll or flush."""
        self.sent += 1
        sequence = int(key[-10:])
        if error := self.refuses.get(sequence):
            self._reports.append(lambda: on_delivery(error, FakeMessage(topic, sequence % PARTITIONS, -1)))
            return
        records = self.partitions[sequence % PARTITIONS]
        message = FakeMessage(topic, sequence % PARTITIONS, len(records))
        records.append((key, value))
        self._reports.append(lambda: on_delivery(None, message))

    def poll(self, _: float) -> None:
        """Deliver the reports."""
        reports, self._reports = self._reports, []
        for report in reports:
            report()

    def flush(self) -> None:
        """Deliver the reports."""
        self.poll(0)

    def require_rights(self, topics: Any, *operations: str) -> None:
        """No access lists rule here."""

    def end(self, topics: Any, *, committed: bool) -> Offsets:
        """The end of each partition."""
        assert not committed
        return Offsets(
            {
                TopicPartition(topic, number): len(records) if topic == self.holds else 0
                for topic in topics
                if topic in self.topics
                for number, records in enumerate(self.partitions)
            }
        )

    def read(self, offset_range: OffsetRange, *, committed: bool) -> Iterator[Block]:
        """The records of a range, in one block."""
        assert not committed
        offsets = list(range(offset_range.from_offset, offset_range.until_offset))
        records = [self.partitions[offset_range.partition][offset] for offset in offsets]
        keys: list[bytes | None] = [key for key, _ in records]
        yield Block(
            offset_range.topic,
            offset_range.partition,
            offsets,
            [0] * len(offsets),
            keys,
            [value for _, value in records],
            [[] for _ in offsets],
        )


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Receipt]:
    """Produce a batch with a fake broker."""

    def play(broker: FakeBroker, **wanted: Any) -> Receipt:
        monkeypatch.setattr(batch, "Kafka", lambda _: broker)
        monkeypatch.setattr(batch, "Producer", lambda _: broker)
        receipt = produce_batch(PIPELINE, Folder(tmp_path), {}, RUN, **wanted)
        assert receipt is not None
        return receipt

    return play


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 10**9)), unique=True, min_size=1))
def test_acknowledgements_count_lowest_highest_and_records(places: list[tuple[int, int]]) -> None:
    """Per topic-partition, in whatever order the reports come."""
    acknowledgements = Acknowledgements()
    for partition, offset in places:
        acknowledgements.delivered(None, FakeMessage("t", partition, offset))
    assert acknowledgements.count == len(places)
    for (topic, partition), extent in acknowledgements.landings:
        offsets = [offset for place, offset in places if place == partition]
        assert topic == "t"
        assert extent == Extent(min(offsets), max(offsets), len(offsets))


@pytest.mark.parametrize(
    ("code", "terminal"),
    [
        (KafkaError.MSG_SIZE_TOO_LARGE, True),
        (KafkaError.INVALID_TIMESTAMP, True),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, True),
        (KafkaError._MSG_TIMED_OUT, False),  # noqa: SLF001, that is its public name
        (KafkaError._TRANSPORT, False),  # noqa: SLF001, that is its public name
    ],
)
def test_refusals_that_pass_are_told_from_those_that_do_not(code: int, *, terminal: bool) -> None:
    """Another try helps against a broker that is away, not against one that says no."""
    acknowledgements = Acknowledgements()
    acknowledgements.delivered(KafkaError(code), FakeMessage("t", 0, -1))
    assert acknowledgements.terminal is terminal
    assert acknowledgements.count == 0
    assert sum(acknowledgements.refusals.values()) == 1


def test_a_terminal_refusal_stays_terminal() -> None:
    """A passing one after it changes nothing."""
    acknowledgements = Acknowledgements()
    for code in (KafkaError.MSG_SIZE_TOO_LARGE, KafkaError._MSG_TIMED_OUT):  # noqa: SLF001, that is its public name
        acknowledgements.delivered(KafkaError(code), FakeMessage("t", 0, -1))
    assert acknowledgements.terminal


def test_a_batch_gets_a_complete_receipt(play: Callable[..., Receipt], tmp_path: Path) -> None:
    """It counts every record and has their digest, and is on disk as it was returned."""
    broker = FakeBroker()
    receipt = play(broker, records=100, seed=7)
    records = [record for partition in broker.partitions for record in partition]
    assert receipt.state == ReceiptState.COMPLETE
    assert sum(landing.count for landing in receipt.landings) == len(records) == 100
    assert (
        int(receipt.digest or "", 16)
        == sum(fingerprint(key, value) for key, value in records) % DIGEST_MODULUS
    )
    assert documents.read(Folder(tmp_path).receipt(RUN), Receipt) == receipt


def test_an_empty_batch_is_complete_at_once(play: Callable[..., Receipt]) -> None:
    """Nothing wanted, nothing sent."""
    broker = FakeBroker()
    receipt = play(broker, records=0)
    assert (receipt.state, receipt.landings, broker.sent) == (ReceiptState.COMPLETE, [], 0)


def test_a_complete_receipt_is_returned_and_nothing_is_sent(play: Callable[..., Receipt]) -> None:
    """Neither does it matter what a cleared task wants now."""
    receipt = play(FakeBroker(), records=100, seed=7)
    broker = FakeBroker()
    assert play(broker, records=5, seed=8, malformed=0.5) == receipt
    assert broker.sent == 0


def test_a_verified_receipt_sends_nothing_either(play: Callable[..., Receipt], tmp_path: Path) -> None:
    """The task may be cleared long after the run was green: by then verify has moved the receipt."""
    receipt = play(FakeBroker(), records=100, seed=7)
    folder = Folder(tmp_path)
    assert verified_receipts.add(folder, {RUN: receipt_sha256(folder, RUN) or ""})
    assert not folder.unverified_receipt(RUN).exists()
    broker = FakeBroker()
    assert play(broker, records=5, seed=8) == receipt
    assert broker.sent == 0
    assert not folder.unverified_receipt(RUN).exists()


def test_a_batch_that_broke_off_is_completed_by_the_next_try(play: Callable[..., Receipt]) -> None:
    """What landed is not sent again, and the receipt is that of a batch in one piece."""
    broker = FakeBroker({sequence: KafkaError(KafkaError._MSG_TIMED_OUT) for sequence in range(40, 60)})  # noqa: SLF001, its public name
    silence = r"^Kafka at nowhere did not answer within 60 s\. .*80 of 100 records were acknowledged.*Another try sends the rest"
    with pytest.raises(BrokerError, match=silence):
        play(broker, records=100, seed=7)
    broker.refuses.clear()
    broker.sent = 0
    receipt = play(broker)
    keys = [key for partition in broker.partitions for key, _ in partition]
    assert broker.sent == 20
    assert len(keys) == len(set(keys)) == 100
    whole = FakeBroker()
    assert sorted(record for partition in broker.partitions for record in partition) == sorted(
        _in_one_piece(whole, receipt)
    )


def test_a_record_that_the_broker_will_never_take_is_red(play: Callable[..., Receipt]) -> None:
    """The error names the partition and the broker's reason, and the receipt stays open."""
    broker = FakeBroker({3: KafkaError(KafkaError.MSG_SIZE_TOO_LARGE)})
    with pytest.raises(DeliveryError, match=r"9 of 10 records were acknowledged\. 1 × test-topic-0: "):
        play(broker, records=10, seed=7)


def test_two_producers_of_a_pipeline_do_not_send_at_once(
    play: Callable[..., Receipt], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A try that Airflow gave up on may live on: what it still sends, the next one would send again."""
    monkeypatch.setattr(batch, "LOCK_TIMEOUT", 0.0)
    broker = FakeBroker()
    with (
        Folder(tmp_path).locked("an earlier try", lock=Folder.PRODUCER_LOCK),
        pytest.raises(BusyError, match="in use by an earlier try"),
    ):
        play(broker, records=10)
    assert broker.sent == 0
    assert play(broker, records=10).records == 10


def test_foreign_records_are_no_part_of_a_resumed_batch(play: Callable[..., Receipt]) -> None:
    """Only keys of this run count."""
    broker = FakeBroker({5: KafkaError(KafkaError._TRANSPORT)})  # noqa: SLF001, that is its public name
    with pytest.raises(BrokerError):
        play(broker, records=10, seed=7)
    broker.partitions[0].append((b"somebody else's", b"value"))
    broker.refuses.clear()
    receipt = play(broker)
    assert sum(landing.count for landing in receipt.landings) == 10


def test_a_topic_that_the_broker_does_not_know_begins_no_batch(
    play: Callable[..., Receipt], tmp_path: Path
) -> None:
    """What an earlier try sent into it could not be read back.

    No receipt is begun without it, and none resumed.
    """
    broker = FakeBroker({5: KafkaError(KafkaError._TRANSPORT)})  # noqa: SLF001, that is its public name
    broker.topics.clear()
    with pytest.raises(BrokerError, check=Code.TOPIC_MISSING.fits):
        play(broker, records=10, seed=7)
    assert not Folder(tmp_path).receipt(RUN).exists()
    broker.topics.add(TOPIC)
    with pytest.raises(BrokerError, match="9 of 10 records"):
        play(broker, records=10, seed=7)
    broker.topics.clear()
    with pytest.raises(BrokerError, check=Code.TOPIC_MISSING.fits):
        play(broker)


def test_a_topic_that_joined_is_read_back(play: Callable[..., Receipt]) -> None:
    """A try after the pipeline file got one more topic may have sent records into it.

    All it holds may be of this batch.
    """
    broker = FakeBroker()
    receipt = play(broker, records=10, seed=7)
    broker.holds = "joined"
    began = msgspec.structs.replace(
        receipt, start=Offsets.nested({TOPIC: {0: 0, 1: 0, 2: 0}}), state=ReceiptState.OPEN
    )
    landed, _ = batch.read_back(broker, began, ["joined"], Acknowledgements())  # type: ignore[arg-type]
    assert sum(landed) == 10


def test_a_record_that_landed_twice_ends_the_batch(play: Callable[..., Receipt]) -> None:
    """No try could mend it, so that the next one says so and names the place."""
    broker = FakeBroker()
    receipt = play(broker, records=10, seed=7)
    broker.partitions[0].append(broker.partitions[0][0])
    began = msgspec.structs.replace(
        receipt, start=Offsets.nested({TOPIC: {0: 0, 1: 0, 2: 0}}), state=ReceiptState.OPEN
    )
    with pytest.raises(DeliveryError, check=Code.BATCH_DOUBLED.fits) as raised:
        batch.read_back(broker, began, [TOPIC], Acknowledgements())  # type: ignore[arg-type]
    second = len(broker.partitions[0]) - 1
    assert (raised.value.topic, raised.value.partition, raised.value.offset) == (TOPIC, 0, second)


def test_a_batch_whose_receipt_has_expired_is_not_sent_again(
    play: Callable[..., Receipt], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task that is cleared a year later sends nothing; another run's batch is sent."""
    folder, broker = Folder(tmp_path), FakeBroker()
    play(broker, records=10)
    verified_receipts.add(folder, {RUN: receipt_sha256(folder, RUN) or ""})
    assert verified_receipts.expire(folder, inf, inf, keep=()) == 1
    sent = FakeBroker()
    monkeypatch.setattr(batch, "Kafka", lambda _: sent)
    monkeypatch.setattr(batch, "Producer", lambda _: sent)
    assert produce_batch(PIPELINE, folder, {}, RUN) is None
    assert not any(sent.partitions)
    other = produce_batch(PIPELINE, folder, {}, f"{RUN}-2", records=10)
    assert other is not None
    assert other.records == sum(map(len, sent.partitions)) == 10


def test_a_pipeline_without_a_demo_has_no_batch(tmp_path: Path) -> None:
    """Its records come from its users' own producers."""
    text = (ROOT / "dags" / "important_messages.toml").read_text()
    path = tmp_path / "important_messages.toml"
    path.write_text(text[: text.index("[demo]")])
    with pytest.raises(UsageError, check=Code.NO_DEMO.fits):
        produce_batch(Pipeline.load(path), Folder(tmp_path), {}, RUN)


def _in_one_piece(broker: FakeBroker, receipt: Receipt) -> list[Record]:
    """The records of a receipt's batch, sent without interruption."""
    assert PIPELINE.demo is not None
    batch.send(PIPELINE, PIPELINE.demo, receipt, broker, Acknowledgements(), None)
    return [record for partition in broker.partitions for record in partition]
