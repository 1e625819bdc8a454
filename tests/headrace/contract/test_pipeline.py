"""Pipeline files: what they hold, and all their mistakes at once."""

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from headrace import documents
from headrace.contract import types
from headrace.contract.pipeline import Pipeline
from headrace.contract.retention import Retention
from headrace.contract.verdicts import Contract, Field
from headrace.errors import PipelineFileError
from headrace.formats.text.contract import FIELDS as TEXT_FIELDS
from headrace.kafka.cluster import Topic
from headrace.settings import ROOT
from headrace.text import in_lines

TEXT = """
name = "p"
description = "Keeps what is important."
format = "text"
filter = "contains(value, 'important')"

[[topics]]
name = "t"
partitions = 3
replication_factor = 1
"""

JSON = """
name = "p"
description = "Keeps what is large."
format = "json"
filter = "amount > 1"

[[topics]]
name = "t"
partitions = 3
replication_factor = 1

[fields]
amount = "double"
at = { type = "timestamp", required = false }
"""


def load(tmp_path: Path, text: str) -> Pipeline:
    """Load a file of that text."""
    path = tmp_path / "p.toml"
    path.write_text(text)
    return Pipeline.load(path)


def problems(tmp_path: Path, text: str) -> list[str]:
    """The mistakes in a file of that text."""
    with pytest.raises(PipelineFileError) as caught:
        load(tmp_path, text)
    return caught.value.problems


@pytest.mark.parametrize("path", sorted((ROOT / "dags").glob("*.toml")), ids=lambda path: path.stem)
def test_the_pipelines_that_ship_are_right(path: Path) -> None:
    """What is in `dags` loads."""
    assert Pipeline.load(path).name == path.stem


def test_what_is_left_out_has_a_default(tmp_path: Path) -> None:
    """By hand only, from the earliest record, without a demo."""
    pipeline = load(tmp_path, TEXT)
    assert pipeline.schedule is None
    assert (pipeline.starting, pipeline.max_records_per_micro_batch, pipeline.demo) == (
        "earliest",
        5_000_000,
        None,
    )
    assert pipeline.fields == TEXT_FIELDS
    assert pipeline.topics == (Topic("t", 3, 1, {}),)
    assert str(pipeline.retention) == "reports 30 days, receipts 30 days"


def test_retention(tmp_path: Path) -> None:
    """Durations, of which each may be left out."""
    assert load(tmp_path, f"{TEXT}[retention]\nreports = '1 hour'").retention == Retention(reports=3600.0)
    assert load(tmp_path, f"{TEXT}[retention]\nreceipts = '1.5 days'").retention == Retention(
        receipts=129_600.0
    )


def test_beside(tmp_path: Path) -> None:
    """A DAG file finds the pipeline file beside it."""
    load(tmp_path, TEXT)
    assert Pipeline.beside(str(tmp_path / "p.py")).name == "p"


def test_fields_may_be_called_what_our_columns_are_called(tmp_path: Path) -> None:
    """A field called reason, verdict or value is a field like any other."""
    pipeline = load(
        tmp_path,
        JSON + 'reason = "string"\nverdict = "string"\nvalue = "int"\ntopic = "string"\nblock = "int"',
    )
    assert [field.name for field in pipeline.fields] == [
        "amount",
        "at",
        "reason",
        "verdict",
        "value",
        "topic",
        "block",
    ]


def test_fields(tmp_path: Path) -> None:
    """Fields keep their order; the long form makes one optional."""
    assert load(tmp_path, JSON).fields == (
        Field("amount", types.DOUBLE),
        Field("at", types.TIMESTAMP, required=False),
    )


def test_demo(tmp_path: Path) -> None:
    """Choices for values are kept by field."""
    demo = load(
        tmp_path,
        JSON + "[demo]\nmalformed = 0.1\n[demo.values]\namount = [1, 2.5]\nat = ['2026-01-31T00:00:00Z']",
    ).demo
    assert demo is not None
    assert (demo.records, demo.malformed, demo.samples) == (1_000, 0.1, ())
    assert demo.values == {"amount": (1, 2.5), "at": ("2026-01-31T00:00:00Z",)}


def test_topic_settings_are_text(tmp_path: Path) -> None:
    """Numbers and booleans become what Kafka calls them."""
    text = (
        TEXT
        + 'config = { "retention.ms" = 1000, "unclean.leader.election.enable" = false, "cleanup.policy" = "delete" }'
    )
    config = {"retention.ms": "1000", "unclean.leader.election.enable": "false", "cleanup.policy": "delete"}
    assert load(tmp_path, text).topics[0].config == config


def test_a_contract_survives_json(tmp_path: Path) -> None:
    """The contract is kept in entries, so it comes back the same."""
    contract = load(tmp_path, JSON).contract
    assert (
        msgspec.json.decode(documents.encode(contract), type=Contract, dec_hook=documents.decode_other)
        == contract
    )
    assert contract.format == "json"
    assert contract.columns == {"amount": types.DOUBLE, "at": types.TIMESTAMP}
    assert contract.described == "json (amount double, at timestamp (optional))"


MISTAKES = {
    ('name = "p"', 'name = "q"'): "name: found 'q'; expected the name of the file, 'p'",
    ('name = "p"', 'name = "1-p"'): "name: found '1-p'; expected a letter, then",
    ('name = "p"', ""): "name: is missing; expected a string that is not blank",
    ('name = "p"', 'nmae = "p"'): "nmae: there is no such key; did you mean name?",
    ('name = "p"', 'name = "p"\nstart = "latest"'): "start: there is no such key; did you mean starting?",
    (
        'format = "json"',
        'format = "jsonl"',
    ): "format: found 'jsonl'; expected one of text, json; did you mean json?",
    ('format = "json"', "format = 5"): "format: found 5; expected one of text, json",
    (
        'format = "json"',
        'format = "text"',
    ): "fields: found a table; expected none: a text record has the one column `value`",
    ("amount > 1", "amuont > 1"): "filter: amuont is not a field: did you mean amount? (at character 1)",
    ('filter = "amount > 1"', "filter = true"): "filter: found true; expected a string that is not blank",
    (
        'name = "p"',
        'name = "p"\nschedule = "hourly"',
    ): "schedule: found 'hourly'; expected minute, hour, day, month and weekday in UTC",
    (
        'name = "p"',
        'name = "p"\nstarting = "yesterday"',
    ): "starting: found 'yesterday'; expected 'earliest', 'latest' or a timestamp",
    ('name = "p"', 'name = "p"\nstarting = 2026-01-31T00:00:00Z'): "starting: found datetime.datetime(2026",
    (
        'name = "p"',
        'name = "p"\nmax_records_per_micro_batch = 0',
    ): "max_records_per_micro_batch: found 0; expected a whole number from 1",
    ('name = "t"', 'name = "t t"'): "the 1st topic's name: found 't t'; expected 1 to 249 letters",
    ('name = "t"', 'name = ".."'): "the 1st topic's name: found '..'; expected 1 to 249 letters",
    ('name = "t"', f'name = "{"t" * 250}"'): "expected 1 to 249 letters",
    (
        "partitions = 3",
        "partitions = 0",
    ): "the 1st topic's partitions: found 0; expected a whole number from 1",
    (
        "partitions = 3",
        "partitions = true",
    ): "the 1st topic's partitions: found true; expected a whole number from 1",
    ("partitions = 3", ""): "the 1st topic's partitions: is missing; expected a whole number from 1",
    (
        "partitions = 3",
        "partition = 3",
    ): "the 1st topic's partition: there is no such key; did you mean partitions?",
    (
        "partitions = 3",
        'partitions = 3\nconfig = { "cleanup.policy" = "compact,delete" }',
    ): "config.cleanup.policy: found 'compact,delete'",
    (
        "partitions = 3",
        "partitions = 3\nconfig = { retention.ms = 5 }",
    ): "config.retention: found a table; expected the setting's whole name",
    (
        "[fields]",
        '[[topics]]\nname = "t"\npartitions = 1\nreplication_factor = 1\n[fields]',
    ): "the 2nd topic's name: found 't'; expected a name that",
    ("[[topics]]", "[topics]"): "topics: found a table; expected one or more sections [[topics]]",
    (
        'amount = "double"',
        'amount = "float"',
    ): "fields.amount: found 'float'; expected one of string, int, bigint, double,",
    (
        'amount = "double"',
        'amount = "double"\namounT = "int"',
    ): "fields.amounT: found 'amounT'; expected a name that differs from",
    (
        'amount = "double"',
        'amount = "double"\n_topic = "string"',
    ): "fields._topic: found '_topic'; expected a name: a letter",
    ('amount = "double"', 'amount = "double"\nmicro_batch = "int"'): "other than 'micro_batch'",
    ('amount = "double"', 'amount = "double"\n"a-b" = "int"'): "fields.a-b: found 'a-b'; expected a name",
    (
        "required = false",
        "requird = false",
    ): "fields.at.requird: there is no such key; did you mean required?",
    ("required = false", "required = 0"): "fields.at.required: found 0; expected true or false",
    (
        'amount = "double"\nat = { type = "timestamp", required = false }',
        "",
    ): "fields: found a table; expected at least one field",
    ("[fields]", "[demo]\nrecords = 0\n[fields]"): "demo.records: found 0; expected a whole number from 1",
    ("[fields]", "[demo]\nmalformed = 2\n[fields]"): "demo.malformed: found 2; expected a number from 0 to 1",
    (
        "[fields]",
        "[demo]\nmalformed = nan\n[fields]",
    ): "demo.malformed: found nan; expected a number from 0 to 1",
    ("[fields]", "[demo]\nsamples = ['x']\n[fields]"): "demo.samples: found a list; expected none",
    (
        "[fields]",
        "[demo.values]\namount = ['x']\n[fields]",
    ): "demo.values.amount: found 'x'; expected a list of values of type double",
    (
        "[fields]",
        "[demo.values]\namount = []\n[fields]",
    ): "demo.values.amount: found an empty list; expected a list that is not empty",
    (
        "[fields]",
        "[demo.values]\nat = ['now']\n[fields]",
    ): "demo.values.at: found 'now'; expected a list of values of type timestamp",
    (
        "[fields]",
        "[retention]\nreports = 30\n[fields]",
    ): "retention.reports: found 30; expected a string that is not blank",
    (
        "[fields]",
        "[retention]\nreports = '0 days'\n[fields]",
    ): "retention.reports: found '0 days'; expected a number and a unit, such as",
    (
        "[fields]",
        "[retention]\nreceipt = '9 days'\n[fields]",
    ): "retention.receipt: there is no such key; did you mean receipts?",
    (
        "[fields]",
        "[demo.values]\namuont = [1]\n[fields]",
    ): "demo.values.amuont: there is no such key; did you mean amount?",
}


@pytest.mark.parametrize(("change", "expected"), MISTAKES.items(), ids=range(len(MISTAKES)))
def test_a_mistake_says_key_found_and_expected(
    tmp_path: Path, change: tuple[str, str], expected: str
) -> None:
    """Each mistake names the key, what stands there and what should."""
    assert change[0] in JSON
    assert expected in "\n".join(problems(tmp_path, JSON.replace(*change, 1)))


def test_all_mistakes_come_at_once(tmp_path: Path) -> None:
    """Whoever corrects a file sees everything that is wrong with it."""
    text = (
        TEXT.replace('"t"', '"t/"')
        .replace("partitions = 3", "partitions = -1")
        .replace("contains", "contians")
        + "[demo]\nrecord = 5"
    )
    found = problems(tmp_path, text)
    assert [problem.split(":")[0] for problem in found] == [
        "filter",
        "the 1st topic's name",
        "the 1st topic's partitions",
        "demo.record",
    ]


def test_a_file_of_an_unknown_format_is_not_judged_as_one_of_another(tmp_path: Path) -> None:
    """What belongs to which format is not known: that there is no such format is the one mistake."""
    text = TEXT.replace('"text"', '"txt"') + "[demo]\nsamples = ['important']\n[demo.values]\n"
    assert [problem.split(":")[0] for problem in problems(tmp_path, text)] == ["format"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("name = ", ["it is not TOML: Invalid value (at character 7)", "    name = ", "          ^"]),
        (
            "x = 1\nname 'p'\n",
            [
                "Expected '=' after a key in a key/value pair (at character 6 of line 2)",
                "    name 'p'",
                "         ^",
            ],
        ),
        ("x = 1\nx = 2", ["the key x is there twice (at character 1 of line 2)", "    x = 2", "    ^"]),
        (
            "a = '''\nx = 1\n'''\nx = 1\nx = [\n  2,\n]\n",
            ["the key x is there twice (at character 1 of line 5)", "    x = [", "    ^"],
        ),
        (
            "[x.y]\n[x.y]\n",
            ["the section [x.y] is there twice (at character 5 of line 2)", "    [x.y]", "        ^"],
        ),
    ],
)
def test_not_toml(tmp_path: Path, text: str, shown: list[str]) -> None:
    """A file that can't be parsed shows the line, with a caret at the parser's stop or at the doubled key."""
    (problem,) = problems(tmp_path, text)
    first, *rest = problem.splitlines()
    assert first.endswith(shown[0])
    assert [line.rstrip() for line in rest] == [line.rstrip() for line in shown[1:]]


def test_the_place_of_a_mistake_in_a_filter_is_shown(tmp_path: Path) -> None:
    """The filter's line and a caret, also in the lines of a task's log."""
    text = JSON.replace('"amount > 1"', '"""\n  amount > 1\n  and amuont < 5"""')
    with pytest.raises(PipelineFileError) as caught:
        load(tmp_path, text)
    shown = in_lines(str(caught.value)).splitlines()
    assert shown[-3].endswith("did you mean amount? (at character 7 of line 2)")
    assert shown[-2].index("amuont") == shown[-1].index("^")


def test_no_file_and_no_text(tmp_path: Path) -> None:
    """An absent file and one in another encoding are mistakes like others."""
    with pytest.raises(PipelineFileError, match="there is no such file"):
        Pipeline.load(tmp_path / "absent.toml")
    (tmp_path / "p.toml").write_bytes(b"name = '\xe9'")
    with pytest.raises(PipelineFileError, match="not UTF-8: byte 9 is 0xe9"):
        Pipeline.load(tmp_path / "p.toml")


def test_loading_is_cheap() -> None:
    """DAG files load a pipeline at their top, so nothing heavy comes with it."""
    code = "import sys; from headrace.contract.pipeline import Pipeline; Pipeline.load('dags/shop_orders.toml'); print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout.split()
    assert not {"airflow", "pyspark", "duckdb", "pyarrow", "croniter"} & set(loaded)
