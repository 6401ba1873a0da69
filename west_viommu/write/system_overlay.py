# SPDX-License-Identifier: Apache-2.0
"""host.overlay of a system: what the host tree must say for Xen to keep the assigned devices of all
domains from dom0, and to create those whose places in memory are known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from west_viommu.hypervisor.marks import Mark
from west_viommu.hypervisor.profile import Profile
from west_viommu.names import BLOB_MARK, HOST_OVERLAY, MARKS_OVERLAY, OVERLAY_FIRST_LINE
from west_viommu.system.boot import (
    KERNEL,
    PASSTHROUGH,
    RAMDISK,
    files_of,
    files_of_dom0,
    is_placed,
)
from west_viommu.system.records import Dom0, Domain, DomainFile, DomainFiles, Judged
from west_viommu.write.dts import commented, quoted
from west_viommu.write.host_overlay import applying, command_line_switches, fragments

_KIB_PER_MIB = 1024
_MULTIBOOT = {KERNEL: "kernel", RAMDISK: "ramdisk", PASSTHROUGH: "device-tree"}


def marks_overlay(judged: Judged) -> str:
    """The text of marks.overlay: the marks alone."""
    about = [
        "What no domain but its own must get: for domains that xl creates, or whose nodes",
        "ImageBuilder writes.",
    ]
    return _overlay(judged, about, MARKS_OVERLAY)


def system_overlay(
    judged: Judged, files: Mapping[str, DomainFiles], *, has_chosen: bool = True
) -> str:
    """The text of host.overlay, for dtc and then fdtoverlay. By path: a host blob without symbols
    will do. `has_chosen`: whether the host has a /chosen.
    """
    profile = judged.terms.profile
    about = ["Keeps the assigned devices of all domains from dom0, and has Xen create the domains."]
    switches = command_line_switches(profile)
    if any(domain.plan.viommu for domain in judged.domains):
        about += [f"For the vSMMUs, Xen's own command line has {text}." for text in switches]
    created = []
    for domain in judged.domains:
        made_of = files[domain.name]
        tree = made_of.trees.get("dom0less")
        if not tree:
            about.append(f"{domain.name} is not created here: it has no partial tree for Xen.")
        elif is_placed(domain, made_of):
            created.append(_node(domain, made_of, profile, _remark))
        else:
            missing = "its files have no addresses" if made_of.kernel else "no kernel yet"
            about.append(f"{domain.name} is not created here ({missing}). Its node would be:")
            node = _node(domain, made_of, profile, lambda _: "")
            about += [line.expandtabs(8) for line in node]
    dom0 = judged.boot.dom0 if judged.boot else None
    if dom0:
        created.insert(0, list(_dom0(dom0)))
    return _overlay(judged, about, HOST_OVERLAY, created, has_chosen=has_chosen)


def _overlay(
    judged: Judged,
    about: Iterable[str],
    name: str,
    domains: Iterable[Iterable[str]] = (),
    *,
    has_chosen: bool = True,
) -> str:
    how = ["Apply it to the tree that Xen is booted with:", *(f"  {e}" for e in applying(name))]
    lines = [OVERLAY_FIRST_LINE, " *"]
    lines += [f" * {commented(line)}".rstrip() for line in (*about, "", *how)]
    lines += [" */", "/dts-v1/;", "/plugin/;", "", "/ {"]
    # In a blob, that is how an output folder knows its own.
    lines += [f'\tmodel = "{BLOB_MARK}";']
    marks = [_explained(mark, judged) for mark in judged.marks]
    lines += fragments(marks)
    # fdtoverlay and U-Boot put each node before those that are there: Xen sees the first one first.
    nodes = [line for node in reversed(list(domains)) for line in node]
    if nodes:
        target = "/chosen" if has_chosen else "/"
        inside = nodes if has_chosen else ["chosen {", *(f"\t{line}" for line in nodes), "};"]
        lines += ["", f"\tfragment@{len(marks)} {{", f'\t\ttarget-path = "{target}";', ""]
        lines += ["\t\t__overlay__ {"]
        lines += [f"\t\t\t{line}".rstrip() for line in inside]
        lines += ["\t\t};", "\t};"]
        # By it, xen.dtb is known as ours.
        lines += ["", f"\tfragment@{len(marks) + 1} {{", '\t\ttarget-path = "/";', ""]
        lines += [f'\t\t__overlay__ {{\n\t\t\tviommu,made = "{BLOB_MARK}";\n\t\t}};', "\t};"]
    return "".join(f"{line}\n" for line in [*lines, "};"])


def _explained(mark: Mark, judged: Judged) -> Mark:
    """`mark` with a word on whose it is."""
    owner = judged.owners[mark.device]
    return mark._replace(why=f"of {owner}: {mark.why}" if mark.why else f"of {owner}")


def _remark(text: str) -> str:
    return f" /* {commented(text)} */"


def _node(
    domain: Domain,
    files: DomainFiles,
    profile: Profile,
    remark: Callable[[str], str],
) -> list[str]:
    """The domain's node in /chosen (docs/misc/arm/device-tree/booting.txt of Xen); what `remark`
    makes of a remark ends its line.
    """
    modules: list[tuple[str, DomainFile | None, int | None]] = [*files_of(domain, files)]
    if not files.kernel:
        modules = [(KERNEL, None, None), (PASSTHROUGH, files.trees["dom0less"], None)]
    return [
        "",
        f"{domain.name} {{",
        '\tcompatible = "xen,domain";',
        "\t#address-cells = <2>;",
        "\t#size-cells = <2>;",
        f"\tcpus = <{domain.cpus}>;",
        f"\tmemory = <{_cells(domain.memory * _KIB_PER_MIB)}>;{remark('KiB')}",
        *(["\tvpl011;"] if domain.has_vpl011 else []),
        *(f"\t{text}" for text in _switches(domain, profile)),
        *(line for each in modules for line in _module(*each, domain.bootargs, remark, "\t")),
        "};",
    ]


def _dom0(dom0: Dom0) -> Iterator[str]:
    """Yield the modules of dom0, which lie in /chosen itself."""
    yield from ("", "#address-cells = <2>;", "#size-cells = <2>;")
    for kind, file, address in files_of_dom0(dom0):
        yield from _module(kind, file, address, dom0.bootargs, _remark, "")


def _switches(domain: Domain, profile: Profile) -> Iterator[str]:
    """What the domain's node says for its vSMMU."""
    for switch in profile.switches_for("dom0less") if domain.plan.viommu else ():
        if switch.place == "domain-node":
            yield switch.text


def _module(
    kind: str,
    found: DomainFile | None,
    address: int | None,
    bootargs: str,
    remark: Callable[[str], str],
    indent: str,
) -> list[str]:
    """The node of a file, inside that of its domain."""
    unit = "ADDRESS" if address is None else f"{address:x}"
    base = "0x0 ADDRESS" if address is None else _cells(address)
    size = _cells(found.size) if found else "0x0 SIZE"
    lines = [
        f"module@{unit} {{{remark(found.file if found else 'its kernel')}",
        f'\tcompatible = "multiboot,{_MULTIBOOT[kind]}", "multiboot,module";',
        f"\treg = <{base} {size}>;",
        *([f"\tbootargs = {quoted(bootargs)};"] if bootargs and kind == KERNEL else []),
        "};",
    ]
    return ["", *(f"{indent}{line}" for line in lines)]


def _cells(number: int) -> str:
    return f"{number >> 32:#x} {number & 0xFFFFFFFF:#x}"
