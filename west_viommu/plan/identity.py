# SPDX-License-Identifier: Apache-2.0
"""Whether all that a request says is of one host device. What is not is refused, and told once: the
part that is the odd one out, and what it should be.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from functools import partial
from typing import NamedTuple

from west_viommu.diagnostics import Diagnostic, Where
from west_viommu.guest.requests import Request
from west_viommu.hazards.contradictions import Contradiction, Examiner, or_else, together
from west_viommu.hazards.evidence import IDS, Evidence
from west_viommu.hazards.findings import NoMatch
from west_viommu.hazards.permissions import Permissions
from west_viommu.hazards.wanted import candidates, wanted_ids
from west_viommu.host.devices import Device
from west_viommu.hypervisor.assignment import Assignment
from west_viommu.hypervisor.holdings import Holdings
from west_viommu.plan.match import assignment, whole
from west_viommu.tree.cells import TreeError

# So many parts of one request that no device has are no slip of a hand.
_MANY_MISSING = 2
# Where what a request says decides which device it means. The rest is told as it is.
_BY_EVIDENCE = ("unknown-host-node", "unknown-stream-id", "stream-mismatch", "ambiguous-master")


class Identity(NamedTuple):
    """What became of a request: its assignment, None where it has none, and what there is to say of
    how it was found. `is_refused`: its parts contradict each other, or mean nothing of this host,
    and no more is to be said of it. `stand_in`: what it means where that is another device than the
    one that it names.
    """

    assignment: Assignment | None
    problems: tuple[Diagnostic, ...] = ()
    is_refused: bool = False
    stand_in: Assignment | None = None


class Matcher:
    """Finds the devices of requests. What `permissions` let pass is a warning."""

    def __init__(self, holdings: Holdings, permissions: Permissions, examiner: Examiner):
        self._devices = holdings.devices
        self._holdings = holdings
        self._permissions = permissions
        self._examiner = examiner

    def identities(self, requests: Sequence[Request]) -> dict[Request, Identity]:
        """What became of each request."""
        strict = {request: self._strict(request) for request in requests}
        refused = [request for request, identity in strict.items() if identity.is_refused]
        evidence = {request: self._evidence(request) for request in refused}
        if refused and len(refused) == len(strict) and self._is_other_host(evidence.values()):
            nothing = Identity(None, is_refused=True)
            told = nothing._replace(problems=(self._other_host(refused[0]),))
            return {request: told if request is refused[0] else nothing for request in refused}
        taken = {
            identity.assignment.device.path
            for identity in strict.values()
            if identity.assignment and not identity.is_refused
        }
        weighed = {
            request: self._weighed(request, strict[request], evidence[request], taken)
            for request in refused
        }
        return {**strict, **weighed}

    def _strict(self, request: Request) -> Identity:
        """What a request means by its path, or else by its IDs, and what of it is not so."""
        problems: list[Diagnostic] = []
        try:
            wanted = wanted_ids(request, self._devices)
            matched = assignment(request, self._holdings)
        except NoMatch as no_match:
            otherwise = no_match.otherwise
            names = otherwise.names if otherwise else ()
            hazard, finding = no_match.hazard, no_match.finding
            wrong = self._permissions.problem(hazard, finding, request.path, names)
            if not wrong.warning or otherwise is None:
                return Identity(None, (wrong,), hazard in _BY_EVIDENCE)
            problems, matched = [wrong], otherwise
            wanted = ()
        except TreeError as error:
            problem = error.diagnostic._replace(
                what=f"the host node is malformed: {error.diagnostic.what}",
                hint=f"correct the host tree, or remove {request.path}",
                where=Where(self._devices.host_name),
            )
            return Identity(None, (problem,))
        for contradiction in self._examiner.contradictions(matched, wanted):
            hazard, finding = contradiction.hazard, contradiction.finding
            wrong = self._permissions.problem(hazard, finding, request.path, matched.names)
            problems.append(wrong)
        is_of_another = bool(
            wanted and not matched.device.master and candidates(wanted, self._devices)
        )
        is_refused = is_of_another or any(not problem.warning for problem in problems)
        return Identity(matched, tuple(problems), is_refused)

    def _evidence(self, request: Request) -> Evidence:
        try:
            return Evidence(request, wanted_ids(request, self._devices), self._devices)
        except NoMatch:
            return Evidence(request, (), self._devices)

    def _weighed(
        self, request: Request, strict: Identity, evidence: Evidence, taken: Collection[str]
    ) -> Identity:
        """What there is to say of a request whose parts contradict each other."""
        verdict = evidence.verdict(taken)
        named = strict.assignment.device if strict.assignment else self._by_path(request)
        device = verdict.device or named
        if device is None:
            return strict
        is_named = named is not None and device.path == named.path
        if is_named and strict.assignment and self._is_judged_as_it_is(strict.assignment):
            # What it is, no guest could have, whatever else its node says.
            return strict._replace(problems=(), is_refused=False)
        problems = tuple(self._told(request, device, evidence, verdict.rivals, is_named, strict))
        if all(problem.warning for problem in problems):
            # What was allowed refuses nothing: the hazards have the last word.
            return strict._replace(
                is_refused=any(not problem.warning for problem in strict.problems)
            )
        stand_in = None if is_named or device.path in taken else _stand_in(request, device)
        return strict._replace(problems=problems, stand_in=stand_in)

    def _told(
        self,
        request: Request,
        device: Device,
        evidence: Evidence,
        rivals: Collection[str],
        is_named: bool,
        strict: Identity,
    ) -> Iterator[Diagnostic]:
        """A problem for each mistake: parts that are all of one other device are one."""
        assignment = whole(request, device)
        wanted = wanted_ids(request, self._devices)
        is_allowed = any(p.warning and p.id == "stream-mismatch" for p in strict.problems)
        odd = [
            contradiction
            for contradiction in self._examiner.contradictions(
                assignment, wanted, partial(evidence.parts, device)
            )
            if not (contradiction.part == IDS and is_allowed)
        ]
        others = [path for path in rivals if path != device.path]
        for first, *rest in _together(odd, device, evidence):
            finding = first.finding
            if rest:
                parts = evidence.parts(device, first.part)
                finding = together(device, first, rest, parts)._replace(
                    found=" or ".join(sorted(evidence.others(first.part, device)))
                )
            if others:
                finding = or_else(finding, request, self._devices.master(others[0]), others[0])
            # Only of the device that is named it was said what may be.
            names = assignment.names if is_named and not rest and strict.assignment else ()
            yield self._permissions.problem(first.hazard, finding, request.path, names)

    def _by_path(self, request: Request) -> Device | None:
        return self._devices.device(request.xen_path) if request.xen_path else None

    def _is_judged_as_it_is(self, assignment: Assignment) -> bool:
        is_of_hypervisor = bool(self._holdings.role(assignment.device.path))
        return is_of_hypervisor or not any(
            True for _ in self._examiner.contradictions(assignment, ())
        )

    def _is_other_host(self, evidence: Collection[Evidence]) -> bool:
        is_foreign = any(request.missing >= _MANY_MISSING for request in evidence)
        return is_foreign and not any(request.fits for request in evidence)

    def _other_host(self, first: Request) -> Diagnostic:
        model = self._devices.model
        return self._permissions.problem(
            "wrong-host",
            Diagnostic(
                what="nothing that the guest asks for is in this host tree: is it the right host?",
                hint="give --host the tree of the board that the guest is for; `viommu list` "
                "shows what a host has",
                prop="iommus",
                expected="paths, addresses and stream IDs of the host",
                found=f"{self._devices.host_name} ({model})" if model else self._devices.host_name,
            ),
            first.path,
            (),
        )


def _together(
    odd: Sequence[Contradiction], device: Device, evidence: Evidence
) -> list[list[Contradiction]]:
    """The contradictions, those together whose parts are of one other device."""
    groups: list[tuple[frozenset[str], list[Contradiction]]] = []
    for contradiction in odd:
        others = evidence.others(contradiction.part, device)
        for i, (shared, group) in enumerate(groups):
            if shared & others:
                group.append(contradiction)
                groups[i] = (shared & others, group)
                break
        else:
            groups.append((others, [contradiction]))
    return [group for _, group in groups]


def _stand_in(request: Request, device: Device) -> Assignment:
    """`device` as if nothing else were known of it, so that nobody takes it for one that stays."""
    bare = request._replace(entries=(), regions=(), mapped=(), interrupts=(), malformed_ids=None)
    return whole(bare, device)
