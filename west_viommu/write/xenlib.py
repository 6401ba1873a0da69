# SPDX-License-Identifier: Apache-2.0
"""xenlib.h: the devices of a guest for a Zephyr dom0, which creates domains by zephyr-xenlib."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from west_viommu.hypervisor.pages import PAGE
from west_viommu.names import OVERLAY_FIRST_LINE
from west_viommu.plan.plan import Plan


def xenlib_header(plan: Plan) -> str:
    """The text: what a `struct xen_domain_cfg` (zephyr-xenlib, domain.h) has to say of devices."""
    return "".join(f"{line}\n" for line in _lines(plan))


def _lines(plan: Plan) -> Iterator[str]:
    intids = plan.intids
    paths = [device.host for device in plan.devices if device.is_protected]
    yield OVERLAY_FIRST_LINE
    yield " *"
    yield " * For zephyr-xenlib, after its domain.h: write VIOMMU_DEVICES, into the initializer of"
    yield " * the domain's struct xen_domain_cfg."
    yield " */"
    yield "#ifndef VIOMMU_XENLIB_H"
    yield "#define VIOMMU_XENLIB_H"
    yield ""
    rows = [
        f"{{.first_gfn = {pages.guest // PAGE:#x}, .first_mfn = {pages.host // PAGE:#x}, "
        f".nr_mfns = {pages.size // PAGE:#x}}}"
        for pages in plan.pages
    ]
    yield from _array("struct xen_domain_iomem viommu_iomems", rows)
    yield from _array("uint32_t viommu_irqs", [str(intid) for intid in intids])
    yield from _array("char *viommu_dtdevs", [_quoted(path) for path in paths])
    counts = (("iomems", rows), ("irqs", intids), ("dtdevs", paths))
    members = [
        f".{name} = {f'viommu_{name}' if items else 'NULL'}, .nr_{name} = {len(items)}"
        for name, items in counts
    ]
    yield "#define VIOMMU_DEVICES \\"
    yield ", \\\n".join(f"\t{member}" for member in members)
    yield ""
    yield "#endif"


def _array(declaration: str, items: Sequence[str]) -> Iterator[str]:
    """An array with `items`; none where it would be empty, which C does not know."""
    if items:
        yield f"static {declaration}[] = {{"
        yield from (f"\t{item}," for item in items)
        yield "};"
        yield ""


def _quoted(text: str) -> str:
    """A string of C. Octal escapes end after three digits, whatever follows."""
    return '"' + "".join(map(_escaped, text.encode())) + '"'


def _escaped(byte: int) -> str:
    is_plain = 0x20 <= byte < 0x7F and byte not in b'"\\?'
    return chr(byte) if is_plain else f"\\{byte:03o}"
