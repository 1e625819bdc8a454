"""I2, I4, I6 and I7: a micro-batch's records, read from the broker and judged again, against its rows.

Arrow compares, block by block, so that memory stays bounded whatever a micro-batch's size. Where a block
differs, DuckDB says in what.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pyarrow as pa

from headrace.contract.verdicts import Verdict
from headrace.kafka.cluster import Block
from headrace.kafka.offsets import OffsetRange, TopicPartition
from headrace.ledger.entry import Account, Entry
from headrace.ledger.folder import Folder
from headrace.ledger.publish import schemas
from headrace.verify import engine
from headrace.verify.checks.balance import BALANCE, check_account
from headrace.verify.checks.files import FILES
from headrace.verify.checks.rows import ROWS, check_outside, differing, report_absent, report_differing
from headrace.verify.checks.uniqueness import UNIQUENESS, check_unique
from headrace.verify.checks.verdicts import VERDICTS, difference
from headrace.verify.expected import HEADERS_KNOWN, compared, expected, published
from headrace.verify.findings import Findings
from headrace.verify.judge import Judge
from headrace.verify.parquet import WrongFileError, read_footer
from headrace.verify.resources import raise_if_short

_BESIDE = ("_timestamp", "_key")
"""What a row of either kind holds beside its position."""
_UNUSABLE = (*_BESIDE, "_value", "_headers")

_COMPARED = """
    WITH one_kept AS (SELECT DISTINCT ON (_offset) * FROM kept),
    one_unusable AS (SELECT DISTINCT ON (_offset) * FROM unusable),
    compared AS (
        SELECT coalesce(expected._offset, one_kept._offset, one_unusable._offset) AS _at, _verdict AS _wanted,
            CASE WHEN one_kept._offset IS NOT NULL THEN 'kept' WHEN one_unusable._offset IS NOT NULL THEN 'quarantined' ELSE 'filtered' END AS _found,
            nullif(concat_ws(' ', _reason, _field), '') AS _wanted_reason,
            nullif(concat_ws(' ', one_unusable.reason, one_unusable.field), '') AS _found_reason,
            CASE WHEN _wanted IS DISTINCT FROM _found THEN '' WHEN _found = 'kept' THEN {kept} WHEN _found = 'quarantined' THEN {unusable} ELSE '' END AS _differing
        FROM expected
        FULL JOIN one_kept ON one_kept._offset = expected._offset
        FULL JOIN one_unusable ON one_unusable._offset = coalesce(expected._offset, one_kept._offset)
    )
    SELECT * FROM compared
    WHERE _wanted IS NULL OR _wanted <> _found OR (_found = 'quarantined' AND _wanted_reason IS DISTINCT FROM _found_reason) OR _differing <> ''
    ORDER BY _at
"""


class PublishedRows:
    """The rows of one micro-batch as they lie on disk, to be compared with what they should be.

    Files that can't be read are a finding, once; nothing is compared from then on. Rows of a file that is
    gone are reported by I8 alone: that they are not there says nothing of how they were judged.
    """

    def __init__(
        self,
        folder: Folder,
        entry: Entry,
        database: duckdb.DuckDBPyConnection,
        judge: Judge,
        findings: Findings,
        absent: Findings,
    ) -> None:
        self.entry = entry
        self.findings = findings
        self.absent = absent
        self.readable = True
        self.judged: Counter[tuple[TopicPartition, Verdict]] = Counter()
        self.database = database
        self.judge = judge
        events = [folder.published(folder.events, entry.number) / file.name for file in entry.events]
        unusable = [
            folder.published(folder.quarantine, entry.number) / file.name for file in entry.quarantine
        ]
        self.gone = {
            verdict: [
                span
                for file, path in zip(files, paths, strict=True)
                if not path.exists()
                for span in file.spans
            ]
            for verdict, files, paths in (
                (Verdict.KEPT, entry.events, events),
                (Verdict.QUARANTINED, entry.quarantine, unusable),
            )
        }
        self._files = {
            "kept": [file for file in events if file.exists()],
            "unusable": [file for file in unusable if file.exists()],
        }
        self._schemas = dict(zip(self._files, schemas(entry.contract), strict=True))
        self._in_turn = False
        """Whether rows do not fit into memory a few thousand at once."""
        with self._reading():
            for name, files in self._files.items():
                for file in files:
                    # DuckDB would turn other types into those of the first file, and wait for a FIFO.
                    read_footer(file, self._schemas[name])
                engine.view(self.database, f"all_{name}", files, self._schemas[name])
        columns = [f'"{column}"' for column in entry.contract.columns]
        self._compared = _COMPARED.format(
            kept=differing("one_kept", [*_BESIDE, *columns]),
            unusable=differing("one_unusable", _UNUSABLE),
        )

    def compare(self, block: Block, span: OffsetRange) -> None:
        """Compare the rows of a span of offsets with a block, which holds all records of that span."""
        records = expected(self.judge, block)
        counts = Counter(records.column("_verdict").to_pylist())
        self.judged.update({(span.place, Verdict(verdict)): count for verdict, count in counts.items()})
        if self.readable:
            self.findings.checked[VERDICTS] += len(block.offsets)
            with self._reading():
                self._compare(records, span)

    def take(self, place: TopicPartition, judged: Mapping[Verdict, int]) -> None:
        """Count what was proven elsewhere: that rows are just what these verdicts make them.

        Args:
            judged: How many records have which verdict.
        """
        published = judged[Verdict.KEPT] + judged[Verdict.QUARANTINED]
        self.judged.update({(place, verdict): count for verdict, count in judged.items()})
        self.findings.checked[VERDICTS] += sum(judged.values())
        self.findings.checked[UNIQUENESS] += published
        self.findings.checked[ROWS] += published

    def _compare(self, records: pa.Table, span: OffsetRange) -> None:
        self.database.register("expected", records)
        for name, files in self._files.items():
            self._select(name, files, span)
        rows = self._number("SELECT (SELECT count(*) FROM kept) + (SELECT count(*) FROM unusable)")
        self.findings.checked[UNIQUENESS] += rows
        self.findings.checked[ROWS] += rows
        if self._is_equal(records):
            return
        check_unique(self.database, span, self.entry.number, self.findings)
        for offset, wanted, found, wanted_reason, found_reason, columns in self.database.execute(
            self._compared
        ).fetchall():
            if wanted is None:
                report_absent(found, span, offset, self.entry.number, self.absent)
                continue
            if wanted != found and self._is_gone(wanted, found, span, offset):
                self.findings.checked[VERDICTS] -= 1
            elif what := difference(wanted, found, wanted_reason, found_reason):
                self.findings.add_record(VERDICTS, what, span.place, offset, micro_batch=self.entry.number)
            if columns:
                report_differing(columns, span, offset, self.entry.number, self.findings)

    def _is_equal(self, records: pa.Table) -> bool:
        """Whether the rows are just what they should be, each there once.

        Quick; what differs, or does not fit into memory, is compared in another way.
        """
        for (verdict, names), table in zip(compared(self.entry.contract).items(), self._files, strict=True):
            columns = ", ".join(
                f"true AS {name}" if name == HEADERS_KNOWN else f'"{name}"' for name in names.values()
            )
            wanted = published(records, verdict, names)
            try:
                found = self.database.sql(f"SELECT {columns} FROM {table} ORDER BY _offset").to_arrow_table()  # noqa: S608, names of ours
                if not wanted.cast(found.schema).equals(found):
                    return False
            except (duckdb.OutOfMemoryException, pa.ArrowException):
                return False
        return True

    def _select(self, name: str, files: Sequence[Path], span: OffsetRange) -> None:
        """Make a table of the rows of a span."""
        self.database.execute(f"DROP TABLE IF EXISTS {name}")  # its rows need not be there twice
        query = f"CREATE TEMP TABLE {name} AS SELECT * FROM {{}} WHERE _topic = ? AND _partition = ? AND _offset >= ? AND _offset < ?"  # noqa: S608, one of two names
        values = [*span.place, span.from_offset, span.until_offset]
        if not (self._in_turn and files):
            try:
                self.database.execute(query.format(f"all_{name}"), values)
            except duckdb.OutOfMemoryException:
                if not files:
                    raise
                self._in_turn = True
            else:
                return
        with engine.view_in_turn(self.database, "in_turn", files, self._schemas[name], span):
            self.database.execute(query.format("in_turn"), values)

    def close_account(self, account: Account, read: int, missing: OffsetRange | None) -> None:
        """I6: hold the entry's counts against what was read and judged.

        Args:
            account: the entry's, of one range
            read: how many records the range held
            missing: the part of the range that Kafka no longer has. Its rows are counted as they lie on disk
        """
        judged = {verdict: self.judged[account.place, verdict] for verdict in Verdict}
        if missing and not self.readable:
            self.findings.checked[BALANCE] += 1
            return
        rows = (
            (self._count_rows("all_kept", missing), self._count_rows("all_unusable", missing))
            if missing
            else (0, 0)
        )
        check_account(account, judged, read, missing, rows, self.entry.number, self.absent)

    def _count_rows(self, name: str, span: OffsetRange) -> int:
        with self._reading():
            return self._number(
                f"SELECT count(*) FROM {name} WHERE _topic = ? AND _partition = ? AND _offset >= ? AND _offset < ?",  # noqa: S608, one of two names
                [*span.place, span.from_offset, span.until_offset],
            )
        return 0

    def check_outside(self) -> None:
        """I4: no row lies outside of the entry's ranges."""
        if self.readable:
            with self._reading():
                check_outside(self.database, self.entry, self.findings)

    def _is_gone(self, wanted: str, found: str, span: OffsetRange, offset: int) -> bool:
        """Whether a row that should be there was in a file that is gone."""
        return found == Verdict.FILTERED and any(
            gone.topic == span.topic
            and gone.partition == span.partition
            and gone.lowest_offset <= offset <= gone.highest_offset
            for gone in self.gone.get(Verdict(wanted), [])
        )

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except (duckdb.Error, WrongFileError) as error:
            raise_if_short(error)
            self.readable = False
            message = (
                f"its files can't be read, so that its rows were not compared: {str(error).splitlines()[0]}"
            )
            self.findings.add(FILES, message, micro_batch=self.entry.number)

    def _number(self, query: str, values: Sequence[object] = ()) -> int:
        """The one number that a query gives.

        All rows are fetched: until DuckDB has said that there are no more, it takes no other work.
        """
        ((number,),) = self.database.execute(query, values).fetchall()
        return int(number)
