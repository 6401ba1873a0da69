# SPDX-License-Identifier: Apache-2.0
"""What is told of what was found: the first of each kind; the rest is counted, and no message is
made of it, as few inputs could make gigabytes of them.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterator, Sequence
from typing import NamedTuple

from west_viommu.diagnostics import Diagnostic, FirstOnes, Severity, rest
from west_viommu.hazards.findings import problem
from west_viommu.hazards.permissions import Permissions

# More nodes are not named one by one.
_MOST_NAMED = 3


class _Cause(NamedTuple):
    """What one host node is the cause of: the first guest node of which it is told, where in its
    list, and the other nodes.
    """

    path: str
    place: int
    others: list[str]


class Told:
    """The problems of one run, by the path of the guest node that they are about."""

    def __init__(self, permissions: Permissions):
        self._permissions = permissions
        self._first_ones = FirstOnes()
        self._problems: dict[str, list[Diagnostic]] = {}
        self._more: dict[tuple[str, Severity], int] = {}
        self._refused: set[str] = set()
        self._by_cause: dict[tuple[str, str], _Cause] = {}

    @property
    def refused(self) -> frozenset[str]:
        """The nodes that an error is about, told or not."""
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
        """Take `finding` of a hazard, of the guest node at `path`, which viommu.yml may mean by one
        of the `names`; `of` tells it from others of that id which come later and are to be told
        before. Whether it refuses.
        """
        severity = Severity.WARNING if finding.warning else Severity.ERROR
        if not finding.warning:
            reason = self._permissions.reason(hazard, finding, names)
            if reason is None:
                self._refused.add(path)
                known = self._by_cause.get((hazard, finding.cause))
                if finding.cause and known and known.path != path:
                    known.others.append(path)
                    return True
            else:
                severity = Severity.WARNING
                finding = finding._replace(hint=reason)
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
        """Take a problem of the guest node at `path` that is made already."""
        if not made.warning:
            self._refused.add(path)
        if self._first_ones.take((made.id, made.severity)):
            self._problems.setdefault(path, []).append(made)
        else:
            kind = made.id, made.severity
            self._more[kind] = self._more.get(kind, 0) + 1

    def of(self, path: str) -> Sequence[Diagnostic]:
        """What is told of the guest node at `path`, and of others with the same cause."""
        told = list(self._problems.get(path, ()))
        for cause in self._by_cause.values():
            if cause.path == path and cause.others:
                told[cause.place] = _of_all(told[cause.place], cause.others)
        return told

    def rest(self) -> Iterator[Diagnostic]:
        """What stands for all that is not told."""
        return (rest(*kind, more) for kind, more in self._more.items())


def _of_all(problem: Diagnostic, others: Sequence[str]) -> Diagnostic:
    """`problem`, said of the nodes `others` as well."""
    some = ", ".join([*others[:_MOST_NAMED], "..."] if len(others) > _MOST_NAMED else others)
    return problem._replace(what=f"{problem.what}; the same goes for {some}")
