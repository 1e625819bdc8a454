"""How far Spark is with a micro-batch."""

from headrace.kafka.offsets import OffsetRange
from spark_apps.progress import Reading, reading


def test_a_line_says_from_where_to_where_and_how_far() -> None:
    """Of many partitions it names the first."""
    ranges = [OffsetRange("t", number, 10, 1_000_010) for number in range(5)]
    assert reading(7, ranges[:1], 0) == "micro-batch 7: reading 1,000,000 offsets (t-0 10 to 1000009)"
    assert reading(7, ranges, 1_234_567) == (
        "micro-batch 7: reading 5,000,000 offsets (t-0 10 to 1000009, t-1 10 to 1000009, t-2 10 to 1000009, 2 more partitions); "
        "at least 1,234,567 records read so far"
    )


def test_a_line_that_is_as_before_says_so() -> None:
    """Kafka may be silent; in local mode Spark counts records only when a task ends."""
    say, ranges = Reading(), [OffsetRange("t", 0, 0, 10)]
    assert "no change" not in say(1, ranges, 0)
    assert "no change since the last line" in say(1, ranges, 0)
    assert "no change" not in say(1, ranges, 5)
