# SPDX-License-Identifier: Apache-2.0
"""The output folder of a run: its files are whole or absent, and other files stay untouched."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import import_module
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
from west_viommu.read.plain_file import beginning as start_of
from west_viommu.read.plain_file import content
from west_viommu.tree.digest import sha256

# How each of our files begins. The plan comes first: without it the others do not count.
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
# The files of an earlier version are ours as well.
_EARLIER = (b'"schema": 1', b'"schema": 2')
# The name of a file while it is being written; the number of the process follows.
_TEMPORARY = ".west-viommu."


class Output:
    """The folder that a run writes into, as a context: `with Output(folder) as output`.

    The plan is the seal: a run first removes the old plan and writes the new one last, so all files
    that a plan names are there. A run that ends with an exception leaves none of our files. Raises
    Refused if the folder does not allow writing.
    """

    _seal = PLAN

    def __init__(self, folder: str | os.PathLike[str]):
        self.folder = os.fspath(folder)
        # The seal of an earlier run and its time in ns, while the seal is broken.
        self._earlier: tuple[bytes, int] | None = None

    def _beginnings(self) -> Mapping[str, str]:
        """Return how each file of a run begins if it is ours, the seal first."""
        return _BEGINNINGS

    def _beginning(self, name: str) -> str:
        """Return how the file called `name` begins."""
        return _BEGINNINGS.get(name, BINDING_FIRST_LINE)

    def __enter__(self) -> Output:
        """Break the seal of an earlier run. Raises Refused for a folder with files of the same
        names that are not ours.
        """
        try:
            with locked(self.folder):
                self._refuse_foreign(self._beginnings())
                self._break_seal()
        except FileNotFoundError:
            # The folder does not exist yet.
            return self
        except OSError as error:
            raise _failed(self.folder, error) from None
        return self

    def _break_seal(self) -> None:
        seal = self._path(self._seal)
        with suppress(FileNotFoundError):
            self._earlier = content(seal), os.stat(seal).st_mtime_ns
            os.unlink(seal)

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        if isinstance(error, Refused):
            self.remove_after(error)
        elif kind is not None:
            self.remove()

    def remove(self) -> None:
        """Remove the files that this or an earlier run wrote, and nothing else."""
        try:
            with locked(self.folder):
                self._clear()
        except (FileNotFoundError, NotADirectoryError):
            # The folder does not exist.
            return
        except OSError as error:
            raise _failed(self.folder, error) from None

    def remove_after(self, refused: Refused) -> None:
        """Remove our files after `refused` ended the run. If that fails, raises Refused with the
        problems of `refused` too.
        """
        try:
            self.remove()
        except Refused as failed:
            raise Refused(dict.fromkeys((*refused.problems, *failed.problems))) from None

    def write(self, files: Mapping[str, bytes]) -> None:
        """Write `files` in their order, each as a whole, in place of the files of an earlier run;
        the plan must be the last. If all are unchanged, they keep their times: a build that watches
        them is not configured again.
        """
        try:
            os.makedirs(self.folder, exist_ok=True)
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
        """Make sure that the file `name` exists; create it empty if it does not."""
        try:
            os.makedirs(self.folder, exist_ok=True)
            # "x" follows no link that somebody put there.
            with suppress(FileExistsError):
                open(self._place(name), "xb").close()
        except OSError as error:
            raise _failed(self.folder, error) from None

    def _path(self, name: str) -> str:
        """Return the path of the file or folder `name`, which has slashes on Windows too."""
        folder = "" if self.folder == os.curdir else self.folder
        return os.path.join(folder, *name.split("/"))

    def _place(self, name: str) -> str:
        """Return the place of the file `name`, after making its folder. Raises Refused if that
        folder is a link, as its files would not be in the output folder.
        """
        for folder in self._folders_of(name):
            if not _is_in_place(folder):
                what = "this is a link, and nothing is written outside of the output folder"
                raise _refused(folder, what, "move it away, or give another folder with -o")
            os.makedirs(folder, exist_ok=True)
        return self._path(name)

    def _folders_of(self, name: str) -> list[str]:
        """Return the folders below the output folder that the file `name` is in, the outermost
        first.
        """
        parts = name.split("/")
        return [self._path("/".join(parts[:count])) for count in range(1, len(parts))]

    def _bindings(self) -> list[str]:
        """Return the names of the files in the folder of bindings, `dts/bindings/...`; [] if a link
        leads out of our folder.
        """
        if not all(map(_is_in_place, self._folders_of(f"{BINDINGS}/"))):
            return []
        return [f"{BINDINGS}/{name}" for name in _names_in(self._path(BINDINGS))]

    def _refuse_foreign(self, files: Mapping[str, str]) -> None:
        """Raise Refused if one of `files`, name -> beginning, exists and is not ours. An empty file
        is accepted: CMake (dts.cmake) or a power cut leaves one.
        """
        for name, beginning in files.items():
            target = self._path(name)
            if not all(map(_is_in_place, self._folders_of(name))):
                # It is not in this folder.
                continue
            if os.path.lexists(target) and not _is_ours(target, beginning, or_empty=True):
                raise _refused(
                    target,
                    "a file of this name exists that this tool did not write",
                    "move it away, or give another folder with -o",
                )

    def _ours(self) -> list[str]:
        """Return the names of our files that exist, the plan first."""
        known = self._beginnings().items()
        ours = [name for name, each in known if self._has(name, each)]
        return ours + [name for name in self._bindings() if self._has(name, BINDING_FIRST_LINE)]

    def _seal_again(self, files: Mapping[str, bytes]) -> bool:
        """Put back the seal that this run broke, with its time, if it sealed exactly `files` and no
        other file of ours exists; return whether it was put back.
        """
        earlier = self._earlier
        if not earlier or earlier[0] != files.get(self._seal):
            return False
        there = set(self._ours())
        rest = {name: data for name, data in files.items() if name != self._seal}
        if there != rest.keys() or any(content(self._path(name)) != rest[name] for name in there):
            return False
        seal = self._place(self._seal)
        _replace(seal, earlier[0])
        os.utime(seal, ns=(earlier[1], earlier[1]))
        return True

    def _clear(self) -> None:
        """Remove our files, the plan first, and the half-written files of a killed run."""
        ours = self._ours()
        for name in (*_names_in(self.folder), *self._bindings()):
            before, _, number = name.rpartition("/")[2].partition(_TEMPORARY)
            is_called_so = not before and number.isdecimal()
            if is_called_so and _is_begun_by_us(self._path(name)):
                ours.append(name)
        for name in ours:
            _unlink(self._path(name))

    def _has(self, name: str, beginning: str) -> bool:
        return _is_ours(self._path(name), beginning)


class SystemOutput(Output):
    """The folder of a whole system, with system.json as its seal. A guest's folder is refused: both
    have a host.overlay.
    """

    _seal = SYSTEM

    def _beginnings(self) -> Mapping[str, str]:
        """Return the beginnings as in `Output`. A configuration for xl is named after its domain,
        so each such file of an earlier run counts.
        """
        earlier = (name for name in _names_in(self.folder) if name.endswith(XL_SUFFIX))
        of_xl = {name: SYSTEM_FIRST_LINE for name in earlier if self._has(name, SYSTEM_FIRST_LINE)}
        return {**_OF_A_SYSTEM, **of_xl}

    def _beginning(self, name: str) -> str:
        """Return how the file called `name` begins."""
        return _OF_A_SYSTEM.get(name, SYSTEM_FIRST_LINE)

    def _refuse_foreign(self, files: Mapping[str, str]) -> None:
        if os.path.exists(self._path(PLAN)):
            what = "this is the folder of a guest, with files of the same names"
            raise _refused(self.folder, what, "give another folder with -o")
        super()._refuse_foreign(files)


class Untouched(Output):
    """The folder of a run that only reports the changes it would make. As far as can be seen
    without writing, it is refused if a real run would be; nothing is changed.
    """

    def __enter__(self) -> Output:
        self._refuse_foreign(self._beginnings())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        pass

    def remove(self) -> None:
        """Do nothing."""

    def write(self, files: Mapping[str, bytes]) -> None:
        """Write nothing; raise Refused if `Output.write` would."""
        self._refuse_foreign({name: self._beginning(name) for name in files})

    def content(self) -> dict[str, bytes]:
        """Return the files that a run would replace or remove, by their names in the folder. Raises
        Refused.
        """
        try:
            with locked(self.folder):
                return {name: content(self._path(name)) for name in self._ours()}
        except FileNotFoundError:
            # The folder does not exist yet.
            return {}
        except OSError as error:
            raise _failed(self.folder, error) from None


def _names_in(folder: str) -> list[str]:
    """Return the names in `folder`, sorted; [] if there is no such folder."""
    try:
        return sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _unlink(file: str) -> None:
    """Remove `file`, if it is there."""
    with suppress(FileNotFoundError):
        os.unlink(file)


def _is_in_place(folder: str) -> bool:
    """Return whether `folder`, if it exists, is at its path: its last part is neither a link nor a
    Windows junction.
    """
    above, name = os.path.split(folder)
    found, expected = os.path.realpath(folder), os.path.join(os.path.realpath(above), name)
    return os.path.normcase(found) == os.path.normcase(expected)


def _is_ours(file: str, beginning: str, or_empty: bool = False) -> bool:
    """Return whether we wrote `file`: it begins with `beginning` or, if that is "", is a blob with
    our mark. A file that cannot be read, or is no plain file, is not ours.
    """
    try:
        found = start_of(file, len(beginning) or _MARKED)
    except OSError:
        return False
    if or_empty and not found:
        return True
    if not beginning:
        return BLOB_MARK.encode() in found
    return found.replace(*_EARLIER) == beginning.encode().replace(*_EARLIER)


def _is_begun_by_us(file: str) -> bool:
    """Return whether a killed run may have left `file`: it matches one of our beginnings as far as
    it goes, or is a blob that has our mark or ends too early. We make no links.
    """
    try:
        found = start_of(file, _MARKED).replace(*_EARLIER)
        size = os.stat(file).st_size
    except OSError:
        return False
    if os.path.islink(file):
        return False
    # Imported late, with all that reads a blob.
    from west_viommu.read.dtb import MAGIC

    if MAGIC.startswith(found[:4]):
        is_cut = size < 8 or size < int.from_bytes(found[4:8], "big")
        return is_cut or BLOB_MARK.encode() in found
    begins = (each.encode().replace(*_EARLIER) for each in _ALL_BEGINNINGS)
    return any(found.startswith(each) or each.startswith(found) for each in begins)


def _replace(target: str, data: bytes) -> None:
    """Write `target` as a whole. No fsync: if a power cut leaves a file half-written, it does not
    match the checksums in the plan.
    """
    temporary = os.path.join(os.path.dirname(target), f"{_TEMPORARY}{os.getpid()}")
    # "x" follows no link that somebody put there.
    file = open(temporary, "xb")  # noqa: SIM115
    try:
        with file:
            file.write(data)
        os.replace(temporary, target)
    finally:
        _unlink(temporary)


def _failed(folder: str, error: OSError) -> Refused:
    return _refused(folder, error.strerror or str(error), "give a folder you can write to with -o")


def _refused(path: str, what: str, hint: str) -> Refused:
    return refusal("unwritable", what, hint, path)


@contextmanager
def locked(folder: str) -> Iterator[None]:
    """Wait until no other run changes the files in `folder`, and keep others waiting.

    Not every network file system has locks, nor every system; then only the checksums in the plan
    protect the files. Raises OSError if there is no such folder.
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
        # Windows opens no folders, and locks bytes of files. The lock file stays: another run may
        # wait.
        import tempfile

        name = sha256(os.path.normcase(os.path.realpath(folder)).encode())
        file = os.path.join(tempfile.gettempdir(), f"west-viommu-{name[:16]}.lock")
        with open(file, "ab") as stream:
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
    """Return the module called `name`; None if this system does not have it."""
    try:
        return import_module(name)
    except ImportError:
        return None


def changes(folder: str, before: Mapping[str, bytes], after: Mapping[str, bytes]) -> Iterator[str]:
    """Yield the lines of `diff -u` for the files of `folder`, by name: the files `before` a run,
    and the files that the run would leave. For blobs that differ, only report that they differ.
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
