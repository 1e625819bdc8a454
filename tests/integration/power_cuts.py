"""What a power cut can leave on disk at each moment of a stream, from a recorded list of file operations.

A file's content is on disk once the file was synced after it was written; a name (made, renamed or removed)
once its folder was synced. All else may be there or not when the power fails, in any combination. Of those
combinations these are built, at each operation:

- everything is there; only the names are there, with empty files or with NUL bytes in them; nothing is there
  that was not synced
- one file alone is lost: it is empty, full of NUL bytes, or absent; or one rename or removal alone is undone
- one name alone is there of all those that were not synced, its file whole or empty
"""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import Any, assert_never
from unittest.mock import patch

from slices import Slice

RECORDED = Path(__file__).with_name("power_cut_operations.txt")
STREAMS = ("first", "second")
NAME = "slice"
"""The pipeline's name, and that of its folder."""

_ABOUT = """\
# What the first two streams of a new pipeline do on disk, in order; written by record_operations.py with
# Spark {version}. Who does it, what, and where: paths are relative to the pipeline's folder. Ids of one run
# are replaced by words. Locks are left out, as are writes before the first sync of a file. A line alone is
# the name of a stream that begins.
"""
_VERSION = re.compile(r"with Spark (\S+)\.$", re.MULTILINE)
_IDS = [
    (re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"), "UUID"),
    (re.compile(r"(attempt|task)_\d+_\d+_m_(\d+)(_\d+)?"), r"\1_\2"),
    (re.compile(r"^(staging/\d+)-[0-9a-f]{8}"), r"\1-ATTEMPT"),
    (re.compile(r"(\.json)\.\d+$"), r"\1.PID"),
]


class Who(StrEnum):
    """Whose operation it is."""

    HEADRACE = "headrace"
    SPARK = "spark"


@dataclass(frozen=True)
class Operation:
    """One operation on a path relative to the pipeline's folder, ids of a run replaced.

    Attributes:
        kind: Create, write (to a file that was synced before), sync, mkdir, rename or remove.
        to: Of a rename: the new path.
    """

    who: Who
    kind: str
    path: str
    to: str = ""

    def __str__(self) -> str:
        return " ".join(filter(None, (self.who, self.kind, self.path, self.to)))


def normal(path: str | Path, root: Path) -> str:
    """A path relative to the pipeline's folder, with the ids of one run replaced by words."""
    relative = os.path.relpath(path, root)
    for pattern, word in _IDS:
        relative = pattern.sub(word, relative)
    return relative


def write_recorded(version: str, lines: Iterable[Operation | str]) -> None:
    """Write the list, without what is of no consequence."""
    synced: set[str] = set()
    kept: list[str] = []
    for line in lines:
        if isinstance(line, Operation):
            match line.kind:
                case _ if line.path.endswith(".lock"):
                    continue
                case "sync":
                    synced.add(line.path)
                case "write" if line.path not in synced or kept[-1] == str(line):
                    continue
                case "rename" if line.path in synced:
                    synced.add(line.to)
                case "create":
                    synced.discard(line.path)
        kept.append(str(line))
    RECORDED.write_text(_ABOUT.format(version=version) + "".join(f"{line}\n" for line in kept))


def recorded_version() -> str:
    """The version of Spark with which the list was recorded."""
    found = _VERSION.search(RECORDED.read_text())
    assert found
    return found[1]


def recorded() -> dict[str, list[Operation]]:
    """The recorded operations of each stream."""
    streams: dict[str, list[Operation]] = {}
    for line in RECORDED.read_text().splitlines():
        match line.split():
            case [who, kind, *paths] if not line.startswith("#"):
                streams[list(streams)[-1]].append(Operation(Who(who), kind, *paths))
            case [name]:
                streams[name] = []
    return streams


RECORDS: list[tuple[bytes | None, bytes | None]] = [
    (b"kept", b"important"),
    (b"filtered", b"other"),
    (b"unusable", None),
] * 5


def two_streams(one: Slice) -> Iterator[str]:
    """Run the two streams; gives the name of each before it begins."""
    for name in STREAMS:
        one.write(RECORDS)
        yield name
        one.stream(name)


@dataclass
class Observed:
    """What Headrace's own code did, in order, and what it renamed."""

    root: Path
    operations: list[Operation] = field(default_factory=list)
    renamed: list[bytes | None] = field(default_factory=list)
    """Content of what was renamed, one for each rename; `None` for a folder."""


OBSERVABLE = ("sync", "mkdir", "rename", "remove")
"""Operations that can be seen from within Python; Arrow makes files by itself."""


@contextmanager
def observed(root: Path) -> Iterator[Observed]:
    """Watch this process's operations below the pipeline's folder and on the folder above it."""
    seen = Observed(root)

    def see(kind: str, *paths: Any) -> None:
        where = [Path(path) for path in paths]
        if where and all(path.is_relative_to(root.parent) for path in where) and where[0].suffix != ".lock":
            if kind == "rename":
                seen.renamed.append(where[0].read_bytes() if where[0].is_file() else None)
            seen.operations.append(Operation(Who.HEADRACE, kind, *(normal(path, root) for path in where)))

    def seeing(kind: str, real: Callable[..., Any], paths: int) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            if options.get("dir_fd") is None:
                see(kind, *arguments[:paths])
            return real(*arguments, **options)

        return call

    def fsync(descriptor: int) -> None:
        status = os.fstat(descriptor)
        there = [root.parent, root, *root.rglob("*")]
        see("sync", *(path for path in there if path.exists() and os.path.samestat(path.stat(), status)))
        real_fsync(descriptor)

    def mkdir(path: Any, *arguments: Any, **options: Any) -> None:
        real_mkdir(path, *arguments, **options)  # first: pathlib tries to make folders that are there
        see("mkdir", path)

    real_fsync, real_mkdir = os.fsync, os.mkdir
    with patch.multiple(
        os,
        fsync=fsync,
        mkdir=mkdir,
        rename=seeing("rename", os.rename, 2),
        replace=seeing("rename", os.replace, 2),
        unlink=seeing("remove", os.unlink, 1),
        rmdir=seeing("remove", os.rmdir, 1),
    ):
        yield seen


@dataclass(frozen=True)
class Naming:
    """An operation on a name, whose numbers of files and folders stay the same whatever they are called."""

    moment: int
    inode: int
    """Number of the file or folder."""
    source: tuple[int, str] | None
    """Folder and name that it no longer has."""
    to: tuple[int, str] | None
    """Folder and name that it has from now on."""


class Loss(StrEnum):
    """What becomes of a file whose name is there and whose content is not."""

    EMPTY = "empty"
    NULS = "full of NULs"


Tree = Mapping[str, tuple[int, Loss | None] | None]
"""By path below the folder above the pipeline's: `None` for a folder; for a file its number, and what became
of its content."""


@dataclass(frozen=True)
class State:
    """What is on disk after a cut."""

    cut: str
    """When the power failed, and what was lost."""
    tree: Tree

    @property
    def key(self) -> frozenset[tuple[str, tuple[int, Loss | None] | None]]:
        """Equal for states that a stream can't tell apart.

        `staging` is removed unread, nothing reads our own temporary files, and of Spark's only the names are
        seen.
        """
        return frozenset(
            (path, None if ".tmp" in path else what)
            for path, what in self.tree.items()
            if f"{NAME}/staging/" not in path and not path.endswith((".PID", ".tmp.crc"))
        )


class History:
    """What was on disk at each moment of a list of operations, and since when it would survive a cut."""

    def __init__(self, operations: Sequence[Operation]) -> None:
        self.operations = operations
        self.folders: dict[int, dict[str, int]] = {0: {}}
        """By number of a folder: names in it, and the numbers behind them."""
        self.namings: list[Naming] = []
        self.named_since: dict[int, int] = {}
        """By moment of a naming: when it became durable."""
        self.made: dict[int, int] = {}
        """By number of a file: when it was made."""
        self.written_since: dict[int, int] = {}
        """By number of a file: when its content became durable."""
        for moment, operation in enumerate(operations):
            self._do(moment, operation)

    def states(self) -> list[State]:
        """The states after a cut behind each operation.

        Of those that a stream can't tell apart the one with the most left over.
        """
        found: dict[Any, State] = {}
        for cut in range(len(self.operations) + 1):
            for text, tree in self._after(cut):
                state = State(
                    f"cut {cut}, behind {self.operations[cut - 1] if cut else 'nothing'}: {text}", tree
                )
                if state.key not in found or len(found[state.key].tree) < len(tree):
                    found[state.key] = state
        return list(found.values())

    def _after(self, cut: int) -> Iterator[tuple[str, Tree]]:
        never = len(self.operations)
        pending = [
            each for each in self.namings if each.moment < cut <= self.named_since.get(each.moment, never)
        ]
        files = [
            inode for inode, made in self.made.items() if made < cut <= self.written_since.get(inode, never)
        ]
        names = {each.moment for each in pending}
        yield "all is there", self.tree(cut)
        yield "no name that was not synced", self.tree(cut, names)
        for loss in Loss:
            yield f"names, files {loss}", self.tree(cut, (), files, loss)
            yield f"no name that was not synced, files {loss}", self.tree(cut, names, files, loss)
        for inode in files:
            what = self.operations[self.made[inode]].path
            for loss in Loss:
                yield f"{what} {loss}", self.tree(cut, (), [inode], loss)
        for inode in {each.inode: None for each in pending}:
            of_it = [each for each in pending if each.inode == inode]
            yield (
                f"undone: {', '.join(str(self.operations[each.moment]) for each in of_it)}",
                self.tree(cut, {each.moment for each in of_it}),
            )
        for each in pending:
            what = str(self.operations[each.moment])
            yield f"undone: {what}", self.tree(cut, [each.moment])
            yield f"nothing that was not synced but {what}", self.tree(cut, names - {each.moment})
            for loss in Loss:
                yield (
                    f"nothing that was not synced but {what}, files {loss}",
                    self.tree(cut, names - {each.moment}, files, loss),
                )

    def tree(
        self, cut: int, lost: Iterable[int] = (), torn: Iterable[int] = (), loss: Loss | None = None
    ) -> Tree:
        """What is there after so many operations, without some names, with some files torn."""
        lost, torn = frozenset(lost), frozenset(torn)
        folders: dict[int, dict[str, int]] = {inode: {} for inode in self.folders}
        for naming in self.namings:
            if naming.moment < cut and naming.moment not in lost:
                if naming.source and folders[naming.source[0]].get(naming.source[1]) == naming.inode:
                    del folders[naming.source[0]][naming.source[1]]
                if naming.to:
                    folders[naming.to[0]][naming.to[1]] = naming.inode
        found: dict[str, tuple[int, Loss | None] | None] = {}

        def walk(folder: int, path: str) -> None:
            for name, inode in folders[folder].items():
                found[path + name] = None if inode in folders else (inode, loss if inode in torn else None)
                if inode in folders:
                    walk(inode, f"{path}{name}/")

        walk(0, "")
        return found

    def renamed(self) -> list[int]:
        """Numbers of what Headrace renamed, in order."""
        return [
            each.inode
            for each in self.namings
            if self.operations[each.moment].kind == "rename" and self._is_ours(each)
        ]

    def _is_ours(self, naming: Naming) -> bool:
        return self.operations[naming.moment].who == Who.HEADRACE

    def _place(self, path: str) -> tuple[int, str]:
        *above, name = PurePosixPath(NAME, path).parts
        folder = 0
        for part in above:
            folder = self.folders[folder][part]
        return folder, name

    def _do(self, moment: int, operation: Operation) -> None:
        if operation.path == "..":  # the folder above the pipeline's; it is there in all states
            if operation.kind == "sync":
                self._sync_folder(0, moment)
            return
        folder, name = place = self._place(operation.path)
        here = self.folders[folder]
        match operation.kind:
            case "create" | "mkdir":
                assert name not in here, f"{operation}: a file is replaced by rename, never written to"
                inode = here[name] = moment + 1
                if operation.kind == "mkdir":
                    self.folders[inode] = {}
                else:
                    self.made[inode] = moment
                self.namings.append(Naming(moment, inode, None, place))
            case "rename":
                inode = here.pop(name)
                to = self._place(operation.to)
                self.folders[to[0]][to[1]] = inode
                self.namings.append(Naming(moment, inode, place, to))
            case "remove":
                self.namings.append(Naming(moment, here.pop(name), place, None))
            case "sync" if here[name] in self.folders:
                self._sync_folder(here[name], moment)
            case "sync":
                self.written_since.setdefault(here[name], moment)
            # Also a write to a file that was synced: it is not worked out here what of it a cut leaves.
            case other:
                raise AssertionError(other)

    def _sync_folder(self, inode: int, moment: int) -> None:
        for naming in self.namings:
            place = naming.to or naming.source
            if place and place[0] == inode:
                self.named_since.setdefault(naming.moment, moment)


class Contents:
    """Contents and real names of files, from a finished pipeline's folder and while it was made."""

    def __init__(self, history: History, finished: Path, seen: Observed) -> None:
        self._history = history
        there = {normal(path, finished): path for path in finished.rglob("*") if path.is_file()}
        last = history.tree(len(history.operations))
        paths = {what[0]: there[path.removeprefix(f"{NAME}/")] for path, what in last.items() if what}
        self._names = {
            inode: (PurePosixPath(normal(path, finished)).name, path.name) for inode, path in paths.items()
        }
        self._contents = {inode: path.read_bytes() for inode, path in paths.items()}
        self._contents |= {
            inode: data
            for inode, data in zip(history.renamed(), seen.renamed, strict=True)
            if data is not None
        }

    def build(self, state: State, base: Path) -> None:
        """Put what is on disk in a state below a folder."""
        base.mkdir()
        for path, what in state.tree.items():
            place = base / path
            if what is None:
                place.mkdir()
                continue
            inode, loss = what
            recorded_name, real_name = self._names.get(inode, ("", ""))
            if place.name == recorded_name:
                place = place.with_name(real_name)
            content = self._contents.get(inode, b"of no consequence: removed before the stream ended")
            match loss:
                case None:
                    place.write_bytes(content)
                case Loss.EMPTY:
                    place.touch()
                case Loss.NULS:
                    place.write_bytes(bytes(len(content)))
                case _:
                    assert_never(loss)
