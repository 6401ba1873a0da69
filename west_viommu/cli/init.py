# SPDX-License-Identifier: Apache-2.0
"""`viommu init`: a viommu.yml to start from."""

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from west_viommu.cli.console import Console
from west_viommu.cli.run import named_host, named_profile
from west_viommu.diagnostics import refusal
from west_viommu.hypervisor.profile import Profile
from west_viommu.names import DOMAIN, PROFILES, SCHEMAS, is_profile_path
from west_viommu.read.profiles import profile
from west_viommu.read.settings import FILE_NAME
from west_viommu.read.tree import inventory_of, read_host_tree
from west_viommu.read.west import west_topdir

_CHECKOUT = Path(__file__).resolve().parent.parent.parent
# A file that a checkout has, and an installed package lacks.
_OF_WEST = "west-commands.yml"
_SCHEMA = "config.json"


class Options(NamedTuple):
    """The arguments of the command."""

    source_dir: str | None
    host: str | None
    profile: str | None


def run(options: Options, console: Console) -> None:
    """Check the names given, write the file, and print the next steps."""
    folder = Path(options.source_dir or os.curdir)
    target = folder / FILE_NAME
    host = named_host(options.host)
    if host:
        inventory_of(host, read_host_tree(host))
    chosen = named_profile(options.profile)
    profile(chosen, None)
    profiles = [profile(name, None) for name in PROFILES]
    text = _text(
        _relative(host, folder) if host else None,
        profiles,
        _relative(chosen, folder) if chosen and is_profile_path(chosen) else chosen,
        _schema(folder),
    )
    try:
        data = text.encode()
        with target.open("xb") as file:
            file.write(data)
    except UnicodeEncodeError:
        what, hint = "a name in it is not UTF-8 text", "rename the file, or its folder"
        raise refusal("unwritable", what, hint, str(target)) from None
    except FileExistsError:
        what, hint = "it exists already", "change it, or move it away"
        raise refusal("unwritable", what, hint, str(target)) from None
    except OSError as error:
        _remove(target)
        what = error.strerror or "cannot be written"
        hint = "name the folder of the application with -s"
        raise refusal("unwritable", what, hint, str(target)) from None
    following = (
        "next: `viommu list --passable` shows what a guest could have, and `viommu extract NODE` "
        "gives its node"
        if host
        else "next: write into it where the host tree is"
    )
    try:
        console.result([f"wrote {target}\n{following}\n"])
    except OSError:
        # The summary could not be printed, so leave no file.
        _remove(target)
        raise


def _remove(target: Path) -> None:
    """Remove the file that this run wrote, or began to write."""
    with suppress(OSError):
        target.unlink()


def _schema(folder: Path) -> str:
    """Return the address of the schema for a file in `folder`: in our checkout if that is in the
    same west workspace, which is the same for all its users, else on the network.
    """
    top = west_topdir(str(folder))
    file = _CHECKOUT / "west_viommu" / "schemas" / _SCHEMA
    # A Python environment may be in a workspace as well, and belongs to one user.
    if top and file.is_relative_to(os.path.realpath(top)) and (_CHECKOUT / _OF_WEST).is_file():
        relative = Path(os.path.relpath(file, os.path.realpath(folder))).as_posix()
        # An editor reads the line only up to a space.
        if " " not in relative:
            return relative
    return SCHEMAS + _SCHEMA


def _relative(path: str, folder: Path) -> str:
    """Return `path` as a file in `folder` writes it; it must look like a path."""
    relative = os.path.relpath(path, folder)
    return relative if os.sep in relative else f".{os.sep}{relative}"


def _text(host: str | None, profiles: Sequence[Profile], chosen: str | None, schema: str) -> str:
    """Return the text, with every key explained. The file names `host` and the profile `chosen`, if
    any; `profiles` are the choices; `schema` is the address of the file's schema for editors.
    """
    widest = max(len(each.name) for each in profiles)
    lines = [
        f"# yaml-language-server: $schema={schema}",
        "# What west-viommu binds the guest of this application to. Every key is optional.",
        "",
        "# The devicetree that Xen is booted with: a blob, a .dts, or a directory in",
        "# /proc/device-tree form; relative to this file.",
        f"host: {json.dumps(host, ensure_ascii=False)}" if host else "# host: boards/host.dtb",
        "",
        "# What the hypervisor gives the guest (`viommu profiles`):",
        *(f"#   {each.name:{widest}}  {each.about}" for each in profiles),
        "# or the path of a profile of your own.",
        f"profile: {json.dumps(chosen, ensure_ascii=False)}"
        if chosen
        else f"# profile: {profiles[0].name}",
        "",
        "# How the guest's stream IDs are numbered; without, as the profile's hypervisor does:",
        "# identity (the host's), first-free (from 0), explicit (by vsids below).",
        "# vsid: identity",
        "# vsids:",
        '#   "/path/of/host/node": [0x10, 0x11]',
        "",
        f"# What else this domain has: {', '.join(DOMAIN)}. Each takes addresses and interrupts.",
        "# domain: [vpl011]",
        "# Its virtual CPUs.",
        "# cpus: 1",
        "",
        "# The version of the hypervisor; without, all that the profile covers.",
        '# xen-version: "4.20"',
        "",
        "# If there is no dom0, what no guest asks for goes to nobody, or to a hardware domain.",
        "# dom0: none",
        "# hardware-domain: true",
        "",
        "# Registers that a device's driver needs besides those of its host node, and what for",
        "# (`viommu explain region-mismatch`).",
        "# regions:",
        '#   - {device: "/path/of/host/node", region: [0xff5e0050, 0x4], reason: "what for"}',
        "",
        "# Hazards that you take, each for one device, and why (`viommu explain`).",
        "# allow:",
        '#   - {hazard: shared-page, device: "/path/of/host/node", reason: "why"}',
    ]
    return "".join(f"{line}\n" for line in lines)
