"""What an entry may say."""

import msgspec
import pytest

from headrace.ledger.entry import DataFile


@pytest.mark.parametrize(
    "name",
    ["part-00000-4c2f5a1e-0d3b-4b6e-9a55-3f0b7e0f2d11-c000.snappy.parquet", "part-1.parquet", "a=1.parquet"],
)
def test_names_that_spark_gives_are_data_files(name: str) -> None:
    """Made, and read back."""
    file = DataFile(name=name, bytes=1, sha256="", spans=[])
    assert msgspec.json.decode(msgspec.json.encode(file), type=DataFile) == file


@pytest.mark.parametrize(
    "name",
    [
        *(
            "",
            ".",
            "..",
            ".parquet",
            "../x.parquet",
            "../../x.parquet",
            "deeper/x.parquet",
            "/x.parquet",
            "micro_batch=-1/empty.parquet",
        ),
        *(".x.parquet", "_x.parquet", "x", "x.parquet ", "x.parquet\n", "x.PARQUET", "x.parquet/", "x.csv"),
        *(
            "x\0.parquet",
            "x\n.parquet",
            "*.parquet",
            "[x].parquet",
            "?.parquet",
            "a:b.parquet",
            "a b.parquet",
            "a\\b.parquet",
            "é.parquet",
        ),
        f"{'x' * 255}.parquet",
    ],
)
def test_names_that_leave_the_folder_or_that_readers_take_otherwise_are_refused(name: str) -> None:
    """Also in a document on disk."""
    with pytest.raises(ValueError, match="no plain name of a Parquet file"):
        DataFile(name=name, bytes=1, sha256="", spans=[])
    document = msgspec.json.encode({"name": name, "bytes": 1, "sha256": "", "spans": []})
    with pytest.raises(msgspec.ValidationError, match="no plain name of a Parquet file"):
        msgspec.json.decode(document, type=DataFile)
