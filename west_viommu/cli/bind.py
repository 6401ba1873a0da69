# SPDX-License-Identifier: Apache-2.0
"""`viommu bind`: guest tree + host tree -> the overlay that binds them, and the plan."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from west_viommu.cli.arguments import PROFILES
from west_viommu.cli.run import UsageError, host_of
from west_viommu.generated import OVERLAY, PLAN
from west_viommu.guest.requests import PASSTHROUGH, requests
from west_viommu.guest.source import GuestTree
from west_viommu.host.devices import Devices
from west_viommu.host.inventory import Inventory
from west_viommu.plan.plan import plan
from west_viommu.plan.records import Plan, Profile
from west_viommu.problems import Problem, Refused, Where, rendered
from west_viommu.read.host import read_host, read_inventory
from west_viommu.read.profiles import profile
from west_viommu.read.source import guest_tree
from west_viommu.tree.node import Tree
from west_viommu.write.files import Output
from west_viommu.write.overlay import Origin, overlay
from west_viommu.write.plan_json import plan_json
from west_viommu.write.plan_table import plan_table

T = TypeVar("T")


def run(arguments: Namespace) -> None:
    """Read both trees, plan, write. Raises Refused with all that is wrong with either."""
    host = host_of(arguments)
    if not arguments.guests:
        raise UsageError("name the guest's devicetree source: GUEST.overlay or GUEST.dts")
    chosen = profile(arguments.profile or PROFILES[0])
    output = Output(Path(arguments.output))
    output.begin()
    try:
        (tree, inventory), guest = _trees(host, arguments)
        devices = Devices(host, tree, inventory)
        made = _plan(guest, devices, chosen, arguments.guests[0])
    except Refused:
        output.remove()
        raise
    origin = Origin(
        host=_base_name(host),
        host_model=inventory.model,
        guests=tuple(map(_base_name, arguments.guests)),
        profile_was_chosen=bool(arguments.profile),
    )
    files = {OVERLAY: overlay(made, origin).encode()}
    files[PLAN] = plan_json(made, files).encode()
    output.write(files)
    if not origin.profile_was_chosen:
        print(f"note: no --profile: this assumes {chosen.about}", file=sys.stderr)
    sys.stdout.write(plan_table(made, [str(output.folder / name) for name in files]))


def _trees(host: str, arguments: Namespace) -> tuple[tuple[Tree, Inventory], GuestTree]:
    """The host and the guest. What is wrong with the one does not hide the other's problems."""
    problems: list[Problem] = []

    def tried(read: Callable[[], T]) -> T | None:
        try:
            return read()
        except Refused as refused:
            problems.extend(refused.problems)
            return None

    def read_both() -> tuple[Tree, Inventory]:
        tree = read_host(host)
        return tree, read_inventory(host, tree)

    host_side = tried(read_both)
    guest_side = tried(lambda: guest_tree(arguments.guests, arguments.include, arguments.define))
    if host_side is None or guest_side is None:
        raise Refused(problems)
    return host_side, guest_side


def _plan(guest: GuestTree, devices: Devices, chosen: Profile, guest_name: str) -> Plan:
    """The plan for all requests of `guest`; its warnings go to stderr. Raises Refused."""
    found, problems = requests(guest)
    if not found and not problems:
        raise Refused(
            [
                Problem(
                    "malformed",
                    "the guest tree asks for no device",
                    f"give a node below {PASSTHROUGH} `iommus = <0x0 STREAM-ID>`, or xen,path",
                    where=Where(guest_name),
                )
            ]
        )
    made, planned_problems = plan(found, guest, devices, chosen)
    problems += planned_problems
    if any(not problem.warning for problem in problems):
        raise Refused(problems)
    for warning in problems:
        print(rendered(warning), file=sys.stderr)
    return made


def _base_name(path: str) -> str:
    """What to call a file in output that must not depend on where the file lies."""
    return os.path.basename(os.path.abspath(path))
