"""The one client of a Kafka cluster."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from headrace.errors import BrokerError
from headrace.kafka.admin import Admin
from headrace.kafka.batch_reader import BatchReader
from headrace.kafka.connection import TIMEOUT
from headrace.kafka.offsets import TopicPartition
from headrace.kafka.reader import Reader
from headrace.kafka.record_batch import RecordBatch


class Kafka(Admin, Reader):
    """A cluster, reached with librdkafka's settings (`bootstrap.servers` and, where needed, security).

    Every method raises `BrokerError` if the cluster does not answer within `timeout` seconds.
    """

    def __init__(self, config: Mapping[str, str], timeout: float = TIMEOUT) -> None:
        super().__init__(config, timeout)
        self._batches = BatchReader(self.config)  # connects with its first batch
        self._silent_coordinator: BrokerError | None = None

    def record_batches(self, place: TopicPartition, offset: int) -> Iterator[RecordBatch]:
        """Record batches from the one that holds `offset` on, or from the next one, up to the log's end.

        With markers, aborted records and what lies behind an open transaction. It is a client of its own,
        without prefetching; a call for an offset close behind the last one costs little. Raises
        `UnsupportedLoginError` if that client cannot log in.
        """
        return self._batches.read(place, offset)

    def transaction_start(self, place: TopicPartition, offset: int) -> datetime | None:
        """When the open transaction that holds an offset began, by its coordinator.

        `None` if no coordinator knows it.

        Raises `UnsupportedLoginError` if the client that asks them cannot log in.
        """
        if self._silent_coordinator:  # so that not each partition waits for an answer
            raise self._silent_coordinator
        try:
            began = self._batches.transaction_start(place, offset)
        except BrokerError as error:
            self._silent_coordinator = error
            raise
        return None if began is None else datetime.fromtimestamp(began / 1000, UTC)
