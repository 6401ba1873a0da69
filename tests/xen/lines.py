# SPDX-License-Identifier: Apache-2.0
"""Rules of interrupts and stream IDs."""

from __future__ import annotations

from collections.abc import Iterator

from tests.xen.case import Case, forced, host_interrupts, streams
from tests.xen.guest import GUEST_PHANDLE_VSMMU
from tests.xen.nodes import Node

EDGE_RISING, LEVEL_HIGH = 1, 4  # Linux's IRQ_TYPE_*, not Zephyr's
VSMMU_INTID = 33


def gic_parent(case: Case) -> Iterator[str]:
    """ "Each device node needs its own `interrupt-parent` (the root has none there)"."""
    stub = case.partial.child("gic")
    gic = set() if stub is None else stub.phandles()
    for node in case.devices:
        named = node.cells("interrupt-parent")
        if "interrupts" in node.props and not named:
            yield f"{node.path}: interrupts without an interrupt-parent of its own"
        if named and not (len(named) == 1 and set(named) <= gic):
            yield f"{node.path}: interrupt-parent is not the phandle of /gic"


def no_parent(case: Case) -> Iterator[str]:
    """ "libxl copies only /passthrough and /aliases, so an interrupt-parent to a /gic stub dangles
    (root parent is 65000 there)".
    """
    for node in [case.passthrough, *case.devices]:
        if "interrupt-parent" in node.props:
            yield f"{node.path}: interrupt-parent in a tree for libxl"


def interrupt_cells(case: Case) -> Iterator[str]:
    """ "GIC cells: type (0 SPI, 1 PPI), number, flags"; only an SPI can be routed to a guest."""
    for node in case.devices:
        if len(node.props.get("interrupts", b"")) % 12:
            yield f"{node.path}: interrupts are not rows of 3 cells"
            continue
        for kind, _, flags in _interrupts(node):
            if kind:
                yield f"{node.path}: interrupt of type {kind}, not an SPI"
            if flags not in (EDGE_RISING, LEVEL_HIGH):
                yield f"{node.path}: interrupt with flags {flags:#x}, not 1 or 4"


def _interrupts(node: Node) -> list[list[int]]:
    values = node.cells("interrupts")
    return [values[i : i + 3] for i in range(0, len(values) // 3 * 3, 3)]


def host_intids(case: Case) -> Iterator[str]:
    """ "virq must equal pirq", "INTID = SPI + 32": each is one of the host node's, triggered the
    same way. Left alone where the host's interrupts go through something else than the GIC.
    """
    for node, host in case.assigned():
        there = host_interrupts(case, host)
        if there is None:
            continue
        for _, spi, flags in _interrupts(node):
            known = {low & 0xF for intid, low in there if intid == spi + 32}
            if not known:
                yield f"{node.path}: INTID {spi + 32} is not one of {host.path}'s"
            elif known <= {EDGE_RISING, LEVEL_HIGH} and flags not in known:
                yield f"{node.path}: INTID {spi + 32} has other flags in {host.path}"


def private_interrupts(case: Case) -> Iterator[str]:
    """Xen routes every GIC interrupt of the host node, those too that the guest leaves out, and
    refuses a private one.
    """
    for node, host in case.assigned():
        for intid, _ in host_interrupts(case, host) or []:
            if intid < 32:
                yield f"{node.path}: {host.path} has the private interrupt {intid}"


def vsmmu_interrupt(case: Case) -> Iterator[str]:
    """ "GUEST_VSMMU_SPI: INTID 33". Xen routes the host node's interrupts, named or not."""
    for node in case.devices:
        host = case.host_of(node)
        routed = [] if host is None else host_interrupts(case, host) or []
        intids = {intid for intid, _ in routed} | {spi + 32 for _, spi, _ in _interrupts(node)}
        if VSMMU_INTID in intids:
            yield f"{node.path}: INTID {VSMMU_INTID} is the vSMMU's"


def pairs(case: Case) -> Iterator[str]:
    """ "Each 8 bytes of `iommus` take the next vSID"; "leftover bytes are zeroed"."""
    for node in case.devices:
        length = len(node.props.get("iommus", b""))
        if "iommus" in node.props and (length % 8 or not length):
            yield f"{node.path}: iommus has {length} bytes, not one or more times 8"


def host_ids(case: Case) -> Iterator[str]:
    """ "pSIDs in the partial tree are not compared with the host's: a wrong ID is mapped as
    written."
    """
    for node, host in case.assigned():
        known = {stream.first for stream in streams(case, host)}
        for sid in node.cells("iommus")[1::2]:
            if sid not in known:
                yield f"{node.path}: stream ID {sid:#x} is not one of {host.path}'s"


def has_iommus(case: Case) -> Iterator[str]:
    """A device "behind no IOMMU" needs xen,force-assign-without-iommu; one that is behind a vSMMU
    says so, and a vSID that no assigned device stands behind leads nowhere.
    """
    for node in case.devices:
        if "xen,path" in node.props and "iommus" not in node.props and not forced(node):
            yield f"{node.path}: xen,path without iommus"
        if "iommus" in node.props and "xen,path" not in node.props:
            yield f"{node.path}: iommus without xen,path"


def protected(case: Case) -> Iterator[str]:
    """ "A device with iommu-map alone counts as unprotected"; "Xen's SMMUv3 driver: #iommu-cells
    must be 1; a device may sit behind one IOMMU only".
    """
    for node, host in case.assigned():
        found = streams(case, host)
        if not any(stream.supported for stream in found) and not forced(node):
            yield f"{node.path}: {host.path} is behind no SMMUv3 that Xen uses"
        if len({stream.iommu.path for stream in found}) > 1:
            yield f"{node.path}: {host.path} is behind more than one IOMMU"


def own_ids(case: Case) -> Iterator[str]:
    """ "Two attached masters that share an SID on one SMMU reach a BUG in Xen"; "v3 does not record
    which physical SMMU a pSID belongs to, so colliding pSIDs stay unsafe there". Xen attaches all
    IDs of a host node, not only those that the partial tree keeps.
    """
    owners: dict[int | None, tuple[str, str]] = {}
    for node, host in case.assigned():
        for stream in streams(case, host):
            iommu, path = owners.setdefault(stream.first, (stream.iommu.path, host.path))
            if path != host.path and stream.first is not None:
                how = "shares" if iommu == stream.iommu.path else "collides in"
                yield f"{node.path}: {how} stream ID {stream.first:#x} with {path}"


def nested(case: Case) -> Iterator[str]:
    """ "libxl: direct children of `/passthrough` only": deeper, the host's phandle and ID reach the
    guest as they stand. (The vSMMU's own phandle there is right for a Xen that keeps IDs.)
    """
    for node in case.devices:
        deep = node.parent is not case.passthrough
        if deep and any(p != GUEST_PHANDLE_VSMMU for p in node.cells("iommus")[::2]):
            yield f"{node.path}: libxl leaves iommus alone below a child of /passthrough"
