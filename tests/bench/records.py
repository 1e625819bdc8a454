"""The topics and pipelines of the benchmark."""

import json
import random
import tomllib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

PARTITIONS = 4
FILTER = "amount > 700 and country is not null"
FIELDS = """
order_id = "bigint"
customer = "string"
amount = "double"
paid = "boolean"
placed_at = "timestamp"
country = { type = "string", required = false }
"""
WIDE = 200
"""Fields of a wide record; they are of all types in turn."""
SAMPLES = ("This is an important message", "Just a normal event", "Critical alert", "Random data here")
KINDS = ("string", "bigint", "double", "boolean", "timestamp")


@dataclass(frozen=True)
class Data:
    """A topic, and the pipeline that reads it."""

    name: str
    count: int
    values: Callable[[int], Iterator[bytes | None]]
    format: str = "json"
    fields: str = FIELDS
    filter: str = FILTER

    @property
    def schema(self) -> str:
        """Its fields as Spark writes a schema."""
        fields = tomllib.loads(self.fields)
        kinds = {name: field["type"] if isinstance(field, dict) else field for name, field in fields.items()}
        return ", ".join(f"{name} {kind}" for name, kind in kinds.items())

    def write_pipeline(self, folder: Path) -> Path:
        """Its pipeline file."""
        fields = f"\n[fields]{self.fields}\n" if self.format == "json" else ""
        path = folder / f"{self.name}.toml"
        path.write_text(
            f'name = "{self.name}"\ndescription = "Of the benchmark."\nformat = "{self.format}"\n'
            f'filter = "{self.filter}"\n{fields}\n'
            f'[[topics]]\nname = "{self.name}"\npartitions = {PARTITIONS}\nreplication_factor = 1\n'
        )
        return path

    def send(self, servers: str) -> None:
        """Write its records to its topic."""
        producer = Producer(
            {
                "bootstrap.servers": servers,
                "linger.ms": 50,
                "batch.size": 1_000_000,
                "compression.type": "lz4",
                "queue.buffering.max.messages": 500_000,
            }
        )
        for number, value in enumerate(self.values(self.count)):
            while True:
                try:
                    producer.produce(self.name, value, b"key-%d" % number, partition=number % PARTITIONS)
                    break
                except BufferError:
                    producer.poll(0.1)
            if number % 1_000 == 0:
                producer.poll(0)
        if producer.flush(60):
            raise TimeoutError(self.name)


def rows(folder: Path) -> int:
    """How many rows the Parquet files below a folder have, whatever their names; without a quarantine's."""
    found = 0
    for path in folder.rglob("*"):
        with suppress(pa.ArrowInvalid):
            if path.is_file() and path.stat().st_size and "quarantine" not in path.parts:
                found += pq.read_metadata(path).num_rows
    return found


def make_topic(servers: str, name: str) -> None:
    """Make a topic."""
    admin = AdminClient({"bootstrap.servers": servers})
    admin.create_topics([NewTopic(name, PARTITIONS, 1)])[name].result()


def write_produced(folder: Path, topic: str, count: int) -> Path:
    """The pipeline whose demo batch is produced, with so many records."""
    path = folder / "produced.toml"
    path.write_text(
        f'name = "produced"\ndescription = "Of the benchmark."\nformat = "text"\n'
        f"filter = \"contains(value, 'important')\"\n"
        f'[[topics]]\nname = "{topic}"\npartitions = {PARTITIONS}\nreplication_factor = 1\n'
        f"[demo]\nrecords = {count}\nmalformed = 0.0\nsamples = {json.dumps(SAMPLES)}\n"
    )
    return path


def orders(count: int) -> Iterator[bytes]:
    """Records of 223 bytes with seven members, six of which are declared; the filter keeps 28 %."""
    chance = random.Random(1)
    for number in range(count):
        second, day = number % 60, 1 + number % 28
        country = "null" if number % 15 == 0 else f'"{chance.choice(("DE", "FR", "US"))}"'
        head = (
            f'{{"order_id":{number},"customer":"customer-{chance.randrange(10**6):06}","amount":{chance.random() * 1000:.2f},'
            f'"paid":{"true" if number % 2 else "false"},"placed_at":"2026-11-{day:02}T{number % 24:02}:{second:02}:{second:02}.{number % 1000:03}Z",'
            f'"country":{country},"note":"'
        )
        yield f'{head}{"x" * (221 - len(head))}"}}'.encode()


def malformed(count: int) -> Iterator[bytes | None]:
    """The same, each tenth unusable, for each reason in turn."""
    ways: list[Callable[[bytes], bytes | None]] = [
        lambda _: None,
        lambda _: b"",
        lambda value: value.replace(b"xxx", b"\xff\xfex", 1),
        lambda value: value[:-5],
        lambda _: b"[1, 2]",
        lambda value: value.replace(b'"amount":', b'"amount":"", "was":'),
        lambda value: value.replace(b"2026-11-", b"2026-13-"),
        lambda value: value.replace(b'"customer"', b'"custom"'),
    ]
    for number, value in enumerate(orders(count)):
        yield ways[number // 10 % len(ways)](value) if number % 10 == 3 else value


def wide(count: int) -> Iterator[bytes]:
    """Records of 200 members and about 5.8 kB."""
    chance = random.Random(1)
    samples: dict[str, Callable[[], Any]] = {
        "string": lambda: "x" * 42,
        "bigint": lambda: chance.randrange(10**12),
        "double": lambda: round(chance.random() * 1000, 2),
        "boolean": lambda: chance.random() < 0.5,
        "timestamp": lambda: f"2026-11-{chance.randrange(1, 29):02}T12:30:{chance.randrange(60):02}.5Z",
    }
    for _ in range(count):
        record = {name: samples[kind]() for name, kind in wide_fields().items()}
        yield json.dumps(record, separators=(",", ":")).encode()


def wide_fields() -> dict[str, str]:
    """Names and types."""
    return {f"field_{number:03}": KINDS[number % len(KINDS)] for number in range(WIDE)}


WIDE_FIELDS = "".join(
    f'\n{name} = {{ type = "{kind}", required = false }}' for name, kind in wide_fields().items()
)


def texts(count: int) -> Iterator[bytes]:
    """Short lines, a quarter of which has the word."""
    lines = [sample.encode() for sample in SAMPLES]
    for number in range(count):
        yield lines[number % len(lines)]
