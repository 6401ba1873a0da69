# SPDX-License-Identifier: Apache-2.0
"""What one hypervisor gives a guest: the vSMMU, the numbers of streams, and what is taken."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from west_viommu.tree.addresses import Region
from west_viommu.tree.interrupts import Intid


class ViommuInterrupt(NamedTuple):
    """An interrupt of the vSMMU: its name in interrupt-names, its INTID, and its trigger."""

    name: str
    intid: Intid
    is_edge: bool


class Viommu(NamedTuple):
    """The vSMMU of a guest. `base` and `size` in bytes; `phandle` is what the hypervisor gives its
    node, None if that is not fixed; `flags` are properties without a value that the node has;
    `id_bits`: how many bits of stream ID it has; `stage1_settings`: "device" if all streams of a
    device share one setting of stage 1, else "stream".
    """

    compatible: str
    base: int
    size: int
    phandle: int | None
    interrupts: tuple[ViommuInterrupt, ...]
    flags: tuple[str, ...]
    id_bits: int
    stage1_settings: str = "device"

    @property
    def node_name(self) -> str:
        """The name of its node, a child of the root, as Xen writes it."""
        return f"iommu@{self.base:x}"

    @property
    def region(self) -> Region:
        """Where the guest sees it."""
        return Region(self.base, self.size)


class Versions(NamedTuple):
    """The versions of a profile from `first` to `last`; None: from the oldest, to the newest."""

    first: str | None = None
    last: str | None = None


class Driver(NamedTuple):
    """The IOMMUs that one driver of the hypervisor takes: one of the strings in `compatible`, and
    as many cells after its phandle as one of `cells`. `may_share`: whether two devices of one
    domain may have one stream ID. `last_id`: the last stream ID that it takes as it is; None where
    that is up to the IOMMU. `drops_masks`: the versions in which it matches the ID of an entry
    alone, and not those that a mask adds; None for none of them.
    """

    compatible: tuple[str, ...]
    cells: tuple[int, ...]
    may_share: bool
    last_id: int | None = None
    drops_masks: Versions | None = None


class Switch(NamedTuple):
    """How the vSMMU is switched on where `toolstack` creates the guest: the `text` to write at
    `place` (a key of PLACES).
    """

    toolstack: str
    place: str
    text: str


# Where a switch is written -> how to say that.
PLACES = {
    "xen-command-line": "on Xen's own command line",
    "domain-node": "in the domain's node",
    "xl.cfg": "in xl.cfg",
}


# The versions that the GIC of a guest may have.
GICS = ("gicv2", "gicv3")


class Reserved(NamedTuple):
    """A part of a guest's address space that the hypervisor uses `when` the domain has that thing
    ("always", one of GICS, or a word of names.DOMAIN).
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


class TreeRoom(NamedTuple):
    """How many `bytes` the hypervisor has for the tree of a guest that it creates at boot, in these
    `versions`; `adds_module`: and as many as the partial tree has.
    """

    bytes: int
    adds_module: bool
    versions: Versions


class CellLimit(NamedTuple):
    """How many address and size cells the bus of an assigned device may have at `most`, in these
    `versions`.
    """

    most: int
    versions: Versions


class Profile(NamedTuple):
    """What one hypervisor gives a guest: a vSMMU or none, and how it numbers stream IDs.

    `policy` is the one of this run. `renumbers`: the toolstack in whose order the hypervisor
    numbers stream IDs anew at domain creation, None where it keeps them. `programs_maps`: whether
    it programs the IDs of iommu-map. `drivers`: those of its IOMMUs. `repeats_ids`: whether it
    takes a device that lists an ID twice. `toolstacks`: who builds domains out of a partial tree.
    `ram`: the banks of a guest's memory, in the order in which they are filled; () if that is not
    its affair. `switches`: how its vSMMU is switched on. `versions`: those of the hypervisor that
    it covers, the oldest first. `tree_rooms` and `cell_limits`: what a partial tree may be at most.
    `redistributor_bytes`: how much of the window of redistributors each virtual CPU takes; 0 if all
    of it is taken. `hardware_domain`: the versions that create a hardware domain at boot.
    `vpl011_by_name`: whether `vpl011` of a domain's node may be a string, and no number.
    """

    name: str
    about: str
    source: str
    viommu: Viommu | None
    policy: str
    renumbers: str | None
    programs_maps: bool
    drivers: tuple[Driver, ...]
    repeats_ids: bool
    toolstacks: tuple[str, ...]
    ram: tuple[Region, ...]
    switches: tuple[Switch, ...]
    reserved: tuple[Reserved, ...]
    reserved_interrupts: tuple[ReservedInterrupts, ...]
    versions: tuple[str, ...] = ()
    tree_rooms: tuple[TreeRoom, ...] = ()
    cell_limits: tuple[CellLimit, ...] = ()
    redistributor_bytes: int = 0
    hardware_domain: Versions | None = None
    vpl011_by_name: bool = False

    @property
    def routes_all(self) -> bool:
        """Whether every interrupt of a host node may be routed, whatever the guest asks for: Xen
        does so when it creates the guest itself (handle_device_interrupts()).
        """
        return "dom0less" in self.toolstacks and self.renumbers != "libxl"

    def covers(self, span: Versions, version: str) -> bool:
        """Whether `version`, one of this profile ("" if it has none), is in `span`."""
        if not self.versions:
            return True
        first = self.versions.index(span.first) if span.first else 0
        last = self.versions.index(span.last) if span.last else len(self.versions)
        return first <= self.versions.index(version) <= last

    def driver(self, compatible: tuple[str, ...]) -> Driver | None:
        """The driver of an IOMMU that is `compatible` with that, whatever its cells."""
        for driver in self.drivers:
            if not frozenset(driver.compatible).isdisjoint(compatible):
                return driver
        return None

    def switches_for(self, toolstack: str) -> tuple[Switch, ...]:
        """How the vSMMU of a guest that `toolstack` creates is switched on: by all of these."""
        return tuple(switch for switch in self.switches if switch.toolstack == toolstack)


def spoken(versions: Sequence[str], all_versions: Sequence[str]) -> str:
    """Return `versions` of `all_versions` for people: "4.17 to 4.19"."""
    runs: list[list[str]] = []
    for version in versions:
        at = all_versions.index(version)
        if runs and all_versions[at - 1] == runs[-1][-1]:
            runs[-1].append(version)
        else:
            runs.append([version])
    return ", ".join(run[0] if len(run) == 1 else f"{run[0]} to {run[-1]}" for run in runs)


def switched_on(profile: Profile) -> tuple[str, ...]:
    """How the vSMMU of `profile` is switched on, in words for each toolstack."""
    said_of = []
    for toolstack in profile.toolstacks:
        switches = profile.switches_for(toolstack)
        said = " and ".join(f"{switch.text} {PLACES[switch.place]}" for switch in switches)
        if said:
            said_of.append(f"{'xl' if toolstack == 'libxl' else toolstack}: {said}")
    return tuple(said_of)


SMMUV3 = Driver(("arm,smmu-v3",), (1,), may_share=False)
