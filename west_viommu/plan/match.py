# SPDX-License-Identifier: Apache-2.0
"""The host device that a request means: the node that xen,path names, or else the one master that
has all the stream IDs. All its other parts must fit that device.
"""

from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

from west_viommu.diagnostics import Diagnostic, Where
from west_viommu.guest.entries import PLACEHOLDERS, STREAM_IDS, Entry
from west_viommu.guest.requests import COPY_HINT, Request
from west_viommu.hazards.odd import (
    Examiner,
    Odd,
    ambiguous,
    in_one,
    nothing_mapped,
    of_several,
    or_else,
    unknown_ids,
    unknown_path,
)
from west_viommu.hazards.parts import Table, Wanted, candidates, strange
from west_viommu.hazards.paste import as_entries, path_lines
from west_viommu.hazards.permissions import Permissions
from west_viommu.host.devices import Device, Devices
from west_viommu.host.inventory import Master, StreamId
from west_viommu.hypervisor.assignment import Assignment
from west_viommu.hypervisor.holdings import Holdings
from west_viommu.tree.cells import TreeError
from west_viommu.tree.node import Phandle, name_of


class Identity(NamedTuple):
    """The assignment of a request (None without one), and the problems in finding it.

    `is_refused`: its parts do not agree, or fit no device, and it is not judged further.
    `stand_in`: an assignment of the device that the request seems to mean, if it names another.
    """

    assignment: Assignment | None
    problems: tuple[Diagnostic, ...] = ()
    is_refused: bool = False
    stand_in: Assignment | None = None


class NoMatch(Exception):
    """A request does not mean exactly one host device. Carries the hazard and the finding."""

    def __init__(self, hazard: str, finding: Diagnostic):
        super().__init__(finding.what)
        self.hazard = hazard
        self.finding = finding


class _Doubt(NamedTuple):
    """A request with parts that do not agree: the device that it names (None without one, and then
    the reason), the names of the odd parts, and the warnings for parts that are allowed.
    """

    wanted: tuple[Wanted, ...]
    named: Assignment | None = None
    reason: NoMatch | None = None
    odd: tuple[str, ...] = ()
    allowed: tuple[Diagnostic, ...] = ()


class Matcher:
    """Finds the devices of requests. Problems that `permissions` allow are warnings."""

    def __init__(self, holdings: Holdings, permissions: Permissions, examiner: Examiner):
        self._devices = holdings.devices
        self._holdings = holdings
        self._permissions = permissions
        self._examiner = examiner

    def identities(self, requests: Sequence[Request]) -> dict[Request, Identity]:
        """Return the identity of each request, with its `iommus` read by the widths of the host's
        tree.
        """
        identities: dict[Request, Identity] = {}
        doubts: dict[Request, _Doubt] = {}
        for asked in requests:
            request = with_pairs(asked, self._devices)
            found = self._by_name(request)
            identities[request] = found if isinstance(found, Identity) else _REFUSED
            if isinstance(found, _Doubt):
                doubts[request] = found
        tables = {r: Table(r, doubt.wanted, self._devices) for r, doubt in doubts.items()}
        if doubts and len(doubts) == len(identities) and _are_of_another_host(tables.values()):
            first = next(iter(doubts))
            return identities | {first: _REFUSED._replace(problems=(self._other_host(first),))}
        taken = {i.assignment.device.path for i in identities.values() if i.assignment}
        for request, doubt in doubts.items():
            identities[request] = self._by_parts(request, doubt, tables[request], taken)
        return identities

    def _by_name(self, request: Request) -> Identity | _Doubt:
        """Return the identity of a request by its path or else its IDs, if all its parts fit."""
        wanted: tuple[Wanted, ...] = ()
        try:
            wanted = wanted_ids(request, self._devices)
            device = named_device(request, wanted, self._holdings)
        except NoMatch as reason:
            if reason.hazard != "malformed":
                return _Doubt(wanted=wanted, reason=reason)
            problem = self._permissions.problem("malformed", reason.finding, request.path, ())
            return Identity(None, (problem,))
        except TreeError as error:
            problem = error.diagnostic._replace(
                what=f"the host node is malformed: {error.diagnostic.what}",
                hint=f"correct the host tree, or remove {request.path}",
                where=Where(self._devices.host_name),
            )
            return Identity(None, (problem,))
        named = _assignment(request, device, wanted)
        odd, allowed = [], []
        for each in self._examiner.odd_parts(named, wanted):
            problem = self._permissions.problem(
                each.hazard, each.finding, request.path, named.names
            )
            if problem.warning:
                allowed.append(problem)
            else:
                odd.append(each.part)
        is_of_another = not device.master and wanted and candidates(wanted, self._devices)
        if odd or is_of_another:
            return _Doubt(wanted=wanted, named=named, odd=tuple(odd), allowed=tuple(allowed))
        return Identity(named, tuple(allowed))

    def _by_parts(
        self, request: Request, doubt: _Doubt, table: Table, taken: Collection[str]
    ) -> Identity:
        """Return the refusal of a request: a message for each part that does not fit the device of
        the other parts. If the parts have no majority, the device is the named one, and the message
        has both.
        """
        named, best = doubt.named, table.best(taken)
        meant = self._meant(request, doubt, table, best)
        if meant is None:
            problem = self._without_device(request, doubt.reason, best)
            return Identity(None, (problem,), is_refused=True)
        is_named, path = meant is named, meant.device.path
        if is_named and (self._holdings.role(path) or not doubt.odd):
            # The hazards explain why no guest can have it, regardless of the other parts.
            return Identity(named, doubt.allowed)
        odd = [
            each
            for each in self._examiner.odd_parts(meant, doubt.wanted, table)
            if not is_named or each.part in doubt.odd
        ]
        problems = list(doubt.allowed) if is_named else []
        other = next((rival for rival in best if rival != path), None)
        for group in _together(odd, path, table):
            finding = in_one(group, path, table)
            if other:
                finding = or_else(finding, request, self._devices.master(other), other)
            problems.append(self._permissions.problem(group[0].hazard, finding, request.path, ()))
        stand_in = None if is_named or path in taken else _stand_in(request, meant.device)
        return Identity(named, tuple(problems), is_refused=True, stand_in=stand_in)

    def _meant(
        self, request: Request, doubt: _Doubt, table: Table, best: Sequence[str]
    ) -> Assignment | None:
        """Return the assignment of the device that most parts fit, if there is exactly one and some
        part does not fit it; else of the device that the request names.
        """
        named = doubt.named
        device = self._devices.device(best[0]) if len(best) == 1 else None
        if device is None or (named and named.device.path == device.path):
            return named
        other = whole(request, device)
        return other if any(self._examiner.odd_parts(other, doubt.wanted, table)) else named

    def _without_device(
        self, request: Request, reason: NoMatch | None, best: Sequence[str]
    ) -> Diagnostic:
        assert reason, "a request names a device, or there is a reason why not"
        finding = reason.finding
        if best and reason.hazard in ("unknown-host-node", "ambiguous-master"):
            finding = finding._replace(hint=f"say which one you mean: {path_lines(best[:3])}")
        return self._permissions.problem(reason.hazard, finding, request.path, ())

    def _other_host(self, first: Request) -> Diagnostic:
        model, name = self._devices.model, self._devices.host_name
        finding = Diagnostic(
            what="nothing that the guest asks for is in this host tree: is it the right host?",
            hint=self._devices.or_fault(
                "give --host the tree of the board that the guest is for; `viommu list` "
                "shows what a host has"
            ),
            prop="iommus",
            expected="paths, addresses and stream IDs of the host",
            found=f"{name} ({model})" if model else name,
        )
        return self._permissions.problem("wrong-host", finding, first.path, ())


_REFUSED = Identity(None, is_refused=True)


def _are_of_another_host(tables: Collection[Table]) -> bool:
    is_foreign = any(table.is_of_another_host for table in tables)
    return is_foreign and not any(table.is_of_host for table in tables)


def _together(odd: Sequence[Odd], path: str, table: Table) -> list[list[Odd]]:
    """Return the odd parts in groups; all parts of a group fit one other device."""
    groups: list[tuple[frozenset[str], list[Odd]]] = []
    for each in odd:
        others = table.others(each.part, path)
        for i, (common, group) in enumerate(groups):
            if common & others:
                group.append(each)
                groups[i] = (common & others, group)
                break
        else:
            groups.append((others, [each]))
    return [group for _, group in groups]


def _stand_in(request: Request, device: Device) -> Assignment:
    """Return an assignment of `device` without any parts, so that the device does not count as one
    that stays with the host.
    """
    bare = request._replace(entries=(), regions=(), mapped=(), interrupts=(), malformed_ids=None)
    return whole(bare, device)


def whole(request: Request, device: Device) -> Assignment:
    """Return the assignment of `device` to `request` with all of its stream IDs."""
    return _assignment(request, device, ())


def _assignment(request: Request, device: Device, wanted: Sequence[Wanted]) -> Assignment:
    """Return the assignment with the IDs of the request, or else of the host node."""
    ids = tuple(stream_id for stream_id, _ in wanted)
    master = device.master
    if master is None:
        return Assignment(request=request, device=device, ids=ids, streams=())
    ids = ids or master.stream_ids
    behind = {stream.id: stream.iommu for stream in master.streams}
    first = next(iter(behind.values()), None)
    streams = ((stream_id, behind.get(stream_id, first)) for stream_id in ids)
    return Assignment(
        request=request,
        device=device,
        ids=ids,
        streams=tuple((stream_id, iommu) for stream_id, iommu in streams if iommu),
    )


def wanted_ids(request: Request, devices: Devices) -> tuple[Wanted, ...]:
    """Return the stream IDs of the request. A number before an ID that is not a placeholder must be
    the phandle of a host IOMMU, in an unmodified copy. Raises NoMatch.
    """
    result = []
    for phandle, stream_id, _ in request.entries:
        is_open = phandle is None or phandle in PLACEHOLDERS
        iommu = None if phandle is None or is_open else devices.iommu_with_phandle(phandle)
        if iommu is None and not is_open:
            finding = Diagnostic(
                what="iommus names an IOMMU that the host does not have",
                hint="write 0x0 in place of the host's SMMU",
                prop="iommus",
                expected="0x0, 0xfdea or the phandle of a host IOMMU",
                found=f"{phandle:#x}",
            )
            raise NoMatch("malformed", finding)
        result.append(Wanted(stream_id, iommu and iommu.path))
    return tuple(result)


def named_device(request: Request, wanted: Sequence[Wanted], holdings: Holdings) -> Device:
    """Return the host device that a request with the IDs `wanted` names.

    Raises NoMatch, and TreeError if the host node is malformed.
    """
    devices = holdings.devices
    if request.xen_path is not None:
        device = devices.device(request.xen_path)
        if device is None:
            raise NoMatch("unknown-host-node", unknown_path(request.xen_path, devices))
    elif wanted and not request.malformed_ids:
        return _by_ids(request, wanted, devices)
    elif not request.malformed_ids:
        near = devices.mapped_at(request.name, _bases(request))
        if not near:
            raise NoMatch("unknown-host-node", nothing_mapped(devices))
        return _the_one(request, near, devices)
    else:
        device = _at_place(request, devices)
    if request.malformed_ids:
        return _despite(request.malformed_ids, device, holdings)
    assert device, "a node without malformed IDs was found by its path"
    return device


def _by_ids(request: Request, wanted: Sequence[Wanted], devices: Devices) -> Device:
    unknown = [entry for entry in wanted if not candidates([entry], devices)]
    if unknown:
        there = _at_place(request, devices)
        if there and not there.master:
            return there
        raise NoMatch("unknown-stream-id", unknown_ids(request, unknown, devices))
    having = candidates(wanted, devices)
    # Xen programs no IDs of iommu-map, so a device that lists the ID itself comes first.
    owners = [master for master in having if master.streams and not strange(master, wanted)]
    if owners:
        return _the_one(request, owners, devices)
    owners = [master for master in having if not master.streams]
    there = _at_place(request, devices)
    # A PCIe root often maps every small number: any mistyped ID would match it.
    if owners and not (there and there.master and there.master not in owners):
        return _the_one(request, owners, devices)
    raise NoMatch("stream-mismatch", of_several(request, wanted, devices))


def _the_one(request: Request, masters: Sequence[Master], devices: Devices) -> Device:
    """Return the one of `masters` that has the request's address; if there are several, the one
    with its name.
    """
    left, bases = list(masters), _bases(request)
    if len(left) > 1:
        left = [m for m in left if any(region.base in bases for region in m.regions)] or left
    if len(left) > 1:
        left = [master for master in left if name_of(master.path) == request.name] or left
    device = devices.device(left[0].path)
    if len(left) > 1 or device is None:
        raise NoMatch("ambiguous-master", ambiguous(left))
    return device


def _despite(error: TreeError, device: Device | None, holdings: Holdings) -> Device:
    """Return a device behind an IOMMU that no driver of the hypervisor supports, although the
    request has no list of stream IDs: the hazards have a better message. Refuse any other.
    """
    hint = COPY_HINT
    if device and device.master:
        if not all(map(holdings.driver, device.master.iommus)):
            return device
        hint += f": {as_entries(device.master)}"
    raise NoMatch("malformed", error.diagnostic._replace(hint=hint))


def _at_place(request: Request, devices: Devices) -> Device | None:
    """Return the host node at an address of the request: the only one with its name, or if no node
    has it, the only one at all.
    """
    paths = dict.fromkeys(path for base in _bases(request) for path in devices.at(base))
    named = [path for path in paths if name_of(path) == request.name] or list(paths)
    return devices.device(named[0]) if len(named) == 1 else None


def _bases(request: Request) -> frozenset[int]:
    return frozenset(pair.host.base for pair in request.regions if pair.host)


def with_pairs(request: Request, devices: Devices) -> Request:
    """Return `request` with the stream IDs of an `iommus` copied from a device behind an IOMMU
    whose entries are not one cell wide.

    A placeholder does not show how many cells follow it, so a guest's tree alone is read in pairs.
    The host's tree shows it, by the device that the request names or has the address of, or by the
    phandle of an IOMMU that the copy still has. The request is unchanged if `iommus` is a list of
    pairs, or has no width that the host knows.
    """
    if not request.iommus or _are_pairs(request, devices):
        return request
    path = request.xen_path
    device = _at_place(request, devices) if path is None else devices.device(path)
    behind = device.master.iommus if device and device.master else ()
    widths = {devices.iommus[path].cells for path in behind}
    copied = list(_entries(request.iommus, widths.pop() if len(widths) == 1 else None, devices))
    if None in copied:
        return request
    others = [entry for entry in request.entries if entry.prop == STREAM_IDS]
    read = {entry.id: entry for entry in (*others, *filter(None, copied))}
    return request._replace(entries=tuple(read.values()), malformed_ids=None)


def _are_pairs(request: Request, devices: Devices) -> bool:
    return request.malformed_ids is None and all(
        entry.phandle is None
        or entry.phandle in PLACEHOLDERS
        or devices.iommu_with_phandle(entry.phandle)
        for entry in request.entries
    )


def _entries(cells: Sequence[int], width: int | None, devices: Devices) -> Iterator[Entry | None]:
    """Yield each entry, with as many cells as its IOMMU has, or `width` if it names no IOMMU; at
    the end None, if the number is not known or cells are missing.
    """
    at = 0
    while at < len(cells):
        phandle = Phandle(cells[at])
        named = None if phandle in PLACEHOLDERS else devices.iommu_with_phandle(phandle)
        following = named.cells if named else width if phandle in PLACEHOLDERS else None
        if not following or at + following >= len(cells):
            yield None
            return
        yield Entry(phandle, StreamId(cells[at + 1]))
        at += 1 + following
