"""Reading a TOML table key by key, and collecting what is wrong with it."""

from collections.abc import Callable, Mapping
from typing import Any, Final, Self, TypeVar

from headrace.contract.filter import nearest
from headrace.contract.pointing import ordinal

ValueT = TypeVar("ValueT")

REQUIRED: Final[Any] = object()
"""Stands for the default of a key that must be there."""


class Table:
    """One table of a file.

    A getter that finds a mistake notes it in `problems`, which all tables of a file share, and returns
    `None`: so all mistakes of a file are found in one go.
    """

    def __init__(self, content: Mapping[str, Any], path: str = "", problems: list[str] | None = None) -> None:
        self.content = content
        self.path = path
        self.problems: list[str] = [] if problems is None else problems
        self.known: list[str] = []

    def mistake(self, key: str, found: object, expected: str) -> None:
        """Note that a key's value is not as it should be."""
        self.problems.append(f"{self.path}{key}: found {_shown(found)}; expected {expected}")

    def refuse_others(self) -> None:
        """Note each key that nothing has asked for."""
        for key in self.content:
            if key not in self.known:
                hint = (
                    nearest(key, [known for known in self.known if known not in self.content])
                    or f"there are {', '.join(self.known)}"
                )
                self.problems.append(f"{self.path}{key}: there is no such key; {hint}")

    def text(self, key: str, default: str | None = REQUIRED) -> str | None:
        """A string that is not blank."""
        return self._get(
            key,
            default,
            "a string that is not blank",
            lambda value: isinstance(value, str) and bool(value.strip()),
        )

    def whole(self, key: str, default: int = REQUIRED, highest: int = 2**31 - 1) -> int | None:
        """A whole number of at least 1."""
        return self._get(
            key,
            default,
            f"a whole number from 1 to {highest}",
            lambda value: type(value) is int and 1 <= value <= highest,
        )

    def share(self, key: str, default: float = REQUIRED) -> float | None:
        """A number from 0 to 1."""
        return self._get(
            key,
            default,
            "a number from 0 to 1",
            lambda value: type(value) in {int, float} and 0 <= value <= 1,
        )

    def boolean(self, key: str, *, default: bool = REQUIRED) -> bool | None:
        """True or false."""
        return self._get(key, default, "true or false", lambda value: isinstance(value, bool))

    def choice(self, key: str, choices: Mapping[str, ValueT]) -> ValueT | None:
        """One of some, by its name."""
        names = list(choices)
        expected = f"one of {', '.join(names)}"
        if isinstance(found := self.content.get(key), str) and (hint := nearest(found, names)):
            expected += f"; {hint}"
        name: str | None = self._get(key, REQUIRED, expected, lambda value: value in names)
        return None if name is None else choices[name]

    def setting(self, key: str) -> str | None:
        """A value that Kafka takes as text: numbers and booleans are written as Kafka writes them."""
        value: object = self._get(
            key,
            REQUIRED,
            "a string, a whole number, true or false",
            lambda value: isinstance(value, str | int),
        )
        return None if value is None else str(value).lower() if isinstance(value, bool) else str(value)

    def items(self, key: str, expected: str, fits: Callable[[Any], bool]) -> tuple[Any, ...]:
        """The values of a list, each of which fits; empty if the key is absent."""
        found: list[Any] | None = self._get(
            key, None, "a list that is not empty", lambda value: isinstance(value, list) and bool(value)
        )
        for value in found or []:
            if not fits(value):
                self.mistake(key, value, f"a list of {expected}")
        return tuple(found or [])

    def table(self, key: str, *, required: bool = False) -> Self | None:
        """A table inside this one, or `None` if it is absent."""
        found = self._get(
            key, REQUIRED if required else None, "a table", lambda value: isinstance(value, dict)
        )
        return None if found is None else self.inside(key)

    def inside(self, key: str) -> Self:
        """The table that a key is known to hold."""
        return type(self)(self.content[key], f"{self.path}{key}.", self.problems)

    def tables(self, key: str) -> list[Self]:
        """A list of at least one table."""
        expected = f"one or more sections [[{key}]]"
        found = self._get(
            key,
            REQUIRED,
            expected,
            lambda value: isinstance(value, list) and value and all(isinstance(each, dict) for each in value),
        )
        one = key.removesuffix("s")
        return [
            type(self)(each, f"{self.path}the {ordinal(number)} {one}'s ", self.problems)
            for number, each in enumerate(found or [], start=1)
        ]

    def _get(self, key: str, default: ValueT, expected: str, fits: Callable[[Any], Any]) -> ValueT | None:
        self.known.append(key)
        if key not in self.content:
            if default is REQUIRED:
                self.problems.append(f"{self.path}{key}: is missing; expected {expected}")
                return None
            return default
        value: ValueT = self.content[key]
        if not fits(value):
            self.mistake(key, value, expected)
            return None
        return value


def _shown(found: object) -> str:
    """A value as TOML writes it, more or less, and not all of a long one."""
    match found:
        case bool():
            return str(found).lower()
        case dict():
            return "a table"
        case list():
            return "a list" if found else "an empty list"
    text = repr(found)
    return text if len(text) <= 80 else f"{text[:80]}…"  # noqa: PLR2004 - fits a line
