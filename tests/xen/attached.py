# SPDX-License-Identifier: Apache-2.0
"""The IOMMUs that Xen drives, and the streams that it attaches to domains.

Read in drivers/passthrough/device_tree.c, arm/iommu.c, arm/iommu_fwspec.c, arm/smmu-v3.c,
arm/smmu.c (SMMUv2), arm/ipmmu-vmsa.c.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from tests.xen.host import (
    IPMMU,
    SMMU_V2,
    SMMU_V3,
    Host,
    available,
    compatible,
    is_driven,
    phandle_args,
)
from tests.xen.mapped import NoAddress, regions
from tests.xen.nodes import Node
from tests.xen.xens import Xen

SMALLEST = 0x20000  # arm_smmu_resource_size()
SMR_ID_MASK = 0x7FFF
IPMMU_UTLB_MAX = 64
UNPROTECTED, OK = 1, 0  # what iommu_add_dt_device() returns; below is an error


class Stream(NamedTuple):
    smmu: str
    id: int


class Added(NamedTuple):
    """What iommu_add_dt_device() says, and why."""

    result: int
    why: str = ""


class Stops(Exception):
    """Xen stops: `kind` is panic or BUG."""

    def __init__(self, kind: str, words: str) -> None:
        super().__init__(words)
        self.kind = kind


def is_iommu(node: Node) -> bool:
    """device_get_class() == DEVICE_IOMMU: by compatible alone, whatever the status."""
    return bool(kind_of(node))


def kind_of(node: Node) -> str:
    """Which of the three drivers has it; "" for none."""
    kinds = {"v3": SMMU_V3, "v2": SMMU_V2, "ipmmu": IPMMU}
    return next((kind for kind, names in kinds.items() if compatible(node, names)), "")


@dataclass
class Iommus:
    """The state of Xen's IOMMU code for one host."""

    host: Host
    xen: Xen
    driven: dict[str, Node] = field(default_factory=dict)
    # dev_iommu_fwspec: node -> its SMMU and IDs; then is_protected, then domain_list.
    specs: dict[str, tuple[str, list[int]]] = field(default_factory=dict)
    protected: set[str] = field(default_factory=set)
    assigned: dict[str, str] = field(default_factory=dict)
    # Stream -> (domain, node), each that has attached it.
    attached: dict[Stream, list[tuple[str, str]]] = field(default_factory=dict)
    known: dict[Stream, str] = field(default_factory=dict)

    def set_up(self) -> None:
        """iommu_hardware_setup(): every node of the class that is enabled and not marked. What the
        first driver takes decides which masters can be added: iommu_set_ops() "already set".

        Any error but -ENODEV ends in "Couldn't configure correctly all the IOMMUs.", setup.c.
        """
        first = None
        for node in self.host.nodes:
            if not is_iommu(node) or not is_driven(node):
                continue
            kind = kind_of(node)
            if kind == "v3":
                self._probe(node)
            first = first or kind
            if kind == first:
                self.driven[node.path] = node

    def _probe(self, smmu: Node) -> None:
        """arm_smmu_device_dt_probe(): "invalid #iommu-cells value"; "MMIO region too small"."""
        try:
            found = regions(smmu)
        except NoAddress:
            found = []
        if smmu.cells("#iommu-cells")[:1] != [1] or not found or found[0][1] < SMALLEST:
            why = f"Couldn't configure correctly all the IOMMUs ({smmu.path})"
            raise Stops("panic", why)

    def add(self, node: Node) -> Added:
        """iommu_add_dt_device(): the entries of iommus up to the first that is none."""
        if not self.driven:
            return Added(UNPROTECTED, "Xen drives no IOMMU")
        if node.path in self.specs:
            return Added(OK)
        result, ids, smmu = Added(UNPROTECTED, "no entry in iommus that Xen reads"), [], None
        for provider, cells in phandle_args(self.host, node, "iommus", "#iommu-cells"):
            if not available(provider):
                if not self.xen.keeps_ids_before_disabled or smmu is None:
                    result = Added(UNPROTECTED, f"{provider.path} is disabled")
                break
            if smmu is not None and smmu != provider.path:
                result = Added(-22, f"behind {smmu} and {provider.path}")
                break
            smmu = provider.path
            stream = cells[0] if cells else 0
            kind = kind_of(self.driven.get(smmu, provider))
            if kind == "ipmmu" and (len(cells) != 1 or stream >= IPMMU_UTLB_MAX):
                result = Added(-22, f"micro-TLB {stream} is none of {smmu}")  # ipmmu_dt_xlate()
                break
            if kind == "v2":  # arm_smmu_dt_xlate_generic(); 4.17 then leaves out the mask
                stream &= SMR_ID_MASK
            ids.append(stream)
            self.specs[node.path] = (smmu, ids)
            result = Added(OK)
        if result.result == OK:
            result = self._add_device(node)
        if result.result < 0:
            self.specs.pop(node.path, None)
        return result

    def _add_device(self, node: Node) -> Added:
        """arm_smmu_add_device(); with the stream tree, arm_smmu_insert_master()."""
        smmu, ids = self.specs[node.path]
        if smmu not in self.driven:
            return Added(-19, f"{smmu} is not driven")
        if self.xen.stream_tree:
            inserted: list[Stream] = []
            for stream in (Stream(smmu, id) for id in ids):
                if stream in self.known:
                    for earlier in inserted:
                        del self.known[earlier]
                    owner = "itself" if stream in inserted else self.known[stream]
                    return Added(-22, f"stream {stream.id} already in tree, of {owner}")
                self.known[stream] = node.path
                inserted.append(stream)
        self.protected.add(node.path)
        return Added(OK)

    def assign(self, domain: str, node: Node) -> Added:
        """iommu_assign_dt_device(): -EINVAL if unprotected, -EBUSY if assigned already."""
        if node.path not in self.protected:
            return Added(-22, "not protected by an IOMMU")
        if node.path in self.assigned:
            return Added(-16, f"already assigned to {self.assigned[node.path]}")
        smmu, ids = self.specs[node.path]
        kind = kind_of(self.driven[smmu])
        for stream in dict.fromkeys(Stream(smmu, id) for id in ids):
            for holder, other in self.attached.get(stream, ()):
                words = f"stream {stream.id:#x} of {smmu} is attached to {holder} by {other}"
                if kind == "v3":
                    raise Stops("BUG", f"{node.path}: {words}")
                if kind == "ipmmu" and holder != domain:  # ipmmu_utlb_enable()
                    return Added(-22, words)
            # For v2, arm_smmu_domain_add_master() writes the last domain over the one before.
            self.attached.setdefault(stream, []).append((domain, node.path))
        self.assigned[node.path] = domain
        return Added(OK)
