# SPDX-License-Identifier: Apache-2.0
"""Random pairs on a running Xen: does the model say what it does?

    VIOMMU_XEN=xen python -m tests.xen.random_boots --like 4.17 --count 100

The Xen must have been built with CONFIG_ARM_SMMU_V3, and QEMU (VIOMMU_QEMU, or the one on PATH)
must do stage 2: 8.1 and later do. Each pair is a host of random_hosts.py whose devices stand on
QEMU's machine, a dom0, and a guest that is made at boot; one half of the pairs have all the marks
that they need. What Xen prints must be what the model says: where it stops, what it refuses, and
which masters it adds. The exit status is 1 where that differs anywhere. A pair takes 1 to 2 s.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import NamedTuple

from tests.xen.by_hand import guest_at_boot, marks, with_marks
from tests.xen.guest_map import MIB, Layout
from tests.xen.host import GICS, SMMU_V3, Host, compatible
from tests.xen.nodes import Node, blob_of, pack, tree
from tests.xen.programs import rtc_guest
from tests.xen.random_guests import random_guest
from tests.xen.random_hosts import random_host
from tests.xen.whole import XENS, AtBoot, World, faults, whole
from tests.xen.xens import Xen

MACHINE = "virt,virtualization=on,gic-version=3,iommu=smmuv3"
OPTIONS = ["-cpu", "cortex-a57", "-m", "1024", "-nic", "none", "-display", "none"]
LINES = 288  # of QEMU's GIC
# What Xen needs of QEMU's tree; its other devices are left out.
KEPT = {"cpus", "psci", "timer", "intc@8000000", "smmuv3@9050000", "pl011@9000000", "apb-pclk"}
KEPT |= {"memory@40000000"}
KERNEL, PARTIAL, DOM0_KERNEL = 0x50000000, 0x58000000, 0x5C000000
BOOTARGS = "console=dtuart conswitch=ax dtuart=/pl011@9000000 dom0_mem=128M loglvl=all "
BOOTARGS += "guest_loglvl=all"
END = "guest starts|Panic on CPU|Freed|fault at"
SECONDS = 60


class Seen(NamedTuple):
    """`stop`: BUG, panic or nothing; `at`: in whose creation; `refused`: how often it printed so,
    where it goes on after that; `added`: the masters, or none where Xen did not tell them all.
    """

    stop: str
    at: str
    refused: int
    added: frozenset[str]


class Machine(NamedTuple):
    """What is booted: the tree for Xen, the partial tree, and what the model says of them."""

    tree: bytes
    partial: bytes
    world: World


def seen(console: str, xen: Xen) -> Seen:
    stop = "BUG" if "Xen BUG at" in console else "panic" if "Panic on CPU" in console else ""
    at = "Xen" if "*** LOADING DOMAIN 0" not in console else "dom0"
    at = "dom1" if "*** LOADING DOMU" in console else at
    refused = console.count("Failed to assign device") if xen.forgives_children else 0
    added = frozenset(re.findall(r"SMMUv3: (\S+): Added master device", console))
    return Seen(stop, at if stop else "", refused, frozenset() if stop or refused else added)


def expected(world: World) -> Seen:
    stops = [fault for fault in world.faults if fault.stops]
    refused = sum(fault.kind == "refused" for fault in world.faults)
    stop, at = (stops[0].kind, stops[0].hand) if stops else ("", "")
    added = frozenset() if world.faults else frozenset(world.assigned)
    return Seen(stop, at, refused, added)


def machine(seed: int, virt: bytes, kernel: int, xen: Xen) -> Machine | None:
    """The pair of the seed on the machine whose tree is `virt`, with a kernel of that size; None
    where what is asked for is not on it.
    """
    rng = Random(seed)
    root = random_host(rng)
    asks = random_guest(rng, root).asks
    grafted = on_virt(root, tree(virt))
    host = Host(grafted)
    wanted = [ask.path for ask in asks]
    if not set(wanted) <= {node.path for node in host.nodes}:
        return None
    marked = marks(host, set(wanted)) if rng.random() < 0.5 else set(wanted)
    partial = guest_at_boot(host, wanted).partial
    for_xen = with_marks(grafted, marked)
    for_xen.add(_chosen(kernel, len(partial)))
    model = replace(xen, lines=LINES)
    guest = AtBoot(partial, layout=Layout(memory=32 * MIB, has_uart=True))
    return Machine(blob_of(for_xen), partial, whole(for_xen, [guest], model))


def on_virt(root: Node, virt: Node) -> Node:
    """The devices of the host at `root` beside QEMU's own GIC and SMMU, which take the phandles of
    the host's. Further SMMUs and GICs are disabled: there is nothing at their addresses.
    """
    smmus = [node for node in root.children if compatible(node, SMMU_V3)]
    gic = Host(root).gic
    assert gic is not None
    new = Node("", {**virt.props, "interrupt-parent": gic.props["phandle"]})
    for node in virt.children:
        if node.name in KEPT:
            if node.name.startswith("intc"):
                node.props["phandle"], node.children = gic.props["phandle"], []
            if node.name.startswith("smmuv3"):
                node.props["phandle"] = smmus[0].props["phandle"]
            new.add(node)
    for node in list(root.children):
        if node is gic or node is smmus[0] or node.name.startswith("memory@"):
            continue
        if compatible(node, SMMU_V3) or compatible(node, GICS):
            node.props["status"] = b"disabled\0"
        new.add(node)
    return new


def _chosen(kernel: int, partial: int) -> Node:
    chosen = Node("chosen", {"xen,xen-bootargs": f"{BOOTARGS}\0".encode()})
    chosen.props |= {"#address-cells": pack(2), "#size-cells": pack(2)}
    chosen.add(_module("kernel", DOM0_KERNEL, kernel))
    guest = chosen.add(Node("guest", {"compatible": b"xen,domain\0"}))
    guest.props |= {"#address-cells": pack(2), "#size-cells": pack(2), "cpus": pack(1)}
    guest.props |= {"memory": pack(0, 0x8000), "vpl011": b""}
    guest.add(_module("kernel", KERNEL, kernel))
    guest.add(_module("device-tree", PARTIAL, partial))
    return chosen


def _module(kind: str, at: int, size: int) -> Node:
    words = f"multiboot,{kind}\0multiboot,module\0".encode()
    return Node(f"module@{at:x}", {"compatible": words, "reg": pack(0, at, 0, size)})


def booted(folder: Path, found: Machine) -> str:
    """What Xen prints, until the guest runs or Xen has stopped."""
    console = folder / "console.txt"
    files = {"xen.dtb": found.tree, "partial.dtb": found.partial}
    for name, content in files.items():
        (folder / name).write_bytes(content)
    console.write_text("")
    command = ["timeout", "-k", "5", str(SECONDS), _qemu(), "-M", MACHINE, *OPTIONS, "-no-reboot"]
    command += ["-monitor", "none", "-serial", f"file:{console}"]
    command += ["-kernel", os.environ["VIOMMU_XEN"], "-dtb", str(folder / "xen.dtb")]
    loaded = ((KERNEL, "guest.bin"), (PARTIAL, "partial.dtb"), (DOM0_KERNEL, "guest.bin"))
    for address, name in loaded:
        command += ["-device", f"loader,file={folder / name},addr={address:#x},force-raw=on"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as qemu:
        while qemu.poll() is None and not re.search(END, console.read_text(errors="replace")):
            time.sleep(0.1)
        time.sleep(0.3)  # the rest of what it was printing
        qemu.terminate()
    return console.read_text(errors="replace")


def _qemu() -> str:
    return os.environ.get("VIOMMU_QEMU", "qemu-system-aarch64")


def run(seeds: range, xen: Xen) -> bool:
    """Whether Xen does what the model says for each of the seeds that make a machine."""
    same = different = 0
    with TemporaryDirectory() as name:
        folder = Path(name)
        dump = [_qemu(), "-M", f"{MACHINE},dumpdtb={folder / 'virt.dtb'}", *OPTIONS]
        subprocess.run(dump, check=True, capture_output=True)
        kernel = rtc_guest(folder).stat().st_size
        for seed in seeds:
            found = machine(seed, (folder / "virt.dtb").read_bytes(), kernel, xen)
            if found is None:
                continue
            console = booted(folder, found)
            if seen(console, xen) == expected(found.world):
                same += 1
                continue
            different += 1
            print(f"seed {seed}\n  model: {expected(found.world)}\n  Xen:   {seen(console, xen)}")
            print("\n".join(f"    {fault}" for fault in faults(found.world)))
            print("\n".join(f"    {line}" for line in console.splitlines()[-12:]))
    print(f"{same} are alike, {different} differ")
    return not different


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.xen.random_boots", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--like", choices=XENS, default="4.17", help="which Xen VIOMMU_XEN is")
    parser.add_argument("--seed", type=int, default=1, help="the first seed (default: 1)")
    parser.add_argument("--count", type=int, default=50, help="how many seeds (default: 50)")
    given = parser.parse_args(argv)
    seeds = range(given.seed, given.seed + given.count)
    return int(not run(seeds, XENS[given.like]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
