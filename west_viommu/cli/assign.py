# SPDX-License-Identifier: Apache-2.0
"""`viommu assign`: from a device of the host to a folder that boots."""

import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from west_viommu.api_assign import Assigned, Wish, assigned, passable, render_assigned
from west_viommu.cli.console import Console, tell
from west_viommu.cli.run import UsageError, permission, ram_of, settings_of_host
from west_viommu.diagnostics import printable
from west_viommu.host.needs import FIXED
from west_viommu.names import DOMAIN_NAME, OF_DOMAIN_NAME, RELEASED
from west_viommu.read.settings import Settings
from west_viommu.system.records import Load
from west_viommu.write.files import Output


class Options(NamedTuple):
    """The arguments of the command."""

    nodes: list[str]
    host: str | None
    kernel: str
    ramdisk: str | None
    bootargs: str
    name: str
    memory: int
    cpus: int
    toolstack: str
    dom0_kernel: str | None
    dom0_ramdisk: str | None
    xen: str
    allow: list[str]
    ram: list[str]
    load: list[str]
    zephyr_bindings: str | None
    output: str
    config: str | None
    xen_version: str | None
    profile: str | None
    include: list[str]
    define: list[str]


def run(options: Options, console: Console) -> None:
    """Plan the domain, write its folder, and print the choices. Raises Refused with all mistakes,
    and then leaves no files.
    """
    if not options.nodes and not _is_terminal():
        raise UsageError(_name_devices(options))
    wish = _wish(options)
    allowed = tuple(map(permission, options.allow))
    chosen = settings_of_host(options, options.nodes, console)
    if not chosen.profile:
        chosen = chosen._replace(profile=RELEASED)
        console.note(f"no --profile: {RELEASED}, as no release of Xen has a vSMMU")
    chosen = chosen._replace(permissions=(*chosen.permissions, *allowed))
    if not options.nodes:
        wish = wish._replace(nodes=_asked(options, chosen))
    with Output(Path(options.output)) as output:
        made = assigned(chosen.host or "", wish, chosen, options.include, options.define)
        files = render_assigned(made, wish)
        console.report((*made.planned.warnings, *made.found.problems))
        output.write(files)
    tell(f"{printable(line)}\n" for line in _report(made, options.output, files))


def _is_terminal() -> bool:
    """Return whether somebody can be asked."""
    return sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()


def _name_devices(options: Options) -> str:
    profile = options.profile or RELEASED
    return f"name the devices: `viommu list --profile {profile} --passable` shows those that can"


def _asked(options: Options, chosen: Settings) -> tuple[str, ...]:
    """Return the devices that the user at the terminal chooses of those that can go. Raises
    UsageError without any.
    """
    agreed = chosen._replace(has_dom0=bool(options.dom0_kernel))
    known = passable(chosen.host or "", agreed, options.include, options.define)
    if not known:
        raise UsageError("no device of this host can go to a guest as it is: `viommu list --why`")
    for number, master in enumerate(known, 1):
        compatible = master.compatible[0] if master.compatible else ""
        print(printable(f"{number:4}  {master.path}  {compatible}"), file=sys.stderr)
    print("devices of the guest, by their numbers: ", end="", file=sys.stderr, flush=True)
    words = sys.stdin.readline().replace(",", " ").split()
    numbers = [int(word) if word.isdecimal() else 0 for word in words]
    if not numbers or not all(1 <= number <= len(known) for number in numbers):
        raise UsageError(f"write numbers from 1 to {len(known)}, with blanks between them")
    return tuple(known[number - 1].path for number in numbers)


def _wish(options: Options) -> Wish:
    """Return the arguments of the job, by the command line. Raises UsageError."""
    if not re.match(DOMAIN_NAME, options.name):
        raise UsageError(f"--name {options.name}: {OF_DOMAIN_NAME}")
    if options.bootargs is not None and not options.bootargs.isprintable():
        raise UsageError("--bootargs: write printable characters of UTF-8, on one line")
    if options.toolstack == "xl" and not options.dom0_kernel:
        raise UsageError("--toolstack xl needs a dom0, where xl runs: --dom0-kernel FILE")
    if options.dom0_ramdisk and not options.dom0_kernel:
        raise UsageError("--dom0-ramdisk needs --dom0-kernel FILE")
    load = _loads(options.load)
    if load and options.toolstack == "xl":
        raise UsageError("--load is for the files that the boot loader loads: xl loads the guest's")
    if "ramdisk" in load and not options.ramdisk:
        raise UsageError("--load ramdisk=ADDRESS needs --ramdisk FILE")
    return Wish(
        nodes=tuple(options.nodes),
        kernel=options.kernel,
        name=options.name,
        ramdisk=options.ramdisk,
        bootargs=options.bootargs,
        memory=options.memory,
        cpus=options.cpus,
        toolstack=options.toolstack,
        dom0_kernel=options.dom0_kernel,
        dom0_ramdisk=options.dom0_ramdisk,
        xen=options.xen,
        ram=tuple(map(ram_of, options.ram)),
        load=Load(**load),
        zephyr_bindings=options.zephyr_bindings,
    )


def _loads(texts: Iterable[str]) -> dict[str, int]:
    """Return the addresses that --load gives, by their names. Raises UsageError."""
    found: dict[str, int] = {}
    for text in texts:
        name, _, address = text.partition("=")
        try:
            number = int(address, 0)
        except ValueError:
            number = -1
        if name not in Load._fields or number < 0:
            names = ", ".join(Load._fields)
            raise UsageError(f"--load {text}: write NAME=ADDRESS, with a NAME of {names}")
        if found.setdefault(name, number) != number:
            raise UsageError(f"--load {text}: {name} has the address {found[name]:#x}: remove one")
    return found


def _report(made: Assigned, folder: str, files: Iterable[str]) -> Iterator[str]:
    """Yield the lines on the devices of the domain, their further needs, and every choice."""
    (domain,) = made.found.domains
    yield f"{domain.name}  {domain.memory} MiB, {domain.cpus} CPU{'s' if domain.cpus > 1 else ''}"
    for device in domain.plan.devices:
        yield f"  {device.host}"
        for iommu, numbers in device.ids_by_iommu.items():
            yield f"      {iommu}  {' '.join(numbers)}"
        parts = [f"INTID {' '.join(map(str, device.intids))}"] if device.intids else []
        parts += [str(page.on_host) for page in device.pages]
        if parts:
            yield f"      {'  '.join(parts)}"
        for need in device.needs:
            stays = "which nobody switches" if need.kind == FIXED else "which stays behind"
            sharing = f"; {need.sharing}" if need.sharing else ""
            yield f"      needs {need}, {stays}{sharing}"
    yield from made.choices
    yield f"wrote to {folder}: {', '.join(files)}"
