"""How much work records make, roughly."""

LITTLE = 1_500_000
"""Values of as many records as one task writes in a second or two."""

_FEWEST = 6
"""A record counts as one of so many columns at least: it has to be read, however few it has."""

COMPILE_LITTLE = "-XX:TieredStopAtLevel=1"
"""Java's option to do without its optimizing compiler.

A stream of 10,000 records then takes 25 % less time and 40 % less CPU time on two cores; one that is not
short would take longer.
"""


def values(records: int, columns: int) -> int:
    """How many values there are in so many records."""
    return records * max(columns, _FEWEST)


def is_short(records: int, columns: int) -> bool:
    """Whether a stream of so many records ends before Java's optimizing compiler pays off."""
    return values(records, columns) < LITTLE
