"""Documents are written whole and read strictly."""

from pathlib import Path

import pytest

from headrace import documents
from headrace.errors import LedgerError
from headrace.ledger.progress import Verified


def test_a_document_comes_back_as_it_was_written(tmp_path: Path) -> None:
    """Written, read, equal; nothing else is left in the folder."""
    document = Verified(micro_batch=3)
    documents.write(tmp_path / "verified.json", document)
    assert documents.read(tmp_path / "verified.json", Verified) == document
    assert [path.name for path in tmp_path.iterdir()] == ["verified.json"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": 2, "micro_batch": 1}', '{"schema": 1, "micro_batch": "1"}'])
def test_a_damaged_document_is_named(tmp_path: Path, text: str) -> None:
    """The error says which file and why, also for another schema version."""
    path = tmp_path / "verified.json"
    path.write_text(text)
    with pytest.raises(LedgerError, match=r"verified\.json is not a valid Verified"):
        documents.read(path, Verified)


def test_an_invalid_document_is_not_written(tmp_path: Path) -> None:
    """A value of the wrong type is noticed before the old file is replaced."""
    path = tmp_path / "verified.json"
    documents.write(path, Verified(micro_batch=1))
    with pytest.raises(Exception, match="Expected `int`"):
        documents.write(path, Verified(micro_batch="2"))  # type: ignore[arg-type]
    assert documents.read(path, Verified).micro_batch == 1
