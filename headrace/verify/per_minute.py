"""How many records were kept per minute.

`kept_per_minute.parquet`, to which each green adds the micro-batches that are new.
"""

import json
import os

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from headrace.errors import Code, LedgerError, UnavailableError
from headrace.ledger.entries import read_link
from headrace.ledger.folder import Folder
from headrace.ledger.progress import Verified, entry_sha256
from headrace.verify import engine

COUNTED = "headrace"
"""Key in the file's metadata, under which it says which micro-batches it counts."""

_BEFORE = "SELECT minute, _topic, kept FROM before UNION ALL"
_COUNTED = """
    COPY (
        SELECT minute, _topic, sum(kept)::BIGINT AS kept
        FROM ({before} SELECT date_trunc('minute', _timestamp), _topic, count(*) FROM events WHERE _timestamp IS NOT NULL GROUP BY ALL) AS all_minutes (minute, _topic, kept)
        GROUP BY ALL ORDER BY ALL
    ) TO '{target}' (FORMAT parquet, KV_METADATA {{{key}: '{counted}'}})
"""


def extend(folder: Folder, verified: Verified) -> None:
    """Add the kept records of newly proven micro-batches, by topic and by minute (UTC).

    Columns: `minute timestamp`, `_topic string`, `kept bigint`; no row for a minute without records, and none
    for records without a timestamp. The file is replaced as a whole, and made from all micro-batches where
    there is none that can be extended.

    Raises `LedgerError` if a file is gone that was there when it was verified, `UnavailableError` if it
    cannot be written, as on a full disk.
    """
    counted = _counted(folder)
    # Until they are mended.
    left_out = {
        number for number in verified.recheck if number <= verified.until and number not in (counted or ())
    }
    proven = set(range(verified.until + 1)) - left_out
    new = proven - counted if counted is not None and counted <= proven else proven
    if not new:
        return
    entries = [read_link(folder, number).entry for number in sorted(new)]
    files = [
        folder.published(folder.events, entry.number) / file.name
        for entry in entries
        for file in entry.events
    ]
    is_extended = new != proven
    if not files and not is_extended:
        return
    made = folder.kept_per_minute.with_suffix(f".{os.getpid()}")
    states = {
        "until": verified.until,
        "entry": verified.mark.sha256 if verified.mark else None,
        "without": sorted(left_out),
    }
    query = _COUNTED.format(
        before=_BEFORE if is_extended else "",
        target=str(made).replace("'", "''"),
        key=COUNTED,
        counted=json.dumps(states),
    )
    try:
        with engine.connect() as database:
            engine.view(database, "events", files, _NO_ROWS)
            if is_extended:
                engine.view(database, "before", [folder.kept_per_minute])
            database.execute(query)
    except duckdb.Error as error:
        made.unlink(missing_ok=True)
        if gone := [str(file.relative_to(folder.root)) for file in files if not file.is_file()]:
            raise LedgerError(
                f"{gone[0]} was there when it was checked and is gone. Put it back, and run verify again.",
                code=Code.FILE_GONE,
            ) from error
        raise UnavailableError(
            f"{folder.kept_per_minute} could not be written: {error}", code=Code.UNWRITTEN
        ) from error
    made.replace(folder.kept_per_minute)


_NO_ROWS = pa.schema([("_timestamp", pa.timestamp("us", tz="UTC")), ("_topic", pa.string())])


def _counted(folder: Folder) -> set[int] | None:
    """The micro-batches that the file counts.

    `None` if there is none that says so of the ledger that is there.
    """
    try:
        states = json.loads((pq.read_metadata(folder.kept_per_minute).metadata or {})[COUNTED.encode()])
        is_of_this_ledger = states["entry"] == entry_sha256(folder, states["until"])
        return set(range(states["until"] + 1)) - set(states["without"]) if is_of_this_ledger else None
    except (OSError, pa.ArrowException, ValueError, KeyError, TypeError):
        return None
