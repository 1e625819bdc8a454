"""The jars that no wheel brings."""

import hashlib
import xml.etree.ElementTree as ET
from importlib.metadata import version
from pathlib import Path

import pytest

from headrace.local.install import jars


def test_every_jar_of_the_list_has_a_sum_and_no_other_has() -> None:
    """`ivy.xml` and `jars.sha256` name the same files."""
    listed = {
        f"{dependency.attrib['conf'].split('->')[0]}/{dependency.attrib['name']}-{dependency.attrib['rev']}.jar"
        for dependency in ET.parse(jars.IVY / "ivy.xml").iter("dependency")  # noqa: S314  our own file
    }
    assert listed == set(jars.expected())


def test_the_connector_is_that_of_pyspark() -> None:
    """Connector, pyspark and pyspark-client have one version."""
    assert jars.connector_version() == version("pyspark") == version("pyspark-client")


def test_absent_and_damaged_jars_are_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A jar is right only if its content is."""
    digest = hashlib.sha256(b"whole").hexdigest()
    monkeypatch.setattr(
        jars,
        "expected",
        lambda: {"broker/whole.jar": digest, "broker/damaged.jar": digest, "broker/absent.jar": digest},
    )
    (tmp_path / "broker").mkdir()
    (tmp_path / "broker" / "whole.jar").write_bytes(b"whole")
    (tmp_path / "broker" / "damaged.jar").write_bytes(b"whol")
    assert jars.wrong(tmp_path) == ["broker/damaged.jar", "broker/absent.jar"]


def test_no_file_names_a_registry() -> None:
    """Ivy knows Maven Central by name."""
    assert not [path.name for path in jars.IVY.iterdir() if "://" in path.read_text()]
