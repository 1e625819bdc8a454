"""The flow without Airflow: topics, batch, stream, verify, on real parts."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from confluent_kafka import Producer

from headrace.contract.pipeline import Pipeline
from headrace.errors import BrokenInvariantError
from headrace.kafka.client import Kafka
from headrace.ledger.entries import entries
from headrace.ledger.entry import Entry
from headrace.ledger.folder import Folder
from headrace.ledger.receipts import Receipt
from headrace.report.conclusion import conclude
from headrace.verify.result import RED, Report
from headrace.verify.run import Verification
from headrace.verify.scope import everything, since_verified
from headrace.verify.settle import draw_number
from headrace.verify.stored import store
from producers.batch import produce_batch
from spark_apps import filter_stream

TEXT = """
name = "{name}"
description = "A slice under test."
format = "text"
filter = "contains(value, 'important')"

[[topics]]
name = "{topic}"
partitions = 3
replication_factor = 1

[demo]
records = 300
samples = ["This is an important message", "Just a normal event", "Critical important alert", "Random data here"]
"""

JSON = """
name = "{name}"
description = "A slice under test."
format = "json"
filter = "amount >= 100.0 and status <> 'open'"

[[topics]]
name = "{topic}"
partitions = 2
replication_factor = 1

[[topics]]
name = "{topic}-b"
partitions = 1
replication_factor = 1

[fields]
order_id = "bigint"
status = "string"
amount = "double"
items = "int"
urgent = "boolean"
placed_at = "timestamp"
country = {{ type = "string", required = false }}

[demo]
records = 300

[demo.values]
status = ["paid", "open", "sent"]
amount = [10.5, 99.99, 100.0, 250.75]
"""


@dataclass(frozen=True)
class Slice:
    """One pipeline with a folder and topics of its own."""

    pipeline: Pipeline
    folder: Folder
    servers: str

    @classmethod
    def make(cls, base: Path, servers: str, name: str, text: str, topic_prefix: str) -> "Slice":
        """Write the pipeline file and create the topics."""
        path = base / f"{name}.toml"
        path.write_text(text.format(name=name, topic=f"{topic_prefix}{name}"))
        made = cls(Pipeline.load(path), Folder(base / "data" / name), servers)
        made.kafka.create(made.pipeline.topics)
        return made

    @property
    def kafka(self) -> Kafka:
        """A client of its own."""
        return Kafka({"bootstrap.servers": self.servers})

    @property
    def topic(self) -> str:
        """The first topic."""
        return self.pipeline.topics[0].name

    @property
    def ledger(self) -> list[Entry]:
        """All entries."""
        return entries(self.folder)

    @property
    def arguments(self) -> list[str]:
        """The Spark app's arguments but for the run."""
        return [
            "--pipeline",
            str(self.pipeline.path),
            "--bootstrap-servers",
            self.servers,
            "--data",
            str(self.folder.root.parent),
        ]

    def produce(
        self, run: str, records: int | None = None, malformed: float = 0.0, seed: int | None = 1
    ) -> Receipt:
        """Produce a batch."""
        receipt = produce_batch(
            self.pipeline,
            self.folder,
            {"bootstrap.servers": self.servers},
            run,
            records=records,
            malformed=malformed,
            seed=seed,
        )
        assert receipt is not None
        return receipt

    def stream(self, run: str = "run") -> None:
        """Run the Spark app to its end, in this process's Spark session."""
        filter_stream.main([*self.arguments, "--run", run])

    def ingest(
        self, run: str, records: int | None = None, malformed: float = 0.0, seed: int | None = 1
    ) -> Receipt:
        """Produce a batch and stream it."""
        receipt = self.produce(run, records, malformed, seed)
        self.stream(run)
        return receipt

    def verify(self, run: str = "verify", *, all_of_it: bool = False) -> Report:
        """Verify what is new, or everything; the report is written, green moves `verified.json`."""
        scope = everything(self.folder) if all_of_it else since_verified(self.folder)
        number = draw_number(self.folder, f"verify run {run}")
        report = Verification(self.folder, self.pipeline, self.kafka, scope, number).run(run)
        store(self.folder, report)
        try:
            conclude(self.folder, self.pipeline, scope, report)
        except BrokenInvariantError:
            assert report.state == "red"
        else:
            assert report.state == "green"
        return report

    def write(self, records: list[tuple[bytes | None, bytes | None]], **where: Any) -> None:
        """Write records as a producer from outside would."""
        producer = Producer({"bootstrap.servers": self.servers, "linger.ms": 5})
        for key, value in records:
            producer.produce(self.topic, value, key, **where)
        assert producer.flush(30) == 0


def broken(report: Report) -> dict[str, list[str]]:
    """Invariants that do not hold, with their findings' texts."""
    return {
        each.id: [finding.message for finding in each.findings]
        for each in report.invariants
        if each.state in RED
    }
