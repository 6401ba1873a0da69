# SPDX-License-Identifier: Apache-2.0
"""What the devices of a guest have in common with other nodes of the host, as bind and list say
it: what is easily lost when the search for it is changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support import Run

CELLS = "#address-cells = <1>; #size-cells = <1>; ranges;"
HOST = f"""/dts-v1/; / {{ {CELLS} interrupt-parent = <&gic>;
    gic: gic {{ compatible = "arm,gic-v3"; interrupt-controller; #interrupt-cells = <3>; }};
    smmu: iommu@9000000 {{
        compatible = "arm,smmu-v3"; #iommu-cells = <1>; reg = <0x9000000 0x20000>; }};
    %s }};"""


def errors(viommu: Run, host: str, nodes: Sequence[str], profile: str = "xen-rfc") -> list[str]:
    """The ids of the errors of bind, with the guest node of each, if a guest asks for `nodes` of
    the host with the body `host`, or the exit status if there is none.
    """
    Path("host.dts").write_text(HOST % host)
    body = " ".join(f'n{i} {{ xen,path = "{path}"; }};' for i, path in enumerate(nodes))
    Path("guest.dts").write_text(f"/dts-v1/; / {{ {CELLS} passthrough {{ {CELLS} {body} }}; }};")
    outcome = viommu("bind", "--host", "host.dts", "--profile", profile, "guest.dts")
    lines = [line for line in outcome.err.splitlines() if " error: " in line]
    found = [f"{line.split('[')[1].split(']')[0]} of {_node(line)}" for line in lines]
    assert outcome.status == bool(found), outcome.err
    return found


def _node(line: str) -> str:
    return line.partition("(node /passthrough/")[2].split(",")[0].rstrip(")")


NESTED = f"a {{ {CELLS} iommus = <&smmu %s>; b {{ iommus = <&smmu %s>; }}; }};"


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (("0x10", "0x11"), []),
        (("0x10", "0x10"), ["shared-stream-id of n1"]),
        (("0x10>, <&smmu 0x11", "0x11"), ["shared-stream-id of n1"]),
    ],
)
def test_a_device_and_one_below_it_with_one_stream(
    ids: tuple[str, str], expected: list[str], viommu: Run
) -> None:
    """Xen attaches a stream of one domain once (4.17: BUG_ON(ste_live) in
    arm_smmu_write_strtab_ent()), wherever the two nodes stand.
    """
    assert errors(viommu, NESTED % ids, ["/a", "/a/b"], "xen") == expected
    assert errors(viommu, NESTED % ids, ["/a/b", "/a"], "xen") == expected


@pytest.mark.parametrize("compatible", ["simple-bus", "simple-pm-bus"])
@pytest.mark.parametrize(
    ("of_bus", "expected"), [("0x11", []), ("0x10", ["shared-stream-id of n0"])]
)
def test_a_bus_with_registers_and_streams_of_its_own(
    compatible: str, of_bus: str, expected: list[str], viommu: Run
) -> None:
    """The registers of a bus are those of the devices on it; its streams and interrupts are not."""
    host = f"""bus {{ compatible = "{compatible}"; {CELLS} reg = <0x1000 0x2000>;
        iommus = <&smmu {of_bus}>;
        a {{ reg = <0x1000 0x1000>; iommus = <&smmu 0x10>; }}; }};"""
    found = errors(viommu, host, ["/bus/a"])
    assert [each for each in found if not each.startswith("region")] == expected


def test_an_interrupt_of_the_bus(viommu: Run) -> None:
    host = f"""bus {{ compatible = "simple-bus"; {CELLS} interrupts = <0 5 4>;
        a {{ iommus = <&smmu 0x10>; interrupts = <0 5 4>; }}; }};"""
    assert errors(viommu, host, ["/bus/a"]) == ["interrupt-clash of n0"]


@pytest.mark.parametrize(
    ("others", "is_shared"),
    [
        ("part: part { reg = <0x1400 4>; };", False),
        ("other { reg = <0x1800 4>; };", True),
        # Found before the other: a part of the device does not settle what else is on the page.
        ("part: part { reg = <0x1400 4>; }; other { reg = <0x1800 4>; };", True),
        ("other { reg = <0x1400 4>; }; part: part { reg = <0x1800 4>; };", True),
    ],
)
def test_list_finds_what_is_beside_a_part_of_the_device(
    others: str, is_shared: bool, viommu: Run
) -> None:
    phys = "phys = <&part>;" if "part:" in others else ""
    host = f"a {{ reg = <0x1000 4>; iommus = <&smmu 0x10>; {phys} }}; {others}"
    Path("host.dts").write_text(HOST % host)
    outcome = viommu("list", "--host", "host.dts", "--profile", "xen-rfc")
    (line,) = [line for line in outcome.out.splitlines() if line.split()[:1] == ["/a"]]
    assert ("shared-page" in line) is is_shared, outcome.out
