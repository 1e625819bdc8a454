"""Transactions that hide the end of a partition from committed readers, and the command that ends one whose producer is gone."""

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from headrace.errors import BrokerError, UnsupportedLoginError
from headrace.kafka.offsets import Positions, flat


class Timestamps(Protocol):
    """What is needed of a cluster."""

    servers: str

    def first_timestamps(self, positions: Positions) -> Mapping[tuple[str, int], int]:
        """The timestamp of the first record at or after each position, in milliseconds since 1970."""

    def longest_transaction(self) -> float:
        """Seconds for which a transaction may stay open."""

    def end(self, topics: Iterable[str], *, committed: bool = True) -> Positions:
        """The end of each partition, for committed readers or for all."""

    def transaction_start(self, topic: str, partition: int, offset: int) -> datetime | None:
        """When the open transaction that holds an offset began, by its coordinator; `None` if none knows it.

        Raises `BrokerError` if one is silent, `UnsupportedLoginError` if they can't be asked.
        """


@dataclass(frozen=True)
class OpenTransaction:
    """The first open transaction of a topic-partition.

    stable_offset  last stable offset: the transaction's first record; it hides everything from there on
    end            the partition's end
    began_at       when it began, by its coordinator; where that does not say, its first record's timestamp, which its producer set; `None` if unknown
    is_certain     whether coordinators were asked, so that it has been open since `began_at`
    is_hanging     whether it is older than the brokers let a transaction be, and no coordinator knows it: then the brokers do not end it
    """

    topic: str
    partition: int
    stable_offset: int
    end: int
    began_at: datetime | None
    is_certain: bool
    is_hanging: bool

    @property
    def hidden(self) -> int:
        """How many offsets it hides."""
        return self.end - self.stable_offset

    def abort_command(self, servers: str) -> str:
        """The command of Kafka's own tools that ends it."""
        where = f"--topic {shlex.quote(self.topic)} --partition {self.partition} --start-offset {self.stable_offset}"
        return f"kafka-transactions.sh --bootstrap-server {shlex.quote(servers)} abort {where}"


def open_transactions(kafka: Timestamps, stable: Positions, ends: Positions, now: datetime) -> list[OpenTransaction]:
    """The open transactions in some topic-partitions.

    Args:
        kafka: the cluster
        stable: the end of each partition for committed readers
        ends: the end of each partition
        now: the moment from which ages count
    """
    hiding = {(topic, partition): offset for topic, partition, offset in flat(stable) if offset < ends[topic][partition]}
    if not hiding:
        return []
    positions: Positions = {}
    for (topic, partition), offset in hiding.items():
        positions.setdefault(topic, {})[partition] = offset
    began = kafka.first_timestamps(positions)
    longest = kafka.longest_transaction()
    found = []
    for (topic, partition), offset in sorted(hiding.items()):
        sent_at = moment(began.get((topic, partition), -1))
        is_old = sent_at is not None and (now - sent_at).total_seconds() > longest
        try:
            began_at = kafka.transaction_start(topic, partition, offset)
        except BrokerError:  # a coordinator that is silent may know it, and an abort would lose records
            began_at, is_hanging, is_certain = None, False, False
        except UnsupportedLoginError:
            began_at, is_hanging, is_certain = None, is_old, False
        else:
            is_hanging = is_old and began_at is None
            is_certain = is_hanging or began_at is not None
            if began_at is None and kafka.end([topic]).get(topic, {}).get(partition) != offset:
                continue  # it has ended meanwhile
        found.append(
            OpenTransaction(
                topic=topic,
                partition=partition,
                stable_offset=offset,
                end=ends[topic][partition],
                began_at=began_at or sent_at,
                is_certain=is_certain,
                is_hanging=is_hanging,
            )
        )
    return found


def moment(milliseconds: int) -> datetime | None:
    """A record's timestamp as a moment; `None` for none (negative), and for one that no calendar here holds."""
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC) if milliseconds >= 0 else None
    except (OverflowError, ValueError, OSError):
        return None
