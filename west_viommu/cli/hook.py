# SPDX-License-Identifier: Apache-2.0
"""The devicetree preprocessor of a Zephyr build: the real one, and then the binding.

Zephyr calls it with the command line of the real preprocessor (see zephyr/cmake/dts.cmake). What
it leaves in the -o file is what Zephyr's devicetree compiler reads; what it adds to the -MF file
makes the build configure again when that changes.
"""

from __future__ import annotations

import os
import subprocess
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path

from west_viommu.guest.source import GuestTree
from west_viommu.names import BINDINGS, OVERLAY
from west_viommu.problems import Problem, Refused, rendered
from west_viommu.write.files import Output

# Source without any of these words asks for nothing.
_WORDS = (b"passthrough", b"xen,path")


def main(argv: list[str]) -> int:
    """Run `OPTION... -- PREPROCESSOR ARGUMENT...` and return the exit status."""
    split = argv.index("--")
    arguments, command = _parser().parse_args(argv[:split]), argv[split + 1 :]
    status = subprocess.call(command)
    if status:
        return status
    try:
        _add_dependencies(_operand(command, "-MF"), _bound(arguments, command))
    except Refused as refused:
        for problem in refused.problems:
            print(rendered(problem), file=sys.stderr)
        return 1
    return 0


def _parser() -> ArgumentParser:
    parser = ArgumentParser(prog="preprocess.py", allow_abbrev=False)
    for name in ("--zephyr-base", "--app", "--output"):
        parser.add_argument(name, required=True)
    parser.add_argument("--dts-root", action="append", default=[])
    for name in ("--host_dtb", "--profile", "--vsid", "--config"):
        parser.add_argument(name)
    return parser


def _bound(arguments: Namespace, command: Sequence[str]) -> list[str]:
    """Bind what the preprocessed source asks for; the files that the outcome depends on."""
    source = Path(_operand(command, "-o"))
    content = source.read_bytes()
    with Output(Path(arguments.output)) as output:
        depends_on: list[str] = []
        if any(word in content for word in _WORDS):
            depends_on = _appended(arguments, command, source, output)
        if not depends_on:
            output.remove()
    return depends_on


def _appended(
    arguments: Namespace, command: Sequence[str], source: Path, output: Output
) -> list[str]:
    """Plan, write the files of the run, and append the overlay to the source. [] where the source
    asks for nothing after all.
    """
    # Zephyr's own dtlib is to read it, as Zephyr's scripts will.
    os.environ["ZEPHYR_BASE"] = arguments.zephyr_base
    from west_viommu.cli.job import done, host
    from west_viommu.guest.requests import asked
    from west_viommu.read.profiles import profile
    from west_viommu.read.settings import settings
    from west_viommu.read.source import guest_tree_of

    guest = guest_tree_of(source)
    wanted = asked(guest)
    if not wanted.requests and not wanted.problems:
        return []
    app = arguments.app
    chosen = settings(
        {
            "host": arguments.host_dtb and os.path.join(app, arguments.host_dtb),
            "profile": arguments.profile,
            "vsid": arguments.vsid,
        },
        app,
        arguments.config and os.path.join(app, arguments.config),
    )
    if not chosen.host:
        path = wanted.requests[0].path if wanted.requests else wanted.problems[0].node
        raise Refused([_no_host(path, guest)])
    result = done(
        host(chosen.host),
        guest,
        wanted,
        [command[i + 1] for i, word in enumerate(command) if word == "-include"],
        profile(chosen.profile, chosen.vsid),
        profile_was_chosen=bool(chosen.profile),
        binding_dirs=[os.path.join(root, BINDINGS) for root in arguments.dts_root],
    )
    for warning in result.warnings:
        print(rendered(warning), file=sys.stderr)
    output.write(result.files)
    with source.open("ab") as file:
        file.write(f'\n# 1 "{output.folder / OVERLAY}"\n'.encode() + result.files[OVERLAY])
    count = len(result.plan.devices)
    devices = "1 device" if count == 1 else f"{count} devices"
    print(f"-- viommu: bound {devices} of {chosen.host} to one vSMMU, see {output.folder}")
    return [chosen.host, *chosen.files, *_own_files()]


def _operand(command: Sequence[str], option: str) -> str:
    """What follows `option` in `command`."""
    return command[command.index(option) + 1]


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
    own = [module.__file__ for module in list(sys.modules.values()) if hasattr(module, "__file__")]
    return [
        *(file for file in own if file and Path(file).is_relative_to(package)),
        *map(str, package.glob("profiles/*.yaml")),
    ]


def _add_dependencies(make_rule: str, files: Sequence[str]) -> None:
    """Append `files` to the make rule that the preprocessor wrote, a line each, as Zephyr before
    4.0 wants it. A path that CMake could not read back there is left out, with a note.
    """
    lines = []
    for file in sorted({os.path.abspath(file) for file in files if os.path.isfile(file)}):
        if any(c in file for c in " \t\n;\\#$"):
            print(
                f"note: changes of {file!r} go unnoticed: a character of its path", file=sys.stderr
            )
        else:
            lines.append(f" \\\n {file}")
    if lines:
        rule = Path(make_rule)
        rule.write_text(rule.read_text(encoding="utf-8").rstrip("\n") + "".join(lines) + "\n")
