# SPDX-License-Identifier: Apache-2.0
"""Ranges of pages written in another unit than xl or Xen reads."""

from collections.abc import Iterator
from typing import NamedTuple

from west_viommu.audit.host import AuditedHost
from west_viommu.audit.records import Pages
from west_viommu.host.intervals import Interval
from west_viommu.hypervisor.pages import PAGE
from west_viommu.tree.addresses import Region

# A longer number is in no unit the size of a device.
_MOST_DIGITS = 16


class Slip(NamedTuple):
    """An entry that is `written` in another unit, the one that is `meant`, and the device that has
    exactly these pages.
    """

    written: Pages
    meant: Pages
    path: str
    hint: str


def slip_of(entry: Pages, host: AuditedHost) -> Slip | None:
    """Return the mistake of an `entry` in another unit: the first of its readings in other units
    that is exactly the registers of a host node. None if it maps only registers, or no reading
    fits.
    """
    if host.registers.has(*entry.host.ends):
        return None
    for base, size, hint in _readings(entry):
        path = host.regions.get(Interval(base, base + size - 1)) if size else None
        if path:
            region = Region(base, size)
            there = entry.guest if entry.moved else base
            if entry.node:
                there = entry.host.size
            meant = entry._replace(host=region, guest=there)
            return Slip(written=entry, meant=meant, path=path, hint=hint)
    return None


def _readings(entry: Pages) -> Iterator[tuple[int, int, str]]:
    """Yield the host address and the size that an entry has in other units, and the correction."""
    if entry.node:
        yield entry.host.base, entry.guest, "xen,reg has <host size guest>, in this order"
        return
    first, _, rest = entry.text.partition(",")
    count = rest.partition("@")[0].strip()
    for base, about_base in _bases(first.strip(), entry.host.base // PAGE):
        for size, about_size in _sizes(count, entry.host):
            hint = " and ".join(filter(None, (about_base, about_size)))
            if hint:
                yield base, size, hint


def _bases(text: str, number: int) -> Iterator[tuple[int, str]]:
    yield number * PAGE, ""
    if number % PAGE == 0:
        yield number, f"iomem has page numbers: {number:#x} is page {number // PAGE:x}"
    if text.isdecimal() and len(text) < _MOST_DIGITS:
        page = int(text)
        yield page * PAGE, f"page numbers are hexadecimal: {page} is {page:x}"


def _sizes(text: str, pages: Region) -> Iterator[tuple[int, str]]:
    count = pages.size // PAGE
    yield pages.size, ""
    whole = -(-count // PAGE)
    yield whole * PAGE, f"counts are in pages: write {whole:x} for {count:#x} bytes"
    if text.isdecimal() and len(text) < _MOST_DIGITS:
        yield int(text) * PAGE, f"counts are hexadecimal: write {int(text):x} for {text} pages"
    last = count - pages.base // PAGE
    if last >= 0:
        yield (last + 1) * PAGE, f"the second number is a count, not the last page: {last + 1:x}"
