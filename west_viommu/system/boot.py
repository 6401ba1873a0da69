# SPDX-License-Identifier: Apache-2.0
"""The boot of a system: whether its domains fit the host and the limits of Xen, and the address at
which the boot loader puts each file.
"""

from collections.abc import Iterator, Mapping, Sequence

from west_viommu.diagnostics import Diagnostic, Where
from west_viommu.host.devices import Devices, reserved
from west_viommu.host.devices import ram as ram_of
from west_viommu.plan.guest_tree import too_large
from west_viommu.system.judge import together
from west_viommu.system.kernels import Kernel
from west_viommu.system.layout import ALIGNMENT, Layout, Module, layout, needed_memory
from west_viommu.system.records import (
    Boot,
    Dom0,
    Domain,
    DomainFile,
    DomainFiles,
    Load,
    SystemTerms,
)
from west_viommu.tree.addresses import Region
from west_viommu.tree.interrupts import GICV3

XEN, TREE = "Xen", "xen.dtb"
KERNEL, RAMDISK, PASSTHROUGH = "kernel", "ramdisk", "partial tree"
# Xen accepts no larger tree (MAX_FDT_SIZE in asm/setup.h, 4.17), and a boot loader may add to it.
_TREE_BYTES = 2 << 20
# vgic_v2_init() and vgic_v3_init(): the most CPUs of a guest's GIC.
_MOST_CPUS = {"GICv2": 8, "GICv3": 128}
_MIB = 20
_ENDLESS = 1 << 64
_DOM0 = "dom0"


def module(kind: str, domain: str) -> str:
    """Return the name of a file of a domain in messages."""
    return f"the {kind} of {domain}"


def files_of(domain: Domain, files: DomainFiles) -> Iterator[tuple[str, DomainFile, int | None]]:
    """Yield the files that the boot loader loads for a domain that Xen creates: the kind of each,
    the file, and its address, if it has one.
    """
    tree = files.trees.get("dom0less")
    if files.kernel and tree:
        yield KERNEL, files.kernel, domain.load.kernel
        if files.ramdisk:
            yield RAMDISK, files.ramdisk, domain.load.ramdisk
        yield PASSTHROUGH, tree, domain.load.passthrough


def is_placed(domain: Domain, files: DomainFiles) -> bool:
    """Return whether every file of a domain that Xen creates has an address."""
    found = list(files_of(domain, files))
    return bool(found) and all(address is not None for _, _, address in found)


def files_of_dom0(dom0: Dom0) -> Iterator[tuple[str, DomainFile, int | None]]:
    """Yield the files of dom0, as `files_of` does."""
    yield KERNEL, dom0.kernel, dom0.load.kernel
    if dom0.ramdisk:
        yield RAMDISK, dom0.ramdisk, dom0.load.ramdisk


def boot(
    domains: Sequence[Domain],
    files: Mapping[str, DomainFiles],
    devices: Devices,
    terms: SystemTerms,
    dom0: Dom0 | None = None,
    ram: Sequence[Region] = (),
    xen_size: int = ALIGNMENT,
) -> Boot:
    """Return the boot of `domains`. `ram`: the RAM of the host, if its tree does not state it."""
    banks = tuple(ram) or ram_of(devices)
    # A domain with more memory than its own devices leave it has an error already.
    fitting = [d for d in domains if d.memory << _MIB <= (d.plan.memory_limit or _ENDLESS)]
    memory = [(d.memory, d.place("memory")) for d in fitting]
    too_much = list(_of_ram(ram, devices)) or list(together(memory, banks))
    problems = [*_limits(domains, files, devices, terms), *too_much]
    if dom0 and isinstance(dom0.image, str):
        problems.append(_no_kernel(module(KERNEL, _DOM0), dom0.image, dom0.where))
    loaded = [
        (domain.name, domain.place("load"), part)
        for domain in domains
        for part in files_of(domain, files[domain.name])
    ]
    loaded += [(_DOM0, dom0.where, part) for part in files_of_dom0(dom0)] if dom0 else []
    wanted = [
        Module(module(kind, name), file.size, address, where)
        for name, where, (kind, file, address) in loaded
    ]
    places = {domain.name: domain.place("ramdisk") for domain in domains}
    if dom0:
        places[_DOM0] = dom0.where
    problems += [
        _empty(module(kind, name), file, places[name])
        for name, _, (kind, file, _) in loaded
        if kind == RAMDISK and not file.size
    ]
    can_choose = banks and not too_much
    if not can_choose:
        # No address can be chosen; the user's are still compared with each other.
        wanted = [each for each in wanted if each.address is not None]
    own = [Module(XEN, xen_size), Module(TREE, _TREE_BYTES)] if can_choose else []
    found = layout([*own, *wanted], banks, reserved(devices))
    return Boot(
        domains=tuple(d._replace(load=_load(d.name, found)) for d in domains),
        dom0=dom0._replace(load=_load(_DOM0, found)) if dom0 else None,
        xen=found.places.get(XEN),
        tree=found.places.get(TREE),
        problems=(*problems, *found.problems),
    )


def _of_ram(ram: Sequence[Region], devices: Devices) -> Iterator[Diagnostic]:
    """Yield the first mistake in the `ram` that the user gave: it overlaps itself, or a device with
    an interrupt, which is no part of RAM.
    """
    others = [
        (region, f"{node.path} has registers at {region}")
        for node in (devices.tree.nodes() if ram else ())
        if "interrupts" in node.properties or "interrupts-extended" in node.properties
        for region in devices.index.regions(node)
        if region
    ]
    for number, bank in enumerate(ram):
        others += [(other, f"--ram gives {other} as well") for other in ram[:number]]
        for region, what in others:
            if region.overlaps(bank):
                yield Diagnostic(
                    id="load-address",
                    what=f"the host's RAM cannot be there: {what}",
                    hint="give each bank by a --ram of its own: its start, and its size",
                    found=str(bank),
                    where=Where("--ram"),
                )
                return


def _load(name: str, found: Layout) -> Load:
    """Return the addresses of the files of a domain."""
    places = (found.places.get(module(kind, name)) for kind in (KERNEL, PASSTHROUGH, RAMDISK))
    return Load(*(place.base if place else None for place in places))


def _limits(
    domains: Sequence[Domain],
    files: Mapping[str, DomainFiles],
    devices: Devices,
    terms: SystemTerms,
) -> Iterator[Diagnostic]:
    """Yield the reasons why Xen would not create a domain."""
    gic, has_xen = devices.index.gic, bool(terms.profile.toolstacks)
    version = "GICv3" if gic and GICV3 in gic.compatible_for_xen else "GICv2"
    for domain in domains:
        made_of = files[domain.name]
        if has_xen and domain.cpus > _MOST_CPUS[version]:
            yield Diagnostic(
                id="domain-limits",
                what=f"{domain.name} has more CPUs than the {version} of this host gives a guest",
                hint="give it fewer CPUs: Xen does not create the domain otherwise",
                expected=f"at most {_MOST_CPUS[version]} CPUs",
                found=f"{domain.cpus} CPUs",
                where=domain.place("cpus"),
            )
        if made_of.kernel and has_xen:
            yield from _kernel(domain, made_of, made_of.kernel)
        limit = domain.plan.cpu_limit
        if limit is not None and domain.cpus > limit:
            yield Diagnostic(
                id="guest-overlap",
                what=f"a device of {domain.name} is mapped where the GIC of a virtual CPU would be",
                hint="give it fewer CPUs, or map the device elsewhere (xen,reg)",
                expected=f"at most {limit} CPUs",
                found=f"{domain.cpus} CPUs",
                where=domain.place("cpus"),
            )
        if domain.load.ramdisk is not None and not made_of.ramdisk:
            yield Diagnostic(
                id="malformed",
                what=f"{domain.name} has an address of a ramdisk, and no ramdisk",
                hint="name it by ramdisk: FILE, or remove its address",
                where=domain.place("load"),
            )
        if own := made_of.trees.get("dom0less"):
            yield from too_large(
                domain.plan,
                terms.of_domain(domain.cpus),
                devices,
                bootargs=domain.bootargs,
                module=own.size,
                is_only="libxl" not in made_of.trees,
                where=domain.where,
            )


def _kernel(domain: Domain, files: DomainFiles, file: DomainFile) -> Iterator[Diagnostic]:
    """Yield the mistakes of the kernel of `domain` (kernel_probe(), place_modules(); 4.17)."""
    if not isinstance(files.image, Kernel):
        found = files.image or file.file
        yield _no_kernel(module(KERNEL, domain.name), found, domain.place("kernel"))
        return
    tree = files.trees.get("dom0less")
    ramdisk = files.ramdisk.size if files.ramdisk else 0
    needed = needed_memory(files.image, tree.size if tree else 0, ramdisk)
    if domain.memory << _MIB < needed:
        what = "its kernel, tree and ramdisk" if ramdisk else "its kernel and its tree"
        yield Diagnostic(
            id="domain-limits",
            what=f"{domain.name} has less memory than {what} take",
            hint="give it more memory: Xen does not create the domain otherwise",
            expected=f"at least {-(-needed >> _MIB)} MiB",
            found=f"{domain.memory} MiB",
            where=domain.place("memory"),
        )


def _empty(name: str, file: DomainFile, where: Where) -> Diagnostic:
    what, hint = f"{name} is an empty file", "build it, or leave it out"
    return Diagnostic(id="malformed", what=what, hint=hint, where=where, found=file.file)


def _no_kernel(name: str, found: str, where: Where) -> Diagnostic:
    return Diagnostic(
        id="malformed",
        what=f"{name} is none that Xen takes",
        hint="name an arm64 Image, such as arch/arm64/boot/Image of Linux or zephyr.bin of Zephyr "
        "(CONFIG_ARM64_IMAGE_HEADER=y), as it is or compressed by gzip; or a zImage or a uImage",
        expected="the header of an arm64 Image, a zImage or a uImage",
        found=found,
        where=where,
    )
