"""One Kafka broker: a single KRaft node on 127.0.0.1 that keeps its log between starts."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from headrace.errors import BrokerError
from headrace.local.embedded import ports, shared_settings
from headrace.local.install import jars

CLUSTER_ID = "headrace-embedded-node"
"""16 bytes in URL-safe base64, as Kafka wants it. Fixed: the folder is the identity."""

PROPERTIES = """\
# Rewritten at each start; changes are lost.
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller_port}
listeners=BROKER://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=BROKER://127.0.0.1:{port}
listener.security.protocol.map=BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=BROKER
controller.listener.names=CONTROLLER
log.dirs={log}
{shared}
"""

LOGGING = """\
status = error
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{yyyy-MM-dd HH:mm:ss} %-5p %c{1}: %m%n
rootLogger.level = warn
rootLogger.appenderRef.console.ref = console
# Says once that the broker started and stopped, and with which version.
logger.server.name = kafka.server.KafkaRaftServer
logger.server.level = info
"""


@dataclass(frozen=True)
class Broker:
    """A broker.

    Attributes:
        home: Its folder: configuration and log.
        port: Where clients connect; the controller listens one higher.
        jars: Folder that `jars.prepare` filled.
        java_home: Which Java runs it.
    """

    home: Path
    port: int
    jars: Path
    java_home: Path

    @property
    def command(self) -> list[str]:
        """The command that runs the broker in the foreground, after `prepare`."""
        # The heap begins small, and the collector is the one without threads of its own: a third less memory
        # than by Java's choice on a large machine.
        return self._java(
            "-Xms64m", "-Xmx512m", "-XX:+UseSerialGC", "kafka.Kafka", str(self.home / "server.properties")
        )

    def prepare(self) -> None:
        """Write the configuration, and format the log's folder if that was not done yet."""
        log = self.home / "log"
        log.mkdir(parents=True, exist_ok=True)
        properties = self.home / "server.properties"
        lines = "\n".join(f"{name}={value}" for name, value in shared_settings.kafka().items())
        properties.write_text(
            PROPERTIES.format(port=self.port, controller_port=self.port + 1, log=log, shared=lines)
        )
        (self.home / "log4j2.properties").write_text(LOGGING)
        if not (log / "meta.properties").is_file():
            options = (
                "format",
                "--cluster-id",
                CLUSTER_ID,
                "--config",
                str(properties),
                "--ignore-formatted",
            )
            made = subprocess.run(
                self._java("-Xmx128m", "kafka.tools.StorageTool", *options),
                capture_output=True,
                text=True,
                check=False,
            )
            if made.returncode != 0:
                raise BrokerError(
                    f"The folder {log} cannot be prepared for Kafka: {(made.stderr or made.stdout).strip()[-1000:]}"
                )

    def _java(self, *arguments: str) -> list[str]:
        return [
            str(self.java_home / "bin" / "java"),
            "-XX:+ExitOnOutOfMemoryError",
            f"-Dlog4j2.configurationFile={self.home / 'log4j2.properties'}",
            "-cp",
            jars.class_path(self.jars, "broker"),
            *arguments,
        ]


def listened_ports(port: int) -> list[ports.Port]:
    """Return what a broker at `port` listens on."""
    return [
        ports.Port(port, "Kafka", "HEADRACE_KAFKA_PORT"),
        ports.Port(port + 1, "Kafka's controller", "HEADRACE_KAFKA_PORT"),
    ]
