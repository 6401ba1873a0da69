# SPDX-License-Identifier: Apache-2.0
"""What random_boots.py reads on a console, beside what the model says of the same machine.

The runs on a real Xen are made by hand; docs/verification.md has them.
"""

from __future__ import annotations

import pytest

from tests.support import blob
from tests.xen.one_nic import GIVEN, PLAIN, SHARER, WIDE, world
from tests.xen.random_boots import Seen, expected, machine, seen
from tests.xen.xens import MASTER, V417

DOM0, DOMU = "(XEN) *** LOADING DOMAIN 0 ***\n", "(XEN) *** LOADING DOMU cpus=1 memory=8000KB ***\n"
ADDED = "(XEN) SMMUv3: /%s: Added master device (SMMUv3 /smmu@8000000 StreamIds 1)\n"
FAILED = "(XEN) Failed to assign device to d1\n"
PANIC = "(XEN) Panic on CPU 0:\n(XEN) %s\n"
BUG = "Xen BUG at drivers/passthrough/arm/smmu-v3.c:747"
RUNS = "(XEN) DOM1: guest starts\n"


def test_a_guest_that_starts() -> None:
    console = DOM0 + DOMU + ADDED % "nic@9000000" + RUNS
    both = Seen("", "", 0, frozenset({"/nic@9000000"}))
    assert seen(console, V417) == expected(world(PLAIN, GIVEN, V417)) == both


def test_a_device_that_is_refused() -> None:
    """4.17 goes on; master stops, whatever it prints before."""
    twice = PLAIN + "other { interrupts = <0 40 4>; };"
    forgiven = Seen("", "", 1, frozenset())
    console = DOM0 + DOMU + FAILED + RUNS
    assert seen(console, V417) == expected(world(twice, GIVEN, V417)) == forgiven
    stopped = Seen("panic", "dom1", 0, frozenset())
    console = DOM0 + DOMU + FAILED + PANIC % "Could not set up domain guest"
    assert seen(console, MASTER) == expected(world(twice, GIVEN, MASTER)) == stopped


def test_a_bug() -> None:
    console = DOM0 + ADDED % "dma@9001000" + DOMU + PANIC % BUG
    both = Seen("BUG", "dom1", 0, frozenset())
    assert seen(console, V417) == expected(world(WIDE + SHARER % "", GIVEN, V417)) == both


@pytest.mark.parametrize(
    ("console", "host", "at"),
    [
        (
            DOM0 + PANIC % "Could not set up DOM0 guest OS",
            "far { interrupts = <0 988 4>; };",
            "dom0",
        ),
        (
            PANIC % "Couldn't configure correctly all the IOMMUs.",
            'smmu@8200000 { compatible = "arm,smmu-v3"; #iommu-cells = <2>; };',
            "Xen",
        ),
    ],
)
def test_a_panic_before_the_guest(console: str, host: str, at: str) -> None:
    both = Seen("panic", at, 0, frozenset())
    assert seen(console, V417) == expected(world(PLAIN + host, GIVEN, V417)) == both


VIRT = """
/dts-v1/;
/ {
    #address-cells = <2>; #size-cells = <2>; interrupt-parent = <0x8002>;
    memory@40000000 { device_type = "memory"; reg = <0 0x40000000 0 0x40000000>; };
    intc@8000000 {
        compatible = "arm,gic-v3"; interrupt-controller; #interrupt-cells = <3>;
        #address-cells = <2>; #size-cells = <2>; phandle = <0x8002>; ranges;
        reg = <0 0x8000000 0 0x10000>, <0 0x80a0000 0 0xf60000>;
        its@8080000 { compatible = "arm,gic-v3-its"; };
    };
    smmuv3@9050000 {
        compatible = "arm,smmu-v3"; #iommu-cells = <1>; phandle = <0x8004>;
        reg = <0 0x9050000 0 0x20000>;
    };
    pcie@10000000 { };
};
"""


def test_a_random_host_stands_on_the_machine() -> None:
    """Its masters are behind the machine's SMMU, and many a Xen starts on it."""
    found = [machine(seed, blob(VIRT), 4096, V417) for seed in range(20)]
    started = [one for one in found if one is not None and not one.world.faults]
    assert len(started) > 5
    for one in started:
        streams = [stream for hand in one.world.hands.values() for stream in hand.streams]
        assert {stream.smmu for stream in streams} <= {"/smmuv3@9050000"}
