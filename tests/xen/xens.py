# SPDX-License-Identifier: Apache-2.0
"""The Xens that the model knows, and where they differ.

Each was read at: 4.17 = RELEASE-4.17.5; 4.18 to 4.22 = RELEASE-4.18.5, 4.19.4, 4.20.4, 4.21.2 and
4.22.0; master = c447b73 (4.23-dev, August 2026); AMD = xlnx_rebase_4.17_2023.2, which has the RFC
of the vSMMU; RFC = 70debce0c7. v3 is master with series v3 of the vSMMU, whose SMMUv3 driver has
the RFC's check of stream IDs (observed).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

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
# drivers/passthrough/arm/ipmmu-vmsa.c: ipmmu_dt_match.
IPMMUS_417 = frozenset(
    f"renesas,ipmmu-r8a{soc}" for soc in ("7795", "77965", "7796", "77961", "779f0")
)


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
    # map_range_to_domain(): up to 4.20 permits the page after the last one as well (xl).
    permits_one_more: bool
    # RAM must say device_type = "memory" beside its name: device_tree_is_memory_node().
    ram_by_type: bool
    vsmmu: bool
    # arm_smmu_master_alloc_smes(): from 4.20 on, the mask of an ID of an SMMUv2 is written too, and
    # arm_smmu_find_sme() compares masks; before, each entry stands for one ID.
    smr_masks: bool
    # handle_passthrough_prop(): "Invalid address_cells %u or size_cells %u" above 2 (4.20.4, 4.21.2
    # and 4.22.0; 4.21.0 and all before do not look).
    narrow_cells: bool
    # prepare_dtb_domU(): DOMU_DTB_SIZE, and whether the size of the module is added to it.
    tree_size: int
    adds_module: bool
    # make_gicv3_domU_node(): "#redistributor-regions".
    counts_redistributors: bool
    # prepare_dtb_domU(): domain_handle_dtb_boot_module() comes first, psci after the timer.
    passthrough_first: bool
    # parse_dom0less_node(): DOMAIN_CAPS_HARDWARE of `capabilities`.
    hardware_domain: bool
    # ipmmu_dt_match: the SoCs whose IPMMU is known.
    ipmmus: frozenset[str] = IPMMUS_417
    # gic_number_lines(): what the GIC has, which no devicetree says.
    lines: int = 992
    # MSI_TYPER of a GICv2m frame, which counts if the devicetree does not say its lines.
    msi_typer: range = range(0)

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
    smr_masks=False,
    narrow_cells=False,
    tree_size=4096,
    adds_module=False,
    counts_redistributors=False,
    passthrough_first=False,
    hardware_domain=False,
)
V418 = replace(
    V417,
    name="4.18",
    skipped=SKIPPED_MASTER,
    forgives_children=False,
    forgives_pci_targets=False,
    adds_module=True,
)
V419 = replace(V418, name="4.19")
V420 = replace(
    V419,
    name="4.20",
    ram_by_type=True,
    smr_masks=True,
    narrow_cells=True,
    counts_redistributors=True,
    ipmmus=IPMMUS_417 | {"renesas,ipmmu-r8a779g0"},
)
V421 = replace(
    V420,
    name="4.21",
    keeps_ids_before_disabled=False,
    permits_one_more=False,
    hardware_domain=True,
)
V422 = replace(V421, name="4.22", tree_size=2048 + 128 * 128, passthrough_first=True)
MASTER = replace(V422, name="master")
RFC = replace(V417, name="rfc", stream_tree=True, vsmmu=True, tree_size=16384)
AMD = replace(RFC, name="amd", keeps_ids_before_disabled=False)
# Of March 2026: before "Invalid address_cells" (July), and with the guest's tree in the old order.
V3 = replace(
    MASTER,
    name="v3",
    stream_tree=True,
    vsmmu=True,
    narrow_cells=False,
    passthrough_first=False,
)
XENS = {xen.name: xen for xen in (V417, V418, V419, V420, V421, V422, MASTER, RFC, AMD, V3)}
