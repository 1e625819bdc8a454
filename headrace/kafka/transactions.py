"""Transactions that hide the end of a partition from committed readers, and how to end one that hangs."""

import shlex
from dataclasses import dataclass
from datetime import UTC, datetime

from headrace.errors import BrokerError, UnsupportedLoginError
from headrace.kafka.cluster import Cluster
from headrace.kafka.offsets import Offsets, Placed


@dataclass(frozen=True)
class OpenTransaction(Placed):
    """The first open transaction of a topic-partition.

    Attributes:
        stable_offset: Last stable offset: the transaction's first record; it hides everything from there on.
        end: The partition's end.
        began_at: When it began, by its coordinator; where that does not say, its first record's timestamp,
            which its producer set; `None` if unknown.
        is_certain: Whether coordinators were asked, so that it has been open since `began_at`.
        is_hanging: Whether it is older than the brokers let a transaction be, and no coordinator knows it:
            then the brokers do not end it.
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


def open_transactions(kafka: Cluster, stable: Offsets, ends: Offsets, now: datetime) -> list[OpenTransaction]:
    """The open transactions in some topic-partitions.

    Args:
        kafka: the cluster
        stable: the end of each partition for committed readers
        ends: the end of each partition
        now: the moment from which ages count
    """
    hiding = Offsets({place: offset for place, offset in stable.items() if offset < ends[place]})
    if not hiding:
        return []
    began = kafka.first_timestamps(hiding)
    longest = kafka.longest_transaction()
    found = []
    for place, offset in hiding.items():
        sent_at = moment(began.get(place, -1))
        is_old = sent_at is not None and (now - sent_at).total_seconds() > longest
        try:
            began_at = kafka.transaction_start(place, offset)
        except BrokerError:  # a coordinator that is silent may know it, and an abort would lose records
            began_at, is_hanging, is_certain = None, False, False
        except UnsupportedLoginError:
            began_at, is_hanging, is_certain = None, is_old, False
        else:
            is_hanging = is_old and began_at is None
            is_certain = is_hanging or began_at is not None
            if began_at is None and kafka.end([place.topic]).get(place) != offset:
                continue  # it has ended meanwhile
        found.append(
            OpenTransaction(
                *place,
                stable_offset=offset,
                end=ends[place],
                began_at=began_at or sent_at,
                is_certain=is_certain,
                is_hanging=is_hanging,
            )
        )
    return found


def moment(milliseconds: int) -> datetime | None:
    """A record's timestamp as a moment.

    `None` for none (negative), and for one that no calendar here holds.
    """
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC) if milliseconds >= 0 else None
    except (OverflowError, ValueError, OSError):
        return None
