# SPDX-License-Identifier: Apache-2.0
"""What of a host Xen keeps to itself, what it leaves out of dom0, and which UART it talks on."""

from __future__ import annotations

import pytest

from tests.support import tree
from west_viommu.hypervisor.roles import console, is_left_out, role


@pytest.mark.parametrize(
    ("body", "path", "is_what", "is_out"),
    [
        ("uart { };", "/uart", "", False),
        ('uart { compatible = "arm,pl011"; };', "/uart", "", False),
        ('m { compatible = "vendor,smmu", "arm,mmu-500"; };', "/m", "an IOMMU", True),
        ('m { compatible = "vendor,iommu"; };', "/m", "", False),
        ('g { compatible = "arm,gic-v3"; };', "/g", "an interrupt controller", True),
        ('g { compatible = "arm,gic"; };', "/g", "", False),
        ('p { compatible = "arm,armv8-pmuv3"; };', "/p", "", True),
        # RAM by its type or its name.
        ('ram { device_type = "memory"; };', "/ram", "memory", True),
        ("memory { };", "/memory", "memory", False),
        ("memory@80000000 { };", "/memory@80000000", "memory", False),
        ("memory-controller { };", "/memory-controller", "", False),
        ('c { device_type = "cpu"; };', "/c", "a CPU", False),
        # Places, with all that is below them.
        ("cpus { };", "/cpus", "a CPU", True),
        ("cpus { a { b { }; }; };", "/cpus/a/b", "a CPU", False),
        ("chosen { a { }; };", "/chosen/a", "what the boot loader says", False),
        ("reserved-memory { a { }; };", "/reserved-memory/a", "reserved memory", False),
        ("reserved-memory2 { };", "/reserved-memory2", "", False),
        ("soc { cpus { }; };", "/soc/cpus", "", False),
        ("g { compatible = [01 02]; };", "/g", "", False),
    ],
)
def test_what_a_node_is_to_xen(body: str, path: str, is_what: str, is_out: bool) -> None:
    found = tree(body)
    node = found.node(path)
    assert node
    assert (role(node), is_left_out(node)) == (is_what, is_out)


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ("", None),
        ('stdout-path = "/soc/uart";', "/soc/uart"),
        ('stdout-path = "/soc/uart:115200n8";', "/soc/uart"),
        ('stdout-path = "serial0:115200n8";', "/soc/uart"),
        ('stdout-path = "serial1";', None),
        # Xen reads stdout-path alone.
        ('linux,stdout-path = "/soc/uart";', None),
        ('xen,dom0-bootargs = ""; bootargs = "dtuart=serial0";', "/soc/uart"),
        ('bootargs = "dtuart=serial0";', None),
        ('xen,xen-bootargs = ""; xen,dom0-bootargs = ""; bootargs = "dtuart=serial0";', None),
        ('stdout-path = "/other"; linux,stdout-path = "/soc/uart";', "/other"),
        ('stdout-path = "/soc";', "/soc"),
        ('stdout-path = "/nowhere";', None),
        ("stdout-path = [01 02];", None),
        # Xen's command line wins; of several words the last.
        (
            'stdout-path = "/other"; xen,xen-bootargs = "console=dtuart dtuart=serial0 x";',
            "/soc/uart",
        ),
        ('xen,xen-bootargs = "dtuart=/other dtuart=serial0:9600";', "/soc/uart"),
        ('stdout-path = "/other"; xen,xen-bootargs = "xdtuart=serial0";', "/other"),
    ],
)
def test_the_console_of_xen(chosen: str, expected: str | None) -> None:
    nodes = 'aliases { serial0 = "/soc/uart"; }; soc { uart { }; }; other { };'
    assert console(tree(f"chosen {{ {chosen} }}; {nodes}")) == expected
    assert console(tree(nodes)) is None
