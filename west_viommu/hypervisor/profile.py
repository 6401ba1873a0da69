# SPDX-License-Identifier: Apache-2.0
"""What one hypervisor gives a guest: the vSMMU, the numbers of streams, and what is taken."""

from typing import NamedTuple

from west_viommu.tree.addresses import Region
from west_viommu.tree.interrupts import Intid

# The label of the vSMMU node in the generated overlay.
VSMMU_LABEL = "vsmmu"


class ViommuInterrupt(NamedTuple):
    """An interrupt of the vSMMU: its name in interrupt-names, its INTID, and its trigger."""

    name: str
    intid: Intid
    is_edge: bool


class Reserved(NamedTuple):
    """A part of a guest's address space that the hypervisor uses `when` the domain has that thing
    ("always", or a word of names.DOMAIN).
    """

    name: str
    region: Region
    when: str


class ReservedInterrupts(NamedTuple):
    """The INTIDs from `first` to `last` that the hypervisor uses, `when` as with Reserved."""

    name: str
    first: Intid
    last: Intid
    when: str


class Profile(NamedTuple):
    """What one hypervisor gives a guest: the vSMMU node, and how it numbers stream IDs.

    `base` and `size` in bytes; `phandle` is what the hypervisor gives its vSMMU node, None if
    that is not fixed. `policy` is the one of this run. `renumbers`: the toolstack in whose order
    the hypervisor numbers stream IDs anew at domain creation, None where it keeps them.
    `id_bits`: how many bits of stream ID the vSMMU has. `programs_maps`: whether it programs the
    IDs of iommu-map. `toolstacks`: who builds domains out of a partial tree.
    """

    name: str
    about: str
    source: str
    compatible: str
    base: int
    size: int
    phandle: int | None
    interrupts: tuple[ViommuInterrupt, ...]
    policy: str
    renumbers: str | None
    id_bits: int
    programs_maps: bool
    toolstacks: tuple[str, ...]
    reserved: tuple[Reserved, ...]
    reserved_interrupts: tuple[ReservedInterrupts, ...]

    @property
    def node_name(self) -> str:
        """The name of the vSMMU node, a child of the root, as Xen writes it."""
        return f"iommu@{self.base:x}"

    @property
    def routes_all(self) -> bool:
        """Whether every interrupt of a host node may be routed, whatever the guest asks for: Xen
        does so when it creates the guest itself.
        """
        return "dom0less" in self.toolstacks and self.renumbers != "libxl"
