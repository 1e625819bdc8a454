"""A driver in little memory.

Large records and many partitions fit into it, and one that runs out of it says what helps.
"""

import os
import subprocess
from collections.abc import Callable

from confluent_kafka import Producer

from headrace.errors import Exit
from headrace.local.embedded import spark
from headrace.local.embedded.layout import Layout
from slices import TEXT, Slice, broken
from tests.java import QUICK_START

LARGE = 2_500_000
SETTINGS = '[topics.config]\n"max.message.bytes" = "20971520"\n'
ONE_PARTITION = TEXT.replace(
    "partitions = 3\nreplication_factor = 1\n", f"partitions = 1\nreplication_factor = 1\n{SETTINGS}"
)
MANY = 100
MANY_PARTITIONS = TEXT.replace("partitions = 3\n", f"partitions = {MANY}\n")


def write(one: Slice, count: int, size: int) -> None:
    """Write records that are kept."""
    producer = Producer(
        {
            "bootstrap.servers": one.servers,
            "message.max.bytes": 20_000_000,
            "queue.buffering.max.kbytes": 1 << 20,
        }
    )
    for number in range(count):
        producer.produce(
            one.topic, b"important " + os.urandom(size // 2).hex().encode(), str(number).encode()
        )
        producer.poll(0)
    assert producer.flush(60) == 0


def submit(one: Slice, archived: Layout, memory: str) -> "subprocess.CompletedProcess[str]":
    """Submit the app as Airflow does, with so much memory for the driver."""
    command = [
        "spark-submit",
        "--master",
        "local[2]",
        "--driver-memory",
        memory,
        "spark_apps/filter_stream.py",
        *one.arguments,
    ]
    environment = {**os.environ, **spark.environment(archived.spark_conf, archived.java_home), **QUICK_START}
    return subprocess.run(command, env=environment, timeout=240, capture_output=True, text=True, check=False)


def test_small_records_and_large_ones_fit_into_little_memory(
    new_slice: Callable[..., Slice], archived: Layout
) -> None:
    """What the writer of Parquet holds does not grow with the size of a record, whatever came before it."""
    one = new_slice(ONE_PARTITION)
    write(one, 30_000, 100)
    write(one, 100, LARGE)
    ended = submit(one, archived, "1g")
    assert ended.returncode == 0, ended.stdout[-3000:]
    assert one.ledger[-1].totals.kept == 30_100
    assert broken(one.verify()) == {}


def test_a_driver_that_runs_out_of_memory_says_what_helps_and_a_smaller_plan_does(
    new_slice: Callable[..., Slice], archived: Layout
) -> None:
    """In a few lines; then the plan that nothing was published by is made again, smaller."""
    one = new_slice(ONE_PARTITION)
    write(one, 16, 19_000_000)
    ended = submit(one, archived, "480m")
    assert ended.returncode not in {0, Exit.RED_STREAM}
    said = ended.stdout + ended.stderr
    assert "raise spark.driver.memory" in said
    assert "max_records_per_micro_batch" in said
    assert len(said.splitlines()) < 30, said
    assert one.ledger == []
    one.pipeline.path.write_text("max_records_per_micro_batch = 2\n" + one.pipeline.path.read_text())
    ended = submit(one, archived, "480m")
    assert ended.returncode == 0, ended.stdout[-3000:]
    assert one.ledger[-1].totals.kept == 16
    assert broken(one.verify()) == {}


def test_a_hundred_partitions_leave_a_log_of_a_few_lines(
    new_slice: Callable[..., Slice], archived: Layout
) -> None:
    """Spark keeps a consumer for each of them; for more than it expects, it would warn once for each."""
    one = new_slice(MANY_PARTITIONS)
    producer = Producer({"bootstrap.servers": one.servers})
    for partition in range(MANY):
        producer.produce(one.topic, b"important", partition=partition)
    assert producer.flush(60) == 0
    ended = submit(one, archived, "1g")
    assert ended.returncode == 0, ended.stdout[-3000:]
    assert one.ledger[-1].totals.kept == MANY
    said = ended.stdout + ended.stderr
    assert len(said.splitlines()) < 30, said
    assert broken(one.verify()) == {}
