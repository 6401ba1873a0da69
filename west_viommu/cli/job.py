# SPDX-License-Identifier: Apache-2.0
"""The main job, whoever asks for it: host and guest in, the files of a run out."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from west_viommu.guest.requests import Asked
from west_viommu.guest.source import PASSTHROUGH, GuestTree
from west_viommu.host.devices import Devices
from west_viommu.names import HOST_OVERLAY, OVERLAY, PLAN, XL_CFG
from west_viommu.names import partial_tree as name_of
from west_viommu.plan.numbering import agreeing_toolstacks
from west_viommu.plan.partial import PartialTree, partial_tree
from west_viommu.plan.plan import plan
from west_viommu.plan.records import Plan, Terms
from west_viommu.problems import Problem, Refused, printable, rendered
from west_viommu.read.bindings import Bindings
from west_viommu.read.host import read_host, read_inventory
from west_viommu.read.settings import Settings, settings
from west_viommu.write.bindings import compatibles, generated_bindings
from west_viommu.write.host_overlay import host_overlay
from west_viommu.write.overlay import Origin, overlay
from west_viommu.write.partial_tree import Compilers, partial_tree_source
from west_viommu.write.plan_json import plan_json
from west_viommu.write.xl_cfg import xl_cfg


class Host(NamedTuple):
    """A host as it was named, its model, and its devices."""

    name: str
    model: str | None
    devices: Devices


class Done(NamedTuple):
    """What a job made: the plan, the files by name in the order of writing, the warnings, and what
    else to tell the user.
    """

    plan: Plan
    files: dict[str, bytes]
    warnings: tuple[Problem, ...]
    notes: tuple[str, ...]

    def tell(self) -> None:
        """Print warnings and notes to stderr."""
        for warning in self.warnings:
            print(rendered(warning), file=sys.stderr)
        for note in self.notes:
            print(f"note: {printable(note)}", file=sys.stderr)


def chosen_by(arguments: Namespace, app: str) -> Settings:
    """What options and environment say, then west's configuration, then viommu.yml. Raises
    Refused.
    """
    environment = os.environ.get
    return settings(
        {
            "host": arguments.host or environment("VIOMMU_HOST_DTB"),
            "profile": arguments.profile or environment("VIOMMU_PROFILE"),
            "vsid": arguments.vsid or environment("VIOMMU_VSID"),
        },
        app,
        arguments.config or environment("VIOMMU_CONFIG"),
    )


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
    trees, of_trees = _partial_trees(made, asked, guest, terms)
    problems = (*problems, *of_trees)
    if any(not problem.warning for problem in problems):
        raise Refused(problems)
    origin = Origin(
        host=_base_name(host.name),
        host_model=host.model,
        guests=tuple(map(_base_name, guest_names)),
        profile_was_chosen=profile_was_chosen,
    )
    sources = {name_of(each.toolstack, ".dts"): partial_tree_source(each) for each in trees}
    files: dict[str, str] = {}
    with Compilers(sources) as compilers:
        if binding_dirs:
            bus = guest.tree.node(PASSTHROUGH) or guest.tree.root
            known = Bindings(binding_dirs, compatibles(bus))
            files = generated_bindings(bus, [request.path for request in asked.requests], known)
        data = {name: text.encode() for name, text in files.items()}
        data |= _for_xen(made, sources, compilers.blobs())
    # Late: in a folder that has our overlay, a killed run left out the plan alone. Not all builds
    # look for that.
    data[OVERLAY] = overlay(made, origin).encode()
    data[PLAN] = plan_json(made, data).encode()
    return Done(made, data, problems, (*made.notes, *_notes(made, trees, data)))


def _partial_trees(
    made: Plan, asked: Asked, guest: GuestTree, terms: Terms
) -> tuple[list[PartialTree], tuple[Problem, ...]]:
    """The partial trees of those toolstacks that would give the guest the IDs of the plan, and what
    is wrong with them.
    """
    if asked.problems:
        return [], ()
    trees, problems = [], {}
    for toolstack in agreeing_toolstacks(made, terms):
        tree, of_tree = partial_tree(toolstack, made, guest)
        trees.append(tree)
        problems.update(dict.fromkeys(of_tree))
    return trees, tuple(problems)


def _notes(made: Plan, trees: Sequence[PartialTree], files: Mapping[str, bytes]) -> Iterator[str]:
    """What is not in the files for Xen."""
    for toolstack in made.profile.toolstacks:
        if toolstack not in (tree.toolstack for tree in trees):
            yield f"nothing for {toolstack}: it would give the guest other stream IDs than these"
    for path, names in trees[0].left_out.items() if trees else ():
        yield f"left out of {path} for Xen, whose guest has no such nodes: {', '.join(names)}"
    if trees and name_of(trees[0].toolstack, ".dtb") not in files:
        yield "no dtc: passthrough-*.dtb are missing; install device-tree-compiler"


def _for_xen(
    made: Plan, sources: Mapping[str, str], compiled: Mapping[str, bytes]
) -> dict[str, bytes]:
    """The files for Xen's side, by name: partial trees, `sources` and `compiled`, and the rest."""
    found = {name: text.encode() for name, text in sources.items()}
    found |= {name.replace(".dts", ".dtb"): blob for name, blob in compiled.items()}
    if name_of("libxl", ".dts") in sources:
        found[XL_CFG] = xl_cfg(made).encode()
    if sources:
        sizes = {name: len(data) for name, data in found.items()}
        found[HOST_OVERLAY] = host_overlay(made, sizes).encode()
    return found


def _base_name(path: str) -> str:
    """What to call a file in output that must not depend on where the file lies, nor on the locale
    by which Python read its name.
    """
    return os.fsencode(os.path.basename(os.path.abspath(path))).decode("utf-8", "surrogateescape")
