"""Rules that hold for the whole tree."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from string import Template

import msgspec
import pyarrow as pa
import pytest
import yaml

from headrace import __version__, schemas
from headrace.contract import formats, types
from headrace.contract.verdicts import FORMATS, Field
from headrace.formats.json import reference as json_reference
from headrace.formats.json import spark as json_spark
from headrace.formats.json.contract import MAX_KEY_LENGTH, MAX_NESTING
from headrace.formats.json.decoder import Decoder, Limits
from headrace.local import compose
from headrace.local.embedded import airflow
from headrace.settings import ROOT, Settings
from headrace.verify.invariants import INVARIANTS

SOURCES = [
    path
    for folder in ("dags", "headrace", "producers", "spark_apps")
    for path in sorted((ROOT / folder).rglob("*.py"))
]
MAY_IMPORT = {
    "airflow": ("dags/", "headrace/airflow/"),
    "pyspark": ("spark_apps/", "headrace/formats/"),
    "confluent_kafka": ("producers/", "headrace/kafka/"),
    "kafka": ("headrace/kafka/protocol.py",),
}
HEAVY = {
    "pyspark",
    "orjson",
    "duckdb",
    "pyarrow",
    "pandas",
    "confluent_kafka",
    "kafka",
    "jinja2",
    "rich",
    "supervisor",
}


def imported(path: Path) -> Iterator[str]:
    """Top-level names of all modules a file imports, wherever it does."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


@pytest.mark.parametrize("library", MAY_IMPORT)
def test_walls(library: str) -> None:
    """Airflow, PySpark and the Kafka clients are imported only where they belong."""
    found = {
        str(path.relative_to(ROOT))
        for path in SOURCES
        for module in imported(path)
        if module.split(".")[0] == library
    }
    assert [path for path in found if not path.startswith(MAY_IMPORT[library])] == []
    assert [
        path for path in found if path.startswith("headrace/formats/") and not path.endswith("/spark.py")
    ] == []
    assert found


LAYERS = ("kafka", "contract", "formats", "ledger", "verify", "report")
"""Folders of `headrace`, from the ground up; each knows those before it. Above them are the modules and
folders that use them all."""
GROUND = ("errors", "settings", "documents", "durations", "text", "terminal", "progress", "diagnosis")
"""Modules that every layer may use."""


MAX_LINES = 300
"""Of a file without a reason for more in its docstring: `in one file`, or `in this file`."""


def test_long_files_say_why() -> None:
    """A file has one subject; where that is a long one, the docstring says why it is not divided."""
    long = [path for path in SOURCES if len(path.read_text().splitlines()) > MAX_LINES]
    why = re.compile(r"\bin\s+(one|this)\s+file\b")
    assert [
        str(path) for path in long if not why.search(ast.get_docstring(ast.parse(path.read_text())) or "")
    ] == []


def test_no_import_leads_back() -> None:
    """Any module can be imported first."""
    names = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for path in SOURCES
    }
    needs = {name: set(at_the_top(path)) & names.keys() - {name} for name, path in names.items()}
    while free := [name for name, others in needs.items() if not others & needs.keys()]:
        for name in free:
            del needs[name]
    assert needs == {}


def at_the_top(path: Path) -> Iterator[str]:
    """What a file imports when it is imported; what it takes from a package may be a module, too."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("layer", LAYERS)
def test_no_module_imports_from_a_layer_above_it(layer: str) -> None:
    """What is below can be read, tested and changed without what is above."""
    allowed = {f"headrace.{each}" for each in (*LAYERS[: LAYERS.index(layer) + 1], *GROUND)}
    for path in (path for path in SOURCES if path.relative_to(ROOT).parts[:2] == ("headrace", layer)):
        above = {
            module
            for module in imported(path)
            if module.startswith("headrace.") and ".".join(module.split(".")[:2]) not in allowed
        }
        assert not above, path


def test_the_ground_knows_nothing_above_it() -> None:
    """But for offsets, which documents hold."""
    for name in GROUND:
        found = {
            module for module in imported(ROOT / "headrace" / f"{name}.py") if module.startswith("headrace.")
        }
        assert found <= {"headrace.kafka.offsets", *(f"headrace.{each}" for each in GROUND)}, name


def test_the_verifier_judges_by_other_code_than_spark() -> None:
    """What judges again imports nothing from the Spark apps, and they nothing from it.

    Both know the contract's words and its filter.
    """
    for path in SOURCES:
        where = path.relative_to(ROOT).parts
        for module in imported(path):
            assert not (where[:2] == ("headrace", "verify") and module.startswith("spark_apps")), path
            assert not (where[0] == "spark_apps" and module.startswith("headrace.verify")), path
    both = [
        {module for name in names for module in imported(ROOT / name) if module.startswith("headrace")}
        for names in (
            ("spark_apps/judge.py", *_of_formats("spark")),
            ("headrace/verify/judge.py", "headrace/formats/decoding.py", *_of_formats("reference")),
        )
    ]
    words = {
        "headrace.contract.filter",
        "headrace.contract.formats",
        "headrace.contract.types",
        "headrace.contract.verdicts",
    }
    assert both[0] & both[1] <= words | {f"headrace.formats.{name}.contract" for name in FORMATS}


@pytest.mark.parametrize("name", FORMATS)
def test_the_engines_share_no_parser(name: str) -> None:
    """Of a format's modules both sides use its contract alone, and neither has a parser of the other's."""
    spark, reference = (_reached(name, part) for part in ("spark", "reference"))
    own = f"headrace.formats.{name}."
    assert {each for each in spark & reference if each.startswith(own)} <= {f"{own}contract"}
    assert not spark & {"json", "orjson", "pyarrow.json", "duckdb"}
    assert not reference & {"msgspec", "pyspark"}


def _reached(name: str, part: str) -> set[str]:
    """What a part of a format imports, and what its format's modules import that it imports."""
    own = f"headrace.formats.{name}"
    found: set[str] = set()
    left = [part]
    while left:
        path = ROOT / "headrace" / "formats" / name / f"{left.pop()}.py"
        modules = set(imported(path)) | {
            f"{own}.{alias.name}"
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.ImportFrom) and node.module == own
            for alias in node.names
        }
        left += [each.removeprefix(f"{own}.") for each in modules - found if each.startswith(f"{own}.")]
        found |= modules
    return found


def _of_formats(part: str) -> list[str]:
    return [f"headrace/formats/{name}/{part}.py" for name in FORMATS]


def test_a_format_is_a_folder_with_all_parts() -> None:
    """What `Format` names is there whole, and nothing else is.

    A side knows its own format's contract and no other part.
    """
    folders = {
        path.name
        for path in (ROOT / "headrace" / "formats").iterdir()
        if path.is_dir() and path.name != "__pycache__"
    }
    assert folders == set(FORMATS)
    parts = {
        "contract": formats.OfContract,
        "spark": formats.OfSpark,
        "reference": formats.OfReference,
        "samples": formats.OfSamples,
    }
    for name in FORMATS:
        for part, protocol in parts.items():
            module = import_module(f"headrace.formats.{name}.{part}")
            wanted = [
                each for each in (*protocol.__annotations__, *vars(protocol)) if not each.startswith("_")
            ]
            assert [each for each in wanted if not hasattr(module, each)] == [], (name, part)
            others = {
                other
                for other in imported(ROOT / "headrace" / "formats" / name / f"{part}.py")
                if other.startswith("headrace.formats.")
            }
            own = f"headrace.formats.{name}"
            assert not others & {f"{own}.{each}" for each in parts.keys() - {"contract", part}}, (name, part)
            shared = {"headrace.formats.decoding"} if part == "reference" else set()
            assert {each for each in others - shared if not each.startswith(own)} == set(), (name, part)


@pytest.mark.parametrize("kind", types.TYPES.values(), ids=str)
def test_every_type_is_known_to_both_engines(kind: types.Type) -> None:
    """And to what makes up values, reads the pipeline file, and keeps columns."""
    assert types.Type.from_json(kind.to_json()) == kind
    assert kind.takes(kind.sample_value(7))
    assert kind.arrow is not None
    one = Field("x", kind, required=True)
    value = msgspec.json.encode({"x": kind.sample_value(7)})
    decode = Decoder([json_spark.member(one)], Limits(MAX_NESTING, MAX_KEY_LENGTH))
    (spark,) = decode(pa.array([value])).to_pylist()
    assert spark["x"] is not None
    (column,), left = json_reference.quick((one,))([value])
    assert (column.to_pylist(), left) == ([spark["x"]], set())
    assert json_reference.reader((one,), None)(value) != (None,)


def test_advice_is_prose() -> None:
    """No name of the code has slipped in, as by renaming it everywhere."""
    texts = [text for each in INVARIANTS for text in (each.advice.means, each.advice.do)]
    bare = [re.sub(r"`[^`]*`|{[a-z_]+}", "", text) for text in texts]
    names = {"stream_to_parquet"}  # of tasks, as the UI shows them
    assert {name for text in bare for name in re.findall(r"\w+_\w+", text)} <= names


@pytest.mark.parametrize(
    "dag",
    [ROOT / "dags" / f"{name}.py" for name in ("important_messages", "shop_orders")],
    ids=lambda path: path.stem,
)
def test_a_dag_file_wires_what_a_new_one_would(dag: Path) -> None:
    """Below its manual a shipped DAG file is what `headrace new` writes: they are alike on purpose."""
    template = Template((ROOT / "headrace" / "scaffold" / "pipeline.py.template").read_text())
    written = template.substitute(name=dag.stem, title=dag.stem, topic=dag.stem)
    assert dag.read_text().split('"""', 2)[2] == written.split('"""', 2)[2]


def test_dag_files_import_nothing_heavy() -> None:
    """What is imported at the top of a DAG file costs every task.

    The operator's own imports are there in any case.
    """
    dags = [str(path) for path in sorted((ROOT / "dags").glob("*.py"))]
    code = f"""
import runpy, sys
import airflow.sdk
from airflow.providers.apache.spark.operators.spark_submit import SparkSubmitOperator
for dag in {dags!r}:
    before = set(sys.modules)
    runpy.run_path(dag)
    if heavy := {HEAVY!r} & (set(sys.modules) - before):
        print(dag, *heavy)
print("headrace.airflow.tasks" in sys.modules)
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert said.stdout.split() == ["True"]


def test_the_lock_holds_names_versions_and_hashes_only() -> None:
    """No address stands in a lock: whoever installs knows where the registry is."""
    for lock in (*ROOT.glob("requirements*.lock"), *ROOT.glob("docker/*.lock")):
        text = lock.read_text()
        assert not re.search(r"https?://|--index|--find-links", text), lock
        assert all("==" in line for line in text.splitlines() if line and not line.startswith((" ", "#"))), (
            lock
        )


def test_pyspark_and_its_client_are_the_same_version() -> None:
    """Both write the same files; only the same version makes them the same."""
    pins = dict(
        re.findall(
            r"^(pyspark(?:-client)?)==([\d.]+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE
        )
    )
    assert pins["pyspark"] == pins["pyspark-client"]
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert {f"pyspark=={pins['pyspark']}", f"pyspark-client=={pins['pyspark']}"} <= set(declared)


def test_the_connector_is_sparks_own_version() -> None:
    """The Kafka connector in ivy.xml is of the locked Spark, to the patch."""
    spark = dict(re.findall(r"^(pyspark)==([\d.]+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE))[
        "pyspark"
    ]
    (ivy,) = ROOT.glob("headrace/local/**/ivy.xml")
    assert set(
        re.findall(r'name="spark-(?:sql|token-provider)-kafka-0-10_2.13" rev="([\d.]+)"', ivy.read_text())
    ) == {spark}


def test_containers_run_the_same_versions() -> None:
    """The images in docker-compose.yml are of the versions in the locks and in ivy.xml.

    The Dockerfile names none of its own.
    """
    text = (ROOT / "docker-compose.yml").read_text()
    images = dict(re.findall(r":-(?:apache/)?(kafka|spark|airflow|postgres):(\d[\d.]*)(?=[-}])", text))
    wanted = compose.versions()
    assert {name: images[name] for name in wanted} == wanted
    assert images.keys() == {*wanted, "postgres"}
    assert f"image=apache/kafka:{wanted['kafka']}\n" in (ROOT / "docs" / "growing.md").read_text()
    assert re.fullmatch(r"\d+\.\d+", images["postgres"]), (
        "PostgreSQL's whole version: 17 alone is another one next month"
    )
    assert not re.search(r"\d+\.\d+\.\d+", (ROOT / "docker" / "Dockerfile").read_text())
    own = set(re.findall(r"headrace/(?:spark|airflow):([\d.]+)", text))
    assert own == {__version__}


def test_containers_can_become_nothing_more() -> None:
    """No service keeps or may gain a capability, none runs as root, and only root may write accounts."""
    stack = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    for name, service in stack["services"].items():
        assert (service["cap_drop"], service["security_opt"]) == (["ALL"], ["no-new-privileges:true"]), name
        assert "cap_add" not in service, name
        assert "user" in service or name == "kafka", name  # Kafka's image names one of its own
    images = (ROOT / "docker" / "Dockerfile").read_text()
    assert images.count("chmod g-w /etc/passwd") == 1
    assert "chmod g=u" not in images


def test_the_lock_of_the_image_is_part_of_the_whole_lock() -> None:
    """What is installed in the container is what is installed on the host, hash by hash."""
    whole, part = ((ROOT / name).read_text() for name in ("requirements.lock", "docker/requirements.lock"))
    pins = {
        name: re.findall(r"^([\w.-]+==[\w.]+)", text, re.MULTILINE)
        for name, text in (("whole", whole), ("part", part))
    }
    assert len(pins["part"]) > 100
    assert set(pins["part"]) <= set(pins["whole"])
    assert set(re.findall(r"sha256:\w+", part)) <= set(re.findall(r"sha256:\w+", whole))


def test_schemas_are_up_to_date() -> None:
    """`docs/schemas` is what the types say."""
    assert schemas.main(["--check"]) == 0


def test_no_service_of_airflow_gets_a_connection_by_its_environment(tmp_path: Path) -> None:
    """It would win over the one that a user saves in the UI; a variable of the user's own still does."""
    settings = Settings.from_environment({"HEADRACE_HOME": str(tmp_path)})
    assert [name for name in airflow.environment(settings, {}) if name.startswith("AIRFLOW_CONN_")] == []
    files = [
        ROOT / "docker-compose.yml",
        *(ROOT / "docker").glob("*.yml"),
        *(ROOT / "headrace" / "conf").glob("*.env"),
    ]
    assert [path.name for path in files if "AIRFLOW_CONN_" in path.read_text()] == []
