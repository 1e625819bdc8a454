"""How values look."""

import math
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.text import (
    beginning,
    checked,
    clock,
    duration,
    in_lines,
    paragraphs,
    plural,
    shortened,
    size,
    visible,
)


@given(st.text(st.characters(categories=["L", "N", "P", "Zs"], exclude_characters="")))
def test_ordinary_text_is_left_alone(text: str) -> None:
    """Letters, digits, punctuation and spaces of any script are shown as they are."""
    assert visible(text) == text


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("a\nb", "a⟨LF⟩b"),
        ("\x1b[31m", "⟨ESC⟩[31m"),
        ("\x7f", "⟨U+007F⟩"),
        ("\u202eabc", "⟨U+202E⟩abc"),
        ("\ud800", "⟨U+D800⟩"),
    ],
)
def test_invisible_characters_are_named(text: str, seen: str) -> None:
    """What has no look of its own gets a name."""
    assert visible(text) == seen


@pytest.mark.parametrize(
    ("seconds", "seen"),
    [(0.04, "0.0 s"), (119.94, "119.9 s"), (120, "2 min 0 s"), (7_199.6, "2 h 0 min"), (math.nan, "nan s")],
)
def test_durations_lose_tenths_when_they_stop_mattering(seconds: float, seen: str) -> None:
    """Seconds, minutes or hours, whichever says most."""
    assert duration(seconds) == seen


@pytest.mark.parametrize(
    ("count", "seen"), [(1, "1 byte"), (999, "999 bytes"), (48_212, "48.2 kB"), (10**16, "10,000.0 TB")]
)
def test_sizes_are_decimal(count: int, seen: str) -> None:
    """A kilobyte is a thousand bytes."""
    assert size(count) == seen


def test_moments_are_shown_in_utc() -> None:
    """A moment of another zone is converted.

    The first hours of the first year, which can't be, don't raise.
    """
    assert clock(datetime(2026, 1, 1, 1, tzinfo=timezone(timedelta(hours=2)))) == "2025-12-31 23:00:00 UTC"
    assert clock(datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=2)))).endswith("-01-01 00:00:00 UTC")


def test_plural_and_shortened() -> None:
    """Counts agree with their noun; shortened text says how long it was."""
    assert [plural(count, "batch/batches") for count in (0, 1, 2_000)] == [
        "0 batches",
        "1 batch",
        "2,000 batches",
    ]
    assert shortened("x" * 10, 10) == "x" * 10
    assert shortened("x" * 11, 10) == "x" * 10 + "… (11 characters)"


@pytest.mark.parametrize(
    ("count", "unit", "seen"),
    [(1, "entries", "1 entry"), (1, "files", "1 file"), (0, "rows", "0 rows"), (1, "", "1 ")],
)
def test_units_agree_with_their_count(count: int, unit: str, seen: str) -> None:
    """One thing has no plural."""
    assert checked(count, unit) == seen


@pytest.mark.parametrize(
    ("content", "seen"),
    [
        (b"", ""),
        (b"abcd", "abcd"),
        (b"abcde", "abcd… (5 bytes)"),
        (b"a\xffb", "a\\xffb"),
        ("abc€".encode(), "abc… (6 bytes)"),
        (b"abc\xe2", "abc\\xe2"),
    ],
)
def test_bytes_are_shown_as_far_as_they_are_text(content: bytes, seen: str) -> None:
    """What is no UTF-8 is named; a character that the cut divides is not taken for that."""
    assert beginning(content, 4) == seen


def test_lines_that_were_broken_to_fit_an_alert_are_joined_where_a_page_breaks_them() -> None:
    """Only those: a line that ended by itself, and an indented one, stay lines of their own."""
    long = (
        "Records left Kafka before a stream published them, or the first stream never published anything. "
        * 3
    )
    text = f"Red\n{long.strip()}\n  Do: {long.strip()}\nThe whole account: /data/report.html"
    assert paragraphs(in_lines(text)) == text.splitlines()
