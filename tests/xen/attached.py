# SPDX-License-Identifier: Apache-2.0
"""The IOMMUs that Xen drives, and the streams that it attaches to domains.

Read in drivers/passthrough/device_tree.c, arm/iommu.c, arm/iommu_fwspec.c. The probes of the
drivers are in drivers.py.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.xen.drivers import (
    IPMMU_UTLB_MAX,
    MAX_PHANDLE_ARGS,
    SIDS,
    SMR_MASK,
    Entry,
    Probed,
    Smr,
    Stream,
    kind_of,
    probed,
)
from tests.xen.host import Host, available, is_driven, phandle_args
from tests.xen.irqs import Irqs, Stops
from tests.xen.nodes import Node
from tests.xen.xens import Xen

UNPROTECTED, OK = 1, 0  # what iommu_add_dt_device() returns; below is an error
PADDR_BITS, IPMMU_MAX_P2M_IPA_BITS = 48, 40


@dataclass(frozen=True)
class Added:
    """The result of iommu_add_dt_device(), and the reason."""

    result: int
    why: str = ""


@dataclass
class Iommus:
    """The state of Xen's IOMMU code for one host."""

    host: Host
    xen: Xen
    irqs: Irqs
    # Each IOMMU that has probed, of whatever kind; and the kind whose driver is Xen's.
    driven: dict[str, Node] = field(default_factory=dict)
    ops: str = ""
    # dev_iommu_fwspec: node -> its SMMU and IDs; then is_protected, then domain_list.
    specs: dict[str, tuple[str, list[Entry]]] = field(default_factory=dict)
    protected: set[str] = field(default_factory=set)
    assigned: dict[str, str] = field(default_factory=dict)
    # Stream -> (domain, node), each that has attached it.
    attached: dict[Stream, list[tuple[str, str]]] = field(default_factory=dict)
    known: dict[Stream, str] = field(default_factory=dict)
    ipa_bits: int = PADDR_BITS
    # Of each SMMUv2: its stream match registers, and the domains that have a context.
    _smrs: dict[str, list[Smr]] = field(default_factory=dict)
    _contexts: dict[str, list[str]] = field(default_factory=dict)
    _found: dict[str, Probed] = field(default_factory=dict)

    def is_iommu(self, node: Node) -> bool:
        """Return device_get_class() == DEVICE_IOMMU: by compatible alone, whatever the status."""
        return bool(kind_of(node, self.xen))

    def set_up(self) -> None:
        """Probe every node of the class that is enabled and not marked: iommu_hardware_setup(). The
        driver of the first that succeeds is Xen's: iommu_set_ops(), "already set".

        Any error but -ENODEV ends in "Couldn't configure correctly all the IOMMUs.", setup.c; so
        does a cache of an IPMMU that never finds its main one (-EAGAIN).
        """
        waiting = [n for n in self.host.nodes if self.is_iommu(n) and is_driven(n)]
        while waiting:
            later = [node for node in waiting if not self._probe(node)]
            if len(later) == len(waiting):
                raise Stops(
                    "panic", f"Couldn't configure correctly all the IOMMUs ({later[0].path})"
                )
            waiting = later

    def _probe(self, node: Node) -> bool:
        """Probe one IOMMU; False if it is to be deferred (-EAGAIN)."""
        kind = kind_of(node, self.xen)
        has_main = any(found.is_main for found in self._found.values())
        found = probed(node, kind, self.irqs, has_main)
        if found is None:
            return False
        if found.why:  # -ENODEV: Xen goes on without it
            return True
        for master, entries in found.masters:
            self._register(node, master, entries)
        for line in found.lines:
            self.irqs.request(line, node.path)
        if found.is_main:
            self.ipa_bits = IPMMU_MAX_P2M_IPA_BITS
        self.driven[node.path], self._found[node.path] = node, found
        self.ops = self.ops or kind
        return True

    def _register(self, smmu: Node, master: Node, entries: list[Entry]) -> None:
        """Add a master of mmu-masters: register_smmu_master(). Any error ends the probe."""
        other, ids = self.specs.setdefault(master.path, (smmu.path, []))
        if other != smmu.path or ids:
            why = f"failed to add master {master.path} to {smmu.path}"
            raise Stops("panic", f"Couldn't configure correctly all the IOMMUs: {why}")
        ids += entries
        self.protected.add(master.path)

    def add(self, node: Node) -> Added:
        """Read the entries of iommus up to the first that is none: iommu_add_dt_device()."""
        if not self.ops:
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
            entry, why = self._translated(provider, cells)
            if why:
                result = Added(-22, why)
                break
            ids.append(entry)
            self.specs[node.path] = (smmu, ids)
            result = Added(OK)
        if result.result == OK:
            result = self._add_device(node)
        if result.result < 0:
            self.specs.pop(node.path, None)
        return result

    def _translated(self, provider: Node, cells: list[int]) -> tuple[Entry, str]:
        """Translate an entry as dt_xlate of Xen's only driver, of whatever kind the provider is;
        return the reason if that fails.
        """
        stream = cells[0] if cells else 0
        if self.ops == "ipmmu" and (len(cells) != 1 or stream >= IPMMU_UTLB_MAX):
            return Entry(stream), f"micro-TLB {stream} is none of {provider.path}"
        if self.ops == "v2":  # arm_smmu_dt_xlate_generic()
            mask = cells[1] if len(cells) > 1 else provider.cell("stream-match-mask", 0)
            return Entry(stream & SMR_MASK, mask & SMR_MASK), ""
        return Entry(stream), ""

    def _add_device(self, node: Node) -> Added:
        """Add a master: arm_smmu_add_device(), arm_smmu_dt_add_device_legacy(),
        ipmmu_add_device().
        """
        smmu, ids = self.specs[node.path]
        if smmu not in self.driven or kind_of(self.driven[smmu], self.xen) != self.ops:
            return Added(-19, f"{smmu} is not driven")
        if self.ops == "v2" and len(ids) > MAX_PHANDLE_ARGS:
            # MAX_MASTER_STREAMIDS: smendx[] of the master is filled without a bound.
            words = f"{node.path} has {len(ids)} IDs, which overwrite what is behind smendx[16]"
            raise Stops("breaks", words)
        if self.ops == "v3" and any(entry.id >= SIDS for entry in ids):
            return Added(-34, f"an ID of {node.path} is outside the stream table of {smmu}")
        if self.ops == "v3" and self.xen.stream_tree:
            inserted: list[Stream] = []
            for stream in (Stream(smmu, entry.id) for entry in ids):
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
        """Attach a master to a domain: iommu_assign_dt_device(), which is -EINVAL if it is
        unprotected, -EBUSY if it is assigned already.
        """
        if node.path not in self.protected:
            return Added(-22, "not protected by an IOMMU")
        if node.path in self.assigned:
            return Added(-16, f"already assigned to {self.assigned[node.path]}")
        smmu, ids = self.specs[node.path]
        if self.ops == "v2":
            why = self._assign_v2(domain, node.path, smmu, ids)
            if why:
                return Added(-22, why)
            self.assigned[node.path] = domain
            return Added(OK)
        if self.ops != kind_of(self.driven[smmu], self.xen):
            # By mmu-masters of an SMMUv2 that is not Xen's kind: dev_iommu_priv_get() is NULL.
            if self.ops == "ipmmu":
                return Added(-19, f"{smmu} is none of the IPMMUs")
            raise Stops("panic", f"arm_smmu_attach_dev() finds no master for {node.path}")
        for stream in dict.fromkeys(Stream(smmu, entry.id) for entry in ids):
            for holder, other in self.attached.get(stream, ()):
                words = f"stream {stream.id:#x} of {smmu} is attached to {holder} by {other}"
                if self.ops == "v3":
                    raise Stops("BUG", f"{node.path}: {words}")
                if holder != domain:  # ipmmu_utlb_enable()
                    return Added(-22, words)
            self.attached.setdefault(stream, []).append((domain, node.path))
        self.assigned[node.path] = domain
        return Added(OK)

    def _assign_v2(self, domain: str, path: str, smmu: str, ids: list[Entry]) -> str:
        """Take a stream match register for each ID, and a context of the domain; return the reason
        if that fails. arm_smmu_master_alloc_smes(), arm_smmu_init_domain_context(). An ID that lies
        in a register of another master shares it: arm_smmu_domain_add_master() then writes the last
        domain over the one before.
        """
        smrs, taken = list(self._smrs.get(smmu, ())), []
        for entry in ids:
            wanted = Smr(entry.id, entry.mask if self.xen.smr_masks else 0)
            same = next((smr for smr in smrs if smr.holds(wanted)), None)
            if same is None and any(smr.overlaps(wanted) for smr in smrs):
                return f"ID {entry.id:#x} with mask {entry.mask:#x} overlaps another of {smmu}"
            if same is None:
                smrs.append(wanted)
            taken.append(same or wanted)
        self._smrs[smmu] = smrs
        contexts, lines = self._contexts.setdefault(smmu, []), self._found[smmu].context_lines
        if domain not in contexts:
            if len(contexts) < len(lines):
                self.irqs.request(lines[len(contexts)], smmu)
            contexts.append(domain)
        for stream in dict.fromkeys(Stream(smmu, *smr) for smr in taken):
            self.attached.setdefault(stream, []).append((domain, path))
        return ""
