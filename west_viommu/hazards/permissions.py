# SPDX-License-Identifier: Apache-2.0
"""The `allow:` entries of viommu.yml: the hazards that they allow, and stale entries.

`Told` keeps the first findings of each kind and counts the rest, as a few inputs could make
gigabytes of messages.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterator, Sequence
from typing import NamedTuple

from west_viommu.diagnostics import Diagnostic, FirstOnes, Severity, close_matches, rest
from west_viommu.guest.source import GuestTree
from west_viommu.hazards.parts import problem
from west_viommu.hazards.table import HAZARDS
from west_viommu.hypervisor.assignment import Permission

# Further nodes are only counted.
_MOST_NAMED = 3


class _Cause(NamedTuple):
    """The guest nodes with one cause, a host node: the first of them, the place in its list of
    problems, and the other nodes.
    """

    path: str
    place: int
    others: list[str]


class Told:
    """The problems of one run, by the path of their guest node."""

    def __init__(self, permissions: Permissions):
        self._permissions = permissions
        self._first_ones = FirstOnes()
        self._problems: dict[str, list[Diagnostic]] = {}
        self._more: dict[tuple[str, Severity], int] = {}
        self._refused: set[str] = set()
        self._by_cause: dict[tuple[str, str], _Cause] = {}

    @property
    def refused(self) -> frozenset[str]:
        """The nodes with an error, shown or not."""
        return frozenset(self._refused)

    def add(
        self,
        hazard: str,
        finding: Diagnostic,
        path: str,
        names: Collection[str],
        *,
        of: Hashable = None,
    ) -> bool:
        """Add `finding` of a hazard, for the guest node at `path`, which viommu.yml may mean by one
        of the `names`; findings with another `of` have their own share of the first findings of
        that id. Return whether it refuses.
        """
        severity = Severity.WARNING if finding.warning else Severity.ERROR
        reason = self._permissions.reason(hazard, finding, names)
        if reason is not None:
            severity = Severity.WARNING
            finding = finding._replace(hint=reason, acknowledged=True)
        elif not finding.warning:
            self._refused.add(path)
            known = self._by_cause.get((hazard, finding.cause))
            if finding.cause and known and known.path != path:
                known.others.append(path)
                return True
        if not self._first_ones.take((hazard, severity, of)):
            kind = hazard, severity
            self._more[kind] = self._more.get(kind, 0) + 1
        else:
            made = problem(hazard, finding, path, self._permissions.guest, severity)
            here = self._problems.setdefault(path, [])
            if finding.cause and severity is not Severity.WARNING:
                self._by_cause[hazard, finding.cause] = _Cause(path, len(here), [])
            here.append(made)
        return severity is not Severity.WARNING

    def add_problem(self, made: Diagnostic, path: str) -> None:
        """Add a complete problem of the guest node at `path`."""
        if not made.warning:
            self._refused.add(path)
        if self._first_ones.take((made.id, made.severity)):
            self._problems.setdefault(path, []).append(made)
        else:
            kind = made.id, made.severity
            self._more[kind] = self._more.get(kind, 0) + 1

    def of(self, path: str) -> Sequence[Diagnostic]:
        """Return the problems of the guest node at `path`, which also name other nodes with the
        same cause.
        """
        told = list(self._problems.get(path, ()))
        for cause in self._by_cause.values():
            if cause.path == path and cause.others:
                told[cause.place] = _of_all(told[cause.place], cause.others)
        return told

    def rest(self) -> Iterator[Diagnostic]:
        """Yield the diagnostics that replace all problems not shown."""
        return (rest(*kind, more) for kind, more in self._more.items())


def _of_all(problem: Diagnostic, others: Sequence[str]) -> Diagnostic:
    """Return `problem` with the nodes `others` added to its text."""
    some = ", ".join([*others[:_MOST_NAMED], "..."] if len(others) > _MOST_NAMED else others)
    return problem._replace(what=f"{problem.what}; the same goes for {some}")


# A warning refuses nothing: allowing it acknowledges it.
_ALLOWABLE = frozenset(hazard.id for hazard in HAZARDS if hazard.allowable or hazard.is_warning)


class AllowList:
    """The `allow:` entries of a file. Each must be needed: a stale entry is an error itself."""

    def __init__(self, permissions: Sequence[Permission]):
        self._permissions = permissions
        self._used: set[Permission] = set()

    @property
    def used(self) -> tuple[Permission, ...]:
        """The permissions that were needed, by device, so that the order of the file does not
        matter.
        """
        return tuple(
            sorted(self._used, key=lambda entry: (entry.device, entry.hazard, entry.reason))
        )

    def use(self, hazard: str, names: Collection[str]) -> str | None:
        """Use each entry for a hazard of an object with one of these `names`, and return the reason
        of the first; None without an entry.
        """
        naming = [
            entry for entry in self._permissions if entry.hazard == hazard and entry.device in names
        ]
        self._used.update(naming)
        if not naming:
            return None
        file, line = naming[0].where
        place = file if line is None else f"{file}:{line}"
        return f"allowed by {place}, because: {naming[0].reason}"


class Permissions(AllowList):
    """The permissions of one run."""

    def __init__(self, permissions: Sequence[Permission], guest: GuestTree):
        super().__init__(permissions)
        self.guest = guest

    def reason(self, hazard: str, finding: Diagnostic, names: Collection[str]) -> str | None:
        """Return the reason why `finding` of a hazard is allowed, for one of the `names` by which
        viommu.yml may mean its guest node; None if it is not.
        """
        reason = self.use(hazard, (*names, finding.other) if names else ())
        is_allowable = hazard in _ALLOWABLE and finding.severity is not Severity.FATAL
        return reason if is_allowable else None

    def problem(
        self, hazard: str, finding: Diagnostic, path: str, names: Collection[str]
    ) -> Diagnostic:
        """Return the problem of `finding`, for the guest node at `path`: a warning if it is
        allowed.
        """
        reason = self.reason(hazard, finding, names)
        if reason is None:
            return problem(hazard, finding, path, self.guest)
        allowed = finding._replace(hint=reason, acknowledged=True)
        return problem(hazard, allowed, path, self.guest, Severity.WARNING)

    def stale(self, names: Collection[str], *, is_known: bool = True) -> Iterator[Diagnostic]:
        """Yield the problems of the permissions themselves, of which those of assigned devices have
        one of the `names`; stale entries only if it `is_known` for every node which device it
        means.
        """
        for entry in self._permissions:
            if entry.hazard not in _ALLOWABLE:
                known = [hazard.id for hazard in HAZARDS]
                close = close_matches(entry.hazard, _ALLOWABLE, 1)
                hint = "`viommu explain` lists the hazards, and says which can be allowed"
                if entry.hazard in known:
                    hint = f"remove the entry: `viommu explain {entry.hazard}` says what to do"
                elif close:
                    hint = f"did you mean {close[0]}?"
                what = "this is not a hazard that can be allowed"
                yield Diagnostic(
                    id="malformed", what=what, hint=hint, found=entry.hazard, where=entry.where
                )
            elif is_known and entry not in self._used:
                close = [] if entry.device in names else close_matches(entry.device, names, 1)
                yield Diagnostic(
                    id="malformed",
                    what=f"nothing to allow: {entry.device} does not have the hazard "
                    f"{entry.hazard}",
                    hint=f"did you mean {close[0]}?"
                    if close
                    else "remove the entry, or correct its device: the path of the host or guest "
                    "node",
                    where=entry.where,
                )
