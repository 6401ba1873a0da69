# SPDX-License-Identifier: Apache-2.0
"""`viommu audit`: compare other people's files for Xen with the devices of the host."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from west_viommu.audit.host import AuditedHost
from west_viommu.audit.judge import audit_set
from west_viommu.audit.records import SetDomain
from west_viommu.cli.console import Console, tell
from west_viommu.cli.run import DONE, REFUSED, permission, settings_of_host
from west_viommu.diagnostics import bounded
from west_viommu.host.devices import Devices, Host
from west_viommu.hypervisor.assignment import Terms
from west_viommu.hypervisor.holdings import Holdings
from west_viommu.read.sets import Sets, read_sets
from west_viommu.read.settings import terms
from west_viommu.read.tree import inventory_of, read_host_tree
from west_viommu.tree.node import Tree
from west_viommu.write.audit_report import audit_json, audit_table


class Options(NamedTuple):
    """The arguments of the command."""

    files: list[str]
    host: str | None
    config: str | None
    xen_version: str | None
    profile: str | None
    allow: list[str]
    fix: bool
    include: list[str]
    define: list[str]
    format: str


def run(options: Options, console: Console) -> int:
    """Read host and set, judge, print. Return 1 if there is any mistake."""
    permissions = tuple(map(permission, options.allow))
    chosen = settings_of_host(options, (), console)
    name = chosen.host or ""
    agreed = terms(chosen)
    agreed = agreed._replace(permissions=(*agreed.permissions, *permissions))
    sets = read_sets(options.files, options.include, options.define)

    def host_of(tree: Tree) -> Host:
        inventory = inventory_of(name, tree)
        return Host(name, inventory.model, Devices(name, tree, inventory))

    host = host_of(read_host_tree(name, options.include, options.define))

    def terms_of(domain: SetDomain) -> Terms:
        has_vpl011 = domain.name in sets.has_vpl011
        return agreed._replace(domain=agreed.domain | {"vpl011"}) if has_vpl011 else agreed

    def with_tree(tree: Tree) -> Host:
        return host._replace(devices=host_of(tree).devices)

    audited = audit_set(sets.domains, sets.marks, sets.memory, host, terms_of, with_tree)
    problems = bounded((*sets.problems, *audited.problems))
    audited = audited._replace(problems=problems, notes=(*sets.notes, *audited.notes))
    console.report(problems)
    for note in audited.notes:
        console.note(note)
    if options.fix:
        tell(_diffs(sets, host, terms_of))
    elif options.format == "json":
        tell([audit_json(audited, agreed.profile.name)])
    else:
        console.result([audit_table(audited)])
    return REFUSED if any(not problem.warning for problem in problems) else DONE


def _diffs(sets: Sets, host: Host, terms_of: Callable[[SetDomain], Terms]) -> Iterator[str]:
    """Yield the diffs that correct the lists of each configuration of xl."""
    # Imported late: few runs need them.
    from west_viommu.audit.fix import right_lists
    from west_viommu.write.xl_diff import xl_diff

    for domain in sets.domains:
        config = sets.configs.get(domain.where.file)
        if config and domain.is_xl:
            agreed = terms_of(domain)
            holdings = Holdings(host.devices, agreed.profile, has_dom0=agreed.gives_rest)
            yield from xl_diff(config, right_lists(domain, AuditedHost(holdings, agreed)))
