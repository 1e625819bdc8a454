"""Access lists: what the documentation lists is what is needed, and a refusal names what is missing."""

import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)
from pyspark.sql import SparkSession

from guarded import RULED, Guarded
from headrace.cli import pipelines, topics
from headrace.contract.pipeline import Pipeline
from headrace.errors import AccessError
from headrace.kafka.admin import wider
from headrace.kafka.client import Kafka
from headrace.ledger.folder import Folder
from headrace.ledger.opening import check_can_start
from headrace.settings import ROOT
from headrace.verify.run import Verification
from headrace.verify.scope import everything
from producers.batch import produce_batch
from slices import TEXT
from spark_apps import filter_stream

ROW = re.compile(r"^\| `(\w+)` \| topic,[^|]*\| ([^|;]*)(?:;[^|]*)?\|$", re.MULTILINE)
"""A row of the table in docs/growing.md: right, and what needs it."""


@dataclass(frozen=True)
class Right:
    """A row of that table."""

    operation: str
    needed_by: tuple[str, ...]


RIGHTS = [
    Right(operation, tuple(step.strip() for step in steps.split(",")))
    for operation, steps in ROW.findall((ROOT / "docs" / "growing.md").read_text())
]


@dataclass
class Ruled:
    """A pipeline whose user may do what he is granted."""

    guarded: Guarded
    pipeline: Pipeline
    folder: Folder
    admin: AdminClient

    @property
    def config(self) -> dict[str, str]:
        """The user's settings."""
        return self.guarded.login("PLAIN", user=RULED)

    @property
    def topic(self) -> str:
        """The one topic."""
        return self.pipeline.topics[0].name

    def grant(self, rights: list[Right]) -> None:
        """Grant these, and take all others away; returns when the broker has heard of it."""
        everything = AclBindingFilter(
            ResourceType.ANY,
            None,
            ResourcePatternType.ANY,
            None,
            None,
            AclOperation.ANY,
            AclPermissionType.ANY,
        )
        wanted = [
            AclBinding(
                ResourceType.TOPIC,
                self.topic,
                ResourcePatternType.LITERAL,
                f"User:{RULED}",
                "*",
                AclOperation[re.sub("(?<=[a-z])(?=[A-Z])", "_", right.operation).upper()],
                AclPermissionType.ALLOW,
            )
            for right in rights
        ]
        self.admin.delete_acls([everything])[everything].result(30)
        for future in self.admin.create_acls(wanted).values() if wanted else ():
            future.result(30)
        deadline = time.monotonic() + 30
        while set(map(str, self.admin.describe_acls(everything).result(30))) != set(map(str, wanted)):
            assert time.monotonic() < deadline
            time.sleep(0.1)

    @property
    def steps(self) -> Mapping[str, Callable[[], object]]:
        """All that the table knows, in the order of a run."""
        return {
            "create_topics": self.create_topics,
            "preflight": lambda: check_can_start(self.folder, self.pipeline, self.kafka()),
            "check": lambda: pipelines.check(self.pipeline.name),
            "produce_batch": lambda: produce_batch(self.pipeline, self.folder, self.config, "run", seed=1),
            "stream_to_parquet": self.stream,
            "verify": self.verify,
        }

    def kafka(self) -> Kafka:
        """A client of the user's, whose listeners preflight has reached."""
        kafka = Kafka(self.config)
        assert kafka.check_listeners() == 1
        return kafka

    def create_topics(self) -> None:
        """Create what does not exist, and see whether it has more partitions than the file says."""
        topics.create(self.pipeline.name)
        assert list(wider(self.pipeline.topics, self.kafka().describe([self.topic]))) == []

    def stream(self) -> None:
        """Run the Spark app."""
        data, kafka = self.folder.root.parent, self.folder.root.parent.parent / "kafka.json"
        filter_stream.main(
            [
                "--pipeline",
                str(self.pipeline.path),
                "--kafka",
                str(kafka),
                "--data",
                str(data),
                "--run",
                "run",
            ]
        )

    def verify(self) -> None:
        """Verify everything, and find nothing broken, nor unchecked."""
        report = Verification(self.folder, self.pipeline, Kafka(self.config), everything(self.folder), 1).run(
            "verify"
        )
        assert {each.id: each.state for each in report.invariants} == dict.fromkeys(
            (f"I{number}" for number in range(1, 11)), "held"
        )


@pytest.fixture
def ruled(guarded: Guarded, spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ruled:
    """A pipeline without topics on a broker with access lists, whose user has no right at all."""
    assert spark
    (tmp_path / "dags").mkdir()
    name = f"ruled_{tmp_path.name}"[:60]
    path = tmp_path / "dags" / f"{name}.toml"
    path.write_text(TEXT.format(name=name, topic=name).replace("partitions = 3", "partitions = 1"))
    one = Ruled(
        guarded,
        Pipeline.load(path),
        Folder(tmp_path / "data" / name),
        AdminClient({"bootstrap.servers": guarded.open}),
    )
    (tmp_path / "kafka.json").write_text(json.dumps(one.config))
    for variable, place in {"DAGS": "dags", "DATA": "data", "HOME": "home", "KAFKA": "kafka.json"}.items():
        monkeypatch.setenv(f"HEADRACE_{variable}", str(tmp_path / place))
    one.grant([])
    return one


def with_a_gap(one: Ruled) -> None:
    """Let somebody else abort a transaction in the topic.

    The second client reads what verify explains it by.
    """
    producer = Producer({"bootstrap.servers": one.guarded.open, "transactional.id": f"{one.topic}-gap"})
    producer.init_transactions()
    producer.begin_transaction()
    producer.produce(one.topic, b"never")
    producer.flush()
    producer.abort_transaction()


def test_with_exactly_the_rights_that_are_listed_everything_runs(ruled: Ruled) -> None:
    """From the topic to a green report, gaps explained."""
    assert len(RIGHTS) == 4
    ruled.grant(RIGHTS)
    for name, step in ruled.steps.items():
        step()
        if name == "produce_batch":
            with_a_gap(ruled)


@pytest.mark.parametrize("missing", RIGHTS, ids=lambda right: right.operation)
def test_a_right_that_is_missing_is_named(ruled: Ruled, missing: Right) -> None:
    """By each step that needs it, with operation, resource and user; the other steps run without it."""
    needless = []
    for name, step in ruled.steps.items():
        if name in missing.needed_by:
            ruled.grant([right for right in RIGHTS if right != missing])
            with pytest.raises(AccessError) as raised:
                step()
            error = raised.value
            assert (error.operation, error.topic, error.user) == (missing.operation, ruled.topic, RULED), name
            assert f"User {RULED} may not {missing.operation} topic {ruled.topic}: " in str(error)
            ruled.grant(RIGHTS)
        else:
            ruled.grant([right for right in RIGHTS if right != missing])
            needless.append(name)
        step()
    assert needless
