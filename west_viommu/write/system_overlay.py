# SPDX-License-Identifier: Apache-2.0
"""host.overlay of a system: what the host tree must say for Xen to keep the assigned devices of all
domains from dom0, and to create those whose places in memory are known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from west_viommu.hypervisor.marks import Mark
from west_viommu.hypervisor.profile import Profile
from west_viommu.names import BLOB_MARK, HOST_OVERLAY, MARKS_OVERLAY, OVERLAY_FIRST_LINE
from west_viommu.system.records import Domain, DomainFile, DomainFiles, Judged
from west_viommu.write.dts import commented
from west_viommu.write.host_overlay import applying, command_line_switches, fragments

_KIB_PER_MIB = 1024


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
        elif domain.load and made_of.kernel:
            created.append(_node(domain, made_of.kernel, tree, profile, _remark))
        else:
            missing = "load: in system.yml says nothing" if made_of.kernel else "no kernel yet"
            about.append(f"{domain.name} is not created here ({missing}). Its node would be:")
            node = _node(domain, made_of.kernel, tree, profile, lambda _: "")
            about += [line.expandtabs(8) for line in node]
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
    return "".join(f"{line}\n" for line in [*lines, "};"])


def _explained(mark: Mark, judged: Judged) -> Mark:
    """`mark` with a word on whose it is."""
    owner = judged.owners[mark.device]
    return mark._replace(why=f"of {owner}: {mark.why}" if mark.why else f"of {owner}")


def _remark(text: str) -> str:
    return f" /* {commented(text)} */"


def _node(
    domain: Domain,
    kernel: DomainFile | None,
    tree: DomainFile,
    profile: Profile,
    remark: Callable[[str], str],
) -> list[str]:
    """The domain's node in /chosen (docs/misc/arm/device-tree/booting.txt of Xen); what `remark`
    makes of a remark ends its line.
    """
    load = domain.load
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
        *_module("kernel", kernel, load.kernel if load else None, remark),
        *_module("device-tree", tree, load.passthrough if load else None, remark),
        "};",
    ]


def _switches(domain: Domain, profile: Profile) -> Iterator[str]:
    """What the domain's node says for its vSMMU."""
    for switch in profile.switches_for("dom0less") if domain.plan.viommu else ():
        if switch.place == "domain-node":
            yield switch.text


def _module(
    kind: str, found: DomainFile | None, address: int | None, remark: Callable[[str], str]
) -> list[str]:
    unit = "ADDRESS" if address is None else f"{address:x}"
    base = "0x0 ADDRESS" if address is None else _cells(address)
    size = _cells(found.size) if found else "0x0 SIZE"
    return [
        "",
        f"\tmodule@{unit} {{{remark(found.file if found else 'its kernel')}",
        f'\t\tcompatible = "multiboot,{kind}", "multiboot,module";',
        f"\t\treg = <{base} {size}>;",
        "\t};",
    ]


def _cells(number: int) -> str:
    return f"{number >> 32:#x} {number & 0xFFFFFFFF:#x}"
