"""How many records were kept per minute: `kept_per_minute.parquet`, written anew from the verified records on each green."""

import os

import duckdb

from headrace.errors import LedgerError, SurroundingsError
from headrace.ledger.entries import entries
from headrace.ledger.folder import Folder
from headrace.verify import engine

_COUNTED = """
    COPY (
        SELECT date_trunc('minute', _timestamp) AS minute, _topic, count(*) AS kept FROM events WHERE _timestamp IS NOT NULL GROUP BY ALL ORDER BY ALL
    ) TO '{target}' (FORMAT parquet)
"""


def write(folder: Folder, until: int) -> None:
    """Count all kept records of the micro-batches up to `until`, by topic and by the minute (UTC) of their timestamp.

    Raises `LedgerError` if a file is gone that was there when it was verified, `SurroundingsError` if it cannot be written, as on a full disk.

    Columns: `minute timestamp`, `_topic string`, `kept bigint`; no row for a minute without records, and none for records without a timestamp. The file is exchanged as a whole.
    """
    files = [
        folder.published(folder.events, entry.micro_batch) / file.name
        for entry in entries(folder)
        if entry.micro_batch <= until
        for file in entry.events
    ]
    if not files:
        return
    made = folder.kept_per_minute.with_suffix(f".{os.getpid()}")
    try:
        with engine.connect() as database:
            engine.view(database, "events", files)
            database.execute(_COUNTED.format(target=str(made).replace("'", "''")))
    except duckdb.Error as error:
        made.unlink(missing_ok=True)
        if gone := [str(file.relative_to(folder.root)) for file in files if not file.is_file()]:
            raise LedgerError(f"{gone[0]} was there when it was checked and is gone. Put it back, and run verify again.") from error
        raise SurroundingsError(f"{folder.kept_per_minute} could not be written: {error}") from error
    made.replace(folder.kept_per_minute)
