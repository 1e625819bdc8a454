"""The flow as it is meant to go."""

import random
from collections.abc import Callable

from slices import Slice, broken


def test_a_batch_is_accounted_for(new_slice: Callable[..., Slice]) -> None:
    """A batch with malformed records ends green, every offset accounted for."""
    one = new_slice()
    receipt = one.ingest("first", records=300, malformed=0.1)
    report = one.verify()
    assert broken(report) == {}
    assert sum(balance.until_offset - balance.from_offset for balance in report.balance) == 300
    assert [(account.run, account.state, account.landed) for account in report.receipts] == [("first", "verified", 300)]
    assert sum(reason.count for reason in report.quarantine) == one.ledger[0].total("quarantined") > 0
    assert receipt.digest


def test_a_second_run_picks_up_where_the_first_ended(new_slice: Callable[..., Slice]) -> None:
    """Only what is new is published and verified by the second run."""
    one = new_slice()
    one.ingest("first")
    assert broken(one.verify("verify-1")) == {}
    one.ingest("second", records=100)
    report = one.verify("verify-2")
    assert broken(report) == {}
    assert [each.id for each in report.micro_batches] == [1]
    assert [account.run for account in report.receipts] == ["second"]
    assert report.ever.micro_batches == 2


def test_an_empty_run_is_green(new_slice: Callable[..., Slice]) -> None:
    """A batch of no records publishes nothing, and readers find the columns nevertheless."""
    one = new_slice()
    one.ingest("empty", records=0)
    report = one.verify()
    assert broken(report) == {}
    assert one.ledger == []
    assert list(one.folder.events.glob("**/*.parquet"))


def test_200_random_runs_are_never_red(new_slice: Callable[..., Slice]) -> None:
    """Whatever the size, share and seed of clean runs, with records of others in between: green."""
    one = new_slice()
    chance = random.Random(20261122)
    for number in range(200):
        one.write(
            [
                (chance.choice([None, b"", b"\xff\xfe", b"k"]), chance.choice([b"", b"important", b"\xff", None]))
                for _ in range(chance.randrange(4))
            ]
        )
        one.produce(
            f"run-{number}",
            records=chance.choice([0, 1, 2, 7, 50, 333]),
            malformed=chance.choice([0.0, 0.02, 0.5, 1.0]),
            seed=chance.randrange(1 << 40),
        )
        one.stream(f"run-{number}")
        assert broken(one.verify("verify")) == {}, number
    assert broken(one.verify("all", all_of_it=True)) == {}
