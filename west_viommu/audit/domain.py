# SPDX-License-Identifier: Apache-2.0
"""The comparison of the files of one domain with its devices: nothing is missing, nothing belongs
to another device, and each problem names the correct value.

Each resource is judged by the file from which Xen takes it. xl: pages, lines and streams from the
configuration. dom0less: pages from xen,reg, lines and streams from the host node of xen,path
(handle_passthrough_prop() in domain_build.c, 4.17 to 4.22); only the guest reads the rest of the
tree.
"""

from collections.abc import Sequence
from typing import NamedTuple

from west_viommu.audit.given import Given
from west_viommu.audit.lines import judge_lines
from west_viommu.audit.pages import judge_pages, swapped
from west_viommu.audit.records import Pages, SetDomain
from west_viommu.diagnostics import Diagnostic, Where
from west_viommu.host.devices import Device
from west_viommu.host.intervals import Interval


class SetDevice(NamedTuple):
    """A host device that a domain gets: `node` is its node in the partial tree, "" if it has no
    node. `pages` and `lines`: its resources that the domain gets. `has_dtdev`: by a file, or by Xen
    itself.
    """

    device: Device
    node: str
    where: Where
    pages: tuple[Interval, ...]
    lines: tuple[int, ...]
    has_dtdev: bool
    is_right: bool


class Audit(NamedTuple):
    """The resources that a domain gets, and their problems. `others`: entries of pages that belong
    to no device of it. `doubted`: the host nodes that the domain may or may not get.
    """

    domain: SetDomain
    devices: tuple[SetDevice, ...]
    others: tuple[Pages, ...]
    doubted: frozenset[str]
    problems: tuple[Diagnostic, ...]
    notes: tuple[str, ...]


def audits(sets: Sequence[Given]) -> list[Audit]:
    """Return the audit of each domain of one host."""
    explained = [swapped(given) for given in sets]
    for given in sets:
        given.find_owners()
    for given in sets:
        given.elsewhere = {
            path: other.domain.name for other in sets if other is not given for path in other.found
        }
    return [_audit(given, pages) for given, pages in zip(sets, explained, strict=True)]


def _audit(given: Given, explained: Sequence[Interval]) -> Audit:
    others = judge_pages(given, explained)
    judge_lines(given)
    return Audit(
        domain=given.domain,
        devices=tuple(found for path in given.found for found in _devices(given, path)),
        others=tuple(others),
        doubted=frozenset(given.doubted | given.meant),
        problems=tuple(given.problems),
        notes=tuple(given.notes),
    )


def _devices(given: Given, path: str) -> Sequence[SetDevice]:
    """Return the device at `path`; nothing if its node is malformed, which is a problem."""
    device = given.host.device(path)
    if device is None:
        given.problems.append(given.host.malformed[path]._replace(where=given.found[path]))
        return ()
    nodes = given.nodes.get(path, ())
    own = given.host.own_pages(path)
    lines = given.own_lines(path)
    found = SetDevice(
        device=device,
        node=nodes[0].path if nodes else "",
        where=given.found[path],
        pages=tuple(given.given.common(own)),
        lines=tuple(i for i in lines if not given.domain.is_xl or i in given.intids),
        has_dtdev=path in given.dtdev or not given.domain.is_xl,
        is_right=path not in given.wrong,
    )
    return (found,)
