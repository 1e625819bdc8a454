"""Settings that the embedded stack shares with compose.

They are the files in `headrace/conf`, which compose reads by itself.
"""

from headrace.settings import ROOT

FOLDER = ROOT / "headrace" / "conf"


def airflow() -> dict[str, str]:
    """Return environment variables for every process of Airflow."""
    return _read("airflow.env")


def kafka() -> dict[str, str]:
    """Return the broker's properties.

    In the file they are written as Kafka's container images take them: KAFKA_A_B for a.b.
    """
    return {
        name.removeprefix("KAFKA_").replace("_", ".").lower(): value
        for name, value in _read("kafka.env").items()
    }


def _read(name: str) -> dict[str, str]:
    lines = (line.strip() for line in (FOLDER / name).read_text().splitlines())
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
