"""Killed at the worst moments, a run or its retry ends with every record once."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from headrace import documents
from headrace.kafka.offsets import OffsetRange
from headrace.ledger.receipts import Receipt, ReceiptState, key_prefix
from headrace.local.embedded import spark
from headrace.local.embedded.layout import Layout
from readers import READERS
from slices import Slice, broken
from tests.java import QUICK_START

HERE = Path(__file__).parent


def submit_killed(one: Slice, moment: str, archived: Layout) -> None:
    """Submit the app as Airflow does, and let it be killed."""
    command = [
        "spark-submit",
        "--master",
        "local[2]",
        str(HERE / "killed_stream.py"),
        moment,
        *one.arguments,
        "--run",
        "killed",
    ]
    environment = {**os.environ, **spark.environment(archived.spark_conf, archived.java_home), **QUICK_START}
    ended = subprocess.run(
        command, env=environment, start_new_session=True, timeout=180, capture_output=True, check=False
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()
    assert any(spark.scratch(archived.spark_conf).iterdir()), (
        "what it left is not where `make down` looks for it"
    )


@pytest.mark.parametrize("moment", ["staging", "between_renames", "published"])
def test_a_killed_driver_loses_and_doubles_nothing(
    new_slice: Callable[..., Slice], moment: str, archived: Layout
) -> None:
    """After the retry the five readers see each record once, and verify is green."""
    one = new_slice()
    one.ingest("before", records=100, malformed=0.1)
    one.produce("killed", records=200, malformed=0.1)
    submit_killed(one, moment, archived)
    assert len(one.ledger) == (2 if moment == "published" else 1)
    one.stream("killed")
    assert broken(one.verify()) == {}
    assert list(one.folder.staging.glob("*")) == []
    kept = sum(entry.total("kept") for entry in one.ledger)
    for read in READERS.values():
        seen = Counter(read(one.folder.events))
        assert len(seen) == kept
        assert set(seen.values()) == {1}


def test_a_killed_producer_resumes(new_slice: Callable[..., Slice]) -> None:
    """Killed while 20 to 80 % of the batch have landed, and tried again.

    Exactly the wanted records, each key once.
    """
    one = new_slice()
    records = 30_000
    code = (
        "import sys; from pathlib import Path; from headrace.contract.pipeline import Pipeline; from headrace.ledger.folder import Folder;"
        "from producers.batch import produce_batch; import producers.batch as batch, time;"
        "batch.POLL_EVERY = 50; payload = batch.payload;"
        "batch.payload = lambda *a, **k: (time.sleep(0.0001), payload(*a, **k))[1];"
        "produce_batch(Pipeline.load(Path(sys.argv[1])), Folder(Path(sys.argv[2])), {'bootstrap.servers': sys.argv[3]}, 'run',"
        f"records={records}, malformed=0.1, seed=3)"
    )
    command = [sys.executable, "-c", code, str(one.pipeline.path), str(one.folder.root), one.servers]
    producer = subprocess.Popen(command, env=os.environ)
    deadline = time.monotonic() + 60
    while landed(one) < records * 0.3:
        assert producer.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    producer.kill()
    producer.wait()
    assert 0.2 * records <= landed(one) <= 0.8 * records
    assert documents.read(one.folder.receipt("run"), Receipt).state == ReceiptState.OPEN

    receipt = one.produce("run", records=records, malformed=0.1, seed=3)
    keys = [key for key in keys_in(one) if key.startswith(key_prefix(one.pipeline.name, "run"))]
    assert len(keys) == len(set(keys)) == records
    assert sum(landing.count for landing in receipt.landings) == records

    before = landed(one)
    assert one.produce("run", records=records, malformed=0.1, seed=3) == receipt
    assert landed(one) == before
    one.stream("run")
    assert broken(one.verify()) == {}


def landed(one: Slice) -> int:
    """How many offsets the topic has."""
    return sum(one.kafka.end([one.topic]).by_topic()[one.topic].values())


def keys_in(one: Slice) -> list[bytes]:
    """All keys in the topic."""
    end = one.kafka.end([one.topic]).by_topic()[one.topic]
    ranges = (OffsetRange(one.topic, partition, 0, until) for partition, until in end.items())
    return [key for each in ranges for block in one.kafka.read(each) for key in block.keys if key is not None]
