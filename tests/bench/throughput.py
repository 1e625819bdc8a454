"""Measure Headrace beside plain Spark, Flink and a consumer in one process, all in one run, in turn.

    make bench                      Flink's rows read "not measured"
    make bench FLINK=1              fetches Flink (160 MB) and measures it, too

First, once: a pair of DAGs in Airflow, and a long history. Then rounds, each of which runs every program
once, on the same topics of one broker; ratios are of medians over the rounds. Last, once: other sizes.
Writes docs/benchmarks.md, and ends with 1 if a bound is missed or could not be measured. Takes about an hour
on two cores, and 15 GB of disk meanwhile; nothing else may run.
"""

import argparse
import dataclasses
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import brokers
from headrace import effort
from headrace.contract.pipeline import Pipeline
from headrace.kafka.client import Kafka
from headrace.local.client.console import Say
from headrace.local.embedded import archive, spark, stack
from headrace.local.embedded.layout import Layout
from headrace.local.install import jars, java
from headrace.settings import ROOT, Settings
from producers.batch import SETTINGS
from tests.bench import history, measure, pair, peers, records
from tests.bench.bounds import BEFORE, BOUNDS, LONG_HISTORY, SHORT_HISTORY, Measured
from tests.bench.measure import Took
from tests.bench.page import page
from tests.bench.peers import PROGRAMS, Peers
from tests.bench.records import Data

WRITTEN = ROOT / "docs" / "benchmarks.md"
CONNECTOR = f"org.apache.spark:spark-sql-kafka-0-10_2.13:{jars.connector_version()}"
PAIRS = 5
"""Runs of the pair of DAGs."""
PRODUCED = 1_000_000
"""Records that both producers send."""


@dataclass
class Bench:
    """One run of the benchmark: where things are, and what was measured so far.

    Attributes:
        settings: Of an embedded stack of its own; while programs run, only a broker listens on its port.
        topics: What was produced, by topic.
        rows: How many rows each topic's records make, by the program that came first.
    """

    base: Path
    settings: Settings
    peers: Peers
    topics: dict[str, Data] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    measured: Measured = field(default_factory=Measured)

    @property
    def layout(self) -> Layout:
        """Of the state folder."""
        return Layout.of(self.settings)

    @property
    def servers(self) -> str:
        """The broker's address."""
        return self.settings.bootstrap_servers

    @property
    def environment(self) -> dict[str, str]:
        """For Spark, as the embedded stack starts it."""
        return spark.environment(self.layout.spark_conf, self.layout.java_home)

    def pipeline(self, name: str) -> Path:
        """A pipeline's file."""
        return self.base / f"{name}.toml"

    def make_topic(self, data: Data) -> None:
        """Make a topic and its pipeline, and produce its records."""
        records.make_topic(self.servers, data.name)
        data.write_pipeline(self.base)
        self.topics[data.name] = data
        self.produce(data)

    def produce(self, data: Data) -> None:
        """Produce a topic's records. It may hold others already."""
        print(f"{data.name}: {data.count:,} records", flush=True)
        kafka = Kafka({"bootstrap.servers": self.servers})
        before = sum(kafka.end([data.name]).values())
        data.send(self.servers)
        if (landed := sum(kafka.end([data.name]).values()) - before) != data.count:
            sys.exit(f"{landed:,} records landed.")
        self.rows.pop(data.name, None)

    def run(self, name: str, command: Sequence[object], environment: Mapping[str, str] | None = None) -> None:
        """Run a program, and keep what it and each of the jobs in it took."""
        print(f"  {name} ...", end="", flush=True)
        took, jobs = measure.run(
            [str(each) for each in command], environment or {"PYTHONPATH": str(ROOT)}, self.base / "log"
        )
        print(f" {took.seconds:.1f} s, {took.cpu:.1f} CPU s, {took.memory:.0f} MB", flush=True)
        self.measured.keep(name, took)
        seen = set()
        for job in jobs:
            self.measured.keep(f"{name}: {job.name}, {'warm' if job.name in seen else 'first'}", job.took)
            seen.add(job.name)

    @contextmanager
    def output(self, *topics: str) -> Iterator[Path]:
        """A folder that is thrown away, once its subfolders `0`, `1` and so on hold what the topics make."""
        made = Path(tempfile.mkdtemp(dir=self.base))
        yield made
        for number, topic in enumerate(topics):
            rows = records.rows(made / str(number))
            if rows != self.rows.setdefault(topic, rows):
                sys.exit(f"Of {topic} it kept {rows:,} records; another program kept {self.rows[topic]:,}.")
        shutil.rmtree(made)

    def stream(self, name: str, folder: Path, *topics: str, cores: int = 2) -> None:
        """Headrace's stream over some topics, one after the other in one process."""
        command = ["spark-submit", "--master", f"local[{cores}]", PROGRAMS / "headrace_stream.py"]
        columns = len(Pipeline.load(self.pipeline(topics[0])).contract.columns)
        is_short = len(topics) == 1 and effort.is_short(self.topics[topics[0]].count, columns)
        options = {"SPARK_SUBMIT_OPTS": effort.COMPILE_LITTLE} if is_short else {}  # as the task does
        of = [self.servers, folder, *map(self.pipeline, topics)]
        self.run(name, [*command, *of], {**self.environment, **options})

    def streams(self, name: str, *topics: str, cores: int = 2) -> None:
        """The same, into a folder of its own."""
        with self.output(*topics) as folder:
            self.stream(name, folder, *topics, cores=cores)

    def verify(self, name: str, folder: Path, topic: str) -> None:
        """Headrace's verify of a folder of such a stream."""
        command = [sys.executable, PROGRAMS / "headrace_verify.py"]
        self.run(name, [*command, self.servers, folder, self.pipeline(topic)])

    def both(self, topic: str, of: str) -> None:
        """The stream of a topic in a process of its own, and the verify of it."""
        with self.output(topic) as folder:
            self.stream(f"stream{of}", folder, topic)
            self.verify(f"verify{of}", folder / "0", topic)

    def consumer(self, name: str, topic: str, parser: str) -> None:
        """A consumer in one process."""
        with self.output(topic) as folder:
            (folder / "0").mkdir()
            command = [sys.executable, PROGRAMS / "consumer.py"]
            self.run(name, [*command, self.servers, folder / "0" / "kept.parquet", topic, parser])

    def plain(self, name: str, topic: str, jobs: int = 1) -> None:
        """Spark's own way, submitted the stock way."""
        network = java.network_options(os.environ, self.base / "trust.p12")
        environment = {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "JAVA_HOME": str(self.layout.java_home),
            "SPARK_SUBMIT_OPTS": " ".join(network),
            "PYTHONPATH": str(ROOT),
        }
        data = self.topics[topic]
        with self.output(*[topic] * jobs) as folder:
            command = ["spark-submit", "--master", "local[2]", "--packages", CONNECTOR]
            options = ["--conf", f"spark.jars.ivy={self.base / 'ivy'}", PROGRAMS / "plain_spark.py"]
            of = [self.servers, folder, topic, data.schema, data.filter, jobs]
            self.run(name, [*command, *options, *of], environment)

    def flink(self, name: str, topic: str, jobs: int) -> None:
        """Flink, if it is there."""
        if self.peers.flink:
            with self.output(*[topic] * jobs) as folder:
                command = [sys.executable, PROGRAMS / "flink.py", self.servers, folder, topic]
                self.run(name, [*command, self.peers.flink, self.layout.java_home, jobs])

    def producers(self, number: int) -> None:
        """Headrace's producer and Kafka's own, with the same settings, each into a new topic.

        The values are the same but for one large one; Kafka's own sends no keys.
        """
        for name in ("produced", "performed"):
            records.make_topic(self.servers, f"{name}-{number}")
        with self.output() as folder:
            pipeline = records.write_produced(folder, f"produced-{number}", PRODUCED)
            command = [sys.executable, PROGRAMS / "headrace_produce.py"]
            self.run("produce_batch", [*command, self.servers, folder, pipeline])
            lines = folder / "lines"
            lines.write_text("\n".join(map(json.dumps, records.SAMPLES)))
            tool = "org.apache.kafka.tools.ProducerPerformance"
            command = [self.layout.java_home / "bin" / "java", "-cp", self.peers.kafka, tool]
            of = ["--topic", f"performed-{number}", "--num-records", PRODUCED, "--throughput", "-1"]
            of += ["--payload-file", lines, "--bootstrap-server", self.servers]
            same = {name: SETTINGS[name] for name in ("linger.ms", "compression.type")}
            same |= {"enable.idempotence": "true", "acks": "all", "batch.size": 1_000_000}
            same |= {"buffer.memory": 128 << 20}
            of += [f"--command-property={name}={value}" for name, value in same.items()]
            self.run("ProducerPerformance", [*command, *of])


def one_round(bench: Bench, number: int) -> None:
    """Every program once."""
    bench.both("orders", "")
    bench.consumer("pyarrow consumer", "orders", "pyarrow")
    bench.flink("flink", "orders", 1)
    bench.streams("streams", *["orders"] * 3, *["malformed"] * 2, *["wide"] * 2)
    bench.flink("flink jobs", "orders", 3)
    bench.plain("plain", "orders", 3)
    bench.streams("streams on local[1]", "orders", "orders", cores=1)
    bench.consumer("orjson consumer", "orders", "orjson")
    bench.plain("plain wide", "wide", 2)
    bench.both("texts", " of texts")
    if number == 0:
        before(bench)
    bench.streams("stream of small", "small")
    bench.plain("plain small", "small")
    bench.producers(number)


def before(bench: Bench) -> None:
    """Headrace at an earlier commit, in a checkout of its own."""
    known = subprocess.run(["git", "cat-file", "-e", BEFORE], cwd=ROOT, check=False, capture_output=True)
    if known.returncode != 0:
        return
    root = bench.base / "before"
    subprocess.run(["git", "worktree", "add", "--quiet", "--detach", root, BEFORE], cwd=ROOT, check=True)
    try:
        shutil.copytree(ROOT / "tests" / "bench", root / "tests" / "bench", dirs_exist_ok=True)
        programs, own = root / "tests" / "bench" / "programs", {"PYTHONPATH": str(root)}
        for topic, name in (("orders", ""), ("texts", " of texts")):
            with bench.output(topic) as folder:
                of = [bench.servers, folder, bench.pipeline(topic)]
                command = ["spark-submit", "--master", "local[2]", programs / "headrace_stream.py"]
                bench.run(f"stream{name} before", [*command, *of], {**bench.environment, **own})
                of[1] = folder / "0"
                bench.run(f"verify{name} before", [sys.executable, programs / "headrace_verify.py", *of], own)
    finally:
        subprocess.run(["git", "worktree", "remove", "--force", root], cwd=ROOT, check=True)


def sizes(bench: Bench, count: int) -> None:
    """Each of several topics once, up to so many records; then a stream of twice as many."""
    bench.make_topic(Data("million", count // 10, records.orders))
    bench.make_topic(Data("many", count, records.orders))
    for topic in ("small", "million", "many"):
        bench.both(topic, f" of {topic}")
        bench.consumer(f"pyarrow consumer of {topic}", topic, "pyarrow")
        bench.plain(f"plain of {topic}", topic)
    bench.produce(bench.topics["many"])
    bench.streams("stream of twice as many", "many")


def long_history(measured: Measured, rounds: int) -> None:
    """Start of a stream and a run's verify, with few micro-batches behind them and with many."""
    for count in (SHORT_HISTORY, LONG_HISTORY):
        print(f"{count:,} micro-batches", flush=True)
        for name, times in history.measure(count, rounds).items():
            for wall, cpu in times:
                measured.keep(f"{name} after {count:,} micro-batches", Took(wall / 1000, cpu / 1000))


def own_settings(base: Path) -> Settings:
    """Of a stack of the benchmark's own, with the jars and the Java of the usual one.

    Nothing that the environment says counts beside them.
    """
    usual = Settings.from_environment()
    stack.prepare(usual, Say())
    for name in [name for name in os.environ if name.startswith(("HEADRACE_", "AIRFLOW_"))]:
        del os.environ[name]
    home = base / "home"
    home.mkdir(mode=0o700)
    for name, place in (("jars", Layout.of(usual).jars), ("java", Layout.of(usual).java_home)):
        (home / name).symlink_to(place)
    ports = {f"HEADRACE_{name}_PORT": str(brokers.free_port()) for name in ("KAFKA", "UI")}
    own = Settings.from_environment(
        {"HEADRACE_HOME": str(home), "HEADRACE_DATA": str(base / "data"), **ports}
    )
    stack.prepare(own, Say())
    return own


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--records", type=int, default=2_000_000, help="in the topic that most programs read")
    parser.add_argument("--flink", action="store_true")
    parser.add_argument("--page", type=Path, default=WRITTEN)
    options = parser.parse_args()
    count = options.records
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as made:
        base = Path(made)
        settings = own_settings(base)
        layout = Layout.of(settings)
        bench = Bench(base, settings, peers.fetch(layout, base / "peers", with_flink=options.flink))
        pair.measure(settings, PAIRS, bench.measured)
        long_history(bench.measured, options.rounds)
        home, port = base / "broker", settings.kafka_port
        with brokers.broker(home, port, layout.jars, layout.java_home, options=()):
            wanted = "field_000 is not null"
            bench.make_topic(Data("orders", count, records.orders))
            bench.make_topic(Data("malformed", count, records.malformed))
            bench.make_topic(
                Data("wide", count // 50, records.wide, fields=records.WIDE_FIELDS, filter=wanted)
            )
            wanted = "contains(value, 'important')"
            bench.make_topic(Data("texts", count * 5 // 2, records.texts, format="text", filter=wanted))
            bench.make_topic(Data("small", 10_000, records.orders))
            archive.make(settings, bench.pipeline("small"))
            bench.plain("plain small, the first time", "small")
            for number in range(options.rounds):
                print(f"round {number + 1} of {options.rounds}", flush=True)
                one_round(bench, number)
            once = dataclasses.replace(bench, measured=Measured())
            sizes(once, 5 * count)
        options.page.write_text(page(bench.topics, bench.measured, once.measured, options.rounds))
    measured = Measured({**once.measured.found, **bench.measured.found})
    missed = [bound for bound in BOUNDS if bound.is_missed(measured)]
    for bound in missed:
        print(f"missed: {bound.what}, against {bound.against}: {bound.said(measured)}")
    if not options.flink:
        print("Flink was not measured: `make bench FLINK=1` fetches it, too.")
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
