"""Which micro-batches can be judged together."""

from collections.abc import Iterable, Iterator

from headrace.kafka.offsets import TopicPartition
from headrace.ledger.entry import ENTRY_RULES, Entry, EntryKind

GROUP_OFFSETS = 100_000
GROUP_BYTES = 8 << 20
"""A group covers at most this many offsets, and its files have at most this many bytes. A larger micro-batch
is none of a group."""


def grouped(chosen: Iterable[Entry]) -> Iterator[list[Entry]]:
    """The entries in their order, those together that can be judged together.

    They follow each other and were judged by one contract.
    """
    group: list[Entry] = []
    ends: dict[TopicPartition, int] = {}
    offsets = size = 0
    for entry in chosen:
        new_offsets, new_size = _offsets(entry), _bytes(entry)
        if not (
            group
            and _follows(group[-1], entry)
            and all(ends.get(each.place, each.from_offset) == each.from_offset for each in entry.accounts)
            and offsets + new_offsets <= GROUP_OFFSETS
            and size + new_size <= GROUP_BYTES
        ):
            if group:
                yield group
            group, ends, offsets, size = [], {}, 0, 0
        group.append(entry)
        ends |= {each.place: each.until_offset for each in entry.accounts}
        offsets, size = offsets + new_offsets, size + new_size
    if group:
        yield group


def is_comparable(entry: Entry) -> bool:
    """Whether an entry can be in a group at all.

    It is plain and small, and accounts for each topic-partition once.
    """
    places = {account.place for account in entry.accounts if len(account.range)}
    return (
        entry.kind is EntryKind.PUBLISHED
        and entry.rules in ENTRY_RULES
        and len(places) == len(entry.accounts)
        and _offsets(entry) <= GROUP_OFFSETS
        and _bytes(entry) <= GROUP_BYTES
    )


def _follows(before: Entry, entry: Entry) -> bool:
    return (
        is_comparable(before)
        and is_comparable(entry)
        and entry.number == before.number + 1
        and entry.rules == before.rules
        and entry.contract == before.contract
    )


def _offsets(entry: Entry) -> int:
    return sum(len(account.range) for account in entry.accounts)


def _bytes(entry: Entry) -> int:
    return sum(file.bytes for file in (*entry.events, *entry.quarantine))
