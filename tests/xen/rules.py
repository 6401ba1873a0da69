# SPDX-License-Identifier: Apache-2.0
"""A second opinion on passthrough-dom0less.dtb and passthrough-xl.dtb: what Xen would say.

Written from what is known of Xen with libfdt; imports nothing from the package. The quoted
sentences are facts that were read in Xen's and libxl's source or seen on a running Xen with
version 3 of the vSMMU series.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tests.xen import lines, places, shape
from tests.xen.case import Case, case
from tests.xen.guest import (
    dom0less_guest_tree,
    dom0less_vsids,
    libxl_guest_tree,
    libxl_vsids,
)

__all__ = [
    "dom0less_faults",
    "dom0less_guest_tree",
    "dom0less_vsids",
    "libxl_faults",
    "libxl_guest_tree",
    "libxl_vsids",
    "unmarked",
]

Rule = Callable[[Case], Iterator[str]]

COMMON: tuple[Rule, ...] = (
    shape.first_child,
    shape.one_of_a_name,
    shape.bus,
    shape.nothing_on_passthrough,
    shape.aliases,
    shape.no_vsmmu,
    shape.one_gic,
    shape.phandles,
    shape.references,
    places.host_nodes,
    places.aligned,
    places.host_side,
    places.guest_side,
    places.registers,
    places.collisions,
    places.xen_windows,
    lines.interrupt_cells,
    lines.host_intids,
    lines.vsmmu_interrupt,
    lines.pairs,
    lines.host_ids,
    lines.has_iommus,
    lines.protected,
    lines.own_ids,
)
DOM0LESS: tuple[Rule, ...] = (
    shape.gic,
    places.pair,
    lines.gic_parent,
    lines.private_interrupts,
)
LIBXL: tuple[Rule, ...] = (lines.no_parent, lines.nested, shape.short_paths)


def dom0less_faults(partial: bytes, host: bytes) -> list[str]:
    """Every reason for which Xen, building the domain itself, would panic, misplace the device or
    give the guest a wrong tree; [] when it takes `partial` as it should.

    "dom0less reads /gic, /aliases, /passthrough"; "any mistake panics Xen at boot". Each rule's
    own sentence stands in its docstring.
    """
    return _faults(partial, host, (*COMMON, *DOM0LESS))


def libxl_faults(partial: bytes, host: bytes) -> list[str]:
    """The same for libxl: "libxl copies `/passthrough` (mandatory) and `/aliases` verbatim".

    xen,reg and xen,path mean nothing to it (its dtdev, irqs and iomem do their work), but they
    must be right where they are, and iommus cannot be judged without xen,path.
    """
    return _faults(partial, host, (*COMMON, *LIBXL))


def unmarked(partial: bytes, host: bytes) -> list[str]:
    """The assigned host nodes without `xen,passthrough`: "host nodes carry xen,passthrough;".

    For the host's tree with host.overlay applied.
    """
    found = case(partial, host)
    marked = [] if found is None else found.assigned()
    return [node.path for _, node in marked if "xen,passthrough" not in node.props]


def _faults(partial: bytes, host: bytes, rules: tuple[Rule, ...]) -> list[str]:
    try:
        found = case(partial, host)
    except ValueError as error:
        return [str(error)]
    if found is None:
        return ["no /passthrough"]
    return [fault for rule in rules for fault in rule(found)]
