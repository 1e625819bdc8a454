"""The same in Flink SQL, on a cluster within the process, with checkpoints.

    python flink.py SERVERS FOLDER TOPIC JARS JAVA_HOME JOBS

JARS is a folder; Flink is driven through py4j, with the jars of pyspark for that and for Hadoop's classes.
"""

import sys
from pathlib import Path

import pyspark
from py4j.java_gateway import (  # type: ignore[import-untyped]
    GatewayParameters,
    JavaGateway,
    launch_gateway,
)

from tests.bench.measure import job

OPEN = [
    f"--add-opens=java.base/{package}=ALL-UNNAMED"
    for package in ("java.lang", "java.util", "java.net", "java.io", "java.nio", "java.text", "java.time", "java.util.concurrent", "java.lang.reflect", "java.util.concurrent.atomic", "java.util.concurrent.locks")
]  # fmt: skip

servers, folder, topic, jars, java, jobs = sys.argv[1:]
with_spark = Path(pyspark.__file__).parent / "jars"
class_path = [*Path(jars).glob("*.jar")] + [
    path
    for pattern in ("py4j-*.jar", "hadoop-client-*.jar", "commons-logging-*.jar", "jcl-over-slf4j-*.jar")
    for path in with_spark.glob(pattern)
]
port = launch_gateway(
    classpath=":".join(map(str, class_path)),
    javaopts=["-Xmx1g", "-XX:+UseParallelGC", *OPEN],
    java_path=f"{java}/bin/java",
    die_on_exit=True,
    redirect_stderr=sys.stderr,
)
flink = JavaGateway(gateway_parameters=GatewayParameters(port=port, auto_convert=True)).jvm.org.apache.flink
tables = flink.table.api.TableEnvironment.create(
    flink.table.api.EnvironmentSettings.newInstance().inStreamingMode().build()
)
for key, value in {
    "parallelism.default": "2",
    "execution.checkpointing.interval": "10 s",
    "execution.checkpointing.dir": f"file://{folder}/checkpoints",
    "table.local-time-zone": "UTC",
    "taskmanager.memory.network.min": "64 mb",
}.items():
    tables.getConfig().set(key, value)
columns = "order_id BIGINT, customer STRING, amount DOUBLE, paid BOOLEAN, placed_at TIMESTAMP_LTZ(3), country STRING"
tables.executeSql(f"""
    CREATE TABLE records ({columns}) WITH (
        'connector' = 'kafka', 'topic' = '{topic}', 'properties.bootstrap.servers' = '{servers}',
        'scan.startup.mode' = 'earliest-offset', 'scan.bounded.mode' = 'latest-offset',
        'format' = 'json', 'json.timestamp-format.standard' = 'ISO-8601', 'json.ignore-parse-errors' = 'false')
""")
for number in range(int(jobs)):
    with job(topic):
        tables.executeSql(
            f"CREATE TABLE kept_{number} ({columns}) WITH ('connector' = 'filesystem', 'path' = 'file://{folder}/{number}', 'format' = 'parquet')"
        )
        running = tables.executeSql(
            f"INSERT INTO kept_{number} SELECT * FROM records WHERE amount > 700 AND country IS NOT NULL"
        )
        getattr(running, "await")()
