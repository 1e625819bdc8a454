"""Demo payloads: what they derive from, and which of them are malformed, in which way."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.contract.formats import of_contract, of_samples
from headrace.contract.pipeline import Demo, Pipeline
from headrace.contract.verdicts import Reason
from headrace.formats.decoding import decoder
from headrace.settings import ROOT
from producers.samples import LARGE_BYTES, payload

PIPELINES = {
    name: Pipeline.load(ROOT / "dags" / f"{name}.toml") for name in ("important_messages", "shop_orders")
}
BROKER_TAKES = 1_048_588
"""`max.message.bytes`, Kafka's default."""

pipelines = st.sampled_from(sorted(PIPELINES)).map(PIPELINES.__getitem__)
seeds = st.integers(min_value=0, max_value=2**63)
shares = st.floats(min_value=0, max_value=1)


def demo_of(pipeline: Pipeline) -> Demo:
    """The section that both shipped pipelines have."""
    assert pipeline.demo is not None
    return pipeline.demo


@given(pipeline=pipelines, seed=seeds, malformed=shares, order=st.permutations(range(20)))
@settings(max_examples=50, deadline=None)
def test_a_payload_depends_on_seed_and_sequence_alone(
    pipeline: Pipeline, seed: int, malformed: float, order: list[int]
) -> None:
    """In whatever order a batch is made, and however often, it is the same batch."""
    demo = demo_of(pipeline)
    straight = [payload(pipeline, demo, seed, sequence, malformed) for sequence in range(20)]
    shuffled = {sequence: payload(pipeline, demo, seed, sequence, malformed) for sequence in order}
    assert straight == [shuffled[sequence] for sequence in range(20)]


TEXT_WITHOUT_SAMPLES = 'format = "text"\nfilter = "contains(value, \'a\')"'
NOTHING_REQUIRED = 'format = "json"\nfilter = "a = 1"\n[fields]\na = { type = "int", required = false }'


@pytest.mark.parametrize("text", [TEXT_WITHOUT_SAMPLES, NOTHING_REQUIRED])
def test_a_demo_needs_to_say_nothing(tmp_path: Path, text: str) -> None:
    """An empty section makes records of the format, and malformed ones of every kind that there can be."""
    kind, _, fields = text.partition("[fields]")
    path = tmp_path / "p.toml"
    topic = '[[topics]]\nname = "t"\npartitions = 1\nreplication_factor = 1\n'
    path.write_text(
        f'name = "p"\ndescription = "Tried."\n{kind}\n{topic}[demo]\n'
        + (f"[fields]{fields}" if fields else "")
    )
    pipeline = Pipeline.load(path)
    assert all(payload(pipeline, demo_of(pipeline), 1, sequence) for sequence in range(50))
    decode = decoder(pipeline.contract)
    reasons = {decode(payload(pipeline, demo_of(pipeline), 1, sequence, 1.0))[0] for sequence in range(200)}
    assert reasons == set(of_contract(pipeline.format).REASONS) - {Reason.MISSING_FIELD}


@pytest.mark.parametrize("name", PIPELINES)
def test_another_seed_makes_another_batch(name: str) -> None:
    """Otherwise every run would send the same records."""
    pipeline = PIPELINES[name]
    one, another = (
        [payload(pipeline, demo_of(pipeline), seed, sequence) for sequence in range(100)] for seed in (1, 2)
    )
    assert one != another


@pytest.mark.parametrize("name", PIPELINES)
@pytest.mark.parametrize("malformed", [0.0, 0.02, 0.5, 1.0])
def test_the_share_of_malformed_records_is_as_wanted(name: str, malformed: float) -> None:
    """None at 0, all at 1, and between them within five standard deviations."""
    pipeline, records = PIPELINES[name], 4_000
    decode = decoder(pipeline.contract)
    unusable = sum(
        decode(payload(pipeline, demo_of(pipeline), 7, sequence, malformed))[0] is not None
        for sequence in range(records)
    )
    assert abs(unusable - records * malformed) <= 5 * (records * malformed * (1 - malformed)) ** 0.5


@given(seed=seeds, sequence=st.integers(min_value=0, max_value=10**7), pipeline=pipelines)
@settings(max_examples=200, deadline=None)
def test_without_a_share_every_record_is_valid(seed: int, sequence: int, pipeline: Pipeline) -> None:
    """By the decoder of the second engine."""
    assert decoder(pipeline.contract)(payload(pipeline, demo_of(pipeline), seed, sequence))[0] is None


@pytest.mark.parametrize("name", PIPELINES)
def test_a_raised_share_changes_no_record_that_stays_valid(name: str) -> None:
    """Two runs with one seed differ only where a record is malformed."""
    pipeline, demo = PIPELINES[name], demo_of(PIPELINES[name])
    decode = decoder(pipeline.contract)
    clean = [payload(pipeline, demo, 7, sequence) for sequence in range(500)]
    broken = [payload(pipeline, demo, 7, sequence, 0.3) for sequence in range(500)]
    assert all(is_ == was for is_, was in zip(broken, clean, strict=True) if decode(is_)[0] is None)


@pytest.mark.parametrize("name", PIPELINES)
@given(choice=st.integers(min_value=0, max_value=2**64 - 1))
@settings(max_examples=100, deadline=None)
def test_each_kind_of_malformed_record_has_its_reason(name: str, choice: int) -> None:
    """One kind for each reason of the format, in the order of the reasons."""
    pipeline = PIPELINES[name]
    decode = decoder(pipeline.contract)
    found = [
        decode(make(demo_of(pipeline), choice))[0]
        for make in of_samples(pipeline.format).malformed(pipeline.fields)
    ]
    assert found == list(of_contract(pipeline.format).REASONS)


@pytest.mark.parametrize("name", PIPELINES)
def test_every_kind_comes_up(name: str) -> None:
    """A batch of some size holds all of them."""
    pipeline = PIPELINES[name]
    decode = decoder(pipeline.contract)
    found = {decode(payload(pipeline, demo_of(pipeline), 7, sequence, 1.0))[0] for sequence in range(200)}
    assert found == set(of_contract(pipeline.format).REASONS)


@pytest.mark.parametrize("name", PIPELINES)
def test_the_large_record_is_valid_and_fits_a_broker(name: str) -> None:
    """About 900 KB, below what a broker takes by default, and valid even where all others are malformed."""
    pipeline = PIPELINES[name]
    value = payload(pipeline, demo_of(pipeline), 7, 500, 1.0, large=True)
    assert value is not None
    assert LARGE_BYTES <= len(value) < BROKER_TAKES - 10_000
    assert decoder(pipeline.contract)(value)[0] is None


def test_text_samples_are_json_strings_quotes_included() -> None:
    """As the classic producer sent them."""
    pipeline = PIPELINES["important_messages"]
    values = {payload(pipeline, demo_of(pipeline), 7, sequence) for sequence in range(200)}
    assert values == {json.dumps(sample).encode() for sample in demo_of(pipeline).samples}


def test_json_values_come_from_the_pipeline_file(tmp_path: Path) -> None:
    """Named choices are used; a field without choices gets values of its type."""
    path = tmp_path / "tiny.toml"
    path.write_text("""
        name = "tiny"
        description = "Two fields."
        format = "json"
        filter = "level = 'high'"
        [[topics]]
        name = "tiny"
        partitions = 1
        replication_factor = 1
        [fields]
        level = "string"
        size = "int"
        [demo]
        records = 10
        [demo.values]
        level = ["low", "high"]
    """)
    pipeline = Pipeline.load(path)
    documents = [
        json.loads(payload(pipeline, demo_of(pipeline), 7, sequence) or b"") for sequence in range(100)
    ]
    assert {document["level"] for document in documents} == {"low", "high"}
    assert all(type(document["size"]) is int for document in documents)
