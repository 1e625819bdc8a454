"""40 clean runs of random size, share and seed, each verified.

`test_random_runs.py` runs it beside other tests, in a process of its own.

Takes the folder for what it writes, and the broker's bootstrap address. HEADRACE_RANDOM_RUNS says how many
runs instead, such as 1000.
"""

import os
import random
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from slices import JSON, TEXT, Slice, broken

RUNS = int(os.environ.get("HEADRACE_RANDOM_RUNS", "40"))


def clean_runs(one: Slice, runs: int) -> int:
    """Runs with records of others in between and verify after each, and all of it again in the end.

    Returns how many were green.
    """
    chance = random.Random(one.pipeline.name)
    for number in range(runs):
        others = [
            (
                chance.choice([None, b"", b"\xff\xfe", b"k"]),
                chance.choice([b"", b"important", b"{}", b"\xff", None]),
            )
            for _ in range(3)
        ]
        one.write(others[: chance.randrange(4)])
        records, share = chance.choice([0, 1, 2, 7, 50, 333]), chance.choice([0.0, 0.02, 0.5, 1.0])
        one.ingest(f"run-{number}", records=records, malformed=share, seed=chance.randrange(1 << 40))
        assert broken(one.verify()) == {}, number
    assert broken(one.verify("all", all_of_it=True)) == {}
    return runs


def main(folder: Path, servers: str) -> None:
    """Text and JSON side by side, two of each; whatever else runs goes first."""
    os.nice(10)
    made = [
        Slice.make(folder, servers, f"random_{name}_{one}", text, "")
        for name, text in (("text", TEXT), ("json", JSON))
        for one in "ab"
    ]
    with ThreadPoolExecutor(len(made)) as pool:
        print(f"{sum(pool.map(partial(clean_runs, runs=RUNS // len(made)), made))} runs were green")  # noqa: T201


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
