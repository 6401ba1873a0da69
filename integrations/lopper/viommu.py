# SPDX-License-Identifier: Apache-2.0
"""A Lopper assist: binds a guest's passthrough devices to the host tree that Lopper holds.

    lopper -A integrations/lopper host.dts -- viommu -o out guest.overlay

For Lopper 1.6. It writes what `viommu bind` writes. Where the input is refused it ends Lopper with
status 1, and `out` then has none of those files.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import lopper.log
from lopper import Lopper

from west_viommu.api import (
    Output,
    Planned,
    Refused,
    plan,
    read_guest,
    read_host,
    render,
    rendered,
)

lopper.log._init(__name__)


def is_compat(node: object, compat_string_to_test: str) -> object:
    """What Lopper asks of each assist: whether it is the one of that name."""
    return bind if compat_string_to_test == "module,viommu" else ""


def bind(tgt_node: object, sdt: Any, options: dict[str, Any]) -> bool:
    """Bind the guest that the arguments name, and write the files."""
    arguments = _parser().parse_args(options.get("args", []))
    try:
        # A refused run leaves nothing of an earlier one either.
        with Output(Path(arguments.output)) as output:
            planned = _planned(sdt, arguments)
            for warning in planned.warnings:
                lopper.log._warning(rendered(warning))
            for note in planned.notes:
                lopper.log._warning(f"note: {note}")
            output.write(render(planned))
    except Refused as refused:
        for problem in refused.problems:
            lopper.log._error(rendered(problem))
        sys.exit(1)
    return True


def _planned(sdt: Any, arguments: argparse.Namespace) -> Planned:
    """The plan for the host tree that Lopper holds, after whatever its lops did to that."""
    with tempfile.TemporaryDirectory() as folder:
        blob = Path(folder, f"{Path(str(sdt.dts)).stem}.dtb")
        fdt = Lopper.fdt()
        Lopper.sync(fdt, sdt.tree.export())
        Lopper.write_fdt(fdt, str(blob))
        host = read_host(blob)
    guest = read_guest(arguments.guests, arguments.include, arguments.define)
    return plan(host, guest, profile=arguments.profile, vsid=arguments.vsid)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="viommu", allow_abbrev=False)
    parser.add_argument("guests", metavar="GUEST", nargs="+", help="the guest's tree or overlays")
    parser.add_argument("-o", "--output", metavar="DIR", default="viommu", help="the output folder")
    parser.add_argument("--profile", metavar="NAME", help="what Xen gives a guest")
    parser.add_argument("--vsid", metavar="POLICY", help="which stream IDs the guest uses")
    parser.add_argument("-I", "--include", metavar="DIR", action="append", default=[])
    parser.add_argument("-D", "--define", metavar="NAME[=VALUE]", action="append", default=[])
    return parser
