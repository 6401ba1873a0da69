# SPDX-License-Identifier: Apache-2.0
"""Random domains of a host: do they boot where `viommu system` puts their files?

    python -m tests.xen.random_domains --count 1000 --seed 1
    python -m tests.xen.random_domains --boot 40 --seed 1

A model that looks at single pages says where each file goes, or that there is no place. By --boot,
Xen is started with what the system wrote, in QEMU, by a stub in RAM.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from random import Random
from struct import pack
from tempfile import TemporaryDirectory
from typing import NamedTuple

from tests.support import blob, tree
from tests.xen.hypervisor import STOPPED
from tests.xen.machine import Machine, console, host_blob
from tests.xen.programs import rtc_guest
from tests.xen.tools import debian_xen, run
from west_viommu.__main__ import main as viommu
from west_viommu.diagnostics import Where
from west_viommu.host.devices import Devices
from west_viommu.host.inventory import inventory
from west_viommu.plan.plan import Plan, PlanHost
from west_viommu.read.profiles import profile
from west_viommu.system.boot import boot
from west_viommu.system.kernels import Kernel
from west_viommu.system.records import Boot, Domain, DomainFile, DomainFiles, Load, SystemTerms
from west_viommu.tree.addresses import Region

MIB, PAGE, BLOCK = 1 << 20, 4096, 2 << 20
RAM_BASE = 0x40000000
# Of devices that do nothing, in a hole of QEMU's virt machine.
FIRST_DEVICE = 0xB000000
# At most, what U-Boot and firmware have of a bank, and what Xen and its tree take.
BELOW, ABOVE, OWN = 16 * MIB, 64 * MIB, 2 * MIB
LOAD = re.compile(r"load \S+ \S+ (0x[0-9a-f]+) \$\{prefix\}(\S+)")


class Guest(NamedTuple):
    """`kernel` and `ramdisk`: their bytes; no ramdisk if it is 0. `at`: the user's address of the
    kernel.
    """

    cpus: int
    memory: int
    kernel: int
    ramdisk: int
    at: int | None


class Wanted(NamedTuple):
    """A machine with `memory` bytes of RAM, of which some is `reserved`, and the guests."""

    memory: int
    reserved: tuple[Region, ...]
    guests: tuple[Guest, ...]


def wanted(seed: int, *, is_harmless: bool = False) -> Wanted:
    """The machine of a seed. If it `is_harmless`, nothing of it should be refused."""
    rng = Random(f"domains {seed}")
    memory = rng.choice([512, 768, 1024, 2048]) * MIB
    reserved: list[Region] = []
    for _ in range(rng.randint(0, 4)):
        size = rng.choice([1, 3, 16, 512, 4096]) * PAGE * rng.randint(1, 2)
        base = RAM_BASE + BELOW + rng.randrange((memory - BELOW - size) // PAGE) * PAGE
        region = Region(base, size)
        if not any(region.overlaps(other) for other in reserved):
            reserved.append(region)
    guests = []
    for _ in range(rng.randint(1, 4)):
        at = None
        if rng.random() < 0.2 and not is_harmless:
            at = RAM_BASE + rng.randrange(-memory // 8, memory) // PAGE * PAGE
        guests.append(
            Guest(
                cpus=rng.randint(1, 8 if is_harmless else 9),
                memory=rng.choice([16, 32, 64] if is_harmless else [4, 32, 64, 256, 700]),
                kernel=rng.randint(PAGE, (4 if is_harmless else 90) * MIB),
                ramdisk=rng.choice([0, PAGE + 1, 3 * MIB]),
                at=at,
            )
        )
    return Wanted(memory, tuple(reserved), tuple(guests))


def model(of: Wanted, tree_size: int) -> dict[str, int] | None:
    """The address of each file, page by page; None if something must be refused."""
    if sum(guest.memory for guest in of.guests) * MIB > of.memory:
        return None
    taken = bytearray(of.memory // PAGE)

    def pages(base: int, size: int) -> range:
        return range((base - RAM_BASE) // PAGE, -(-(base + size - RAM_BASE) // PAGE))

    for region in of.reserved:
        for page in pages(*region):
            taken[page] = 1
    places: dict[str, int] = {}
    wants: list[tuple[str, int, int | None]] = [("Xen", OWN, None), ("xen.dtb", OWN, None)]
    for i, guest in enumerate(of.guests):
        blocks = [guest.kernel, tree_size, guest.ramdisk]
        if guest.cpus > 8 or sum(-(-each // BLOCK) for each in blocks) * BLOCK > guest.memory * MIB:
            return None
        wants.append((f"kernel {i}", guest.kernel, guest.at))
        wants += [(f"ramdisk {i}", guest.ramdisk, None)] if guest.ramdisk else []
        wants.append((f"tree {i}", tree_size, None))
    for name, size, at in sorted(wants, key=lambda want: want[2] is None):
        if at is None:
            spots = range(RAM_BASE, RAM_BASE + of.memory, BLOCK)
            here = (s for s in spots if s >= RAM_BASE + BELOW and _is_free(taken, pages(s, size)))
            last = RAM_BASE + of.memory - ABOVE
            at = next((spot for spot in here if spot + size <= last), None)
            if at is None:
                return None
        elif at < RAM_BASE or not _is_free(taken, pages(at, size)):
            return None
        for page in pages(at, size):
            taken[page] = 1
        places[name] = at
    return places


def _is_free(taken: bytearray, pages: range) -> bool:
    return pages.stop <= len(taken) and not any(taken[pages.start : pages.stop])


def host_source(of: Wanted) -> str:
    """What the host's tree says of its RAM; a part of it is in the block of reservations."""
    nodes = "".join(
        f"r@{region.base:x} {{ reg = <0 {region.base:#x} 0 {region.size:#x}>; }};"
        for region in of.reserved[1:]
    )
    return f"""#address-cells = <2>; #size-cells = <2>;
        gic {{ compatible = "arm,gic-400"; interrupt-controller; #interrupt-cells = <3>; }};
        memory@40000000 {{ device_type = "memory"; reg = <0 0x40000000 0 {of.memory:#x}>; }};
        reserved-memory {{ #address-cells = <2>; #size-cells = <2>; ranges; {nodes} }};"""


def booted_by_us(of: Wanted, tree_size: int) -> Boot:
    """What `system` makes of it."""
    found = tree(host_source(of))
    rows = tuple((region.base, region.size) for region in of.reserved[:1])
    found = type(found)(found.root, memreserve=rows)
    files, domains = {}, []
    for i, guest in enumerate(of.guests):
        plan = Plan(
            *("xen", "identity", PlanHost(None, ""), (), None, (), (), (), (), (), (), None, {})
        )
        load = Load(kernel=guest.at)
        where = Where("system.yml", i + 1)
        domains.append(Domain(str(i), plan, where, guest.cpus, guest.memory, load=load))
        files[str(i)] = DomainFiles(
            plan=DomainFile("viommu.json", 0, ""),
            kernel=DomainFile("kernel", guest.kernel, ""),
            trees={"dom0less": DomainFile("tree", tree_size, "")},
            ramdisk=DomainFile("ramdisk", guest.ramdisk, "") if guest.ramdisk else None,
            image=Kernel("arm64 Image", guest.kernel, guest.kernel),
        )
    devices = Devices("host.dts", found, inventory(found)[0])
    return boot(domains, files, devices, SystemTerms(profile("xen", None)))


def places_of(made: Boot) -> dict[str, int] | None:
    """The addresses by the names of the model; None if it is refused."""
    if any(not problem.warning for problem in made.problems) or not made.xen or not made.tree:
        return None
    places = {"Xen": made.xen.base, "xen.dtb": made.tree.base}
    for domain in made.domains:
        named = zip(("kernel", "tree", "ramdisk"), domain.load, strict=True)
        places |= {f"{kind} {domain.name}": at for kind, at in named if at is not None}
    return places


def disagreements(seeds: range, counts: dict[str, int]) -> Iterator[str]:
    """What the tool and the model say differently, and how often either was the answer."""
    for seed in seeds:
        of, tree_size = wanted(seed), Random(seed).randint(200, 3000)
        ours, models = places_of(booted_by_us(of, tree_size)), model(of, tree_size)
        kind = "refused" if models is None else "taken"
        counts[kind] = counts.get(kind, 0) + 1
        if ours != models:
            yield f"seed {seed}: {of}\n  the tool: {ours}\n  the model: {models}"


def boots(seed: int, folder: Path, xen: Path, kernel: Path) -> str:
    """Why the guests of a seed do not all start under `xen`; "" if they do."""
    of = wanted(seed, is_harmless=True)
    machine = Machine("virt,virtualization=on,gic-version=3", memory=of.memory // MIB)
    host = _host(folder, machine, of)
    text = [f"host: {host}", "profile: xen", "dom0: none", "domains:"]
    for i, guest in enumerate(of.guests):
        _bind(folder / f"g{i}", host, FIRST_DEVICE + i * PAGE)
        (folder / f"k{i}").write_bytes(kernel.read_bytes().ljust(guest.kernel, b"\0"))
        own = f"build: g{i}, kernel: k{i}, cpus: {guest.cpus}, memory: {guest.memory}, vpl011: true"
        if guest.ramdisk:
            (folder / f"r{i}").write_bytes(bytes(guest.ramdisk))
            own += f", ramdisk: r{i}"
        text.append(f"  d{i}: {{{own}}}")
    (folder / "system.yml").write_text("\n".join(text) + "\n")
    out = folder / "out"
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()) as errors:
        status = viommu(["system", str(folder / "system.yml"), "-o", str(out)])
    if status:
        return f"refused: {errors.getvalue()}"
    options = _loaders(folder, out, xen)
    starts = "(?s:" + ".*".join(["guest starts"] * len(of.guests)) + ")"
    printed = console(folder, machine, *options, until=f"{starts}|{STOPPED}", seconds=60)
    started = printed.count("guest starts")
    return "" if started == len(of.guests) else f"{started} of {len(of.guests)}: {printed[-2000:]}"


def _host(folder: Path, machine: Machine, of: Wanted) -> Path:
    """The machine's own tree with what is reserved, and devices to give away."""
    devices = "".join(
        f'dev@{base:x} {{ compatible = "t,dev"; reg = <0 {base:#x} 0 0x1000>; }};'
        for base in range(FIRST_DEVICE, FIRST_DEVICE + 4 * PAGE, PAGE)
    )
    reserved = host_source(of).partition("reserved-memory")[2]
    source = run("dtc", "-q", "-I", "dtb", "-O", "dts", str(host_blob(folder, machine)))
    rows = "".join(f"/memreserve/ {r.base:#x} {r.size:#x};" for r in of.reserved[:1])
    source = source.replace("/dts-v1/;", f"/dts-v1/; {rows}", 1)
    file = folder / "host.dtb"
    file.write_bytes(blob(f"{source}\n/ {{ {devices} reserved-memory{reserved} }};"))
    return file


def _bind(folder: Path, host: Path, base: int) -> None:
    folder.mkdir()
    path = f"/dev@{base:x}"
    (folder / "viommu.yml").write_text(
        "profile: xen\ndom0: none\ndomain: [vpl011]\n"
        f'allow: [{{hazard: unprotected, device: "{path}", reason: "it does nothing"}}]\n'
    )
    (folder / "g.overlay").write_text(
        "/ { passthrough { #address-cells = <2>; #size-cells = <2>; ranges; "
        f'd {{ xen,path = "{path}"; reg = <0 {base:#x} 0 0x1000>; }}; }}; }};'
    )
    config = ("--config", str(folder / "viommu.yml"), "-o", str(folder / "viommu"), "-q")
    with redirect_stderr(StringIO()) as errors:
        status = viommu(["bind", "--host", str(host), *config, str(folder / "g.overlay")])
    if status:
        raise AssertionError(errors.getvalue())


def _loaders(folder: Path, out: Path, xen: Path) -> list[str]:
    """QEMU's options that do what boot.cmd says: each file at its address, and x0 at the tree."""
    places: Mapping[str, str] = {
        name: address for address, name in LOAD.findall((out / "boot.cmd").read_text())
    }
    # ldr x0, the tree; ldr x1, Xen; br x1.
    numbers = (int(places["out/xen.dtb"], 0), int(places["xen"], 0))
    stub = folder / "stub"
    stub.write_bytes(pack("<4I2Q", 0x58000080, 0x580000A1, 0xD61F0020, 0xD503201F, *numbers))
    # QEMU has its own tree at the beginning of RAM.
    start = RAM_BASE + BELOW // 2
    options = ["-device", f"loader,file={stub},addr={start:#x},force-raw=on"]
    options += ["-device", f"loader,addr={start:#x},cpu-num=0"]
    for name, address in places.items():
        file = xen if name == "xen" else folder / name
        options += ["-device", f"loader,file={file},addr={address},force-raw=on"]
    return options


def main() -> int:
    """Compare, or boot, and print what is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=0)
    parser.add_argument("--boot", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    counts: dict[str, int] = {}
    seeds = range(arguments.seed, arguments.seed + arguments.count)
    wrong = list(disagreements(seeds, counts))
    xen = debian_xen()
    for seed in range(arguments.seed, arguments.seed + (arguments.boot if xen else 0)):
        with TemporaryDirectory() as name:
            assert xen
            failed = boots(seed, Path(name), xen, rtc_guest(Path(name)))
        print(f"seed {seed}: {failed or 'boots'}", file=sys.stderr)
        wrong += [f"seed {seed}: {failed}"] if failed else []
    print("\n".join(wrong))
    print(f"{counts}, {len(wrong)} wrong")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
