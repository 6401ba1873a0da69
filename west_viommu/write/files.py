# SPDX-License-Identifier: Apache-2.0
"""The output folder of a run: its files are whole or absent, and nobody else's are touched."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from west_viommu.diagnostics import Refused, printable, refusal
from west_viommu.names import (
    BINDING_FIRST_LINE,
    BINDINGS,
    BLOB_MARK,
    BOOT_SCRIPT,
    COPIED_FIRST_LINE,
    GUEST_OVERLAY,
    HOST_OVERLAY,
    IMAGEBUILDER,
    MARKS_BLOB,
    MARKS_OVERLAY,
    OVERLAY,
    OVERLAY_FIRST_LINE,
    PLAN,
    PLAN_BEGINNING,
    SYSTEM,
    SYSTEM_BEGINNING,
    SYSTEM_FIRST_LINE,
    TOOLSTACKS,
    XEN_TREE,
    XENLIB,
    XL_CFG,
    XL_CFG_FIRST_LINE,
    XL_SUFFIX,
    partial_tree,
)
from west_viommu.read.dtb import MAGIC
from west_viommu.read.plain_file import beginning as start_of
from west_viommu.read.plain_file import content
from west_viommu.tree.digest import sha256

# How each begins when it is ours. The plan first: without it the rest counts for nothing.
_BEGINNINGS = {
    PLAN: PLAN_BEGINNING,
    OVERLAY: OVERLAY_FIRST_LINE,
    HOST_OVERLAY: OVERLAY_FIRST_LINE,
    XL_CFG: XL_CFG_FIRST_LINE,
    XENLIB: OVERLAY_FIRST_LINE,
    GUEST_OVERLAY: COPIED_FIRST_LINE,
    XEN_TREE: "",
    BOOT_SCRIPT: XL_CFG_FIRST_LINE,
    **{partial_tree(each, ".dts"): OVERLAY_FIRST_LINE for each in TOOLSTACKS},
    # A blob has its mark inside.
    **dict.fromkeys((partial_tree(each, ".dtb") for each in TOOLSTACKS), ""),
}
_OF_A_SYSTEM = {
    SYSTEM: SYSTEM_BEGINNING,
    HOST_OVERLAY: OVERLAY_FIRST_LINE,
    MARKS_OVERLAY: OVERLAY_FIRST_LINE,
    MARKS_BLOB: "",
    IMAGEBUILDER: SYSTEM_FIRST_LINE,
    XEN_TREE: "",
    BOOT_SCRIPT: XL_CFG_FIRST_LINE,
}
_ALL_BEGINNINGS = {
    *_BEGINNINGS.values(),
    *_OF_A_SYSTEM.values(),
    BINDING_FIRST_LINE,
    SYSTEM_FIRST_LINE,
} - {""}
# A blob has its mark in the root's own properties, which come first.
_MARKED = 4096
# What an earlier version wrote is ours as well.
_EARLIER = (b'"schema": 1', b'"schema": 2')
# A file that is being written, until it gets its name; the number of the process follows.
_TEMPORARY = ".west-viommu."


class Output:
    """The folder that a run writes into, as a context: `with Output(folder) as output`.

    The plan is the seal: a run first removes it and ends by writing it, so whoever finds it
    finds the files that it names. A run that ends by an exception leaves none of our files.
    Raises Refused where the folder does not allow it.
    """

    _seal = PLAN

    def __init__(self, folder: Path):
        self.folder = folder
        # The seal of an earlier run and its time in ns, while that is broken.
        self._earlier: tuple[bytes, int] | None = None

    def _beginnings(self) -> Mapping[str, str]:
        """How each file of a run begins when it is ours, the seal first."""
        return _BEGINNINGS

    def _beginning(self, name: str) -> str:
        """How the file called `name` begins."""
        return _BEGINNINGS.get(name, BINDING_FIRST_LINE)

    def __enter__(self) -> Output:
        """Break the seal of an earlier run. Refuses a folder whose files are somebody else's."""
        try:
            with locked(self.folder):
                self._refuse_foreign(self._beginnings())
                self._break_seal()
        except FileNotFoundError:
            # There is no such folder yet.
            return self
        except OSError as error:
            raise _failed(self.folder, error) from None
        return self

    def _break_seal(self) -> None:
        seal = self.folder / self._seal
        with suppress(FileNotFoundError):
            self._earlier = content(str(seal)), seal.stat().st_mtime_ns
            seal.unlink()

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        if isinstance(error, Refused):
            self.remove_after(error)
        elif kind is not None:
            self.remove()

    def remove(self) -> None:
        """Remove what this or an earlier run wrote, and nothing else."""
        try:
            with locked(self.folder):
                self._clear()
        except (FileNotFoundError, NotADirectoryError):
            # There is no such folder.
            return
        except OSError as error:
            raise _failed(self.folder, error) from None

    def remove_after(self, refused: Refused) -> None:
        """Remove it as `refused` ends the run. Raises Refused with its problems too where that
        fails.
        """
        try:
            self.remove()
        except Refused as failed:
            raise Refused(dict.fromkeys((*refused.problems, *failed.problems))) from None

    def write(self, files: Mapping[str, bytes]) -> None:
        """Write `files` in their order, each as a whole, in place of what an earlier run wrote; the
        plan must be the last. If all would stay equal, they keep their times: a build that watches
        them does not configure itself again.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with locked(self.folder):
                self._refuse_foreign({name: self._beginning(name) for name in files})
                if self._seal_again(files):
                    return
                self._clear()
                for name, data in files.items():
                    _replace(self._place(name), data)
        except OSError as error:
            raise _failed(self.folder, error) from None

    def leave_empty(self, name: str) -> None:
        """See that there is a file `name`, and that it is empty if it was not there."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            # "x" follows no link that somebody put there.
            with suppress(FileExistsError):
                self._place(name).open("xb").close()
        except OSError as error:
            raise _failed(self.folder, error) from None

    def _place(self, name: str) -> Path:
        """Where the file `name` goes, with its folder made. Raises Refused where that folder is a
        link: what is there is not in the output folder.
        """
        target = self.folder / name
        for folder in self._folders_of(name):
            if not _is_in_place(folder):
                what = "this is a link, and nothing is written outside of the output folder"
                raise _refused(folder, what, "move it away, or give another folder with -o")
            folder.mkdir(exist_ok=True)
        return target

    def _folders_of(self, name: str) -> list[Path]:
        """The folders below the output folder that the file `name` is in, the outermost first."""
        inside = Path(name).parents[:-1]
        return [self.folder / folder for folder in reversed(inside)]

    def _bindings(self) -> list[Path]:
        """What is in the folder of bindings; [] where a link leads out of ours to it."""
        folder = self.folder / BINDINGS
        if not all(map(_is_in_place, (folder.parent, folder))):
            return []
        return list(folder.glob("*"))

    def _refuse_foreign(self, files: Mapping[str, str]) -> None:
        """Raises Refused where one of `files`, name -> beginning, is there and somebody else's. An
        empty one is nobody's: CMake makes it (dts.cmake), or a power cut.
        """
        for name, beginning in files.items():
            target = self.folder / name
            if not all(map(_is_in_place, self._folders_of(name))):
                # Whatever it is: it is not in this folder.
                continue
            if os.path.lexists(target) and not _is_ours(target, beginning, or_empty=True):
                raise _refused(
                    target,
                    "a file of this name exists that this tool did not write",
                    "move it away, or give another folder with -o",
                )

    def _ours(self) -> list[Path]:
        """Our files that are there, the plan first."""
        known = self._beginnings().items()
        ours = [self.folder / name for name, each in known if self._has(name, each)]
        return ours + [file for file in self._bindings() if _is_ours(file, BINDING_FIRST_LINE)]

    def _seal_again(self, files: Mapping[str, bytes]) -> bool:
        """Put back the seal that this run broke, with its time, if `files` are what it sealed and
        nothing else of ours is there; return whether it did.
        """
        earlier = self._earlier
        if not earlier or earlier[0] != files.get(self._seal):
            return False
        there = {file.relative_to(self.folder).as_posix(): file for file in self._ours()}
        rest = {name: data for name, data in files.items() if name != self._seal}
        if there.keys() != rest.keys() or any(
            content(str(file)) != rest[name] for name, file in there.items()
        ):
            return False
        seal = self._place(self._seal)
        _replace(seal, earlier[0])
        os.utime(seal, ns=(earlier[1], earlier[1]))
        return True

    def _clear(self) -> None:
        """Remove our files, the plan first, and what a run that was killed left half-written."""
        ours = self._ours()
        for leftover in (*self.folder.glob(f"{_TEMPORARY}*"), *self._bindings()):
            is_called_so = leftover.stem == _TEMPORARY[:-1] and leftover.suffix[1:].isdecimal()
            if is_called_so and _is_begun_by_us(leftover):
                ours.append(leftover)
        for file in ours:
            file.unlink(missing_ok=True)

    def _has(self, name: str, beginning: str) -> bool:
        return _is_ours(self.folder / name, beginning)


class SystemOutput(Output):
    """The folder of a whole system, with system.json as its seal. That of a guest is not taken:
    both have a host.overlay.
    """

    _seal = SYSTEM

    def _beginnings(self) -> Mapping[str, str]:
        """As in `Output`; a configuration for xl is called as its domain is, so whoever of an
        earlier run's is there counts.
        """
        earlier = (file.name for file in self.folder.glob(f"*{XL_SUFFIX}"))
        of_xl = {name: SYSTEM_FIRST_LINE for name in earlier if self._has(name, SYSTEM_FIRST_LINE)}
        return {**_OF_A_SYSTEM, **of_xl}

    def _beginning(self, name: str) -> str:
        """How the file called `name` begins."""
        return _OF_A_SYSTEM.get(name, SYSTEM_FIRST_LINE)

    def _refuse_foreign(self, files: Mapping[str, str]) -> None:
        if (self.folder / PLAN).exists():
            what = "this is the folder of a guest, with files of the same names"
            raise _refused(self.folder, what, "give another folder with -o")
        super()._refuse_foreign(files)


class Untouched(Output):
    """The folder of a run that only says what it would do. It is refused where that one would be,
    as far as a look can tell, and changes nothing.
    """

    def __enter__(self) -> Output:
        self._refuse_foreign(self._beginnings())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        pass

    def remove(self) -> None:
        """Nothing."""

    def write(self, files: Mapping[str, bytes]) -> None:
        """Nothing, but for what `Output.write` would refuse."""
        self._refuse_foreign({name: self._beginning(name) for name in files})

    def content(self) -> dict[str, bytes]:
        """What a run would replace or remove, by the names in the folder. Raises Refused."""
        try:
            with locked(self.folder):
                return {
                    file.relative_to(self.folder).as_posix(): content(str(file))
                    for file in self._ours()
                }
        except FileNotFoundError:
            # There is no such folder yet.
            return {}
        except OSError as error:
            raise _failed(self.folder, error) from None


def _is_in_place(folder: Path) -> bool:
    """Whether `folder` is where its path says, if it is there: no link, and no junction of Windows,
    leads elsewhere from its last part.
    """
    above = os.path.realpath(folder.parent)
    found, expected = os.path.realpath(folder), os.path.join(above, folder.name)
    return os.path.normcase(found) == os.path.normcase(expected)


def _is_ours(file: Path, beginning: str, or_empty: bool = False) -> bool:
    """Whether we wrote `file`: it begins so, or, for "", is a blob with our mark. What cannot be
    read, or is no file, is not ours.
    """
    try:
        found = start_of(str(file), len(beginning) or _MARKED)
    except OSError:
        return False
    if or_empty and not found:
        return True
    if not beginning:
        return BLOB_MARK.encode() in found
    return found.replace(*_EARLIER) == beginning.encode().replace(*_EARLIER)


def _is_begun_by_us(file: Path) -> bool:
    """Whether `file` may be what a killed run had written of one: it begins as ours do, as far as
    it goes, or is a blob that has our mark, or ends too early. We make no links.
    """
    try:
        found = start_of(str(file), _MARKED).replace(*_EARLIER)
        size = file.stat().st_size
    except OSError:
        return False
    if file.is_symlink():
        return False
    if MAGIC.startswith(found[:4]):
        is_cut = size < 8 or size < int.from_bytes(found[4:8], "big")
        return is_cut or BLOB_MARK.encode() in found
    begins = (each.encode().replace(*_EARLIER) for each in _ALL_BEGINNINGS)
    return any(found.startswith(each) or each.startswith(found) for each in begins)


def _replace(target: Path, data: bytes) -> None:
    """Write `target` as a whole. No fsync: what a power cut leaves half-written, the sums in the
    plan tell.
    """
    temporary = target.with_name(f"{_TEMPORARY}{os.getpid()}")
    # "x" follows no link that somebody put there.
    file = temporary.open("xb")
    try:
        with file:
            file.write(data)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def _failed(folder: Path, error: OSError) -> Refused:
    return _refused(folder, error.strerror or str(error), "give a folder you can write to with -o")


def _refused(path: Path, what: str, hint: str) -> Refused:
    return refusal("unwritable", what, hint, str(path))


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Wait until no other run changes the files in `folder`, and keep others waiting.

    Not every network file system has locks, and not every system: the sums in the plan remain.
    Raises OSError where there is no such folder.
    """
    os.scandir(folder).close()
    fcntl = _module("fcntl")
    msvcrt = None if fcntl else _module("msvcrt")
    if fcntl:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            with suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)
    elif msvcrt:
        # It opens no folders, and locks bytes of files. That file stays: another run may wait.
        import tempfile

        name = sha256(os.path.normcase(os.path.realpath(folder)).encode())
        file = Path(tempfile.gettempdir(), f"west-viommu-{name[:16]}.lock")
        with file.open("ab") as stream:
            with suppress(OSError):
                _lock_on_windows(msvcrt, stream.fileno())
            yield
    else:
        yield


def _lock_on_windows(msvcrt: Any, descriptor: int) -> None:
    """Wait for the lock. LK_LOCK tries once a second, and gives up after ten times with EDEADLK."""
    while True:
        try:
            msvcrt.locking(descriptor, msvcrt.LK_LOCK, 1)
            return
        except OSError as error:
            if error.errno != errno.EDEADLK:
                raise


def _module(name: str) -> Any:
    """The module called `name`; None where this system has none."""
    try:
        return import_module(name)
    except ImportError:
        return None


def changes(folder: str, before: Mapping[str, bytes], after: Mapping[str, bytes]) -> Iterator[str]:
    """The lines of `diff -u` for the files of `folder`, by name: those that are there `before` a
    run, and those that it would leave. Of blobs that differ it says no more than that.
    """
    # Late: one run in a thousand asks for a diff.
    from difflib import unified_diff

    for name in sorted({*before, *after}):
        old, new = before.get(name), after.get(name)
        if old == new:
            continue
        path = printable(os.path.join(folder, name))
        names = ("/dev/null" if old is None else path, "/dev/null" if new is None else path)
        if b"\0" in (old or b"") or b"\0" in (new or b""):
            yield f"Binary files {names[0]} and {names[1]} differ\n"
            continue
        for line in unified_diff(_lines(old), _lines(new), *names):
            yield "\t".join(map(printable, line.rstrip("\n").split("\t"))) + "\n"


def _lines(text: bytes | None) -> list[str]:
    return (text or b"").decode("utf-8", "replace").splitlines(keepends=True)
