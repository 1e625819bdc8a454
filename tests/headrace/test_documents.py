"""Documents are written whole and read strictly."""

from pathlib import Path

import pytest

from headrace import documents
from headrace.errors import Code, LedgerError, OutdatedError
from headrace.ledger.progress import Verified


def test_a_document_comes_back_as_it_was_written(tmp_path: Path) -> None:
    """Written, read, equal; nothing else is left in the folder."""
    document = Verified(number=3)
    documents.write(tmp_path / "verified.json", document)
    assert documents.read(tmp_path / "verified.json", Verified) == document
    assert [path.name for path in tmp_path.iterdir()] == ["verified.json"]


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"schema": 3, "number": 1}', '{"schema": 2, "number": "1"}']
)
def test_a_damaged_document_is_named(tmp_path: Path, text: str) -> None:
    """The error says which file and why, also for another schema version."""
    path = tmp_path / "verified.json"
    path.write_text(text)
    with pytest.raises(LedgerError, check=Code.DOCUMENT_DAMAGED.fits):
        documents.read(path, Verified)


def test_a_document_of_an_earlier_version_says_so_and_names_the_way_out(tmp_path: Path) -> None:
    """It is not damaged: no copy would help."""
    path = tmp_path / "verified.json"
    path.write_text('{"schema": 1, "micro_batch": 3}')
    with pytest.raises(OutdatedError, match="headrace reset"):
        documents.read(path, Verified)


def test_an_invalid_document_is_not_written(tmp_path: Path) -> None:
    """A value of the wrong type is noticed before the old file is replaced."""
    path = tmp_path / "verified.json"
    documents.write(path, Verified(number=1))
    with pytest.raises(Exception, match="Expected `int`"):
        documents.write(path, Verified(number="2"))  # type: ignore[arg-type]
    assert documents.read(path, Verified).number == 1


def test_the_names_of_new_folders_survive_a_power_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A document in a folder that is not on disk is not on disk either.

    Folders that were there before cost nothing.
    """
    synced: list[Path] = []
    monkeypatch.setattr(documents, "sync_directory", synced.append)
    documents.write(tmp_path / "data" / "p" / "verified.json", Verified())
    assert synced == [tmp_path / "data", tmp_path, tmp_path / "data" / "p"]
    synced.clear()
    documents.write(tmp_path / "data" / "p" / "verified.json", Verified())
    assert synced == [tmp_path / "data" / "p"]
