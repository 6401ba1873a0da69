# SPDX-License-Identifier: Apache-2.0
"""The messages about a part of a request that does not fit the device, and about a request without
a device.
"""

from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

from west_viommu.diagnostics import Diagnostic, Severity, first_few
from west_viommu.guest.requests import Request
from west_viommu.hazards.parts import (
    IDS,
    INTERRUPTS,
    PATH,
    REG,
    Table,
    Wanted,
    candidates,
    listed,
    strange,
)
from west_viommu.hazards.paste import Paper, as_entries, path_line, path_lines
from west_viommu.host.devices import Device, Devices
from west_viommu.host.intervals import Interval, covered_by, meetings
from west_viommu.host.inventory import Master
from west_viommu.host.lookup import nodes_called
from west_viommu.hypervisor.assignment import Assigned, Assignment, Terms
from west_viommu.hypervisor.holdings import Holdings
from west_viommu.hypervisor.pages import PAGE, in_pages
from west_viommu.tree.addresses import Region
from west_viommu.tree.interrupts import FIRST_PPI, FIRST_SPI, Intid
from west_viommu.tree.node import is_at_or_below, name_of

# Further devices are only counted.
_MOST_NAMED = 3


class Odd(NamedTuple):
    """A part of a request that does not fit a device: the hazard and its finding, and the `line`
    that would fit ("" if none is known).
    """

    part: str
    hazard: str
    finding: Diagnostic
    line: str = ""


class Examiner:
    """Compares requests with devices of a host. `paper` has the facts for lines to paste."""

    def __init__(self, holdings: Holdings, terms: Terms, paper: Paper):
        self._holdings = holdings
        self._terms = terms
        self._devices = holdings.devices
        self._paper = paper

    def odd_parts(
        self, assignment: Assignment, wanted: Sequence[Wanted], table: Table | None = None
    ) -> Iterator[Odd]:
        """Yield the hard parts of the request that do not fit the device of `assignment`, each
        once. `wanted` are its stream IDs; `table` names the fitting parts for the messages.
        """
        path = assignment.device.path
        found = (
            self._odd_path(assignment, table.agreeing(path, PATH) if table else ()),
            self._odd_ids(assignment, wanted, table.agreeing(path, IDS) if table else ()),
            self._odd_regions(assignment),
            self._odd_interrupts(assignment),
        )
        yield from (odd for odd in found if odd)

    def _odd_path(self, assignment: Assignment, parts: Sequence[str]) -> Odd | None:
        path, meant = assignment.request.xen_path, assignment.device.path
        if path is None or path == meant:
            return None
        is_node = self._devices.tree.node(path) is not None
        fitting = as_list(parts)
        finding = Diagnostic(
            what=f"xen,path names another device than the {fitting} of the node"
            if is_node
            else "the host tree has no such node",
            hint=f"write {path_line(meant)}",
            prop="xen,path",
            expected=meant if is_node else f"{meant}, as the node has its {fitting}",
            found=path,
        )
        hazard = "path-mismatch" if is_node else "unknown-host-node"
        return Odd(part=PATH, hazard=hazard, finding=finding, line=path_line(meant))

    def _odd_ids(
        self, assignment: Assignment, wanted: Sequence[Wanted], parts: Sequence[str]
    ) -> Odd | None:
        request, device, devices = assignment.request, assignment.device, self._devices
        master = device.master
        if master is None or not wanted:
            return None
        others = strange(master, wanted)
        if not others:
            return None
        odd_ids = frozenset(entry.id for entry in others)
        prop = ids_property(request, odd_ids)
        line = as_entries(master, prop) if master.streams else ""
        unknown = [entry for entry in others if not candidates([entry], devices)]
        # If the node names its device, its other fitting parts need no mention.
        fitting = as_list(parts) if parts and PATH not in parts else ""
        hazard = "stream-mismatch"
        what = f"{_this('stream ID', len(odd_ids))} not belong to {device.path}"
        hint = f"write {line}" if line else f"leave {prop} out: {device.path} has only iommu-map"
        found = with_owners(others, devices)
        if unknown and fitting:
            hazard, what = "unknown-stream-id", no_master_has(unknown)
            hint = f"the node has the {fitting} of {device.path}: {hint}"
            found = listed(entry.id for entry in unknown)
        elif len(others) < len(wanted):
            beside = _listing(others, devices)
            hint += f" and give {as_list(beside)} a node of its own" if beside else ""
        elif fitting:
            what = f"the node has the {fitting} of {device.path}, but other stream IDs"
        finding = Diagnostic(
            what=what,
            hint=hint,
            prop=prop,
            expected=f"{listed(master.stream_ids)} behind {' and '.join(master.iommus)}"
            if master.streams
            else "no IDs but those of iommu-map",
            found=found,
        )
        return Odd(part=IDS, hazard=hazard, finding=finding, line=line)

    def _odd_regions(self, assignment: Assignment) -> Odd | None:
        """Return the first reg entry that is wrong: each must be a region of the device, by xen,reg
        or at the same address, and xen,reg must map nothing else.
        """
        request, device = assignment.request, assignment.device
        regions = [region for region in device.regions if region]
        expected = " or ".join(map(str, regions)) or "no region"
        extra = tuple(self._terms.extra_of(assignment))
        line = self._paper.reg(request.path, device)
        # Xen maps whole pages, and one triple of xen,reg may cover several regions.
        windows = self._holdings.windows(device.path)
        memory = [each for of in self._holdings.reserved_for(device.path).values() for each in of]
        own = covered_by(
            Interval(*in_pages(region).ends) for region in (*regions, *windows, *memory, *extra)
        )
        foreign = [host for host, _ in request.mapped if not own(*host.ends)]
        if foreign:
            pages = list(dict.fromkeys(map(in_pages, regions)))
            places = [in_pages(guest).base for _, guest in request.mapped]
            is_each = len(places) == len(pages)
            whole = self._paper.mapped(request.path, pages, places) if is_each else ""
            return _odd_region(
                prop="xen,reg",
                what=f"xen,reg maps memory that does not belong to {device.path}"
                f"{owners(foreign, assignment, self._holdings)}",
                hint=f"write the host's regions in whole pages: "
                f"{whole or ' or '.join(map(str, pages))}"
                if regions
                else "leave xen,reg out: the host node has no region",
                expected=expected,
                found=foreign,
            )
        known = frozenset((*regions, *memory, *extra))
        foreign = [host for _, host in request.regions if host and host not in known]
        if foreign:
            odd = _odd_region(
                what=f"{_this('region', len(foreign))} not belong to {device.path}"
                f"{owners(foreign, assignment, self._holdings)}",
                hint=(f"write {line} " if line else "copy the host's absolute address and size, ")
                + "or pair host and guest addresses: xen,reg = <host size guest>; what its driver "
                "needs besides, add by `regions:` in viommu.yml"
                if regions
                else "leave reg out: the host node has none",
                expected=expected,
                found=foreign,
            )
            return odd._replace(line=line)
        unmapped = [guest for guest, host in request.regions if host is None and guest.size]
        if unmapped:
            parts = [
                Region.between(max(m.guest.base, guest.base), min(m.guest.end, guest.end) - 1)
                for guest in unmapped
                for m in request.mapped
                if m.guest.overlaps(guest)
            ]
            is_first = [part.base for part in parts] == [unmapped[0].base]
            is_page = is_first and in_pages(parts[0]).size == PAGE
            part = "the first page" if is_page else "a part"
            there = [
                Region(m.guest.base + region.base - m.host.base, region.size)
                for region in regions
                for m in request.mapped
                if m.host.contains(region.base) and region.end <= m.host.end
            ]
            moved = self._paper.reg_of(request.path, there) if len(there) == len(regions) else ""
            return _odd_region(
                what=f"xen,reg maps only {part} of this region, so Xen would not map the rest"
                if parts
                else "xen,reg maps nothing to this region, so Xen would not map it",
                hint="write a <host size guest> triple of xen,reg for all of it, in whole pages"
                if parts
                else f"write {moved} xen,reg maps the device there; or leave xen,reg out"
                if moved
                else "write a <host size guest> triple of xen,reg for it, or leave xen,reg out",
                expected="a region that xen,reg covers",
                found=unmapped,
            )
        for guest, host in request.regions:
            if host and (guest.base - host.base) % PAGE:
                finding = differs_within_a_page(host, guest, "reg")
                return Odd(part=REG, hazard="region-mismatch", finding=finding, line=line)
        return None

    def _odd_interrupts(self, assignment: Assignment) -> Odd | None:
        """Return the first interrupt that is wrong: Xen gives it to a guest only under the host's
        number (virq = pirq).
        """
        device = assignment.device
        own = dict.fromkeys(device.intids)
        others = [intid for intid in assignment.request.intids if intid not in own]
        if not others:
            return None
        line = self._paper.interrupts(device)
        numbers = [str(intid - FIRST_SPI) for intid in own if intid >= FIRST_SPI]
        is_private = any(intid < FIRST_SPI for intid in others)
        why = (
            "a PPI is a CPU's own, and Xen gives a guest the host's SPIs only"
            if is_private
            else "Xen gives a guest an interrupt under the host's number only"
        )
        finding = Diagnostic(
            what=f"{_this('interrupt', len(others))} not belong to {device.path}",
            hint=f"write {line} {why}"
            if line
            else f"write the host's number, SPI {' or '.join(numbers)}: {why}"
            if numbers
            else "leave it out: Xen gives a guest only the interrupts of the host node",
            prop="interrupts",
            expected=f"INTID {' or '.join(map(str, own))}" if own else "no GIC interrupt",
            found=", ".join(first_few(map(_interrupt, others))),
        )
        return Odd(part=INTERRUPTS, hazard="interrupt-mismatch", finding=finding, line=line)


def unknown_path(path: str, devices: Devices) -> Diagnostic:
    """Return the finding for a path that no host node has."""
    called = [node.path for node in nodes_called(devices.tree, path)]
    close = called[:3] or devices.named(name_of(path))[:3]
    close = close or devices.close_names(path, devices.paths)
    return Diagnostic(
        what="the host tree has no such node",
        hint=f"write the path that you mean: {path_lines(close)}"
        if close
        else "`viommu list` shows the host nodes with stream IDs",
        prop="xen,path",
        expected="the path of a host node",
        found=path,
    )


def nothing_mapped(devices: Devices) -> Diagnostic:
    """Return the finding for a node with iommu-map that fits no host node."""
    mapping = [master.path for master in devices.masters if master.maps]
    return Diagnostic(
        what="no host node with iommu-map has the address or the name of this one",
        hint=f"say which one you mean: {path_lines(mapping[:3])}"
        if mapping
        else "the host has no such node: leave this one out",
        prop="iommu-map",
    )


def unknown_ids(request: Request, unknown: Sequence[Wanted], devices: Devices) -> Diagnostic:
    """Return the finding for IDs that no master has, with the masters that may be meant."""
    hint = "`viommu list` shows the stream IDs of every master"
    named = devices.listing_by_name
    for name in devices.close_names(request.name, named.keys(), 1):
        hint = f"did you mean {named[name].path}: {as_entries(named[name])}"
    for stream_id, iommu in unknown:
        owners = [master.path for master, _ in devices.owners(stream_id) if iommu]
        if owners:
            hint = (
                f"{stream_id:#x} is of {' and '.join(owners)}, behind another SMMU: write 0x0 in "
                "place of the SMMU if you mean that"
            )
    return Diagnostic(
        what=no_master_has(unknown),
        hint=devices.or_fault(hint),
        prop=ids_property(request, [entry.id for entry in unknown]),
        expected="a stream ID of a host master",
        found=listed(entry.id for entry in unknown),
    )


def of_several(request: Request, wanted: Sequence[Wanted], devices: Devices) -> Diagnostic:
    """Return the finding for IDs of more than one master."""
    return Diagnostic(
        what="no single host master has all of these stream IDs",
        hint="write one node for each host device, with the stream IDs of that device",
        prop=ids_property(request, [entry.id for entry in wanted]),
        expected="the IDs of one master",
        found=with_owners(wanted, devices),
    )


def ambiguous(masters: Sequence[Master]) -> Diagnostic:
    """Return the finding for IDs that each of the `masters` has."""
    return Diagnostic(
        what=f"{len(masters)} host masters have all of these stream IDs",
        hint=f"say which one you mean: {path_lines(master.path for master in masters[:3])}",
        prop="iommus",
        expected="one master",
        found="; ".join(f"{m.path} behind {' and '.join(m.iommus)}" for m in masters),
    )


def in_one(odd: Sequence[Odd], path: str, table: Table) -> Diagnostic:
    """Return one finding for `odd` parts that all fit one device other than the one at `path`."""
    finding = odd[0].finding
    if len(odd) == 1:
        return finding
    parts = table.agreeing(path, odd[0].part)
    names = as_list([each.part for each in odd])
    return finding._replace(
        what=f"the {names} of the node belong to another device than its {as_list(parts)}"
        if parts
        else finding.what,
        hint=f"write {' '.join(each.line for each in odd if each.line)}",
        expected=path,
        found=" or ".join(sorted(table.others(odd[0].part, path))),
    )


def or_else(finding: Diagnostic, request: Request, master: Master | None, path: str) -> Diagnostic:
    """Return `finding` with a second reading: the request may also mean the device at `path`."""
    line = path_line(path)
    if master and not request.xen_path and {*master.stream_ids} - {e.id for e in request.entries}:
        line = as_entries(master)
    return finding._replace(hint=f"{finding.hint.rstrip(';')}; or, if you mean {path}, {line}")


def owners(hosts: Sequence[Region], assignment: Assignment | Assigned, holdings: Holdings) -> str:
    """Return the other nodes that have the pages of `hosts`, as the end of a sentence."""
    pages = [(*host.ends, "") for host in hosts]
    claims = ((first, last, path) for first, last, path in holdings.all_pages())
    paths = {path for _, path, _, _ in meetings(pages, claims)}
    named = sorted(path for path in paths if not is_at_or_below(assignment.device.path, path))
    return f", but to {as_list(named[:_MOST_NAMED])}" if named else ""


def differs_within_a_page(host: Region, guest: Region, prop: str) -> Diagnostic:
    """Return the finding for two regions at different offsets into a page, by `prop` of a node."""
    return Diagnostic(
        what="host and guest address differ within a page, and Xen maps whole pages",
        hint="give the guest an address with the same last three hexadecimal digits",
        prop=prop,
        expected=f"an address that ends in {host.base % PAGE:#05x}",
        found=f"{guest.base:#x}",
    )


def no_master_has(unknown: Sequence[Wanted]) -> str:
    """Return the sentence that no master has such stream IDs, behind the SMMUs that they name."""
    behind = " or ".join(dict.fromkeys(iommu for _, iommu in unknown if iommu))
    return "no host master has this stream ID" + (f" behind {behind}" if behind else "")


def ids_property(request: Request, odd: Collection[int]) -> str:
    """Return the property with the first `odd` stream ID of the request."""
    props = [entry.prop for entry in request.entries]
    return next((entry.prop for entry in request.entries if entry.id in odd), (*props, "iommus")[0])


def as_list(words: Collection[str]) -> str:
    """Return the words as an English list."""
    *some, last = words
    return f"{', '.join(some)} and {last}" if some else last


def _this(noun: str, count: int) -> str:
    return f"this {noun} does" if count == 1 else f"these {noun}s do"


def with_owners(wanted: Sequence[Wanted], devices: Devices) -> str:
    """Return the IDs, each with the masters that have it."""
    return ", ".join(dict.fromkeys(_with_owners(entry, devices) for entry in wanted))


def _with_owners(wanted: Wanted, devices: Devices) -> str:
    """Return the ID with the masters that list it; if no master does, those that map it."""
    if wanted.iommu:
        return f"{wanted.id:#x} behind {wanted.iommu}"
    paths = _listing([wanted], devices)
    paths = paths or [master.path for master, _ in devices.owners(wanted.id)][:_MOST_NAMED]
    return f"{wanted.id:#x} of {' and '.join(dict.fromkeys(paths)) or 'no master'}"


def _listing(wanted: Sequence[Wanted], devices: Devices) -> list[str]:
    """Return the masters that list the IDs in their `iommus`, the first few."""
    masters = {m.path: m for entry in wanted[:_MOST_NAMED] for m, _ in devices.owners(entry.id)}
    ids = [entry.id for entry in wanted]
    return [m.path for m in masters.values() if any(map(m.has_stream, ids))][:_MOST_NAMED]


def _odd_region(
    what: str, hint: str, expected: str, found: Sequence[Region], prop: str = "reg"
) -> Odd:
    finding = Diagnostic(
        what=what,
        hint=hint,
        prop=prop,
        expected=expected,
        found=", ".join(first_few(map(str, found))),
    )
    return Odd(part=REG, hazard="region-mismatch", finding=finding)


def _interrupt(intid: Intid) -> str:
    return f"INTID {intid}" if intid >= FIRST_SPI else f"PPI {intid - FIRST_PPI}"


def assigned_twice(device: Device, first: Request, *, too_often: bool) -> Diagnostic:
    """Return the finding for a host device that the request `first` already has."""
    return Diagnostic(
        what=f"{device.path} is assigned {'too often' if too_often else 'twice'}",
        hint=f"remove this node, or {first.path}",
        prop="iommus",
        expected="one guest node for a host device",
        found=f"{first.path} as well",
        severity=Severity.FATAL if too_often else Severity.ERROR,
    )
