# SPDX-License-Identifier: Apache-2.0
"""The Xens that the model knows, and where they differ.

Each was read at: 4.17 = RELEASE-4.17.3; master = c447b73 (4.23-dev, August 2026); AMD =
xlnx_rebase_4.17_2023.2, which has the RFC of the vSMMU. v3 is master with series v3 of the vSMMU,
whose SMMUv3 driver has the RFC's check of stream IDs (observed).
"""

from __future__ import annotations

from dataclasses import dataclass

# handle_node(), domain_build.c: with their children these are not dom0's.
SKIPPED_417 = frozenset(
    {
        "xen,xen",
        "xen,multiboot-module",
        "multiboot,module",
        "arm,psci",
        "arm,psci-0.2",
        "arm,psci-1.0",
        "arm,cortex-a7-pmu",
        "arm,cortex-a15-pmu",
        "arm,cortex-a53-edac",
        "arm,armv8-pmuv3",
        "arm,armv7-timer-mem",
    }
)
SKIPPED_MASTER = SKIPPED_417 | {"xen,domain", "xen,domain-shared-memory-v1", "xen,evtchn-v1"}


@dataclass(frozen=True, kw_only=True)
class Xen:
    """One version, as far as it decides who holds what."""

    name: str
    skipped: frozenset[str]
    # arm_smmu_insert_master(): an SMMU knows each stream ID once, so that a second master with it,
    # or the same ID twice in one list, is -EINVAL. Without it: BUG_ON(ste_live) in
    # arm_smmu_write_strtab_ent(), when a second master with the ID is attached to a domain.
    stream_tree: bool
    # scan_pfdt_node() drops the result of its call for a child: what fails there is only printed.
    forgives_children: bool
    # iommu_add_dt_device(): a disabled SMMU ends the list, and what came before it is attached.
    # Later (iommu_dt_xlate()) the device is not added at all.
    keeps_ids_before_disabled: bool
    # map_dt_irq_to_domain(): 4.17 drops the result for the targets of a PCI bridge's map.
    forgives_pci_targets: bool
    # map_range_to_domain(): 4.17 permits the page after the last one as well (xl).
    permits_one_more: bool
    # RAM must say device_type = "memory" beside its name.
    ram_by_type: bool
    vsmmu: bool
    # gic_number_lines(): what the GIC has, which no devicetree says.
    lines: int = 992

    @property
    def lines_of_dom0(self) -> int:
        """create_dom0(): min(gic_number_lines(), 992)."""
        return min(self.lines, 992)


V417 = Xen(
    name="4.17",
    skipped=SKIPPED_417,
    stream_tree=False,
    forgives_children=True,
    keeps_ids_before_disabled=True,
    forgives_pci_targets=True,
    permits_one_more=True,
    ram_by_type=False,
    vsmmu=False,
)
MASTER = Xen(
    name="master",
    skipped=SKIPPED_MASTER,
    stream_tree=False,
    forgives_children=False,
    keeps_ids_before_disabled=False,
    forgives_pci_targets=False,
    permits_one_more=False,
    ram_by_type=True,
    vsmmu=False,
)
RFC = Xen(
    name="rfc",
    skipped=SKIPPED_417,
    stream_tree=True,
    forgives_children=True,
    keeps_ids_before_disabled=False,
    forgives_pci_targets=True,
    permits_one_more=True,
    ram_by_type=False,
    vsmmu=True,
)
V3 = Xen(
    name="v3",
    skipped=SKIPPED_MASTER,
    stream_tree=True,
    forgives_children=False,
    keeps_ids_before_disabled=False,
    forgives_pci_targets=False,
    permits_one_more=False,
    ram_by_type=True,
    vsmmu=True,
)
XENS = {xen.name: xen for xen in (V417, MASTER, RFC, V3)}
