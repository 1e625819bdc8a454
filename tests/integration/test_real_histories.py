"""Random histories on a real broker, streamed by Spark: verify says what the oracle says."""

import os
import random
import time
from collections import Counter
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from histories import DisagreementError, drawn, replay
from real_world import RealWorld

HISTORIES = int(os.environ.get("HEADRACE_HISTORIES", "6"))
HAPPENS = ("green", "red", "refused", "with waiting", "with gaps")


@pytest.mark.timeout(300 + 30 * HISTORIES)
def test_verify_agrees_with_the_oracle_on_a_real_broker(
    broker: str, spark: SparkSession, tmp_path: Path
) -> None:
    """Colour, waiting, lost and unproven offsets and gaps, on a broker that deletes and compacts.

    The first six histories have one of each kind. HEADRACE_HISTORIES says how many instead:
    `HEADRACE_HISTORIES=200 .venv/bin/pytest tests/integration/test_real_histories.py -s` takes about half an
    hour.
    """
    assert spark
    began = time.monotonic()
    total: Counter[str] = Counter()
    for seed in range(1, HISTORIES + 1):
        settings, operations = drawn(random.Random(seed))
        world = RealWorld(broker, f"history-{seed}-")
        try:
            seen = replay(tmp_path / "history", world, settings, operations).seen
            total += seen
        except Exception as error:
            raise DisagreementError(
                f"seed {seed}: {settings!r}, {operations!r}\n{type(error).__name__}: {error}"
            ) from error
        finally:
            world.close()
        print(  # noqa: T201
            f"history {seed} after {time.monotonic() - began:.0f} s: {dict(sorted(seen.items()))}", flush=True
        )
    assert [what for what in HAPPENS if not total[what]] == [], (
        f"histories in which this never happens prove little: {total}"
    )
