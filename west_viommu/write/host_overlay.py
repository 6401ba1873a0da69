# SPDX-License-Identifier: Apache-2.0
"""host.overlay and marks.overlay: the changes to the host tree by which Xen keeps the assigned
devices from dom0, and creates the domains of a system.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from west_viommu.hypervisor.profile import Profile
from west_viommu.hypervisor.sweep import Mark
from west_viommu.names import (
    BLOB_MARK,
    HOST_OVERLAY,
    MARKS_OVERLAY,
    OVERLAY_FIRST_LINE,
    partial_tree,
)
from west_viommu.plan.plan import Plan
from west_viommu.write.dts import commented, quoted

if TYPE_CHECKING:
    # A bind run does not need these.
    from west_viommu.system.records import Dom0, Domain, DomainFile, DomainFiles, Judged

_KIB_PER_MIB = 1024
# Xen's name of a domain's module, by its kind (system/boot.py).
_MULTIBOOT = {"kernel": "kernel", "ramdisk": "ramdisk", "partial tree": "device-tree"}


def host_overlay(plan: Plan, profile: Profile, sizes: Mapping[str, int]) -> str:
    """Return host.overlay of one guest, for dtc and then fdtoverlay. It names nodes by path, so it
    fits a host blob without symbols. `sizes`: the bytes of the partial trees, by name.
    """
    return _overlay(_about(plan, profile, sizes), _fragments(plan.marks))


def marks_overlay(judged: Judged) -> str:
    """Return marks.overlay of a system: only the marks."""
    about = [
        "What no domain but its own must get: for domains that xl creates, or whose nodes",
        "ImageBuilder writes.",
    ]
    return _system_overlay(judged, about, MARKS_OVERLAY)


def system_overlay(
    judged: Judged, files: Mapping[str, DomainFiles], *, has_chosen: bool = True
) -> str:
    """Return host.overlay of a system. `has_chosen`: whether the host has a /chosen."""
    from west_viommu.system.boot import is_placed

    profile = judged.terms.profile
    about = ["Keeps the assigned devices of all domains from dom0, and has Xen create the domains."]
    if any(domain.plan.viommu for domain in judged.domains):
        switches = command_line_switches(profile)
        about += [f"For the vSMMUs, Xen's own command line has {text}." for text in switches]
    created = []
    for domain in judged.domains:
        made_of = files[domain.name]
        if "dom0less" not in made_of.trees:
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
    # fdtoverlay and U-Boot put each new node before the existing ones: Xen sees the first one
    # first.
    nodes = [line for node in reversed(created) for line in node]
    if dom0:
        # The cells are for dom0's modules, which lie in /chosen itself. dtc wants properties before
        # nodes.
        nodes = ["#address-cells = <2>;", "#size-cells = <2>;", *nodes]
    return _system_overlay(judged, about, HOST_OVERLAY, nodes, has_chosen=has_chosen)


def command_line_switches(profile: Profile) -> list[str]:
    """Return the command line options that switch the vSMMU on, for any of the toolstacks."""
    switches = [each for name in profile.toolstacks for each in profile.switches_for(name)]
    texts = (each.text for each in switches if each.place == "xen-command-line")
    return list(dict.fromkeys(texts))


def memory_limit(limit: int) -> str:
    """Return the memory limit of a domain: xl counts in MiB, dom0less in KiB."""
    most = f"{limit >> 20} MiB" if limit >> 20 else f"{limit >> 10} KiB"
    return f"at most {most} (dom0less: <0 {limit >> 10:#x}>), as a device is above it"


def cpu_limit(limit: int) -> str:
    """Return the limit of a domain's virtual CPUs."""
    return f"at most {limit}, as a device is where the redistributor of one more would be"


def _overlay(about: Iterable[str], lines: Iterable[str]) -> str:
    """Return an overlay of `lines`, with the comment `about`."""
    comment = (f" * {commented(line)}".rstrip() for line in about)
    whole = [OVERLAY_FIRST_LINE, " *", *comment, " */", "/dts-v1/;", "/plugin/;", "", "/ {"]
    return "".join(f"{line}\n" for line in [*whole, *lines, "};"])


def _fragments(marks: Iterable[Mark]) -> Iterator[str]:
    """Yield the fragment of an overlay for each of `marks`, with the reason in a comment."""
    for i, mark in enumerate(marks):
        yield ""
        if mark.why:
            yield f"\t/* {commented(mark.why)} */"
        yield from _fragment(i, mark.node, ["xen,passthrough;"])


def _fragment(i: int, target: str, inside: Iterable[str]) -> Iterator[str]:
    yield f"\tfragment@{i} {{"
    yield f"\t\ttarget-path = {quoted(target)};"
    yield from ("", "\t\t__overlay__ {")
    yield from (f"\t\t\t{line}".rstrip() for line in inside)
    yield from ("\t\t};", "\t};")


def _applying(name: str) -> tuple[str, ...]:
    """Return the commands that apply the overlay in the file `name` to the host's tree."""
    blob = f"{name.partition('.')[0]}.dtbo"
    return (
        f"  dtc -I dts -O dtb -o {blob} {name}",
        f"  fdtoverlay -i host.dtb -o host-xen.dtb {blob}",
    )


def _about(plan: Plan, profile: Profile, sizes: Mapping[str, int]) -> Iterator[str]:
    """Yield the commands that apply the overlay of one guest, and the domain's node for
    dom0less.
    """
    yield "Keeps the assigned devices from dom0. Apply it to the tree that Xen is booted with:"
    yield from _applying(HOST_OVERLAY)
    if "dom0less" in profile.toolstacks:
        blob = partial_tree("dom0less", ".dtb")
        size = f"{sizes[blob]:#x}" if blob in sizes else "SIZE"
        yield from ("", f"The domain's node in /chosen says where {blob} is loaded:")
        yield "  module@ADDRESS {"
        yield '          compatible = "multiboot,device-tree", "multiboot,module";'
        yield from (f"          reg = <0x0 ADDRESS 0x0 {size}>;", "  };")
        yield from (f"and, for the vSMMU: {text}" for text in _domain_switches(plan, profile))
        yield from (f"Added to its device: {line}" for line in plan.added)
        if plan.memory_limit is not None:
            yield f"Its memory is {memory_limit(plan.memory_limit)}."
        if plan.cpu_limit is not None:
            yield f"Its CPUs are {cpu_limit(plan.cpu_limit)}."
    for text in command_line_switches(profile) if plan.viommu else ():
        yield from ("", f"For the vSMMU, Xen's own command line has {text}.")


def _domain_switches(plan: Plan, profile: Profile) -> list[str]:
    """Return the properties of the domain's node that switch its vSMMU on."""
    switches = profile.switches_for("dom0less") if plan.viommu else ()
    return [switch.text for switch in switches if switch.place == "domain-node"]


def _system_overlay(
    judged: Judged,
    about: Iterable[str],
    name: str,
    nodes: Iterable[str] = (),
    *,
    has_chosen: bool = True,
) -> str:
    """Return an overlay with the marks of all domains, and `nodes` in /chosen."""
    about = [*about, "", "Apply it to the tree that Xen is booted with:", *_applying(name)]
    marks = [_explained(mark, judged) for mark in judged.marks]
    # An output folder recognizes its own blobs by this property.
    lines = [f'\tmodel = "{BLOB_MARK}";', *_fragments(marks)]
    if nodes:
        inside = nodes if has_chosen else ["chosen {", *(f"\t{line}" for line in nodes), "};"]
        target = "/chosen" if has_chosen else "/"
        lines += ["", *_fragment(len(marks), target, inside)]
        # This property marks xen.dtb as ours.
        lines += ["", *_fragment(len(marks) + 1, "/", [f'viommu,made = "{BLOB_MARK}";'])]
    return _overlay(about, lines)


def _explained(mark: Mark, judged: Judged) -> Mark:
    """Return `mark` with the name of its domain in the reason."""
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
    """Return the domain's node in /chosen (Xen, docs/misc/arm/device-tree/booting.txt). Each remark
    ends its line, in the form that `remark` returns.
    """
    from west_viommu.system.boot import KERNEL, PASSTHROUGH, files_of

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
        *(f"\t{text}" for text in _domain_switches(domain.plan, profile)),
        *(line for each in modules for line in _module(*each, domain.bootargs, remark, "\t")),
        "};",
    ]


def _dom0(dom0: Dom0) -> Iterator[str]:
    """Yield the modules of dom0, which lie in /chosen itself."""
    from west_viommu.system.boot import files_of_dom0

    for kind, file, address in files_of_dom0(dom0):
        yield from _module(kind, file, address, dom0.bootargs, _remark, "")


def _module(
    kind: str,
    found: DomainFile | None,
    address: int | None,
    bootargs: str,
    remark: Callable[[str], str],
    indent: str,
) -> list[str]:
    """Return the node of a file, inside its domain's node."""
    unit = "ADDRESS" if address is None else f"{address:x}"
    base = "0x0 ADDRESS" if address is None else _cells(address)
    size = _cells(found.size) if found else "0x0 SIZE"
    lines = [
        f"module@{unit} {{{remark(found.file if found else 'its kernel')}",
        f'\tcompatible = "multiboot,{_MULTIBOOT[kind]}", "multiboot,module";',
        f"\treg = <{base} {size}>;",
        *([f"\tbootargs = {quoted(bootargs)};"] if bootargs and kind == "kernel" else []),
        "};",
    ]
    return ["", *(f"{indent}{line}" for line in lines)]


def _cells(number: int) -> str:
    return f"{number >> 32:#x} {number & 0xFFFFFFFF:#x}"
