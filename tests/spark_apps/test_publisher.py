"""What a micro-batch is planned as, without Spark."""

import json
from pathlib import Path

import pytest

from headrace.contract.pipeline import Pipeline
from headrace.errors import Code, UnavailableError
from headrace.kafka.offsets import Offsets
from headrace.ledger.folder import Folder
from headrace.ledger.identity import Identity
from headrace.settings import ROOT
from spark_apps.publisher import plan


def test_a_partition_added_while_the_stream_starts_joins_with_the_next_try(tmp_path: Path) -> None:
    """Spark lists partitions after the ledger was opened.

    Another try notes them, and then the plan is one of known partitions.
    """
    contract = Pipeline.load(ROOT / "dags" / "important_messages.toml").contract
    folder = Folder(tmp_path)
    (folder.checkpoint / "offsets").mkdir(parents=True)
    (folder.checkpoint / "offsets" / "0").write_text("v1\n{}\n" + json.dumps({"t": {"0": 5, "1": 3}}))
    identity = Identity(
        pipeline="p",
        checkpoint="c1",
        topics={"t": "id"},
        start=Offsets.nested({"t": {0: 0}}),
        contract=contract,
    )
    with pytest.raises(UnavailableError, check=Code.PARTITION_ADDED.fits):
        plan(folder, identity, None, 0)
    joined = Identity(
        pipeline="p",
        checkpoint="c1",
        topics={"t": "id"},
        start=Offsets.nested({"t": {0: 0, 1: 0}}),
        contract=contract,
    )
    assert [len(each) for each in plan(folder, joined, None, 0)] == [5, 3]
