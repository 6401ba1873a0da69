# SPDX-License-Identifier: Apache-2.0
"""The places in host RAM at which the boot loader puts Xen, its tree and the modules of domains.

The rules were seen with Debian's U-Boot 2023.01 and 2025.01, Xen 4.17 and 4.20: a module in
reserved memory or outside RAM stops Xen; U-Boot itself lies at the top of RAM ("would overwrite
reserved memory"); booti leaves an image in its place if that is aligned to 2 MiB.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from west_viommu.diagnostics import Diagnostic, Severity, Where
from west_viommu.system.kernels import Kernel
from west_viommu.tree.addresses import Region

ALIGNMENT = 2 << 20
_PAGE = 4096
# At each end of a bank: its end belongs to U-Boot, its beginning often to firmware and to the
# script itself.
_ABOVE = 64 << 20
_BELOW = 16 << 20


class Module(NamedTuple):
    """A file in RAM: its `name` in messages and as a key, the bytes that it needs there, and the
    address, if the user chose one at `where`.
    """

    name: str
    size: int
    address: int | None = None
    where: Where | None = None


class Layout(NamedTuple):
    """The region of each module by its name, and the problems of the addresses."""

    places: Mapping[str, Region]
    problems: tuple[Diagnostic, ...]


def layout(modules: Sequence[Module], ram: Sequence[Region], taken: Mapping[Region, str]) -> Layout:
    """Return a place for each of `modules`: the address that the user chose, or the lowest free one
    in `ram`, outside `taken` (each region with its name), aligned to 2 MiB.
    """
    chosen = [module for module in modules if module.address is not None]
    places = {m.name: Region(m.address, m.size) for m in chosen if m.address is not None}
    problems = [wrong for module in chosen for wrong in _judged(module, places, ram, taken)]
    free = _free(ram, (*taken, *places.values()))
    left = []
    for module in modules:
        if module.address is None:
            place = next(_fits(free, module.size), None)
            if place is None:
                left.append(module)
                continue
            places[module.name] = place
            free = [rest for part in free for rest in _without(part, place)]
    if left:
        problems.append(_no_room(left, ram))
    return Layout(places, tuple(problems))


def _judged(
    module: Module,
    places: Mapping[str, Region],
    ram: Sequence[Region],
    taken: Mapping[Region, str],
) -> Iterator[Diagnostic]:
    """Yield the problems of the address that the user chose for `module`."""
    place = places[module.name]

    def wrong(
        what: str, hint: str, expected: str, severity: Severity = Severity.ERROR
    ) -> Diagnostic:
        return Diagnostic(
            id="load-address",
            what=what,
            hint=hint,
            expected=expected,
            found=str(place),
            where=module.where,
            severity=severity,
        )

    leave_out = "leave the address out to have a free one chosen"
    below = [(region, name) for region, name in taken.items() if region.overlaps(place)]
    if ram and not any(bank.base <= place.base and place.end <= bank.end for bank in ram):
        yield wrong(
            f"{module.name} does not lie in the host's RAM",
            f"choose an address in RAM, or {leave_out}",
            " or ".join(map(str, ram[:4])),
        )
    elif below:
        names = " and ".join(name for _, name in below[:3])
        regions = " and ".join(str(region) for region, _ in below[:3])
        yield wrong(f"{module.name} lies on {names}", leave_out, f"memory outside {regions}")
    elif place.base % _PAGE:
        yield wrong(
            f"the address of {module.name} is not aligned to a page",
            "Xen gives the memory back by whole pages: align it to 4 KiB",
            "a multiple of 0x1000",
            Severity.WARNING,
        )
    for name, other in places.items():
        # Of two that overlap, the one at the higher address gets the error.
        if name != module.name and other.overlaps(place) and (other, name) < (place, module.name):
            yield wrong(
                f"{module.name} overlaps {name}",
                leave_out,
                f"an address from {_up(other.end):#x} on",
            )


def _free(ram: Iterable[Region], taken: Iterable[Region]) -> list[Region]:
    free = [
        Region(bank.base + _BELOW, bank.size - _BELOW - _ABOVE)
        for bank in ram
        if bank.size > _BELOW + _ABOVE
    ]
    for region in taken:
        free = [rest for part in free for rest in _without(part, region)]
    return free


def _without(part: Region, region: Region) -> Iterator[Region]:
    """Yield the parts of `part` outside `region`."""
    if not region.overlaps(part):
        yield part
        return
    if part.base < region.base:
        yield Region(part.base, region.base - part.base)
    if region.end < part.end:
        yield Region(region.end, part.end - region.end)


def _fits(free: Iterable[Region], size: int) -> Iterator[Region]:
    """Yield the places for `size` bytes, the lowest of each free part."""
    for part in sorted(free):
        base = _up(part.base)
        if base + size <= part.end:
            yield Region(base, size)


def _no_room(modules: Sequence[Module], ram: Sequence[Region]) -> Diagnostic:
    names = " and ".join(module.name for module in modules)
    if not ram:
        return Diagnostic(
            id="load-address",
            what=f"no address can be chosen for {names}: the host tree states no RAM",
            hint="give the RAM by --ram BASE:SIZE, or the board's /proc/device-tree as --host: "
            "there the boot loader has filled it in",
            expected="a memory node with reg",
            found="none",
        )
    sizes = " and ".join(f"{module.size:#x}" for module in modules)
    return Diagnostic(
        id="load-address",
        what=f"there is no room for {names} in the host's RAM",
        hint="choose an address by --load NAME=ADDRESS, or make the files smaller",
        expected=f"{sizes} bytes, aligned to 2 MiB, outside reserved memory and the last 64 MiB of "
        "a bank",
        found=" ".join(map(str, ram[:4])),
    )


def needed_memory(kernel: Kernel, tree_size: int, ramdisk_size: int) -> int:
    """Return the bytes that the first bank of a domain's memory must have at least: the kernel,
    and its tree and its ramdisk in whole 2 MiB (place_modules() in arch/arm/kernel.c, 4.17: "Not
    enough memory in the first bank for the kernel+dtb+initrd").
    """
    whole = [_up(tree_size), _up(ramdisk_size), _up(kernel.offset + kernel.extent)]
    return sum(whole)


def _up(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
