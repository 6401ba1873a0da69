# SPDX-License-Identifier: Apache-2.0
"""The `allow:` entries of viommu.yml: what they let pass, and which of them are stale."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from west_viommu.diagnostics import Diagnostic, Severity, close_matches
from west_viommu.guest.source import GuestTree
from west_viommu.hazards.findings import problem
from west_viommu.hazards.table import HAZARDS
from west_viommu.hypervisor.assignment import Permission

_ALLOWABLE = frozenset(hazard.id for hazard in HAZARDS if hazard.allowable)


class AllowList:
    """`allow:` of a file. Each entry must be needed: one that is not is an error itself."""

    def __init__(self, permissions: Sequence[Permission]):
        self._permissions = permissions
        self._used: set[Permission] = set()

    @property
    def used(self) -> tuple[Permission, ...]:
        """The permissions that were needed, by device: nothing hangs on the order of the file."""
        return tuple(
            sorted(self._used, key=lambda entry: (entry.device, entry.hazard, entry.reason))
        )

    def use(self, hazard: str, names: Collection[str]) -> str | None:
        """Use each entry for a hazard of what has one of these `names`, and tell why it is allowed,
        as the first of them says; None without one.
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
        """Why `finding` of a hazard is allowed, for one of the `names` by which viommu.yml may mean
        its guest node; None where it is not.
        """
        reason = self.use(hazard, (*names, finding.other) if names else ())
        is_allowable = hazard in _ALLOWABLE and finding.severity is not Severity.FATAL
        return reason if is_allowable else None

    def problem(
        self, hazard: str, finding: Diagnostic, path: str, names: Collection[str]
    ) -> Diagnostic:
        """`finding` of a hazard, of the guest node at `path`: a warning where it is allowed."""
        reason = self.reason(hazard, finding, names)
        if reason is None:
            return problem(hazard, finding, path, self.guest)
        allowed = finding._replace(hint=reason)
        return problem(hazard, allowed, path, self.guest, Severity.WARNING)

    def stale(self, *, is_known: bool = True) -> Iterator[Diagnostic]:
        """What is wrong with the permissions themselves; whether one is needed, only where it
        `is_known` of every node which device it means.
        """
        for entry in self._permissions:
            if entry.hazard not in _ALLOWABLE:
                known = [hazard.id for hazard in HAZARDS]
                close = close_matches(entry.hazard, _ALLOWABLE, 1)
                hint = "`viommu explain` lists the hazards, and says of each whether it can be"
                if entry.hazard in known:
                    hint = f"remove the entry: `viommu explain {entry.hazard}` says what to do"
                elif close:
                    hint = f"did you mean {close[0]}?"
                what = "this is not a hazard that can be allowed"
                yield Diagnostic(
                    id="malformed", what=what, hint=hint, found=entry.hazard, where=entry.where
                )
            elif is_known and entry not in self._used:
                yield Diagnostic(
                    id="malformed",
                    what=f"nothing to allow: {entry.device} does not have the hazard "
                    f"{entry.hazard}",
                    hint="remove the entry, or correct its device: the path of the host or guest "
                    "node",
                    where=entry.where,
                )
