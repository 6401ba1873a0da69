# SPDX-License-Identifier: Apache-2.0
"""What of a request is not that of a host device: its path, stream IDs, registers, interrupts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from west_viommu.diagnostics import Diagnostic
from west_viommu.guest.requests import Request
from west_viommu.hazards.evidence import IDS, INTERRUPTS, PATH, REG
from west_viommu.hazards.matching import as_list, mismatch, unknown_ids, unknown_path
from west_viommu.hazards.paste import Paper, as_entries, path_line
from west_viommu.hazards.wanted import Wanted, candidates, has_all
from west_viommu.host.devices import Device
from west_viommu.host.intervals import Interval, covered_by, meetings
from west_viommu.host.inventory import Master
from west_viommu.hypervisor.assignment import Assigned, Assignment, Terms
from west_viommu.hypervisor.holdings import Holdings
from west_viommu.hypervisor.pages import PAGE, in_pages
from west_viommu.tree.addresses import Region
from west_viommu.tree.interrupts import FIRST_PPI, FIRST_SPI, Intid
from west_viommu.tree.node import is_at_or_below

# More are not shown one by one.
_MOST_SHOWN = 16


class Contradiction(NamedTuple):
    """A `part` of a request that is not that of the device: the hazard, what was found, and the
    `line` that would be right; "" where none is known.
    """

    part: str
    hazard: str
    finding: Diagnostic
    line: str


class Examiner:
    """Holds requests against devices of a host; lines to paste go on `paper`."""

    def __init__(self, holdings: Holdings, terms: Terms, paper: Paper):
        self._holdings = holdings
        self._terms = terms
        self._devices = holdings.devices
        self._paper = paper

    def contradictions(
        self,
        assignment: Assignment,
        wanted: Sequence[Wanted],
        parts: Callable[[str], Sequence[str]] = lambda odd: (),
    ) -> Iterator[Contradiction]:
        """What of the request of `assignment` is not of its device, of each part once. `wanted`
        are the stream IDs that it names; `parts`: what is of the device, beside an odd part.
        """
        request, device = assignment.request, assignment.device
        if request.xen_path not in (None, device.path):
            yield self._other_path(assignment, parts(PATH))
        if wanted and device.master and not has_all(device.master, wanted):
            yield self._other_ids(assignment, wanted, parts(IDS))
        regions = self._other_regions(assignment)
        if regions:
            line = self._paper.reg(request.path, device) if regions.prop == "reg" else ""
            yield Contradiction(part=REG, hazard="region-mismatch", finding=regions, line=line)
        interrupts = self._other_interrupts(assignment)
        if interrupts:
            line = self._paper.interrupts(device)
            yield Contradiction(
                part=INTERRUPTS, hazard="interrupt-mismatch", finding=interrupts, line=line
            )

    def _other_path(self, assignment: Assignment, parts: Sequence[str]) -> Contradiction:
        path, meant = assignment.request.xen_path or "", assignment.device.path
        if self._devices.tree.node(path) is None:
            finding = unknown_path(path, self._devices)
            if parts:
                hint = f"write the path that you mean: {path_line(meant)}"
                expected = f"{meant}, whose {as_list(parts)} the node has"
                finding = finding._replace(hint=hint, expected=expected)
            return Contradiction(
                part=PATH, hazard="unknown-host-node", finding=finding, line=path_line(meant)
            )
        finding = Diagnostic(
            what=f"xen,path names another device than the {as_list(parts)} of the node",
            hint=f"write {path_line(meant)}",
            prop="xen,path",
            expected=meant,
            found=path,
        )
        return Contradiction(
            part=PATH, hazard="path-mismatch", finding=finding, line=path_line(meant)
        )

    def _other_ids(
        self, assignment: Assignment, wanted: Sequence[Wanted], parts: Sequence[str]
    ) -> Contradiction:
        request, device, devices = assignment.request, assignment.device, self._devices
        told = () if PATH in parts else parts
        unknown = [entry for entry in wanted if not candidates([entry], devices)]
        if unknown and told:
            finding = unknown_ids(request, unknown, device, devices, told)
            hazard = "unknown-stream-id"
        else:
            finding = mismatch(request, wanted, devices, device, told)
            hazard = "stream-mismatch"
        has_own = device.master and device.master.streams
        line = as_entries(device.master, finding.prop) if device.master and has_own else ""
        return Contradiction(part=IDS, hazard=hazard, finding=finding, line=line)

    def _other_regions(self, assignment: Assignment) -> Diagnostic | None:
        """Each reg entry must be a region of the device, by xen,reg or at the same address, and
        xen,reg must map nothing else. The first that is wrong.
        """
        request = assignment.request
        return (
            self._foreign_memory(assignment)
            or self._foreign_regions(assignment)
            or _unmapped(request)
            or _apart(request)
        )

    def _foreign_memory(self, assignment: Assignment) -> Diagnostic | None:
        """What xen,reg maps that is not the device's."""
        regions = _regions(assignment.device)
        # Xen maps whole pages, and one triple of xen,reg may cover several regions.
        own = map(in_pages, (*regions, *self._terms.extra_of(assignment)))
        is_of_device = covered_by(Interval(*pages.ends) for pages in own)
        foreign = [host for host, _ in assignment.request.mapped if not is_of_device(*host.ends)]
        if not foreign:
            return None
        pages = " or ".join(str(in_pages(region)) for region in regions)
        return Diagnostic(
            what=f"xen,reg maps memory that does not belong to {assignment.device.path}"
            f"{owners(foreign, assignment, self._holdings)}",
            hint=f"write the host's regions in whole pages: {pages}"
            if regions
            else "leave xen,reg out: the host node has no region",
            prop="xen,reg",
            expected=_either(regions),
            found=_some(map(str, foreign)),
        )

    def _foreign_regions(self, assignment: Assignment) -> Diagnostic | None:
        """The entries of reg that are not the device's."""
        request, path = assignment.request, assignment.device.path
        regions = _regions(assignment.device)
        known = frozenset((*regions, *self._terms.extra_of(assignment)))
        others = [host for _, host in request.regions if host and host not in known]
        if not others:
            return None
        of = owners(others, assignment, self._holdings)
        line = self._paper.reg(request.path, assignment.device)
        return Diagnostic(
            what=f"this region does not belong to {path}{of}"
            if len(others) == 1
            else f"these regions do not belong to {path}{of}",
            hint=(f"write {line} " if line else "copy the host's absolute address and size, ")
            + "or pair host and guest addresses: xen,reg = <host size guest>; what its driver "
            "needs besides, add by `regions:` in viommu.yml"
            if regions
            else "leave reg out: the host node has none",
            prop="reg",
            expected=_either(regions),
            found=_some(map(str, others)),
        )

    def _other_interrupts(self, assignment: Assignment) -> Diagnostic | None:
        """Xen gives a guest an interrupt under the host's number only (virq = pirq)."""
        own = frozenset(assignment.device.intids)
        others = [intid for intid in assignment.request.intids if intid not in own]
        if not others:
            return None
        line = self._paper.interrupts(assignment.device)
        numbers = [
            str(intid - FIRST_SPI) for intid in assignment.device.intids if intid >= FIRST_SPI
        ]
        right = line or f"the host's number, SPI {' or '.join(numbers)}"
        is_private = any(intid < FIRST_SPI for intid in others)
        why = (
            "a PPI is a CPU's own, and Xen gives a guest the host's SPIs only"
            if is_private
            else "Xen gives a guest an interrupt under the host's number only"
        )
        return Diagnostic(
            what=f"this interrupt does not belong to {assignment.device.path}"
            if len(others) == 1
            else f"these interrupts do not belong to {assignment.device.path}",
            hint=f"write {right} {why}"
            if line
            else f"write {right}: {why}"
            if numbers
            else "leave it out: Xen gives a guest only the interrupts of the host node",
            prop="interrupts",
            expected=f"INTID {' or '.join(map(str, assignment.device.intids))}"
            if own
            else "no GIC interrupt",
            found=_some(map(_interrupt, others)),
        )


def together(
    device: Device, first: Contradiction, others: Sequence[Contradiction], parts: Sequence[str]
) -> Diagnostic:
    """What is to be said of parts that all mean another device than `device`, whose are `parts`."""
    names = as_list([contradiction.part for contradiction in (first, *others)])
    lines = " ".join(contradiction.line for contradiction in (first, *others) if contradiction.line)
    return first.finding._replace(
        what=f"the {names} of the node belong to another device than its {as_list(parts)}"
        if parts
        else first.finding.what,
        hint=f"write {lines}",
        expected=device.path,
    )


def or_else(finding: Diagnostic, request: Request, master: Master | None, path: str) -> Diagnostic:
    """`finding` of a request that may as well mean the host node at `path`."""
    line = as_entries(master) if master and not request.xen_path else path_line(path)
    hint = finding.hint.rstrip(";")
    return finding._replace(hint=f"{hint}; or, if you mean {path}, {line}")


def owners(hosts: Sequence[Region], assignment: Assignment | Assigned, holdings: Holdings) -> str:
    """Whose the pages of `hosts` are, as the end of a sentence."""
    asked = [(*host.ends, "") for host in hosts]
    claims = ((first, last, path) for first, last, path in holdings.all_pages())
    paths = {path for _, path, _, _ in meetings(asked, claims)}
    named = sorted(path for path in paths if not is_at_or_below(assignment.device.path, path))
    return f", but to {as_list(named[:3])}" if named else ""


def differs_within_a_page(host: Region, guest: Region, prop: str) -> Diagnostic:
    """What `prop` of a guest's node says of two regions at different offsets into a page."""
    return Diagnostic(
        what="host and guest address differ within a page, and Xen maps whole pages",
        hint="give the guest an address with the same last three hexadecimal digits",
        prop=prop,
        expected=f"an address that ends in {host.base % PAGE:#05x}",
        found=f"{guest.base:#x}",
    )


def _regions(device: Device) -> list[Region]:
    return [region for region in device.regions if region]


def _either(regions: Sequence[Region]) -> str:
    return " or ".join(map(str, regions)) or "no region"


def _unmapped(request: Request) -> Diagnostic | None:
    """The entries of reg to which xen,reg maps nothing; those without a size need nothing."""
    unmapped = [guest for guest, host in request.regions if host is None and guest.size]
    if not unmapped:
        return None
    return Diagnostic(
        what="xen,reg maps nothing to this region, so Xen would not map it",
        hint="write a <host size guest> triple of xen,reg for it, or leave xen,reg out",
        prop="reg",
        expected="a region that xen,reg covers",
        found=_some(map(str, unmapped)),
    )


def _apart(request: Request) -> Diagnostic | None:
    """The first region that is at different offsets into a page on both sides."""
    for guest, host in request.regions:
        if host and (guest.base - host.base) % PAGE:
            return differs_within_a_page(host, guest, "reg")
    return None


def _interrupt(intid: Intid) -> str:
    return f"INTID {intid}" if intid >= FIRST_SPI else f"PPI {intid - FIRST_PPI}"


def _some(texts: Iterator[str]) -> str:
    """The texts, each once, the first few."""
    distinct = list(dict.fromkeys(texts))
    return ", ".join([*distinct[:_MOST_SHOWN], "..."] if len(distinct) > _MOST_SHOWN else distinct)
