# SPDX-License-Identifier: Apache-2.0
"""What is told of what was found: the first of each kind; the rest is counted, and no message is
made of it, as few inputs could make gigabytes of them.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterator, Sequence

from west_viommu.hazards.allowed import Allowed
from west_viommu.hazards.findings import Finding, problem
from west_viommu.problems import FirstOnes, Problem, rest


class Told:
    """The problems of one run, by the path of the guest node that they are about."""

    def __init__(self, allowed: Allowed):
        self._allowed = allowed
        self._first_ones = FirstOnes()
        self._problems: dict[str, list[Problem]] = {}
        self._more: dict[tuple[str, bool], int] = {}
        self._refused: set[str] = set()

    @property
    def refused(self) -> frozenset[str]:
        """The nodes that an error is about, told or not."""
        return frozenset(self._refused)

    def add(
        self,
        hazard: str,
        finding: Finding,
        path: str,
        names: Collection[str],
        *,
        is_warning: bool = False,
        of: Hashable = None,
    ) -> bool:
        """Take `finding` of a hazard, of the guest node at `path`, which viommu.yml may mean by one
        of the `names`; `of` tells it from others of that id which come later and are to be told
        before. Whether it only warns.
        """
        if not is_warning:
            reason = self._allowed.reason(hazard, finding, names)
            if reason is None:
                self._refused.add(path)
            else:
                is_warning = True
                finding = finding._replace(hint=reason)
        if finding.more or not self._first_ones.take((hazard, is_warning, of)):
            kind = hazard, is_warning
            self._more[kind] = self._more.get(kind, 0) + (finding.more or 1)
        else:
            made = problem(hazard, finding, path, self._allowed.guest, warning=is_warning)
            self._problems.setdefault(path, []).append(made)
        return is_warning

    def add_problem(self, wrong: Problem, path: str) -> None:
        """Take an error of the guest node at `path` that is no hazard."""
        self._refused.add(path)
        self._problems.setdefault(path, []).append(wrong)

    def of(self, path: str) -> Sequence[Problem]:
        """What is told of the guest node at `path`."""
        return self._problems.get(path, ())

    def rest(self) -> Iterator[Problem]:
        """What stands for all that is not told."""
        return (rest(id, more, warning=warning) for (id, warning), more in self._more.items())
