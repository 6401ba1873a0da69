# SPDX-License-Identifier: Apache-2.0
"""The lines of a host node, as Xen reads it."""

from __future__ import annotations

import pytest

from tests.support import tree
from west_viommu.hypervisor.lines import lines, map_targets

GIC = """gic: gic { compatible = "arm,gic-v3"; interrupt-controller; #interrupt-cells = <3>;
    phandle = <1>; };"""
GPIO = "gpio { interrupt-controller; #interrupt-cells = <2>; phandle = <2>; };"
NEXUS = """n { #address-cells = <1>; #interrupt-cells = <1>; phandle = <3>;
    interrupt-map = <0 1 1 0 7 4>, <0 2 9 0>; };"""


def found_in(device: str, gic: str = GIC) -> list[int]:
    host = tree(f"interrupt-parent = <1>; {gic} {GPIO} {NEXUS} device {{ {device} }};")
    node = host.node("/device")
    assert node
    assert list(lines(host, node, None)) == []
    return list(lines(host, node, host.node("/gic")))


@pytest.mark.parametrize(
    ("device", "expected"),
    [
        ("", []),
        ("interrupts = <0 5 4 1 9 4 0 988 4>;", [37, 25, 1020]),
        # Any type but 0 is a PPI's.
        ("interrupts = <2 5 4 5 9 4 1 16 4>;", [21, 25, 32]),
        # Whole entries count.
        ("interrupts = <0 5 4 0>;", [37]),
        ("interrupts = [00 00 00 00 00 00 00 05 00 00 00 04 00];", [37]),
        ("interrupts = <0 5>;", []),
        ("interrupts = <0 5 4>; interrupt-parent = <9>;", []),
        ("interrupts = <3 4>; interrupt-parent = <2>;", []),
        # The extended ones before the others, if they can be counted.
        ("interrupts = <0 5 4>; interrupts-extended = <1 0 6 4 2 3 4>;", [38]),
        ("interrupts = <0 5 4>; interrupts-extended = <9 0 6 4>;", [37]),
        ("interrupts = <0 5 4>; interrupts-extended = <1 0 6>;", [37]),
        ("interrupts-extended = <1 0 6>;", []),
        # Behind a nexus; a row that is malformed loses its own alone.
        ("interrupts-extended = <3 2 3 1 1 0 6 4>;", [39, 38]),
        ("interrupts-extended = <3 1>; reg = [00 00 00 00 00];", [39]),
    ],
)
def test_of_a_node(device: str, expected: list[int]) -> None:
    assert found_in(device) == expected


@pytest.mark.parametrize(
    ("cells", "device", "expected"),
    [(2, "interrupts = <0 5>;", [37]), (1, "interrupts = <5>;", []), (0, "interrupts = <5>;", [])],
)
def test_of_a_gic_with_fewer_cells(cells: int, device: str, expected: list[int]) -> None:
    assert found_in(device, GIC.replace("<3>", f"<{cells}>")) == expected


@pytest.mark.parametrize(
    ("bridge", "expected"),
    [
        ("", []),
        ("interrupt-map = <1 1 0 5 4>;", [37]),
        # In all rows, but those of another controller, and from a malformed one on.
        ("interrupt-map = <1 1 2 5 4>, <2 2 9 9>, <3 1 0 6 4>;", [21, 38]),
        ("interrupt-map = <1 1 0 5 4>, <2 1 0 5 4>;", [37, 37]),
        ("interrupt-map = <1 1 0 5 4>, <2 9 0 5 4>;", [37]),
        ("interrupt-map = <1 1 0 5 4>; interrupt-map-mask = <>;", []),
    ],
)
def test_the_targets_of_a_bridge(bridge: str, expected: list[int]) -> None:
    cells = "#address-cells = <0>; #interrupt-cells = <1>;"
    found = tree(f"pci {{ {cells} {bridge} }}; {GIC} {GPIO}")
    node = found.node("/pci")
    assert node
    assert list(map_targets(found, node, found.node("/gic"))) == expected
    assert list(map_targets(found, node, None)) == []


def test_a_target_without_number_is_none() -> None:
    bridge = "#address-cells = <0>; #interrupt-cells = <1>; interrupt-map = <1 1 5>;"
    found = tree(f"pci {{ {bridge} }}; {GIC.replace('<3>', '<1>')}")
    node = found.node("/pci")
    assert node
    assert list(map_targets(found, node, found.node("/gic"))) == []


def test_a_bridge_without_cells_of_its_own() -> None:
    found = tree(
        f"""interrupt-parent = <1>; {GIC}
        bus {{ #address-cells = <0>; #interrupt-cells = <1>;
            pci {{ interrupt-map = <1 1 0 5 4>; interrupt-parent = <&bus>; }}; }};""".replace(
            "bus {", "bus: bus {"
        )
    )
    node = found.node("/bus/pci")
    assert node
    assert list(map_targets(found, node, found.node("/gic"))) == [37]
