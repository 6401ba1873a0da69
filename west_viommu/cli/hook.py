# SPDX-License-Identifier: Apache-2.0
"""What a Zephyr build does once its devicetree is preprocessed: bind what it asks for.

Zephyr's own command line for the preprocessor says where things are. What is left in the -o file is
what Zephyr's devicetree compiler reads; what is added to the -MF file makes the build configure
again when that changes.
"""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path

from west_viommu.guest.source import GuestTree
from west_viommu.names import BINDINGS, OVERLAY, VENDOR_PREFIXES
from west_viommu.problems import Problem, Refused, Where, rendered
from west_viommu.read.plain_file import content
from west_viommu.write.files import Output

# Source without any of these words asks for nothing.
_WORDS = (b"passthrough", b"xen,path")
# What `_appended` imports.
_MODULES = ("west_viommu.cli.job", "west_viommu.read.settings")


class Hook:
    """The hook for one command line: `options` are ours (zephyr/cmake/dts.cmake), `command` is
    the real preprocessor's.
    """

    def __init__(self, options: Sequence[str], command: Sequence[str]):
        self._arguments = _parser().parse_args(options)
        self._command = command
        # Zephyr's own dtlib is to read the source, as Zephyr's scripts will.
        os.environ["ZEPHYR_BASE"] = self._arguments.zephyr_base

    def load(self) -> None:
        """Import what `run` will need, where the sources look as if they ask for a device."""
        if any(_asks(Path(file)) for file in _included(self._command)):
            for module in _MODULES:
                import_module(module)
            # What is missing is told by `run`, if it is needed at all.
            with suppress(Refused):
                import_module("west_viommu.read.dtlib").dtlib()

    def run(self) -> int:
        """Bind what the preprocessed source asks for; the exit status."""
        try:
            _bind(self._arguments, self._command)
        except Refused as refused:
            for problem in refused.problems:
                print(rendered(problem), file=sys.stderr)
            return 1
        except OSError as error:
            what = error.strerror or str(error)
            hint = "make room in the build directory, and let yourself write there"
            place = Where(os.fsdecode(error.filename or _operand(self._command, "-o")))
            print(rendered(Problem("unwritable", what, hint, where=place)), file=sys.stderr)
            return 1
        return 0


def _parser() -> ArgumentParser:
    parser = ArgumentParser(prog="preprocess.py", allow_abbrev=False)
    for name in ("--zephyr-base", "--app", "--output"):
        parser.add_argument(name, required=True)
    parser.add_argument("--dts-root", action="append", default=[])
    for name in ("--workspace", "--host_dtb", "--profile", "--vsid", "--config"):
        parser.add_argument(name)
    return parser


def _asks(source: Path) -> bool:
    """Whether `source` may ask for a device."""
    try:
        found = content(str(source))
    except OSError:
        return False
    return any(word in found for word in _WORDS)


def _bind(arguments: Namespace, command: Sequence[str]) -> None:
    """Bind what the preprocessed source asks for, and say which files the outcome depends on."""
    source = Path(_operand(command, "-o"))
    with Output(Path(arguments.output)) as output:
        _leave_out_stale(source)
        depends_on = _appended(arguments, command, source, output) if _asks(source) else []
        if not depends_on:
            output.remove()
            # Zephyr has seen it by now (dts.cmake made it), and reads it later.
            output.leave_empty(f"{BINDINGS}/{VENDOR_PREFIXES}")
        _add_dependencies(_operand(command, "-MF"), depends_on)


def _leave_out_stale(source: Path) -> None:
    """Take an earlier run's overlay, given as one of the build's own, out of `source`."""
    found = source.read_bytes()
    if OVERLAY.encode() in found:
        from west_viommu.read.preprocess import without_generated

        text = without_generated(found.decode("utf-8", "surrogateescape"))
        source.write_bytes(text.encode("utf-8", "surrogateescape"))


def _appended(
    arguments: Namespace, command: Sequence[str], source: Path, output: Output
) -> list[str]:
    """Plan, write the files of the run, and append the overlay to the source. [] where the source
    asks for nothing after all.
    """
    from west_viommu.api import guest_of, read_host
    from west_viommu.cli.job import done
    from west_viommu.cli.run import tell
    from west_viommu.read.host import host_files
    from west_viommu.read.settings import placed, settings
    from west_viommu.read.source import guest_tree_of

    guest = guest_of(_included(command), guest_tree_of(source))
    if not guest.asks:
        return []
    app = arguments.app
    chosen = settings(
        {
            "host": placed("host", arguments.host_dtb, app),
            "profile": placed("profile", arguments.profile, app),
            "vsid": arguments.vsid,
        },
        app,
        arguments.config and os.path.join(app, arguments.config),
        arguments.workspace,
    )
    if not chosen.host:
        wanted = guest.asked
        path = [*wanted.paths, *(each.node for each in wanted.errors), *wanted.disabled][0]
        raise Refused([_no_host(path, guest.tree)])
    result = done(read_host(chosen.host), guest, chosen, _binding_dirs(arguments))
    result.tell()
    output.write(result.files)
    with source.open("ab") as file:
        file.write(f'\n# 1 "{output.folder / OVERLAY}"\n'.encode() + result.files[OVERLAY])
    count = len(result.plan.devices)
    devices = "1 device" if count == 1 else f"{count} devices"
    vsmmu = "to one vSMMU" if result.plan.has_viommu else "and no vSMMU"
    tell([f"-- viommu: bound {devices} of {chosen.host} {vsmmu}, see {output.folder}\n"])
    return [*host_files(chosen.host), *chosen.files]


def _binding_dirs(arguments: Namespace) -> list[str]:
    """The directories of bindings, without the one that this fills: what an earlier run generated
    is not there already.
    """
    own = os.path.realpath(arguments.output)
    roots = [root for root in arguments.dts_root if os.path.realpath(root) != own]
    return [os.path.join(root, BINDINGS) for root in roots]


def _operand(command: Sequence[str], option: str) -> str:
    """What follows `option` in `command`."""
    return command[command.index(option) + 1]


def _included(command: Sequence[str]) -> list[str]:
    """The files that the preprocessor includes one after the other: the guest's sources."""
    return [command[i + 1] for i, word in enumerate(command) if word == "-include"]


def _no_host(path: str, guest: GuestTree) -> Problem:
    return Problem(
        "no-host",
        "a host device is asked for, and no host tree is named",
        "give the blob that Xen is booted with: -DVIOMMU_HOST_DTB=FILE, `west config "
        "viommu.host-dtb FILE`, or `host: FILE` in viommu.yml beside the application",
        path,
        where=guest.locate(path, "iommus"),
    )


def _own_files() -> list[str]:
    """Our own sources that ran, and the profiles."""
    package = Path(__file__).parent.parent
    files = (getattr(module, "__file__", None) or "" for module in list(sys.modules.values()))
    own = [file for file in files if file.startswith(f"{package}{os.sep}")]
    return [*own, *map(str, package.glob("profiles/*.yaml"))]


def _add_dependencies(make_rule: str, files: Sequence[str]) -> None:
    """Append `files`, and our own sources, to the make rule that the preprocessor wrote: a line
    each, as Zephyr before 4.0 wants it. A path that CMake could not read back is left out, with a
    note if it is the user's.
    """
    wanted = [os.path.abspath(file) for file in files if os.path.isfile(file)]
    for file in filter(_is_unreadable, wanted):
        print(f"note: changes of {file!r} go unnoticed: a character of its path", file=sys.stderr)
    if wanted:
        readable = {file for file in (*wanted, *_own_files()) if not _is_unreadable(file)}
        rule = Path(make_rule)
        lines = "".join(f" \\\n {file}" for file in sorted(readable))
        rule.write_text(rule.read_text(encoding="utf-8").rstrip("\n") + lines + "\n")


def _is_unreadable(file: str) -> bool:
    """Whether Zephyr's toolchain_parse_make_rule() would take the path apart."""
    return any(c in file for c in " \t\n;\\#$")
