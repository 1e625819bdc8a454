"""The filter's grammar: what it takes, and how it refuses the rest."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.contract.filter import MAX_PARENTHESES, Filter
from headrace.errors import UsageError
from tests.headrace.contract.filters import FIELDS, MEMBERS


@pytest.mark.parametrize("text", [text for texts in MEMBERS.values() for text in texts])
def test_takes_each_member(text: str) -> None:
    """Everything on the allow-list is taken, and the user's words are kept."""
    assert Filter.parse(text, FIELDS).text == text


REFUSED = {
    "": "the filter ends too early",
    "  ": "the filter ends too early",
    "a": "the filter is a string",
    "d + 1": "the filter is a double",
    "x and": "the filter ends too early (at character 6)",
    "(x": "the filter ends too early: a ) is missing",
    "x)": ") is not allowed here: no ( belongs to it (at character 2)",
    "(x and )": ") is not allowed here (at character 8)",
    "d > 1,5": ", is not allowed here: write decimals with a point",
    "i => 5": "=> is not allowed here: write >=",
    "a = “x”": "“ is not allowed here: write strings in single quotes",
    "a like 'x%": "a string has no end",
    "t > '2026-01-01T00:00:00Z'": "found a timestamp and a string; write timestamp '2026-01-01T00:00:00Z' for a moment",
    "_partition = 1": "_partition is not a field: a filter sees what is in the value",
    "a = 'x' b = 'y'": "b is not allowed here: nothing joins it to what is before it; write and, or or, between the two (at character 9)",
    "x y": "y is not allowed here: nothing joins it to what is before it",
    "a b": "b is not allowed here (",
    "a contains 'x'": "contains is not allowed here: write contains(…, …)",
    "contains(a 'x')": "'x' is not allowed here (",
    "i = 1, i = 2": ", is not allowed here (",
    "x;": "a filter is one condition",
    "a = 'it": "a string has no end",
    # names
    "A = 'x'": "A is not a field: did you mean a?",
    "ordr > 1": "ordr is not a field: did you mean order?",
    "unknown = 1": "unknown is not a field: there are a, b, i,",
    "a = paid": "a string needs quotes, 'paid' (at character 5)",
    "`A` = 'x'": "A is not a field",
    "a.b = 'x'": "nested objects are not reachable",
    # types
    "a = 1": "= needs operands of one type, found a string and an integer",
    "i = 1.5": "found an integer and a double",
    "i = d": "found an integer and a double",
    "t > '2026-01-01'": "found a timestamp and a string",
    "x = 1": "found a boolean and an integer",
    "a in ('x', 1)": "in needs operands of one type",
    "i between 1 and 2.5": "between needs operands of one type",
    "coalesce(a, 0) = 'x'": "coalesce needs operands of one type",
    "a and x": "and needs a boolean, found a string",
    "not a": "not needs a boolean",
    "length(i) > 1": "length needs a string, found an integer",
    "contains(x, 'a')": "contains needs a string",
    "i like '1'": "like needs a string",
    "i + 1 > 2": "+ is allowed between doubles only, since integers can overflow; found an integer",
    "length(a) + 1 > 2": "between doubles only",
    "i > 9223372036854775808": "is beyond a bigint",
    "d > 1e999": "1e999 is beyond a double",
    # operators and words of Spark SQL that are not in the list
    "a == 'x'": "write =",
    "a <=> 'x'": "<=> is not allowed here: write =",
    "x && y": "write and",
    "a || 'x' = 'y'": "strings are not joined",
    "!x": "write not",
    "d / 2 > 1": "multiply by the inverse",
    "i % 2 = 0": "there is no remainder",
    "i::string = '1'": "declare the field's type",
    "cast(i as string) = '1'": "declare the field's type",
    "a rlike 'x'": "use like, contains, startswith or endswith",
    "a ilike 'x'": "use lower",
    'a = "x"': "write strings in single quotes",
    "a = null": "write … is null",
    "a is 'x'": "only is null and is not null",
    "x is true": "is true is not allowed",
    "x is not true": "is not true is not allowed",
    "case when x then y end": "combine conditions",
    "a in (select 1)": "select is not a field: a filter sees one record",
    "a in ()": "in needs at least one value",
    "a between 'x'": "expected and",
    "x between y and": "the filter ends too early",
    "i > 1 -- x": "-- is not allowed here",
    "i > 1 /* x */": "/* is not allowed here",
    "not not x": "leave both out",
    "i = n = 1": "put parentheses around the first",
    "i = n is null": "put parentheses around the first",
    "-d > 1": "write 0 - …",
    "d > 1.05D": "D is not allowed here (",
    "i > 5L": "L is not allowed here",
    # functions
    "len(a) > 1": "len() is not allowed: use length",
    "lenght(a) > 1": "did you mean length?",
    "regexp_like(a, 'x')": "regexp_like() is not allowed",
    "substring(a, 1, 2) = 'x'": "substring() is not allowed",
    "rand() > 0.5": "rand() is not allowed",
    "current_timestamp() > t": "current_timestamp() is not allowed",
    "contains(a)": "contains takes 2 arguments",
    "length() > 1": "length takes 1 argument (",
    "coalesce() = 1": "coalesce takes some arguments",
    # literals
    r"a = 'x\n'": "may not hold a backslash or a NUL",
    "a = 'x\0'": "may not hold a backslash or a NUL",
    r"a like '10\%'": "may not hold a backslash or a NUL",
    "a like b": "like needs a pattern in quotes",
    "a like 'x' escape '!'": "like has no escape",
    "t > timestamp '2026-01-01'": "'2026-01-01' is not a timestamp",
    "t > timestamp '2026-01-01T00:00:00'": "with an offset",
    "t > date '2026-01-01'": "use timestamp",
    "t > interval 1 day": "interval is not a field",
    "a = :p": ": is not allowed here",
    "a = ${x}": "$ is not allowed here",
}


@pytest.mark.parametrize(("text", "message"), REFUSED.items())
def test_refuses_by_name(text: str, message: str) -> None:
    """What is not on the allow-list is refused by name and, where there is one, with the allowed form."""
    with pytest.raises(UsageError) as caught:
        Filter.parse(text, FIELDS)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message", "pointed_at"),
    [
        ("x and i", "found an integer as the 2nd operand", "i"),
        ("x or y or a", "found a string as the 3rd operand", "a"),
        ("i in (1, 2, 'z')", "the 4th differs", "'z'"),
        ("contains(a, 5)", "found an integer as the 2nd operand", "5"),
        ("d + i > 1", "found an integer", "i >"),
        (f"x and {'y and ' * 40}a and x", "found a string as the 42nd operand", "a and x"),
    ],
)
def test_an_operand_that_does_not_fit_is_pointed_at(text: str, message: str, pointed_at: str) -> None:
    """With its number, and a caret below it; of a long line only the part around it is shown."""
    with pytest.raises(UsageError, match=re.escape(message)) as caught:
        Filter.parse(text, FIELDS)
    _, line, caret = str(caught.value).splitlines()
    assert line[caret.index("^") :].startswith(pointed_at)
    assert len(line) < 90


def test_refuses_what_would_overflow_a_stack() -> None:
    """Parentheses have a limit; below it nothing happens."""
    assert Filter.parse("(" * MAX_PARENTHESES + "x" + ")" * MAX_PARENTHESES, FIELDS)
    with pytest.raises(UsageError, match="parentheses"):
        Filter.parse("(" * 100_000 + "x", FIELDS)


WORDS = (
    "x y a d i t ( ( ) ) , and or not in between is null like = < - + * 1 1.5 'a' coalesce length timestamp"
)


@given(st.text() | st.lists(st.sampled_from(WORDS.split())).map(" ".join))
def test_refuses_or_takes_whatever_it_is_given(text: str) -> None:
    """A filter is taken or refused as a mistake; nothing else happens."""
    try:
        Filter.parse(text, FIELDS)
    except UsageError as error:
        assert "(at character " in str(error)  # noqa: PT017 - both ends are fine


def test_strings_cannot_leave_their_quotes() -> None:
    """Quotes and variables inside a string stay inside it in both engines."""
    parsed = Filter.parse("a = ''' or true --${env:HOME}'", FIELDS)
    assert parsed.spark_sql == r"(`a` = '\' or true --\u0024{env:HOME}')"
    assert parsed.duckdb_sql == """("a" = ''' or true --${env:HOME}')"""
