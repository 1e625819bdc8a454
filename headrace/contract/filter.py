"""The filter of a pipeline: a small, typed part of Spark SQL that means the same in Spark and in DuckDB.

The grammar is the allow-list: what it does not name is refused. Nothing in it can raise on a record.
One parser in one file: each rule of the grammar is a method that calls the next.

    condition   = conjunction {or conjunction}
    conjunction = negation {and negation}
    negation    = [not] predicate
    predicate   = sum [(= | <> | < | <= | > | >=) sum | [not] between sum and sum | [not] in (sum, …)
                | [not] like 'pattern' | is [not] null]
    sum         = product {(+ | -) product}          product = operand {* operand}
    operand     = column | literal | function(condition, …) | (condition)
"""

import difflib
import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, NoReturn, Self

from headrace.contract.pointing import ordinal, pointed
from headrace.contract.terms import (
    FUNCTIONS,
    Term,
    boolean_literal,
    column,
    joined,
    number_literal,
    of_one_kind,
    series,
    text_literal,
    timestamp_literal,
)
from headrace.contract.timestamps import microseconds
from headrace.contract.types import BIGINT, Kind
from headrace.contract.verdicts import Field
from headrace.errors import UsageError

MAX_PARENTHESES = 50
"""Deeper ones could overflow a parser's stack."""


@dataclass(frozen=True)
class Filter:
    """A filter in the user's words and in those of both engines.

    A record is kept if it is true; null means no.
    """

    text: str
    spark_sql: str
    duckdb_sql: str

    @classmethod
    def parse(cls, text: str, fields: Iterable[Field]) -> Self:
        """Raises `UsageError` that names what is not allowed, where it stands, and what is."""
        term = _Parser(text, fields).whole()
        return cls(text, term.spark, term.duckdb)


_WORDS = {"and", "or", "not", "in", "between", "is", "null", "like", "true", "false"}
_COMPARISONS = {"=": "=", "<>": "<>", "!=": "<>", "<": "<", "<=": "<=", ">": ">", ">=": ">="}
_INSTEAD = {
    "==": "write =",
    "<=>": "write = and, where null matters, is null",
    "&&": "write and",
    "||": "write or; strings are not joined in a filter",
    "!": "write not",
    "/": "multiply by the inverse",
    "%": "there is no remainder",
    "::": "declare the field's type instead of casting",
    ".": "fields of nested objects are not reachable; there is nothing of that kind",
    '"': "write strings in single quotes",
    "“": "write strings in single quotes",
    "”": "write strings in single quotes",
    "‘": "write strings in straight quotes, '",
    "’": "write strings in straight quotes, '",
    "=>": "write >=",
    "=<": "write <=",
    ";": "a filter is one condition",
    "cast": "declare the field's type instead of casting",
    "try_cast": "declare the field's type instead of casting",
    "rlike": "use like, contains, startswith or endswith",
    "regexp": "use like, contains, startswith or endswith",
    "ilike": "use lower(…) like '…'",
    "escape": "like has no escape; use contains, startswith or endswith",
    "null": "write … is null",
    "case": "combine conditions with and, or and not",
    "if": "combine conditions with and, or and not",
    "ifnull": "use coalesce",
    "nvl": "use coalesce",
    "isnull": "write … is null",
    "isnotnull": "write … is not null",
    "lcase": "use lower",
    "ucase": "use upper",
    "len": "use length",
    "char_length": "use length",
    "date": "use timestamp '2026-01-31T00:00:00Z'",
    "select": "a filter sees one record; there are no subqueries",
    "exists": "a filter sees one record; there are no subqueries",
}

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<string>'(?:[^']|'')*')
    | (?P<number>(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)
    | (?P<quoted>`[^`]*`)
    | (?P<word>[A-Za-z_][A-Za-z0-9_]*)
    | (?P<symbol><=>|==|=>|=<|<=|>=|<>|!=|&&|\|\||::|/\*|--|.)
    )""",
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    at: int

    @property
    def word(self) -> str:
        """The word or symbol that it is.

        Empty for names in backticks and literals, which are never part of the grammar.
        """
        return self.text.lower() if self.kind in {"word", "symbol"} else ""


class _Operand(NamedTuple):
    """A part of a filter, and where it begins."""

    term: Term
    start: _Token


class _Parser:
    """Recursive descent that translates as it goes."""

    def __init__(self, text: str, fields: Iterable[Field]) -> None:
        self.text = text
        self.fields = {field.name: field for field in fields}
        self.tokens = [
            _Token(str(match.lastgroup), match[str(match.lastgroup)], match.start(str(match.lastgroup)))
            for match in _TOKEN.finditer(text.rstrip())
        ]
        self.tokens.append(_Token("end", "the end", len(text)))
        self.next = 0
        self.depth = 0

    @property
    def token(self) -> _Token:
        return self.tokens[self.next]

    def refuse(self, message: str, token: _Token | None = None) -> NoReturn:
        raise UsageError(f"{message} {pointed(self.text, (token or self.token).at)}")

    def refuse_token(self, hint: str | None = None) -> NoReturn:
        found = self.token
        if found.kind == "end":
            self.refuse(f"the filter ends too early{f': {hint}' if hint else ''}")
        if found.kind == "symbol" and found.text == "'":
            self.refuse("a string has no end; write '' for a quote inside it")
        hint = _INSTEAD.get(found.word) or hint
        self.refuse(f"{found.text} is not allowed here{f': {hint}' if hint else ''}")

    def take(self, *words: str) -> str | None:
        """Step over the token if it is one of the words or symbols."""
        word = self.token.word
        if word not in words:
            return None
        self.next += 1
        return word

    def need(self, word: str) -> None:
        if self.take(word) is None:
            self.refuse(f"expected {word}, found {self.token.text}")

    def whole(self) -> Term:
        term = self.condition()
        if self.token.kind != "end":
            self.refuse_token(self.why_not_the_end(term))
        if term.kind != Kind.BOOLEAN:
            self.refuse(
                f"the filter is {term.kind.described}; it must be a condition, such as value = 'x'",
                self.tokens[0],
            )
        return term

    def why_not_the_end(self, term: Term) -> str | None:
        """What may be amiss where a filter goes on behind a whole term."""
        before, found, after = (
            self.tokens[self.next - 1],
            self.token,
            self.tokens[min(self.next + 1, len(self.tokens) - 1)],
        )
        if found.word in FUNCTIONS:
            return f"write {found.word}(…, …)"
        if found.text == ")":
            return "no ( belongs to it"
        if found.text == "," and before.kind == after.kind == "number":
            return "write decimals with a point"
        if found.kind != "symbol" and term.kind == Kind.BOOLEAN and found.at > before.at + len(before.text):
            return "nothing joins it to what is before it; write and, or or, between the two"
        return None

    def condition(self) -> Term:
        return self.chain("or", self.conjunction)

    def conjunction(self) -> Term:
        return self.chain("and", self.negation)

    def chain(self, word: str, part: Callable[[], Term]) -> Term:
        operands = [self.placed(part)]
        while self.take(word):
            operands.append(self.placed(part))
        terms = [operand.term for operand in operands]
        if len(terms) == 1:
            return terms[0]
        self.must_be(Kind.BOOLEAN, operands, word)
        return joined(Kind.BOOLEAN, "({0})", series(terms, f" {word} "))

    def placed(self, part: Callable[[], Term]) -> _Operand:
        """A part, and where it begins."""
        start = self.token
        return _Operand(part(), start)

    def negation(self) -> Term:
        if not self.take("not"):
            return self.predicate()
        if self.token.word == "not":
            self.refuse("not not is not allowed: leave both out")
        operand = self.placed(self.predicate)
        self.must_be(Kind.BOOLEAN, [operand], "not")
        return joined(Kind.BOOLEAN, "(not {0})", operand.term)

    def predicate(self) -> Term:
        left = self.placed(self.sum)
        term = self.comparison(left) or self.test(left)
        if term and (
            self.token.text in _COMPARISONS or self.token.word in {"is", "in", "like", "between", "not"}
        ):
            self.refuse(f"{self.token.text} after another comparison: put parentheses around the first")
        return term or left.term

    def comparison(self, operand: _Operand) -> Term | None:
        symbol = self.take(*_COMPARISONS)
        if symbol is None:
            return None
        left, right = self.alike([operand, self.placed(self.sum)], symbol)
        return joined(Kind.BOOLEAN, f"({{0}} {_COMPARISONS[symbol]} {{1}})", left, right)

    def test(self, operand: _Operand) -> Term | None:
        if self.take("is"):
            negated = "not " if self.take("not") else ""
            if not self.take("null"):
                self.refuse(f"is {negated}{self.token.text} is not allowed: only is null and is not null")
            return joined(Kind.BOOLEAN, f"({{0}} is {negated}null)", operand.term)
        negated = "not " if self.take("not") else ""
        match self.take("between", "in", "like"):
            case "between":
                low = self.placed(self.sum)
                self.need("and")
                terms = self.alike([operand, low, self.placed(self.sum)], "between")
                return joined(Kind.BOOLEAN, f"({{0}} {negated}between {{1}} and {{2}})", *terms)
            case "in":
                self.need("(")
                listed = self.listed(self.sum)
                if not listed:
                    self.refuse("in needs at least one value", operand.start)
                left, *others = self.alike([operand, *listed], "in")
                return joined(Kind.BOOLEAN, f"({{0}} {negated}in ({{1}}))", left, series(others, ", "))
            case "like":
                self.must_be(Kind.STRING, [operand], "like")
                if self.token.text in {"'", "“", "‘"}:
                    self.refuse_token()
                if self.token.kind != "string":
                    self.refuse(
                        "like needs a pattern in quotes; to compare with a column use contains, startswith or endswith"
                    )
                return joined(Kind.BOOLEAN, f"({{0}} {negated}like {{1}})", operand.term, self.literal())
        if negated:
            self.refuse_token()
        return None

    def sum(self) -> Term:
        return self.arithmetic(("+", "-"), self.product)

    def product(self) -> Term:
        return self.arithmetic(("*",), self.operand)

    def arithmetic(self, symbols: Sequence[str], part: Callable[[], Term]) -> Term:
        left = self.placed(part)
        while symbol := self.take(*symbols):
            terms = []
            for operand in (left, self.placed(part)):
                term = (
                    number_literal(float(operand.term.number))
                    if operand.term.number is not None
                    else operand.term
                )
                if term.kind != Kind.DOUBLE:
                    self.refuse(
                        f"{symbol} is allowed between doubles only, since integers can overflow; found {term.kind.described}",
                        operand.start,
                    )
                terms.append(term)
            left = _Operand(joined(Kind.DOUBLE, f"({{0}} {symbol} {{1}})", *terms), left.start)
        return left.term

    def operand(self) -> Term:
        token = self.token
        if token.kind in {"string", "number"} or token.word in {"-", "true", "false"}:
            return self.literal()
        if token.word == "timestamp" and self.tokens[self.next + 1].kind == "string":
            return self.literal()
        if token.word == "(":
            return self.nested(self.parenthesis)
        if token.kind == "word" and self.tokens[self.next + 1].word == "(":
            return self.nested(self.function)
        if token.kind == "quoted" or (token.kind == "word" and token.word not in _WORDS):
            return self.column()
        return self.refuse_token()

    def nested(self, part: Callable[[], Term]) -> Term:
        self.depth += 1
        if self.depth > MAX_PARENTHESES:
            self.refuse(f"more than {MAX_PARENTHESES} parentheses inside each other")
        term = part()
        self.depth -= 1
        return term

    def parenthesis(self) -> Term:
        self.next += 1
        term = self.condition()
        self.close()
        return term

    def close(self) -> None:
        if not self.take(")"):
            self.refuse_token("a ) is missing" if self.token.kind == "end" else None)

    def listed(self, part: Callable[[], Term]) -> list[_Operand]:
        """Operands up to the closing parenthesis."""
        operands = []
        if self.token.word != ")":
            operands.append(self.placed(part))
            while self.take(","):
                operands.append(self.placed(part))
        self.close()
        return operands

    def function(self) -> Term:
        start = self.token
        name = start.word
        function = FUNCTIONS.get(name)
        if function is None:
            hint = _INSTEAD.get(name) or nearest(name, FUNCTIONS) or f"there are {', '.join(FUNCTIONS)}"
            self.refuse(f"{start.text}() is not allowed: {hint}")
        self.next += 2
        operands = self.listed(self.condition)
        arguments: Sequence[Term] = [operand.term for operand in operands]
        if len(arguments) != function.arguments and not (arguments and function.arguments is None):
            self.refuse(
                f"{name} takes {function.arguments or 'some'} argument{'' if function.arguments == 1 else 's'}",
                start,
            )
        if function.takes is None:
            arguments = [series(self.alike(operands, name), ", ")]
        else:
            self.must_be(function.takes, operands, name)
        return joined(function.gives or arguments[0].kind, function.spark, *arguments, duckdb=function.duckdb)

    def column(self) -> Term:
        name = self.token.text.strip("`")
        field = self.fields.get(name)
        if field is None:
            if name.startswith("_"):
                self.refuse(
                    f"{name} is not a field: a filter sees what is in the value, not Kafka's own columns"
                )
            hint = (
                nearest(name, self.fields)
                or f"there are {', '.join(self.fields)}; a string needs quotes, '{name}'"
            )
            self.refuse(f"{name} is not a field: {_INSTEAD.get(self.token.word) or hint}")
        self.next += 1
        return column(field)

    def literal(self) -> Term:
        token = self.token
        self.next += 1
        if token.kind == "string":
            return text_literal(self.unquoted(token))
        if token.word in {"true", "false"}:
            return boolean_literal(token.word)
        if token.word == "timestamp":
            text = self.unquoted(self.token)
            moment = microseconds(text)
            if moment is None:
                self.refuse(
                    f"'{text}' is not a timestamp: write it like '2026-01-31T23:59:59Z', with an offset and at most 6 fraction digits"
                )
            self.next += 1
            return timestamp_literal(moment)
        if token.word == "-":
            if self.token.kind != "number":
                self.refuse("- is allowed between doubles and in front of a number; write 0 - …")
            self.next += 1
            return self.number(f"-{self.tokens[self.next - 1].text}", token)
        return self.number(token.text, token)

    def unquoted(self, token: _Token) -> str:
        text = token.text[1:-1].replace("''", "'")
        if "\\" in text or "\0" in text:
            self.refuse(
                "a string may not hold a backslash or a NUL: the engines read them differently", token
            )
        return text

    def number(self, text: str, token: _Token) -> Term:
        if text.lstrip("-").isdecimal():
            low, high = BIGINT.lowest, BIGINT.highest
            if len(text) > len(str(low)) or not low <= int(text) <= high:
                self.refuse(f"{text} is beyond a bigint; write {text}.0 for a double", token)
            return number_literal(int(text))
        number = float(text) + 0.0
        if not math.isfinite(number):
            self.refuse(f"{text} is beyond a double", token)
        return number_literal(number)

    def must_be(self, kind: Kind, operands: Sequence[_Operand], what: str) -> None:
        for number, (term, start) in enumerate(operands, start=1):
            if term.kind != kind:
                which = f" as the {ordinal(number)} operand" if len(operands) > 1 else ""
                self.refuse(f"{what} needs {kind.described}, found {term.kind.described}{which}", start)

    def alike(self, operands: Sequence[_Operand], what: str) -> Sequence[Term]:
        terms = [operand.term for operand in operands]
        found = of_one_kind(terms)
        if found is None:
            number = next(
                number for number in range(2, len(terms) + 1) if of_one_kind(terms[:number]) is None
            )
            kinds = " and ".join(dict.fromkeys(term.kind.described for term in terms))
            before, last = self.tokens[self.next - 2 : self.next]
            is_moment = (
                Kind.TIMESTAMP in {term.kind for term in terms}
                and last.kind == "string"
                and before.word != "timestamp"
            )
            hint = f"; write timestamp {last.text} for a moment" if is_moment else ""
            which = f": the {ordinal(number)} differs" if not hint else ""
            self.refuse(
                f"{what} needs operands of one type, found {kinds}{which}{hint}", operands[number - 1].start
            )
        return found


def nearest(word: str, known: Iterable[str]) -> str | None:
    """A question that names the known word nearest to a mistyped one, or `None` if there is none."""
    known = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower(), known, n=1)
    return f"did you mean {known[close[0]]}?" if close else None
