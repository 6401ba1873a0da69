# SPDX-License-Identifier: Apache-2.0
"""The guest of one hypervisor: the vSMMU, the numbers of streams, and the resources in use."""

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
    """The vSMMU of a guest. `base` and `size` in bytes; `phandle` is its node's under the
    hypervisor, None if that is not fixed; `flags` are properties without a value that the node has;
    `id_bits`: the bits of its stream IDs; `stage1_settings`: "device" if all streams of a device
    share one setting of stage 1, else "stream"; `is_stage1_known`: whether that is
    known, or assumed.
    """

    compatible: str
    base: int
    size: int
    phandle: int | None
    interrupts: tuple[ViommuInterrupt, ...]
    flags: tuple[str, ...]
    id_bits: int
    stage1_settings: str = "device"
    is_stage1_known: bool = True

    @property
    def node_name(self) -> str:
        """The name of its node, a child of the root, as Xen writes it."""
        return f"iommu@{self.base:x}"

    @property
    def region(self) -> Region:
        """The region at its guest addresses."""
        return Region(self.base, self.size)


class Versions(NamedTuple):
    """The versions of a profile from `first` to `last`; None: from the oldest, to the newest."""

    first: str | None = None
    last: str | None = None


class Driver(NamedTuple):
    """The IOMMUs that one driver of the hypervisor supports: one of the strings in `compatible`,
    and as many cells after its phandle as one of `cells`. `may_share`: two devices of one domain
    may have one stream ID. `last_id`: the last stream ID that it accepts unchanged; None if that
    depends on the IOMMU. `drops_masks`: the versions in which it matches the ID of an entry alone,
    and ignores IDs that a mask adds; None for no version. `most_ids`: the IDs of one master for
    which it has room; `address_bits`: the width of a guest's addresses; None for those of Xen's
    driver of that kind (drivers.py).
    """

    compatible: tuple[str, ...]
    cells: tuple[int, ...]
    may_share: bool
    last_id: int | None = None
    drops_masks: Versions | None = None
    most_ids: int | None = None
    address_bits: int | None = None


class Switch(NamedTuple):
    """The way to enable the vSMMU if `toolstack` creates the guest: the `text` to write at `place`
    (a key of PLACES).
    """

    toolstack: str
    place: str
    text: str


# The place of a switch -> its description.
PLACES = {
    "xen-command-line": "on Xen's own command line",
    "domain-node": "in the domain's node",
    "xl.cfg": "in xl.cfg",
}


# The versions that the GIC of a guest may have.
GICS = ("gicv2", "gicv3")


class Reserved(NamedTuple):
    """A part of a guest's address space that the hypervisor uses `when` the domain has that feature
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
    """The `bytes` that the hypervisor has for the tree of a guest that it creates at boot, in these
    `versions`; `adds_module`: plus the size of the partial tree.
    """

    bytes: int
    adds_module: bool
    versions: Versions


class CellLimit(NamedTuple):
    """The number of address and size cells that the bus of an assigned device may have at `most`,
    in these `versions`.
    """

    most: int
    versions: Versions


class Profile(NamedTuple):
    """The guest of one hypervisor: its vSMMU, if any, and the numbering of its stream IDs.

    `policy` is the one of this run. `renumbers`: the toolstack in whose order the hypervisor
    renumbers stream IDs at domain creation, None if it keeps them. `programs_maps`: whether it
    programs the IDs of iommu-map. `drivers`: its drivers for IOMMUs. `repeats_ids`: whether it
    accepts a device that lists an ID twice. `toolstacks`: the toolstacks that build domains from a
    partial tree. `ram`: the banks of a guest's memory, in the order in which they are filled; () if
    the hypervisor does not define them. `switches`: the ways to enable its vSMMU. `versions`: the
    versions of the hypervisor that it covers, the oldest first. `tree_rooms` and `cell_limits`: the
    limits of a partial tree. `redistributor_bytes`: the bytes of the window of redistributors for
    each virtual CPU; 0 if all of the window is in use. `hardware_domain`: the versions that create
    a hardware domain at boot. `vpl011_by_name`: whether `vpl011` of a domain's node may be a string
    rather than a number.
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
        """True if every interrupt of a host node may be routed, regardless of the guest's requests:
        Xen does so when it creates the guest itself (handle_device_interrupts()).
        """
        return "dom0less" in self.toolstacks and self.renumbers != "libxl"

    def covers(self, span: Versions, version: str) -> bool:
        """Return whether `version`, one of this profile ("" without versions), is in `span`."""
        if not self.versions:
            return True
        first = self.versions.index(span.first) if span.first else 0
        last = self.versions.index(span.last) if span.last else len(self.versions)
        return first <= self.versions.index(version) <= last

    def driver(self, compatible: tuple[str, ...]) -> Driver | None:
        """Return the driver of an IOMMU that has that `compatible`, with any number of cells."""
        names = [name.lower() for name in compatible]
        for driver in self.drivers:
            if not {name.lower() for name in driver.compatible}.isdisjoint(names):
                return driver
        return None

    def switches_for(self, toolstack: str) -> tuple[Switch, ...]:
        """Return the ways to enable the vSMMU of a guest that `toolstack` creates; all of them are
        needed.
        """
        return tuple(switch for switch in self.switches if switch.toolstack == toolstack)


def spoken(versions: Sequence[str], all_versions: Sequence[str]) -> str:
    """Return `versions` of `all_versions` as text: "4.17 to 4.19"."""
    runs: list[list[str]] = []
    for version in versions:
        at = all_versions.index(version)
        if runs and all_versions[at - 1] == runs[-1][-1]:
            runs[-1].append(version)
        else:
            runs.append([version])
    return ", ".join(run[0] if len(run) == 1 else f"{run[0]} to {run[-1]}" for run in runs)


def switched_on(profile: Profile) -> tuple[str, ...]:
    """Return the ways to enable the vSMMU of `profile`, as text for each toolstack."""
    said_of = []
    for toolstack in profile.toolstacks:
        switches = profile.switches_for(toolstack)
        said = " and ".join(f"{switch.text} {PLACES[switch.place]}" for switch in switches)
        if said:
            said_of.append(f"{'xl' if toolstack == 'libxl' else toolstack}: {said}")
    return tuple(said_of)


SMMUV3 = Driver(("arm,smmu-v3",), (1,), may_share=False)
