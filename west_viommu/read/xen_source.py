# SPDX-License-Identifier: Apache-2.0
"""A profile for the Xen in a source tree: the constants of its public headers, and its version.

The C preprocessor reads the headers. Facts that they lack, such as how a vSMMU is switched on, come
from a shipped profile, which is named. No C function is read.
"""

import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from west_viommu.diagnostics import Diagnostic, Refused, Where
from west_viommu.hypervisor.profile import Profile
from west_viommu.read.plain_file import content, unreadable
from west_viommu.read.preprocess import preprocessed
from west_viommu.read.profiles import profile
from west_viommu.tree.addresses import Region

_LAYOUT = "include/public/arch-arm.h"
_PHANDLES = "include/public/device_tree_defs.h"
# xen_mk_ullong() is in xen.h, which includes more than the preprocessor should read.
_DEFINES = ("__XEN__", "__ASSEMBLY__", "__aarch64__", "xen_mk_ullong(x)=x")
_MOST_BYTES = 1 << 20
# Name for people, the macros of address and size, and the condition for a guest to have it.
_REGIONS = (
    ("GIC distributor", "GICD_BASE", "GICD_SIZE", "gicv2"),
    ("GIC CPU interface", "GICC_BASE", "GICC_SIZE", "gicv2"),
    ("GIC distributor", "GICV3_GICD_BASE", "GICV3_GICD_SIZE", "gicv3"),
    ("GIC redistributors", "GICV3_GICR0_BASE", "GICV3_GICR0_SIZE", "gicv3"),
    ("GIC ITS", "GICV3_ITS_BASE", "GICV3_ITS_SIZE", "gicv3"),
    ("TPM", "TPM_BASE", "TPM_SIZE", "always"),
    ("grant table", "GNTTAB_BASE", "GNTTAB_SIZE", "always"),
    ("magic pages", "MAGIC_BASE", "MAGIC_SIZE", "always"),
    ("virtio-mmio", "VIRTIO_MMIO_BASE", "VIRTIO_MMIO_SIZE", "virtio"),
    (
        "virtio-PCI prefetchable memory",
        "VIRTIO_PCI_PREFETCH_MEM_BASE",
        "VIRTIO_PCI_PREFETCH_MEM_SIZE",
        "virtio",
    ),
    (
        "virtio-PCI configuration space",
        "VIRTIO_PCI_ECAM_BASE",
        "VIRTIO_PCI_ECAM_SIZE",
        "virtio",
    ),
    ("virtio-PCI memory", "VIRTIO_PCI_MEM_BASE", "VIRTIO_PCI_MEM_SIZE", "virtio"),
    ("vPCI configuration space", "VPCI_ECAM_BASE", "VPCI_ECAM_SIZE", "vpci"),
    ("vPCI memory", "VPCI_MEM_ADDR", "VPCI_MEM_SIZE", "vpci"),
    ("vPCI prefetchable memory", "VPCI_PREFETCH_MEM_ADDR", "VPCI_PREFETCH_MEM_SIZE", "vpci"),
    ("ACPI tables", "ACPI_BASE", "ACPI_SIZE", "acpi"),
    ("vpl011", "PL011_BASE", "PL011_SIZE", "vpl011"),
)
# Name, the macros of the first and the last INTID, and the condition for a guest to have them.
_INTERRUPTS = (
    ("vpl011", "VPL011_SPI", "VPL011_SPI", "vpl011"),
    ("virtio-mmio", "VIRTIO_MMIO_SPI_FIRST", "VIRTIO_MMIO_SPI_LAST", "virtio"),
    ("virtio-PCI", "VIRTIO_PCI_SPI_FIRST", "VIRTIO_PCI_SPI_LAST", "virtio"),
)
_OWN = ("RAM", "VSMMU")
_NUMBER = re.compile(r"(0[xX][0-9a-fA-F]+|[0-9]+)[uUlL]*")


class XenSource(NamedTuple):
    """The facts in the source of a Xen: its `version`, and by the names of docs/profiles.md the
    vSMMU (None without), the banks of memory, and the occupied regions and interrupts. `unread`
    names the missing facts, and `base` is the profile that supplies them.
    """

    folder: str
    version: str
    viommu: Mapping[str, Any] | None
    ram: tuple[Mapping[str, int], ...]
    regions: tuple[Mapping[str, Any], ...]
    interrupts: tuple[Mapping[str, Any], ...]
    base: Profile
    unread: tuple[str, ...]


def xen_source(folder: str) -> XenSource:
    """Return the facts in the source tree in `folder`. Raises Refused if it is not Xen's."""
    top = next((path for path in (folder, os.path.join(folder, "xen")) if _is_xen(path)), None)
    if top is None:
        raise Refused(
            [
                Diagnostic(
                    id="unreadable",
                    what="this is no source tree of Xen",
                    hint="name the folder that has xen/include/public/arch-arm.h",
                    expected=_LAYOUT,
                    where=Where(folder),
                )
            ]
        )
    version = _version(os.path.join(top, "Makefile"))
    known = _constants(top)
    unread: list[str] = []
    viommu = _viommu(known, unread)
    base = profile(_base(version, viommu is not None, "GICV3_ITS_BASE" in known), None)
    regions = tuple(_regions(known, unread))
    banks = []
    for number in range(known.get("RAM_BANKS", 0)):
        base_name, size_name = f"RAM{number}_BASE", f"RAM{number}_SIZE"
        if base_name in known and size_name in known:
            banks.append({"base": known[base_name], "size": known[size_name]})
    if not banks:
        unread.append("the banks of a guest's memory (GUEST_RAM_BANKS, GUEST_RAM0_BASE)")
    return XenSource(
        folder=folder,
        version=version,
        viommu=viommu,
        ram=tuple(banks),
        regions=regions,
        interrupts=tuple(
            {"name": name, "first": known[first], "last": known[last], "if": when}
            for name, first, last, when in _INTERRUPTS
            if first in known and last in known
        ),
        base=base,
        unread=tuple(unread),
    )


def _is_xen(path: str) -> bool:
    return os.path.isfile(os.path.join(path, _LAYOUT))


def _version(makefile: str) -> str:
    """Return the version of a Makefile of Xen: XEN_VERSION and XEN_SUBVERSION. Raises Refused."""
    hint = "name the source tree of a Xen"
    try:
        text = content(makefile, _MOST_BYTES).decode("utf-8", "replace")
    except OSError as error:
        raise Refused([unreadable(makefile, error, hint)]) from None
    parts = [
        re.search(rf"^\s*export\s+{name}\s*[:?]?=\s*(\d+)", text, re.MULTILINE)
        for name in ("XEN_VERSION", "XEN_SUBVERSION")
    ]
    if not all(parts):
        what = "the version of this Xen cannot be read"
        expected = "XEN_VERSION and XEN_SUBVERSION"
        where = Where(makefile)
        raise Refused(
            [Diagnostic(id="malformed", what=what, hint=hint, expected=expected, where=where)]
        )
    return ".".join(part[1] for part in parts if part)


def _constants(top: str) -> dict[str, int]:
    """Return the numbers of the headers by their names without GUEST_. Raises Refused."""
    files = [os.path.join(top, name) for name in (_LAYOUT, _PHANDLES)]
    files = [file for file in files if os.path.isfile(file)]
    names: dict[str, None] = {}
    for file in files:
        text = content(file, _MOST_BYTES).decode("utf-8", "replace")
        names |= dict.fromkeys(re.findall(r"^\s*#\s*define\s+GUEST_(\w+)\s", text, re.MULTILINE))
    # A macro in a string is not expanded.
    query = "".join(f'"viommu {name}" GUEST_{name}\n' for name in names)
    # The preprocessor is another process: it cannot open a file in this process's memory.
    with tempfile.TemporaryDirectory(prefix="viommu-") as folder:
        asked = os.path.join(folder, "constants.h")
        Path(asked).write_text(query, encoding="utf-8")
        output = preprocessed([*files, asked], [os.path.join(top, "include")], _DEFINES)
    known: dict[str, int] = {}
    for name, value in re.findall(r'^"viommu (\w+)" (.*)$', output, re.MULTILINE):
        number = _number(value)
        if number is not None:
            known[name] = number
    return known


def _number(text: str) -> int | None:
    """Return the value of a number of C, or of a sum of numbers; None for anything else."""
    total = 0
    for term in text.replace("(", " ").replace(")", " ").split("+"):
        found = _NUMBER.fullmatch(term.strip())
        if found is None:
            return None
        total += int(found[1], 16 if found[1][:2] in ("0x", "0X") else 10)
    return total


def _base(version: str, has_viommu: bool, has_its: bool) -> str:
    """Return the profile that supplies the facts which the headers of such a Xen lack."""
    if not has_viommu:
        return "xen"
    if version != "4.17":
        return "xen-amd-4.20"
    return "xen-amd" if has_its else "xen-rfc"


def _viommu(known: Mapping[str, int], unread: list[str]) -> Mapping[str, Any] | None:
    if "VSMMUV3_BASE" not in known or "VSMMUV3_SIZE" not in known:
        return None
    phandle = known.get("PHANDLE_VSMMUV3")
    if phandle is None:
        unread.append("the phandle of the vSMMU (GUEST_PHANDLE_VSMMUV3)")
    intid = known.get("VSMMU_SPI")
    if intid is None:
        unread.append("the interrupt of the vSMMU (GUEST_VSMMU_SPI)")
    return {
        "base": known["VSMMUV3_BASE"],
        "size": known["VSMMUV3_SIZE"],
        "phandle": phandle,
        "intid": intid,
    }


def _regions(known: Mapping[str, int], unread: list[str]) -> Iterator[Mapping[str, Any]]:
    named = set()
    for name, base, size, when in _REGIONS:
        named.add(base)
        if base in known and size in known:
            yield {"name": name, "base": known[base], "size": known[size], "if": when}
    for base, address in known.items():
        stem = re.sub("_(BASE|ADDR)$", "", base)
        length = known.get(f"{stem}_SIZE", 0)
        if stem == base or base in named or not length or stem.startswith(_OWN):
            continue
        unread.append(f"what GUEST_{base} is for: it is taken as reserved for every guest")
        yield {"name": f"GUEST_{stem}", "base": address, "size": length, "if": "always"}


def differences(found: XenSource, other: Profile) -> Iterator[str]:
    """Yield the differences between the source and the profile `other`, in the facts that the
    source has.
    """
    viommu, theirs = found.viommu, other.viommu
    if (viommu is None) is not (theirs is None):
        here, there = ("none" if each is None else "one" for each in (viommu, theirs))
        yield f"vSMMU: {here} here, {there} there"
    elif viommu is not None and theirs is not None:
        intids = [each.intid for each in theirs.interrupts]
        pairs = (
            ("base", viommu["base"], theirs.base),
            ("size", viommu["size"], theirs.size),
            ("phandle", viommu["phandle"], theirs.phandle),
            ("intid", [viommu["intid"]], intids),
        )
        for key, mine, its in pairs:
            if mine != its:
                yield f"vSMMU: {key} is {_shown(mine)} here, {_shown(its)} there"
    banks = [Region(bank["base"], bank["size"]) for bank in found.ram]
    if banks != list(other.ram):
        yield f"ram: {_shown(banks)} here, {_shown(list(other.ram))} there"
    rows = {
        (each["name"], str(Region(each["base"], each["size"])), each["if"])
        for each in found.regions
    }
    others = {(each.name, str(each.region), each.when) for each in other.reserved}
    rows |= {
        (each["name"], f"INTID {each['first']} to {each['last']}", each["if"])
        for each in found.interrupts
    }
    others |= {
        (each.name, f"INTID {each.first} to {each.last}", each.when)
        for each in other.reserved_interrupts
    }
    for name, where, when in sorted(rows - others):
        yield f"reserved: {name}, {where} (if {when}), here alone"
    for name, where, when in sorted(others - rows):
        yield f"reserved: {name}, {where} (if {when}), there alone"


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_shown, value)) or "none"
    return f"{value:#x}" if isinstance(value, int) else str(value or "none")
