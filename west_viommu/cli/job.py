# SPDX-License-Identifier: Apache-2.0
"""The main job, whoever asks for it: host and guest in, the files of a run out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

from west_viommu.guest.requests import Asked
from west_viommu.guest.source import PASSTHROUGH, GuestTree
from west_viommu.host.devices import Devices
from west_viommu.names import OVERLAY, PLAN
from west_viommu.plan.plan import plan
from west_viommu.plan.records import Plan, Terms
from west_viommu.problems import Problem, Refused
from west_viommu.read.bindings import Bindings
from west_viommu.read.host import read_host, read_inventory
from west_viommu.write.bindings import compatibles, generated_bindings
from west_viommu.write.overlay import Origin, overlay
from west_viommu.write.plan_json import plan_json


class Host(NamedTuple):
    """A host as it was named, its model, and its devices."""

    name: str
    model: str | None
    devices: Devices


class Done(NamedTuple):
    """What a job made: the plan, the files by name in the order of writing, and the warnings."""

    plan: Plan
    files: dict[str, bytes]
    warnings: tuple[Problem, ...]


def host(name: str, include_dirs: Sequence[str] = (), defines: Sequence[str] = ()) -> Host:
    """The host in file or directory `name`; the rest is for the preprocessor, if it is source.
    Raises Refused.
    """
    tree = read_host(name, include_dirs, defines)
    inventory = read_inventory(name, tree)
    return Host(name, inventory.model, Devices(name, tree, inventory))


def done(
    host: Host,
    guest: GuestTree,
    asked: Asked,
    guest_names: Sequence[str],
    terms: Terms,
    *,
    profile_was_chosen: bool,
    binding_dirs: Sequence[str],
) -> Done:
    """Plan and render what was `asked`. Raises Refused with every problem of the requests.

    `binding_dirs`: the directories of Zephyr's bindings; () where they are not known, and no
    bindings are generated.
    """
    made, problems = plan(asked, guest, host.devices, terms)
    if any(not problem.warning for problem in problems):
        raise Refused(problems)
    origin = Origin(
        host=_base_name(host.name),
        host_model=host.model,
        guests=tuple(map(_base_name, guest_names)),
        profile_was_chosen=profile_was_chosen,
    )
    files = {OVERLAY: overlay(made, origin)}
    if binding_dirs:
        bus = guest.tree.node(PASSTHROUGH) or guest.tree.root
        known = Bindings(binding_dirs, compatibles(bus))
        files |= generated_bindings(bus, [request.path for request in asked.requests], known)
    data = {name: text.encode() for name, text in files.items()}
    data[PLAN] = plan_json(made, data).encode()
    return Done(made, data, problems)


def _base_name(path: str) -> str:
    """What to call a file in output that must not depend on where the file lies."""
    return os.path.basename(os.path.abspath(path))
