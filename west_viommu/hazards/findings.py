# SPDX-License-Identifier: Apache-2.0
"""What a check found about a request, before it is known where that stands in the source."""

from collections.abc import Iterable
from enum import Enum
from typing import NamedTuple

from west_viommu.guest.source import GuestTree
from west_viommu.hypervisor.assignment import Assignment
from west_viommu.problems import Problem
from west_viommu.tree.addresses import Region


class Severity(Enum):
    """A warning does not refuse the input; an error does, unless viommu.yml allows it; what is
    fatal refuses it whatever that says.
    """

    WARNING = "warning"
    ERROR = "error"
    FATAL = "fatal"


class Finding(NamedTuple):
    """What is wrong, what to do, and the property of the guest node that shows it. `severity`:
    where it is not that of its hazard. `cause`: the host node that is wrong for all devices of
    which this hazard is found.
    """

    what: str
    hint: str
    prop: str = "iommus"
    expected: str = ""
    found: str = ""
    severity: Severity | None = None
    other: str = ""
    cause: str = ""


class NoMatch(Exception):
    """A request that means no one host device: the hazard id and what was found.

    `otherwise`: the assignment that it is where the hazard is allowed; None where there is none.
    """

    def __init__(self, hazard: str, finding: Finding, otherwise: Assignment | None = None):
        super().__init__(finding.what)
        self.hazard = hazard
        self.finding = finding
        self.otherwise = otherwise


def problem(
    hazard: str, finding: Finding, path: str, guest: GuestTree, *, warning: bool = False
) -> Problem:
    """`finding` of the guest node at `path`, at its place: the property it names, else what the
    node has of a request.
    """
    place = None
    for prop in (finding.prop, "iommus", "xen,path", ""):
        place = place or guest.locate(path, prop)
    return Problem(
        hazard,
        finding.what,
        finding.hint,
        path,
        finding.expected,
        finding.found,
        place,
        warning,
    )


def as_allowed(hazard: str, device: str) -> str:
    """The line of viommu.yml that allows `hazard` for `device`, but for its reason."""
    # YAML's quotes, as a path may have what YAML would take for its own.
    return f'allow: [{{hazard: {hazard}, device: "{device}", reason: "..."}}]'


def shown(region: Region) -> str:
    """A region as a person reads it: "0x20000000/0x1000"."""
    return f"{region.base:#x}/{region.size:#x}"


def listed(ids: Iterable[int]) -> str:
    """Stream IDs as a person reads them: "0x0 0x1 0x8"."""
    return " ".join(f"{stream_id:#x}" for stream_id in ids)
