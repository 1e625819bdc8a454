"""How values look to people: numbers, times, sizes, and text that comes from records."""

import math
import textwrap
import unicodedata
from codecs import getincrementaldecoder
from collections.abc import Sequence
from datetime import UTC, datetime

LONGEST = 200
"""Characters of a value that are shown."""

SHOWN_BY_CODE = frozenset({"Cc", "Cf", "Co", "Cs", "Zl", "Zp"})
"""Unicode categories that are invisible, change how their neighbours look, or cannot be encoded."""

JOINERS = frozenset("\u200c\u200d")
"""Format characters that words and emoji need."""

CONTROLS = (
    *(
        "NUL",
        "SOH",
        "STX",
        "ETX",
        "EOT",
        "ENQ",
        "ACK",
        "BEL",
        "BS",
        "TAB",
        "LF",
        "VT",
        "FF",
        "CR",
        "SO",
        "SI",
    ),
    *(
        "DLE",
        "DC1",
        "DC2",
        "DC3",
        "DC4",
        "NAK",
        "SYN",
        "ETB",
        "CAN",
        "EM",
        "SUB",
        "ESC",
        "FS",
        "GS",
        "RS",
        "US",
    ),
)
"""Names of the ASCII control characters, by code."""

SECONDS_PER_MINUTE = 60
SECONDS_PER_HOUR = 3600
KILO = 1000
SIZES = ("kB", "MB", "GB", "TB")


def visible(text: str) -> str:
    """The text with every control, format and surrogate character replaced by a sign that can be seen.

    A newline becomes `⟨LF⟩`, a right-to-left override `⟨U+202E⟩`: such a value can neither break a line, nor
    reorder what stands beside it, nor send a code to a terminal.
    """
    return (
        "".join(_visible(character) for character in text)
        if not (text.isascii() and text.isprintable())
        else text
    )


def shortened(text: str, longest: int = LONGEST) -> str:
    """The beginning of a long text, and how long it is."""
    return text if len(text) <= longest else f"{text[:longest]}… ({len(text):,} characters)"


def beginning(content: bytes, longest: int) -> str:
    """The beginning of bytes as text, and how many there are if that is not all.

    Bytes that are not UTF-8 are shown in hexadecimal.
    """
    is_whole = len(content) <= longest
    # A character that the cut divides is left out: it is not what is wrong with the bytes.
    text = getincrementaldecoder("utf-8")("backslashreplace").decode(content[:longest], final=is_whole)
    return text if is_whole else f"{text}… ({len(content):,} bytes)"


LINE = 100
"""Characters in a line of an error: what fits into an alert."""


def in_lines(text: str) -> str:
    """The text in lines that are not too long; a line that is indented stays so."""
    return "\n".join(
        textwrap.fill(
            line,
            LINE,
            subsequent_indent=line[: len(line) - len(line.lstrip())],
            break_long_words=False,
            break_on_hyphens=False,
        )
        for line in text.splitlines()
    )


def paragraphs(text: str) -> list[str]:
    """The lines of which `in_lines` made a text.

    One that the next word would have made too long goes on in the next line.
    """
    found: list[str] = []
    last = ""
    for line in text.splitlines():
        word, _, _ = line.strip().partition(" ")
        is_as_deep = len(line) - len(line.lstrip()) == len(last) - len(last.lstrip())
        if word and last and is_as_deep and len(last) <= LINE < len(last) + 1 + len(word):
            found[-1] += f" {line.strip()}"
        else:
            found.append(line)
        last = line
    return found


def number(value: int) -> str:
    """Digits in groups of three."""
    return f"{value:,}"


def plural(value: int, noun: str) -> str:
    """A number with its noun, "1 file" or "2 files"; irregular ones as "batch/batches"."""
    one, _, many = noun.partition("/")
    return f"{value:,} {one if value == 1 else many or one + 's'}"


def listed(words: Sequence[str]) -> str:
    """Words as a sentence lists them: "I1, I4 and I8"."""
    *before, last = words
    return f"{', '.join(before)} and {last}" if before else last


def checked(value: int, unit: str) -> str:
    """A number with its unit, which is a regular English plural: "1 entry", "2 files"."""
    singular = unit[:-3] + "y" if unit.endswith("ies") else unit.removesuffix("s")
    return plural(value, f"{singular}/{unit}")


def duration(seconds: float) -> str:
    """Tenths of seconds while they matter, then minutes, then hours."""
    if not math.isfinite(seconds) or seconds < 2 * SECONDS_PER_MINUTE:
        return f"{seconds:,.1f} s"
    whole = round(seconds)
    if whole < 2 * SECONDS_PER_HOUR:
        return f"{whole // SECONDS_PER_MINUTE} min {whole % SECONDS_PER_MINUTE} s"
    return f"{whole // SECONDS_PER_HOUR:,} h {whole % SECONDS_PER_HOUR // SECONDS_PER_MINUTE} min"


def lasting(seconds: float) -> str:
    """A time span in its largest whole unit: "40 seconds", "3 minutes", "2 hours", "5 days"."""
    for unit, length in (("day", 86_400), ("hour", SECONDS_PER_HOUR), ("minute", SECONDS_PER_MINUTE)):
        if math.isfinite(seconds) and seconds >= length:
            return plural(int(seconds // length), unit)
    return plural(int(seconds), "second") if math.isfinite(seconds) else "an unknown time"


def size(count: int) -> str:
    """Bytes in decimal units."""
    if abs(count) < KILO:
        return plural(count, "byte")
    power = min((len(str(abs(count))) - 1) // 3, len(SIZES))
    return f"{count / KILO**power:,.1f} {SIZES[power - 1]}"


def utc(moment: datetime) -> datetime:
    """The moment in UTC; one without a zone is taken to be in UTC already."""
    try:
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except OverflowError:  # within hours of the first or last year a datetime can hold
        return moment.replace(tzinfo=UTC)


def clock(moment: datetime) -> str:
    """Date and time to the second."""
    return utc(moment).strftime("%Y-%m-%d %H:%M:%S UTC")


def _visible(character: str) -> str:
    code = ord(character)
    if code < len(CONTROLS):
        return f"⟨{CONTROLS[code]}⟩"
    noncharacter = code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF  # noqa: PLR2004 - Unicode's own
    if noncharacter or (unicodedata.category(character) in SHOWN_BY_CODE and character not in JOINERS):
        return f"⟨U+{code:04X}⟩"
    return character
