# SPDX-License-Identifier: Apache-2.0
"""The lines of a host node, as Xen reads it."""

from __future__ import annotations

import pytest

from tests.support import tree
from west_viommu.hypervisor.lines import first_lost, lines, named_line, targets, typed_lines

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
        ("interrupts-extended = <3 2 3 1 1 0 6 4>; reg = <0 0 0>;", [39, 38]),
        # "no reg passed in when needed" (dt_irq_map_raw()).
        ("interrupts-extended = <3 1 1 0 6 4>;", [38]),
        # An entry without a controller counts, and is lost.
        ("interrupts = <0 5 4>; interrupts-extended = <1 0 6 4 0>;", [38]),
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
    assert [intid for intid, _ in targets(found, node, found.node("/gic"))] == expected
    assert list(targets(found, node, None)) == []


def test_a_target_without_number_is_none() -> None:
    bridge = "#address-cells = <0>; #interrupt-cells = <1>; interrupt-map = <1 1 5>;"
    found = tree(f"pci {{ {bridge} }}; {GIC.replace('<3>', '<1>')}")
    node = found.node("/pci")
    assert node
    assert list(targets(found, node, found.node("/gic"))) == []


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
    assert list(targets(found, node, found.node("/gic"))) == [(37, 4)]


@pytest.mark.parametrize(
    ("device", "place"),
    [
        ("", None),
        ("interrupts = <0 5 4>;", None),
        ("interrupts = <0 5>;", None),
        ("interrupts-extended = <0>;", 0),
        ("interrupts-extended = <1 0 6 4 0>;", 1),
        # A list that cannot be counted does not count.
        ("interrupts-extended = <9 1>;", None),
        # A row that is not there, or is malformed; an address that the map needs.
        ("interrupts-extended = <3 5>; reg = <0 0 0>;", 0),
        ("interrupts-extended = <3 1 3 2>; reg = <0 0 0>;", 1),
        ("interrupts-extended = <3 1>;", 0),
        ("interrupts-extended = <3 1>; reg = <0 0 0>;", None),
    ],
)
def test_an_interrupt_that_leads_nowhere(device: str, place: int | None) -> None:
    host = tree(f"interrupt-parent = <1>; {GIC} {GPIO} {NEXUS} device {{ {device} }};")
    node = host.node("/device")
    assert node
    assert first_lost(host, node) == place


def test_triggers_and_names() -> None:
    device = 'interrupts = <0 5 1>, <0 6 0xff04>, <1 7 8>; interrupt-names = "a", "b";'
    host = tree(f"interrupt-parent = <1>; {GIC} device {{ {device} }}; plain {{ }};")
    node, plain, gic = host.node("/device"), host.node("/plain"), host.node("/gic")
    assert node and plain
    assert list(typed_lines(host, node, gic)) == [(37, 1), (38, 4), (23, 8)]
    assert named_line(host, node, gic, "b") == (38, 4)
    assert named_line(host, node, gic, "c") is None
    assert named_line(host, plain, gic, "b") is None
