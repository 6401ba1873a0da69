# SPDX-License-Identifier: Apache-2.0
"""Pages that a domain gets and that belong to no device of it: their owners, one line each."""

from collections.abc import Sequence
from typing import NamedTuple

from west_viommu.audit.given import Given
from west_viommu.audit.host import pages_text
from west_viommu.audit.records import Pages
from west_viommu.diagnostics import Severity, first_few
from west_viommu.host.intervals import Cover, Interval, merged
from west_viommu.hypervisor.holdings import Standing
from west_viommu.hypervisor.pages import PAGE
from west_viommu.hypervisor.roles import MEMORY, RESERVED


class Extra(NamedTuple):
    """Pages in the files that belong to no device of the domain; `owners`: the nodes that have
    them.
    """

    given: Pages
    pages: Interval
    owners: tuple[str, ...]


def tell_extras(extras: Sequence[Extra], given: Given) -> None:
    """Report pages of others, once for each owner."""
    _Extras(given).tell(extras)


class _Extras:
    """Reports the pages of others that one domain gets."""

    def __init__(self, given: Given):
        self._set = given

    def tell(self, extras: Sequence[Extra]) -> None:
        """Report pages of others, once for each owner."""
        told: dict[tuple[str, str], list[Extra]] = {}
        roles = self._set.host.holdings.role
        for extra in extras:
            owners = [path for path in extra.owners if not self._is_above_or_idle(path)]
            if self._set.host.set_aside.has(*extra.pages):
                owners = [path for path in owners if roles(path) != MEMORY]
            for owner in owners or [""]:
                told.setdefault((owner, "" if owner else extra.given.text), []).append(extra)
        for (owner, _), together in told.items():
            pages = merged(extra.pages for extra in together)
            own = Cover(self._set.host.own_pages(owner)).common(pages)
            self._tell_extra(owner, own or pages, together[0])

    def _tell_extra(self, owner: str, pages: Sequence[Interval], first: Extra) -> None:
        holdings = self._set.host.holdings
        given = first.given
        spans = ", ".join(first_few(map(pages_text, pages)))
        count = sum(interval.last + 1 - interval.first for interval in pages) // PAGE
        verb = "is" if count == 1 else "are"
        node = self._set.host.devices.tree.node(owner)
        role = holdings.role(owner) if owner else ""
        is_raw = bool(given.node) and not self._names_a_device(given.node)
        hint = "give the pages of the devices alone"
        if not owner:
            if is_raw:
                return
            what = f"no node of the host has registers on {spans}, nor a device of this set"
            self._set.add("extra", what, hint, given.where, given.node, found=given.text)
        elif role == RESERVED and node and "no-map" in node.properties:
            self._set.notes.append(f"{spans} {verb} reserved memory of the host, {owner}")
        elif role in (MEMORY, RESERVED):
            self._allowable(
                "shared-page" if role == RESERVED else "host-memory",
                f"{spans} {verb} the host's {role}, {owner}",
                "Xen may give that memory to anybody: set it aside in reserved-memory, with no-map",
                first,
                owner,
            )
        elif role:
            what = f"{spans} {verb} of {owner}, {role}"
            hint = "the guest could reach what Xen itself relies on"
            self._set.add("hypervisor-owned", what, hint, given.where, given.node, found=given.text)
        elif owner not in self._set.elsewhere and holdings.standing(owner) is Standing.OFF:
            # handle_device() in domain_build.c maps it whatever its status (4.17 to 4.22), and
            # dom0 does not use it.
            self._allowable(
                "page-shared-with-disabled",
                f"{spans} {verb} of {owner}, not enabled, which Xen maps into dom0 too",
                "give the guest the whole device, or mark it with xen,passthrough",
                first,
                owner,
                Severity.WARNING,
            )
        elif owner in self._set.elsewhere or holdings.standing(owner) is Standing.STAYS:
            domain = self._set.elsewhere.get(owner)
            self._allowable(
                "shared-page",
                f"{spans} {verb} of {owner}, which "
                + (f"{domain} is given" if domain else "stays with the host"),
                "two owners of one page: leave it out, or give the guest the whole device",
                first,
                owner,
            )
        else:
            what = f"{spans} {verb} of {owner}, of which nothing else is given"
            hint = "leave it out, or give the guest the whole device"
            self._set.add("extra", what, hint, given.where, given.node, found=given.text)

    def _allowable(
        self,
        hazard: str,
        what: str,
        hint: str,
        extra: Extra,
        owner: str,
        severity: Severity = Severity.ERROR,
    ) -> None:
        names = {owner, extra.given.node} - {""}
        names |= {path for path in self._set.found if self._shares(path, extra)}
        reason = self._set.allowed.use(hazard, names) if hazard == "shared-page" else None
        self._set.add(
            hazard,
            what,
            reason or hint,
            extra.given.where,
            extra.given.node,
            found=extra.given.text,
            severity=Severity.WARNING if reason else severity,
        )

    def _shares(self, path: str, extra: Extra) -> bool:
        return any(node.path == extra.given.node for node in self._set.nodes.get(path, ()))

    def _names_a_device(self, path: str) -> bool:
        return any(node.path == path for nodes in self._set.nodes.values() for node in nodes)

    def _is_above_or_idle(self, path: str) -> bool:
        """Return whether a node is a bus above a device of this set, which has the device's pages
        for that reason.
        """
        holdings = self._set.host.holdings
        is_above = any(found.startswith(f"{path}/") for found in self._set.found)
        return is_above and holdings.is_for_all(path)
