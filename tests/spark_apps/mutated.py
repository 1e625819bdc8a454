"""Values close to what producers send, and broken in ways that they break."""

import json
from collections.abc import Callable
from typing import Any, TypeVar

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from headrace.contract import types
from tests.headrace.contract.hostile import JSON_CONTRACT, TIMESTAMPS

Example = TypeVar("Example")

_FRAGMENTS = [
    *(bytes([byte]) for byte in b"{}[],:\"\\/'-+.eE0159 \t\n\r\x00\x01\x0b\x7f\x80\xc3\xed\xff#"),
    *(
        b"null",
        b"true",
        b"NaN",
        b"Infinity",
        b'""',
        b"{}",
        b"[]",
        b'"id":',
        b'"s":',
        b'"id":7',
        b"0",
        b"00",
        b"1e400",
        b"-0.0",
        b".5",
    ),
    *(
        b"\\ud83d",
        b"\\ude00",
        b"\\u0069",
        b"\\u0000",
        b"\\\\",
        b'\\"',
        b"\xc2\xa0",
        b"\xef\xbb\xbf",
        b"\xed\xa0\xbd",
        b"/**/",
        b"}{",
        b"],[",
    ),
]
_CHARACTERS = st.sampled_from("aÄß😀\u0301\u2028\0\x1f\x7f\"\\/{}[],:$%'\n ") | st.characters(
    exclude_categories=["Cs"]
)
_TEXTS = st.text(_CHARACTERS, max_size=6)
_FLOATS = st.floats(allow_nan=False, allow_infinity=False)
_NUMBERS = st.one_of(
    st.integers().map(str),
    st.integers(-(2**70), 2**70).map(str),
    st.sampled_from([2**31, 2**53, 2**63])
    .flatmap(lambda edge: st.integers(-edge - 2, -edge + 2) | st.integers(edge - 2, edge + 2))
    .map(str),
    _FLOATS.map(repr),
    _FLOATS.map("{:.3e}".format),
    st.decimals(allow_nan=False, allow_infinity=False, places=20).map("{:f}".format),
)
_MOMENTS = st.datetimes().map(lambda moment: f'"{moment.isoformat()}Z"') | st.sampled_from(
    [f'"{text}"' for text, _ in TIMESTAMPS]
)
_SCALARS = st.one_of(
    st.builds(json.dumps, _TEXTS, ensure_ascii=st.booleans()),
    _NUMBERS,
    st.sampled_from(["true", "false", "null"]),
    _MOMENTS,
)


def _nested(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    members = st.tuples(_TEXTS.map(json.dumps) | st.just('"k"'), inner).map(":".join)
    return st.lists(inner, max_size=3).map(lambda parts: f"[{','.join(parts)}]") | st.lists(
        members, max_size=3
    ).map(lambda parts: f"{{{', '.join(parts)}}}")


_ANYTHING = st.recursive(_SCALARS, _nested, max_leaves=6)
_FITTING: dict[types.Type, st.SearchStrategy[str]] = {
    types.STRING: st.builds(json.dumps, _TEXTS, ensure_ascii=st.booleans()),
    types.INT: st.integers(-(2**31), 2**31 - 1).map(str),
    types.BIGINT: st.integers(-(2**63), 2**63 - 1).map(str),
    types.DOUBLE: _NUMBERS,
    types.BOOLEAN: st.sampled_from(["true", "false"]),
    types.TIMESTAMP: _MOMENTS,
}


@st.composite
def documents(draw: st.DrawFn) -> bytes:
    """An object with declared fields, mostly of their types, and others, in any order, some of them twice."""
    members = []
    for field in JSON_CONTRACT.fields:
        for _ in range(draw(st.sampled_from([0, 1, 1, 1, 1, 2]))):
            value = draw(_ANYTHING if draw(st.integers(0, 9)) == 0 else _FITTING[field.type])
            members.append(f'"{field.name}":{value}')
    members += [
        f"{json.dumps(name)}:{value}"
        for name, value in draw(st.lists(st.tuples(_TEXTS, _ANYTHING), max_size=2))
    ]
    space = draw(st.sampled_from(["", "", " ", "\n"]))
    return f"{space}{{{f',{space}'.join(draw(st.permutations(members)))}}}{space}".encode()


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A document of which some bytes are removed, replaced or added."""
    value = draw(documents())
    for _ in range(draw(st.sampled_from([0, 1, 1, 1, 2, 3]))):
        at = draw(st.integers(0, len(value)) | st.just(len(value)))
        removed = draw(st.integers(0, 2))
        value = value[:at] + draw(st.sampled_from(_FRAGMENTS) | st.just(b"")) + value[at + removed :]
    return value


def any_bytes() -> st.SearchStrategy[bytes]:
    """Bytes that are text, nearly text, or no text."""
    parts = st.sampled_from(
        [*_FRAGMENTS, b"important", b"\xe2\x82\xac", b"\xf0\x9f\x98\x80", b"\xf4\x90", b"\xc0\x80"]
    )
    return st.lists(parts, max_size=6).map(b"".join) | st.binary(max_size=12) | st.text().map(str.encode)


def sampled(strategy: st.SearchStrategy[Example], count: int) -> list[Example]:
    """Examples to judge in one Spark job: a job for each would take hours."""
    examples: list[Example] = []

    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def collect(example: Any) -> None:
        examples.append(example)

    run: Callable[[], None] = collect
    run()
    return examples
