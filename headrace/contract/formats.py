"""The parts of a format. Each is a folder of `headrace/formats`, named in `verdicts.Format`.

contract.py   what the pipeline file says of it, and why a value of it can be unusable
spark.py      Spark's side
reference.py  the second engine's side
samples.py    what a demo makes of it, and ways to be malformed
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol, cast

from headrace.contract.reading import Table
from headrace.contract.verdicts import Field, Format, Reason

if TYPE_CHECKING:
    from headrace.contract.pipeline import Demo

    Malformed = Callable[[Demo, int], bytes | None]


class OfContract(Protocol):
    """A format's `contract.py`."""

    REASONS: Sequence[Reason]
    """Why a value can be unusable, in the order in which they count."""
    HAS_MEMBERS: bool
    """Whether a value has members that a pipeline file may leave undeclared."""

    def fields(self, file: Table) -> tuple[Field, ...] | None:
        """The declared columns of a pipeline file.

        `None` if one is invalid: checks that need them are then skipped.
        """

    def demo(self, table: Table, fields: tuple[Field, ...] | None) -> Mapping[str, Any]:
        """What `[demo]` says that is this format's own, by the names of `Demo`."""


class OfSamples(Protocol):
    """A format's `samples.py`."""

    def valid(self, fields: tuple[Field, ...], demo: "Demo", choice: int, at_least: int) -> bytes:
        """A value that is usable, by a number drawn at random; of so many bytes at least."""

    def malformed(self, fields: tuple[Field, ...]) -> "Sequence[Malformed]":
        """Ways to be malformed: one for each of the format's reasons that there can be, in their order."""


class OfSpark(Protocol):
    """A format's `spark.py`."""

    def decode(self, records: Any, fields: tuple[Field, ...], *, reasons_only: bool = False) -> Any:
        """Add the declared columns, `_reason` and `_field` to a DataFrame, by its column `_value`.

        The columns only if they are wanted.
        """


class OfReference(Protocol):
    """A format's `reference.py`."""

    def quick(
        self, fields: tuple[Field, ...]
    ) -> Callable[[Sequence[bytes | None]], tuple[list[Any], set[int]]]:
        """Return a function that reads values into columns, as Arrow arrays.

        It also returns the positions of the values that only `reader` can decide.
        """

    def reader(
        self, fields: tuple[Field, ...], note: Callable[[dict[str, Any]], None] | None
    ) -> Callable[[bytes | None], tuple[Any, ...]]:
        """Return a function that decodes one value into a row."""


def of_contract(name: Format) -> OfContract:
    """The contract's part of a format."""
    return cast(OfContract, _part(name, "contract"))


def of_samples(name: Format) -> OfSamples:
    """What a demo makes of a format."""
    return cast(OfSamples, _part(name, "samples"))


def of_spark(name: Format) -> OfSpark:
    """Spark's side of a format."""
    return cast(OfSpark, _part(name, "spark"))


def of_reference(name: Format) -> OfReference:
    """The second engine's side of a format."""
    return cast(OfReference, _part(name, "reference"))


@cache
def _part(name: Format, part: str) -> Any:
    """Find a part by its name: the contract need not know what is above it, nor load Spark in vain."""
    return import_module(f"headrace.formats.{name}.{part}")
