"""Moments of the contract, for a second engine that reads millions of them.

A text is cut into minute, second and rest. Each part is read once in the exact way
(`contract/timestamps.py`), and remembered: most texts share theirs.
"""

from collections.abc import Callable

from headrace.contract.timestamps import microseconds

HELD = 100_000
"""Parts of a kind that are kept, at most: two months of minutes. Only those of timestamps: they are short."""
_MINUTE, _SECOND = 16, 19
"""Where `2026-01-31T23:59` ends, and where `:59` does behind it."""


class Moments:
    """Texts to microseconds since 1970 (UTC)."""

    def __init__(self) -> None:
        self._minutes = _Parts(_minute)
        self._seconds = _Parts(lambda text: _beside(f"2000-01-01T00:00{text}Z"))
        self._rests = _Parts(lambda text: _beside(f"2000-01-01T00:00:00{text}"))

    def __getitem__(self, text: str) -> int | None:
        """The moment of a text, or `None` if it is not a timestamp of the contract."""
        minute = self._minutes[text[:_MINUTE]]
        second = self._seconds[text[_MINUTE:_SECOND]]
        rest = self._rests[text[_SECOND:]]
        if minute is None or second is None or rest is None:
            return microseconds(text)
        return minute + second + rest


class _Parts(dict[str, int | None]):
    def __init__(self, find: Callable[[str], int | None]) -> None:
        super().__init__()
        self._find = find

    def __missing__(self, part: str) -> int | None:
        found = self._find(part)
        if found is not None and len(self) < HELD:
            self[part] = found
        return found


def _minute(text: str) -> int | None:
    """When a minute begins in UTC; the first and the last year have ends, and need a closer look."""
    return None if text[:4] in {"0001", "9999"} else microseconds(f"{text}:00Z")


def _beside(text: str) -> int | None:
    found, start = microseconds(text), microseconds("2000-01-01T00:00:00Z")
    return None if found is None or start is None else found - start
