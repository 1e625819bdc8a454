"""What Headrace is measured beside and no wheel brings: Kafka's own tool, and Flink.

`programs/peers.xml` lists the jars.
"""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from headrace.local.embedded import spark
from headrace.local.embedded.layout import Layout
from headrace.local.install import jars, java

PROGRAMS = Path(__file__).parent / "programs"


@dataclass(frozen=True)
class Peers:
    """Where its jars are.

    Attributes:
        kafka: Class path of Kafka's tools.
        flink: Folder with Flink's jars; nothing if it is not to be measured.
    """

    kafka: str
    flink: Path | None


def fetch(layout: Layout, folder: Path, *, with_flink: bool) -> Peers:
    """Fetch the jars by Ivy, which comes with pyspark."""
    folder.mkdir()
    ivy = next(spark.pyspark_folder().glob("jars/ivy-*.jar"))
    wanted = ["kafka", "flink"] if with_flink else ["kafka"]
    command = [
        str(layout.java_home / "bin" / "java"),
        *java.network_options(os.environ, folder / "trust.p12"),
    ]
    command += ["-jar", str(ivy), "-warn", "-settings", str(PROGRAMS / "peers-settings.xml")]
    command += ["-cache", str(folder / "ivy"), "-ivy", str(PROGRAMS / "peers.xml"), "-confs", *wanted]
    command += ["-retrieve", f"{folder}/[conf]/[artifact]-[revision].[ext]"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    tools = [str(path) for path in (folder / "kafka").iterdir()]
    broker = jars.class_path(layout.jars, "broker")
    return Peers(":".join([*tools, broker]), folder / "flink" if with_flink else None)
