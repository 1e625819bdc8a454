"""The pipeline file: one TOML file per pipeline, read by Airflow, Spark, the command and the report.

DAG files load it at their top, so importing this module must stay cheap.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from headrace.contract.cron import cron_problem
from headrace.contract.filter import Filter
from headrace.contract.formats import of_contract
from headrace.contract.limits import Limits, limits
from headrace.contract.pointing import pointed
from headrace.contract.reading import Table
from headrace.contract.retention import Retention, retention
from headrace.contract.timestamps import microseconds
from headrace.contract.verdicts import FORMATS, Contract, Field, Format
from headrace.errors import PipelineFileError, UsageError
from headrace.kafka.cluster import Topic

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,99}", re.ASCII)
"""A DAG id with room for a suffix, a Python identifier and a folder name."""
_TOPIC = re.compile(r"(?!\.{1,2}$)[a-zA-Z0-9._-]{1,249}", re.ASCII)
"""https://github.com/apache/kafka, class org.apache.kafka.common.internals.Topic."""


@dataclass(frozen=True)
class Demo:
    """What the demo producer makes.

    Attributes:
        records: How many in a batch.
        malformed: Share of records that are broken on purpose, 0 to 1.
        samples: Text: each value is one of these as a JSON string.
        values: JSON: field → choices for its value; a field that is absent gets values of its type.
    """

    records: int
    malformed: float
    samples: tuple[str, ...]
    values: Mapping[str, tuple[Any, ...]]


@dataclass(frozen=True)
class Pipeline:
    """A pipeline file, checked.

    `starting` is `earliest`, `latest` or an RFC 3339 timestamp; `schedule` a cron expression in UTC, or
    `None`: by hand only.
    """

    path: Path
    name: str
    description: str
    format: Format
    fields: tuple[Field, ...]
    filter: Filter
    schedule: str | None
    starting: str
    max_records_per_micro_batch: int
    kept_per_minute: bool
    topics: tuple[Topic, ...]
    limits: Limits
    retention: Retention
    demo: Demo | None

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read a pipeline file. Raises `PipelineFileError` with every mistake in it."""
        path = Path(path)
        file = Table(_toml(path))
        found_format = file.choice("format", {each: each for each in FORMATS})
        fields = _fields(file, found_format)
        values: dict[str, Any] = {
            "name": _name(file, path),
            "description": file.text("description"),
            "format": found_format,
            "fields": fields,
            "filter": _filter(file, fields),
            "schedule": _schedule(file),
            "starting": _starting(file),
            "max_records_per_micro_batch": file.whole("max_records_per_micro_batch", 5_000_000),
            "kept_per_minute": file.boolean("kept_per_minute", default=False),
            "topics": _topics(file),
            "limits": limits(file),
            "retention": retention(file),
            "demo": _demo(file, found_format, fields),
        }
        if values["demo"] is not None and values["starting"] not in {"earliest", None}:
            # The first batch would lie before the moment at which the first stream starts.
            file.mistake(
                "starting",
                values["starting"],
                "'earliest' in a file with [demo]: its first batch is produced before the first stream starts",
            )
        file.refuse_others()
        if file.problems:
            raise PipelineFileError(path, file.problems)
        return cls(path=path, **values)

    @classmethod
    def beside(cls, dag_file: Path | str) -> Self:
        """Read the pipeline file that lies beside a DAG file and differs from it in the suffix only."""
        return cls.load(Path(dag_file).with_suffix(".toml"))

    @property
    def contract(self) -> Contract:
        """By what its records are judged."""
        return Contract(format=self.format, fields=self.fields, filter=self.filter.text)


def _toml(path: Path) -> dict[str, Any]:
    text = ""
    try:
        text = path.read_text(encoding="utf-8")
        return tomllib.loads(text)
    except FileNotFoundError as error:
        raise PipelineFileError(path, ["there is no such file; `headrace new NAME` writes one"]) from error
    except UnicodeDecodeError as error:
        raise PipelineFileError(
            path, [f"it is not UTF-8: byte {error.start + 1} is {error.object[error.start]:#04x}"]
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise PipelineFileError(path, [f"it is not TOML: {_described(text, str(error))}"]) from error


_PLACE = re.compile(r" \(at line (\d+), column (\d+)\)$")
_END = " (at end of document)"
"""How Python's parser ends a message."""
_SECTION_TWICE = re.compile(r"Cannot declare \((.*?),?\) twice")
"""Its name is there as a tuple."""


def _described(text: str, message: str) -> str:
    """What Python's parser of TOML says, with the line and a caret.

    Of a key that is there twice it does not say which.
    """
    lines = [f"{line}\n" for line in text.split("\n")]
    if message.endswith(_END):
        what, at = message.removesuffix(_END), len(text.rstrip())
    elif place := _PLACE.search(message):
        what, at = message[: place.start()], sum(map(len, lines[: int(place[1]) - 1])) + int(place[2]) - 1
    else:
        return message
    # Found at the end of the second value: go back to where its key begins.
    if what == "Cannot overwrite a value":
        number = next(
            number for number in range(text.count("\n", 0, at), -1, -1) if _is_toml("".join(lines[:number]))
        )
        at = sum(map(len, lines[:number]))
        what = f"the key {lines[number].partition('=')[0].strip()} is there twice"
    what = _SECTION_TWICE.sub(
        lambda found: f"the section [{found[1].replace(', ', '.')}] is there twice".replace("'", ""), what
    )
    return f"{what} {pointed(text, at)}"


def _is_toml(text: str) -> bool:
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return False
    return True


def _name(file: Table, path: Path) -> str | None:
    name = file.text("name")
    if name is not None and not _NAME.fullmatch(name):
        file.mistake("name", name, "a letter, then up to 99 letters, digits and _")
    elif name is not None and name != path.stem:
        file.mistake("name", name, f"the name of the file, {path.stem!r}")
    return name


def _filter(file: Table, fields: tuple[Field, ...] | None) -> Filter | None:
    text = file.text("filter")
    if text is None or fields is None:
        return None
    try:
        return Filter.parse(text, fields)
    except UsageError as error:
        file.problems.append(f"filter: {error}")
        return None


def _schedule(file: Table) -> str | None:
    schedule = file.text("schedule", None)
    if schedule is not None and (problem := cron_problem(schedule)):
        file.mistake(
            "schedule",
            schedule,
            f"minute, hour, day, month and weekday in UTC, such as '*/15 * * * *' ({problem})",
        )
    return schedule


def _starting(file: Table) -> str | None:
    starting = file.text("starting", "earliest")
    if starting not in {"earliest", "latest", None} and microseconds(starting) is None:
        file.mistake(
            "starting", starting, "'earliest', 'latest' or a timestamp such as '2026-01-31T00:00:00Z'"
        )
    return starting


WITH_FIELDS: Format = "json"
"""As which a file without a valid format is read, so that its other mistakes are found too."""


def _fields(file: Table, found_format: Format | None) -> tuple[Field, ...] | None:
    """The declared columns; `None` if one is invalid: checks that need them are then skipped."""
    if found_format is None and "fields" not in file.content:
        return None
    return of_contract(found_format or WITH_FIELDS).fields(file)


def _topics(file: Table) -> tuple[Topic, ...]:
    topics: list[Topic] = []
    seen: dict[str, str] = {}
    for table in file.tables("topics"):
        name = table.text("name")
        if name is not None and not _TOPIC.fullmatch(name):
            table.mistake(
                "name", name, "1 to 249 letters, digits, '.', '_' and '-', and neither '.' nor '..'"
            )
        elif name is not None:
            # Kafka takes "." and "_" for the same in the names of its metrics and refuses the second topic.
            other = seen.setdefault(name.replace(".", "_"), name)
            if len(seen) <= len(topics):
                table.mistake("name", name, f"a name that differs from {other!r} in more than '.' and '_'")
        partitions, replication_factor = (
            table.whole("partitions"),
            table.whole("replication_factor", highest=2**15 - 1),
        )
        config = _config(table)
        table.refuse_others()
        topics.append(Topic(name or "", partitions or 1, replication_factor or 1, config))
    return tuple(topics)


def _config(topic: Table) -> dict[str, str]:
    table = topic.table("config")
    if table is None:
        return {}
    config = {}
    for key in table.content:
        if isinstance(table.content[key], dict):
            table.mistake(
                key, table.content[key], f'the setting\'s whole name in quotes, such as "{key}.…" = …'
            )
            continue
        value = table.setting(key)
        if key == "cleanup.policy" and value is not None and "compact" in value:
            table.mistake(key, value, "'delete': compaction removes records, and none may be missing")
        config[key] = value or ""
    return config


def _demo(file: Table, found_format: Format | None, fields: tuple[Field, ...] | None) -> Demo | None:
    table = file.table("demo")
    if table is None:
        return None
    records, malformed = table.whole("records", 1_000), table.share("malformed", 0.0)
    if found_format is None:  # which of them it may have is not known
        table.items("samples", "strings", lambda value: isinstance(value, str))
        table.table("values")
        own: Mapping[str, Any] = {}
    else:
        own = of_contract(found_format).demo(table, fields)
    table.refuse_others()
    return Demo(records or 1, malformed or 0.0, **{"samples": (), "values": {}, **own})
