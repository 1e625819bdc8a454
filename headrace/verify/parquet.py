"""Published Parquet files, as far as they are what they should be."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from headrace.verify.resources import raise_if_short

_SHOWN_COLUMNS = 3
"""How many columns a finding names; a damaged file can have thousands."""

_ROWS_AT_ONCE = 250
"""Rows that are read between two looks at how much memory they take: 250 MB of Kafka's largest records (1 MB
each, unless set otherwise)."""


class WrongFileError(Exception):
    """A published file is not what it should be.

    The text says what is wrong, as a finding does; the caller adds the place.
    """


@dataclass(frozen=True)
class Footer:
    """What is quick to see of a Parquet file.

    Its size in bytes, its number of rows, and whether its columns carry metadata.
    """

    bytes: int
    rows: int
    has_metadata: bool


def read_footer(path: Path, schema: pa.Schema) -> Footer:
    """Look at a published file without reading its rows.

    Raises `WrongFileError` unless it is a regular Parquet file with just these columns.

    Names, order and types of the columns count; whether they may be null, and metadata, do not: Spark and
    pyarrow write them differently.
    """
    with _opened(path, schema) as (file, size):
        return Footer(bytes=size, rows=file.metadata.num_rows, has_metadata=bool(file.schema_arrow.metadata))


def read_rows(path: Path, schema: pa.Schema, most: int) -> pa.Table:
    """The rows of a published file, cast to these columns.

    Raises `WrongFileError` as `read_footer` does, or if they take too much memory.

    Args:
        most: In bytes; rows are read a few at a time, since a small file may hold the same large value very
            often.
    """
    blocks: list[pa.RecordBatch] = []
    with _opened(path, schema) as (file, _):
        for block in file.iter_batches(batch_size=_ROWS_AT_ONCE, use_threads=False):
            blocks.append(block)
            most -= block.nbytes
            if most < 0:
                raise WrongFileError("the file's rows take more memory than is allowed here")
        rows = pa.Table.from_batches(blocks, file.schema_arrow)
        return rows if rows.schema.equals(schema) else rows.cast(schema)


@contextmanager
def _opened(path: Path, schema: pa.Schema) -> Iterator[tuple[pq.ParquetFile, int]]:
    """A published file and its size in bytes.

    Raises `WrongFileError` as `read_footer` does, also for what goes wrong while it is open.
    """
    try:
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode):  # before it is opened: opening a FIFO waits for a writer
            raise WrongFileError(
                "the file is a link" if stat.S_ISLNK(status.st_mode) else "this is not a regular file"
            )
        # By its name it takes a third longer.
        with pa.OSFile(os.fspath(path)) as source, pq.ParquetFile(source) as file:
            if wrong := _wrong_columns(file.schema_arrow, schema):
                raise WrongFileError(f"the file's columns are not those of its contract: {wrong}")
            yield file, status.st_size
    except (FileNotFoundError, NotADirectoryError) as error:
        raise WrongFileError("the file is missing") from error
    except (
        pa.ArrowException,
        OSError,
        ValueError,
    ) as error:  # ValueError: names of columns that are not UTF-8
        raise_if_short(error)
        raise WrongFileError(
            f"the file can't be read as Parquet ({(str(error).splitlines() or [type(error).__name__])[0]})"
        ) from error


def has_columns(path: Path, schema: pa.Schema) -> bool:
    """Whether a file can be read as records with just these columns."""
    try:
        read_footer(path, schema)
    except WrongFileError:
        return False
    return True


def _wrong_columns(found: pa.Schema, wanted: pa.Schema) -> str | None:
    """How columns differ, or `None`."""
    if found.equals(wanted):
        return None
    if found.names == wanted.names:
        differing = (f for f, w in zip(found, wanted, strict=True) if not _is_same_type(f.type, w.type))
        parts = [
            f"{field.name} is {field.type} instead of {wanted.field(field.name).type}"
            for field in islice(differing, _SHOWN_COLUMNS)
        ]
        return "; ".join(parts) or None
    missing = [f"{name} is missing" for name in wanted.names if name not in found.names]
    more = [f"{name!r} is none of them" for name in found.names if name not in wanted.names]
    return (
        "; ".join([*missing[:_SHOWN_COLUMNS], *more[:_SHOWN_COLUMNS]])
        or "another order, or one of them twice"
    )


def _is_same_type(found: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether types are equal, whatever writers call a list's elements, and whether those may be null."""
    if pa.types.is_list(found) and pa.types.is_list(wanted):
        return _is_same_type(found.value_type, wanted.value_type)
    if pa.types.is_struct(found) and pa.types.is_struct(wanted):
        return [each.name for each in found] == [each.name for each in wanted] and all(
            _is_same_type(f.type, w.type) for f, w in zip(found, wanted, strict=True)
        )
    return bool(found == wanted)
