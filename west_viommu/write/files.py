# SPDX-License-Identifier: Apache-2.0
"""The output folder of a run: its files are whole or absent, and nobody else's are touched."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from west_viommu.names import (
    BINDING_FIRST_LINE,
    BINDINGS,
    BLOB_MARK,
    HOST_OVERLAY,
    OVERLAY,
    OVERLAY_FIRST_LINE,
    PLAN,
    PLAN_BEGINNING,
    TOOLSTACKS,
    XL_CFG,
    XL_CFG_FIRST_LINE,
    partial_tree,
)
from west_viommu.problems import Problem, Refused, Where

# How each begins when it is ours. The plan first: without it the rest counts for nothing.
_BEGINNINGS = {
    PLAN: PLAN_BEGINNING,
    OVERLAY: OVERLAY_FIRST_LINE,
    HOST_OVERLAY: OVERLAY_FIRST_LINE,
    XL_CFG: XL_CFG_FIRST_LINE,
    **{partial_tree(each, ".dts"): OVERLAY_FIRST_LINE for each in TOOLSTACKS},
    # A blob has its mark inside.
    **dict.fromkeys((partial_tree(each, ".dtb") for each in TOOLSTACKS), ""),
}


class Output:
    """The folder that a run writes into, as a context: `with Output(folder) as output`.

    The plan is the seal: a run first removes it and ends by writing it, so whoever finds it
    finds the files that it names. A run that ends by an exception leaves none of our files.
    Raises Refused where the folder does not allow it.
    """

    def __init__(self, folder: Path):
        self.folder = folder

    def __enter__(self) -> Output:
        """Break the seal of an earlier run. Refuses a folder whose files are somebody else's."""
        for name, beginning in _BEGINNINGS.items():
            target = self.folder / name
            try:
                foreign = os.path.lexists(target) and not _is_ours(target, beginning)
            except OSError as error:
                raise _failed(target, error) from None
            if foreign:
                raise _refused(
                    target,
                    "a file of this name is there that this tool did not write",
                    "move it away, or give another folder with -o",
                )
        try:
            (self.folder / PLAN).unlink(missing_ok=True)
        except OSError as error:
            raise _failed(self.folder, error) from None
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is not None:
            self.remove()

    def remove(self) -> None:
        """Remove what this or an earlier run wrote, and nothing else."""
        try:
            for file in (*self._sealed(), *self._bindings()):
                file.unlink(missing_ok=True)
            # What a run that was killed in the middle of a write left.
            for name in _BEGINNINGS:
                for leftover in self.folder.glob(f".{name}.*"):
                    if leftover.suffix[1:].isdecimal():
                        leftover.unlink(missing_ok=True)
        except OSError as error:
            raise _failed(self.folder, error) from None

    def write(self, files: Mapping[str, bytes]) -> None:
        """Write `files` in their order, each replaced as a whole; the plan must be the last."""
        try:
            ours = {*self._sealed(), *self._bindings()}
            for stale in ours - {self.folder / name for name in files}:
                stale.unlink(missing_ok=True)
            for name, data in files.items():
                (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
                _replace(self.folder / name, data)
        except OSError as error:
            raise _failed(self.folder, error) from None

    def _sealed(self) -> list[Path]:
        """The plan and what it seals, the plan first, as far as they are there and ours."""
        files = ((self.folder / name, beginning) for name, beginning in _BEGINNINGS.items())
        return [file for file, beginning in files if file.exists() and _is_ours(file, beginning)]

    def _bindings(self) -> set[Path]:
        """The bindings that an earlier run generated here."""
        return {
            file
            for file in (self.folder / BINDINGS).glob("*")
            if file.is_file() and _is_ours(file, BINDING_FIRST_LINE)
        }


def _is_ours(file: Path, beginning: str) -> bool:
    """Whether we wrote `file`: it begins so, or, for "", is a blob with our mark."""
    with file.open("rb") as stream:
        if beginning:
            return stream.read(len(beginning)) == beginning.encode()
        return BLOB_MARK.encode() in stream.read()


def _replace(target: Path, data: bytes) -> None:
    """Write `target` as a whole. No fsync: what a power cut leaves half-written, the sums in the
    plan tell.
    """
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        temporary.write_bytes(data)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def _failed(folder: Path, error: OSError) -> Refused:
    return _refused(folder, error.strerror or str(error), "give a folder you can write to with -o")


def _refused(path: Path, what: str, hint: str) -> Refused:
    return Refused([Problem("unwritable", what, hint, where=Where(str(path)))])
