# SPDX-License-Identifier: Apache-2.0
"""The main job as functions, for a build tool in Python: without west, argparse or stderr.

>>> from west_viommu.api import plan, read_guest, read_host, render, write
>>> host = read_host("host.dts")
>>> guest = read_guest(["guest.overlay"])
>>> planned = plan(host, guest, profile="xen-v3-dom0less")
>>> for device in planned.plan.devices:
...     print(device.node, [stream.vmaster for stream in device.streams])
/passthrough/ethernet@e0100000 [0]
/passthrough/dma-controller@e0200000 [1]
>>> planned.warnings
()
>>> files = render(planned)
>>> list(files)[-2:]
['viommu.overlay', 'viommu.json']
>>> write(files, "out")

A request that cannot be right is refused, with all its mistakes:

>>> from west_viommu.api import Refused
>>> other = read_host("host-of-tomorrow.dts")  # there, the Ethernet MAC has another stream ID
>>> try:
...     plan(other, guest)
... except Refused as refused:
...     for problem in refused.problems:
...         print(problem.id, problem.where)
...         print(problem.hint)
stream-mismatch Where(file='guest.overlay', line=18)
write iommus = <0x0 0x50>;
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from west_viommu.diagnostics import Diagnostic, Refused, Where, bounded, refusal, rendered
from west_viommu.guest.requests import Guest, asked
from west_viommu.guest.source import PASSTHROUGH, GuestTree
from west_viommu.host.devices import Devices, Host
from west_viommu.hypervisor.assignment import Explicit, Extra, Permission, Terms
from west_viommu.hypervisor.drivers import has_smmuv3
from west_viommu.names import (
    BINDINGS,
    HOST_OVERLAY,
    OVERLAY,
    PLAN,
    VSMMU_COMPATIBLE,
    VSMMU_LABEL,
    XENLIB,
    XL_CFG,
)
from west_viommu.names import partial_tree as name_of
from west_viommu.plan.guest_tree import limits
from west_viommu.plan.partial import PartialTree, partial_tree
from west_viommu.plan.planning import Planned, planned
from west_viommu.read.settings import Settings, terms
from west_viommu.read.tree import inventory_of, malformed_host, read_host_tree
from west_viommu.tree.addresses import Region
from west_viommu.tree.cells import TreeError
from west_viommu.tree.node import Node
from west_viommu.write.documents import plan_json
from west_viommu.write.files import Output
from west_viommu.write.host_overlay import host_overlay
from west_viommu.write.overlay import overlay
from west_viommu.write.trees import Compilers, partial_tree_source
from west_viommu.write.xl import xenlib_header, xl_cfg

if TYPE_CHECKING:
    from west_viommu.extract.copy import Copied
    from west_viommu.read.bindings import Declared

__all__ = [
    "Explicit",
    "Extra",
    "Guest",
    "Host",
    "Output",
    "Permission",
    "Planned",
    "Diagnostic",
    "Refused",
    "Region",
    "Where",
    "plan",
    "read_guest",
    "read_host",
    "render",
    "rendered",
    "write",
]


def read_host(
    path: str | os.PathLike[str], include_dirs: Sequence[str] = (), defines: Sequence[str] = ()
) -> Host:
    """Return the host in `path`: a blob, a .dts, or a directory in /proc/device-tree form. For
    source, the preprocessor gets `include_dirs`, and `defines` as NAME or NAME=VALUE.

    Raises Refused if it cannot be read, is malformed, or is the tree that Xen made for dom0.
    """
    name = os.fspath(path)
    tree = read_host_tree(name, include_dirs, defines)
    inventory = inventory_of(name, tree)
    return Host(name, inventory.model, Devices(name, tree, inventory))


# Properties that a binding need not name (edtlib), or that our binding adds to every passthrough
# device.
_ALWAYS = frozenset({"compatible", "status", "reg", "interrupts", "ranges", "dma-coherent"})


def binding_directories(named: str | None, zephyr_base: str | None = None) -> list[str]:
    """Return the folders of Zephyr's bindings: the one that is `named`, or that of `zephyr_base`.
    Raises Refused if the first does not exist.
    """
    if named and not os.path.isdir(named):
        what, hint = "there is no such folder of bindings", "in Zephyr it is dts/bindings"
        raise refusal("unreadable", what, hint, named)
    if named:
        return [named]
    return [os.path.join(zephyr_base, BINDINGS)] if zephyr_base else []


def copied_node(host: Host, node: Node, bindings: Sequence[str], along: Sequence[str]) -> Copied:
    """Return the guest node for the host's `node`. With folders of Zephyr's `bindings`, it has only
    properties that its binding declares, and remarks on those that the binding requires. `along`:
    the paths of all nodes of the guest.
    """
    from west_viommu.extract.copy import copied

    known = None
    try:
        if bindings:
            from west_viommu.read.bindings import declared

            known = declared(node.compatible, bindings)
        made = copied(node, host.devices, known and known.properties | _ALWAYS, along)
    except TreeError as error:
        raise Refused([malformed_host(host.name, error)]) from None
    return made._replace(remarks=tuple(_of_binding(made, known))) if bindings else made


def _of_binding(made: Copied, known: Declared | None) -> Iterator[str]:
    if known is None:
        yield "Zephyr has no binding for it, and so no driver: the properties are the host's"
        return
    yield f"Zephyr's binding: {known.compatible}"
    present = {prop.name for prop in made.properties} | {"compatible"}
    for name, kind in known.required:
        if name not in present:
            yield f"Zephyr requires: {name} ({kind}), by its binding of {known.compatible}"


def read_guest(
    paths: Sequence[str | os.PathLike[str]],
    include_dirs: Sequence[str] = (),
    defines: Sequence[str] = (),
) -> Guest:
    """Return the guest of the files `paths`, in the order in which the devicetree compiler gets
    them: a base (.dts or .dtb), a base and overlays (source, with /plugin/ or without, or .dtbo),
    or overlays alone. Raises Refused.
    """
    with reading_guest(paths, include_dirs, defines) as guest:
        return guest()


@contextmanager
def reading_guest(
    paths: Sequence[str | os.PathLike[str]],
    include_dirs: Sequence[str] = (),
    defines: Sequence[str] = (),
) -> Iterator[Callable[[], Guest]]:
    """Start the preprocessor for `read_guest`, and yield the function that returns the guest, so
    that the caller can read other inputs meanwhile. Both raise Refused.
    """
    # Imported late: a build tool with a tree of its own need not pay for it.
    from west_viommu.read.source import reading_guest as reading

    names = tuple(os.fspath(path) for path in paths)
    with reading(names, include_dirs, defines) as tree:
        yield lambda: guest_of(names, tree())


def guest_of(names: Iterable[str], tree: GuestTree) -> Guest:
    """Return the guest of a `tree` that was already read; messages name `names` as its sources."""
    return Guest(tuple(names), tree, asked(tree))


def plan(
    host: Host,
    guest: Guest,
    *,
    profile: str | None = None,
    vsid: str | None = None,
    domain: Iterable[str] = (),
    allow: Sequence[Permission] = (),
    vsids: Sequence[Explicit] = (),
    regions: Sequence[Extra] = (),
    has_dom0: bool = True,
) -> Planned:
    """Return the plan that gives the devices of `host` to `guest`.

    `profile` is the name or the path of a profile (default: xen-rfc), `vsid` a policy (default: the
    profile's). The others are as in viommu.yml: features of the `domain`, hazards to `allow`, the
    `vsids` of the policy explicit, `regions` that drivers need besides those of the host nodes, and
    whether there is a dom0. Messages point at the place that each of them carries.

    Raises Refused, with its problems, if an error forbids the files, or if the guest requests
    nothing. It has the first problems of each hazard, and one with the number of the rest in
    `more`.
    """
    chosen = Settings(
        host=None,
        profile=profile,
        vsid=vsid,
        files=(),
        domain=frozenset(domain),
        permissions=tuple(allow),
        explicit=tuple(vsids),
        has_dom0=has_dom0,
        extra=tuple(regions),
    )
    return planned_by(host, guest, chosen)


def planned_by(host: Host, guest: Guest, chosen: Settings) -> Planned:
    """Return the plan, as `plan` does, by settings that were read. Raises Refused."""
    if not guest.asks:
        raise Refused([*guest.asked.problems, _nothing_asked_for(guest)])
    agreed = terms(chosen)
    found = planned(host, guest, agreed)
    trees, of_trees = _partial_trees(found)
    found, trees, of_limits = _limited(found, trees, agreed)
    problems = bounded((*found.problems, *of_trees, *of_limits))
    if any(not problem.warning for problem in problems):
        raise Refused(problems)
    was_chosen = bool(chosen.profile)
    return found._replace(problems=problems, trees=trees, profile_was_chosen=was_chosen)


def render(planned: Planned, binding_dirs: Sequence[str] = ()) -> dict[str, bytes]:
    """Return the files of `planned` by name (`dts/bindings/...` has folders), in the order of
    writing: viommu.json, which has the sums of the others, is the last.

    With `binding_dirs`, the directories of Zephyr's bindings and of the application's, there is a
    binding for each device. Without dtc, the blobs are missing. Raises Refused if dtc rejects a
    partial tree.
    """
    guest = planned.guest
    sources = {name_of(tree.toolstack, ".dts"): partial_tree_source(tree) for tree in planned.trees}
    bindings: dict[str, str] = {}
    with Compilers(sources) as compilers:
        if binding_dirs:
            # Imported late: only a build with Zephyr has bindings.
            from west_viommu.read.bindings import bindings_in
            from west_viommu.write.bindings import compatibles, generated_bindings

            bus = guest.tree.tree.node(PASSTHROUGH) or guest.tree.tree.root
            known = bindings_in(binding_dirs, compatibles(bus))
            asking = [*guest.asked.paths, *guest.asked.disabled]
            viommu = planned.profile.viommu
            given = guest.tree.given(f"/{viommu.node_name}", VSMMU_LABEL) if viommu else frozenset()
            bindings = generated_bindings(bus, asking, known, viommu, given)
        files = {name: text.encode() for name, text in bindings.items()}
        has_own_binding = f"{BINDINGS}/{VSMMU_COMPATIBLE}.yaml" in bindings
        text = overlay(planned, has_own_binding=has_own_binding)
        files |= _for_xen(planned, sources, compilers.blobs())
    # Last: if a run is killed before this point, a folder with our overlay lacks only the plan. Not
    # all builds look for the plan.
    files[OVERLAY] = text.encode()
    files[PLAN] = plan_json(planned.plan, files).encode()
    return files


def write(files: Mapping[str, bytes], folder: str | os.PathLike[str]) -> None:
    """Write `files` into `folder`, as docs/reliability.md describes, and replace the files of an
    earlier run. Raises Refused if the folder cannot be written, or has a file of such a name that
    is not ours.

    A build step that must leave nothing stale if it is refused does all its work within `with
    Output(folder) as output:`, and ends it by `output.write(files)`.
    """
    with Output(Path(folder)) as output:
        output.write(files)


def _partial_trees(
    planned: Planned,
) -> tuple[tuple[PartialTree, ...], tuple[Diagnostic, ...]]:
    """Return the partial trees for the toolstacks that can make the domain, and their problems."""
    guest, profile = planned.guest, planned.profile
    if guest.asked.errors:
        return (), ()
    trees, problems = [], {}
    for toolstack in profile.toolstacks:
        if toolstack not in planned.hindered:
            devices, gic = planned.plan.devices, guest.asked.gic
            tree, of_tree = partial_tree(toolstack, devices, gic, guest.tree, profile)
            trees.append(tree)
            problems.update(dict.fromkeys(of_tree))
    return tuple(trees), tuple(problems)


def _limited(
    planned: Planned, trees: tuple[PartialTree, ...], agreed: Terms
) -> tuple[Planned, tuple[PartialTree, ...], tuple[Diagnostic, ...]]:
    """Return the parts of a plan and its trees that fit the tree that Xen makes for the guest, and
    a problem for each limit exceeded.
    """
    own = next((tree for tree in trees if tree.toolstack == "dom0less"), None)
    if own is None:
        return planned, trees, ()
    found = limits(own, planned.guest.tree, planned.host.devices, agreed, is_only=len(trees) == 1)
    planned = planned._replace(plan=planned.plan._replace(tree_bytes=found.tree_bytes))
    if found.hindered and len(trees) > 1:
        trees = tuple(tree for tree in trees if tree is not own)
        hindered = {**planned.hindered, "dom0less": found.hindered}
        planned = planned._replace(hindered=hindered)
    return planned, trees, found.problems


def _for_xen(
    planned: Planned, sources: Mapping[str, str], compiled: Mapping[str, bytes]
) -> dict[str, bytes]:
    """Return the files for Xen's side, by name: partial trees, `sources` and `compiled`, and the
    rest.
    """
    plan, profile = planned.plan, planned.profile
    files = {name: text.encode() for name, text in sources.items()}
    files |= {name.replace(".dts", ".dtb"): blob for name, blob in compiled.items()}
    if name_of("libxl", ".dts") in sources:
        is_smmuv3 = has_smmuv3(planned.host.devices, plan.iommus)
        text = xl_cfg(plan, profile, has_smmuv3=is_smmuv3)
        files[XL_CFG] = text.encode(errors="surrogateescape")
        files[XENLIB] = xenlib_header(plan).encode()
    if sources:
        sizes = {name: len(data) for name, data in files.items()}
        files[HOST_OVERLAY] = host_overlay(plan, profile, sizes).encode()
    return files


def _nothing_asked_for(guest: Guest) -> Diagnostic:
    tree = guest.tree.tree
    hint = (
        f'give a node below {PASSTHROUGH} `iommus = <0x0 STREAM-ID>;` or `xen,path = "HOST-NODE";`'
    )
    what = "the guest tree asks for no device"
    where = guest.tree.locate(PASSTHROUGH, "") if tree.node(PASSTHROUGH) else None
    if tree.node(PASSTHROUGH) is None:
        what += f": it has no {PASSTHROUGH}"
        if any("#iommu-cells" in node.properties for node in tree.nodes()):
            hint = f"if this is the host's tree, name it with --host; in the guest's, {hint}"
    return Diagnostic(id="malformed", what=what, hint=hint, where=where or Where(guest.names[0]))
