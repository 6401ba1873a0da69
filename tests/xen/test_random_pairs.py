# SPDX-License-Identifier: Apache-2.0
"""The judge of random pairs: that it makes the pairs it should, and sees what is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from tests.support import blob
from tests.xen import random_pairs
from tests.xen.by_hand import guest_at_boot
from tests.xen.host import GICS, Host, compatible, type_of
from tests.xen.judged import SIDES, Outcome, Pair, Verdict, is_warned_of, judged, pair_of
from tests.xen.nodes import Node, blob_of, tree
from tests.xen.one_nic import HOST, SHARER, WIDE
from tests.xen.random_guests import Ask, RandomGuest
from tests.xen.random_hosts import random_host
from tests.xen.random_pairs import Result, main, report, show, smaller


def test_a_seed_is_one_pair() -> None:
    one, again, other = pair_of(7), pair_of(7), pair_of(8)
    assert blob_of(one.host) == blob_of(again.host) != blob_of(other.host)
    assert one.guest == again.guest


def lines(node: Node) -> list[int]:
    """The types of the interrupts that stand in three cells each."""
    return node.cells("interrupts")[::3] if len(node.cells("interrupts")) % 3 == 0 else []


# What the hosts are to have, each at times.
FEATURES: dict[str, Callable[[Host, Node], bool]] = {
    "a disabled node": lambda host, node: node.strings("status") == ["disabled"],
    "a reserved node": lambda host, node: node.strings("status") == ["reserved"],
    "a mark": lambda host, node: "xen,passthrough" in node.props,
    "a private line": lambda host, node: 1 in lines(node) and not compatible(node, GICS),
    "an extended line": lambda host, node: bool({2, 3} & set(lines(node))),
    "a second controller": lambda host, node: compatible(node, ("nvidia,tegra210-agic",)),
    "a second GIC": lambda host, node: compatible(node, GICS) and node is not host.gic,
    "a nexus": lambda host, node: node.name == "nexus",
    "a PCI bridge": lambda host, node: type_of(node) == "pci",
    "a buffer": lambda host, node: node.path.startswith("/reserved-memory/"),
    "a second SMMU": lambda host, node: node.name == "iommu@fa100000",
    "a gap in iommus": lambda host, node: 0 in node.cells("iommus")[::2],
    "an ID twice": lambda host, node: len(set(_pairs(node))) < len(_pairs(node)),
    "a map alone": lambda host, node: "iommu-map" in node.props and "iommus" not in node.props,
    "a map beside": lambda host, node: {"iommu-map", "iommus"} <= set(node.props),
    "a part that is a master": lambda host, node: "iommus" in node.props and _is_part(node),
    "a namesake but for case": lambda host, node: node.name.partition("@")[0].isupper(),
    "other ranges": lambda host, node: len(node.cells("ranges")) == 6,
    "a bus without ranges": lambda host, node: node.name == "bus" and "ranges" not in node.props,
}


def _pairs(node: Node) -> list[tuple[int, int]]:
    values = node.cells("iommus")
    return list(zip(values[::2], values[1::2], strict=False)) if len(values) % 2 == 0 else []


def _is_part(node: Node) -> bool:
    return node.parent is not None and "iommus" in node.parent.props


def test_the_hosts_have_all_that_is_hard() -> None:
    left = dict(FEATURES)
    for seed in range(300):
        host = Host(random_host(Random(seed)))
        for node in host.nodes[1:]:
            for name in [name for name, has in left.items() if has(host, node)]:
                del left[name]
    assert list(left) == []


def test_the_new_shapes_are_all_made() -> None:
    """Each at times; and a seed is one pair with them as well."""
    made = [pair_of(seed) for seed in range(300)]
    again = pair_of(7)
    assert (blob_of(made[7].host), made[7].guest) == (blob_of(again.host), again.guest)
    hosts = [node for pair in made for node in pair.host.below()]
    props = {name for node in hosts for name in node.props}
    assert {"mmu-masters", "arm,msi-base-spi", "#global-interrupts"} <= props
    assert any(node.cell("#iommu-cells", 1) == 2 for node in hosts)
    assert any(len(node.cells("iommus")) > 30 for node in hosts)
    assert any(max(node.cells("iommus"), default=0) >= 0x8000 for node in hosts)
    assert {"/broken", "/broken-bus", "/other@fe000000"} <= {node.path for node in hosts}
    assert any(node.strings("compatible") == ["ARM,SMMU-V3"] for node in hosts)
    assert any(len(node.props.get("iommus", b"")) % 4 for node in hosts)
    guests = [pair.guest for pair in made]
    asks = [ask for guest in guests for ask in guest.asks]
    assert any(ask.moved for ask in asks) and any(ask.has_bus for ask in asks)
    assert all(any(getattr(guest, name) for guest in guests) for name in GUEST_SHAPES)


GUEST_SHAPES = ("shared", "padding", "page", "has_gic")


def told(err: str) -> Verdict:
    """Of a host on which no dom0 starts, bound with these words."""
    pair = nic("xen,passthrough; interrupts-extended = <0>;")
    return judged(pair, Outcome(0, err, files(pair, NIC.path, [72])))


def test_a_host_that_does_not_start_is_told_of() -> None:
    kind = "bound without a word, but panic: dom0: Unable to retrieve irq N for NODE"
    assert told("") == Verdict(
        False, kind, ["panic: dom0: Unable to retrieve irq 0 for /dma@9001000"]
    )
    assert not told("host.dtb: warning: [x] of /nic@9000000").agrees
    assert told("host.dtb: warning: [x] dom0 cannot have /dma@9001000").agrees


def test_a_warning_does_where_another_version_takes_it() -> None:
    fault = "panic: dom1: Could not set up domain dom1: Device tree generation failed: 5000 bytes"
    assert is_warned_of(fault, "g.dts: warning: [x] Xen 4.17 has 4096 bytes for the tree")
    assert not is_warned_of(fault, "g.dts: warning: [x] something else")
    assert not is_warned_of("panic: dom0: no", "g.dts: warning: [x] 4096 bytes")


NIC = Ask("/nic@9000000", "nic0@9000000", ((0x9000000, 0x1000),), (), (0x20, 0x21), None, None)


def nic(sharer: str) -> Pair:
    """A guest that wants the card, which has a stream ID in common with another device."""
    root = tree(blob(HOST % (WIDE.replace("xen,passthrough;", "") + SHARER % sharer)))
    return Pair(root, RandomGuest((NIC,), True), SIDES[0])


def files(pair: Pair, marks: str, intids: list[int]) -> dict[str, bytes]:
    """What a tool may have written: marks on the paths `marks`, and a plan with `intids`."""
    fragments = (
        f'fragment {{ target-path = "{path}"; __overlay__ {{ xen,passthrough; }}; }};'
        for path in marks.split()
    )
    stream = [{"iommu": "/smmu@8000000", "pmaster": id} for id in (0x20, 0x21)]
    region = [{"host": 0x9000000, "guest": 0x9000000, "size": 0x1000}]
    device = {"host": NIC.path, "streams": stream, "intids": intids, "regions": region}
    return {
        "host.overlay": "\n".join(fragments).encode(),
        "passthrough-dom0less.dtb": guest_at_boot(Host(pair.host), [NIC.path]).partial,
        "viommu.json": json.dumps({"devices": [device], "memory_limit": None}).encode(),
    }


def bound(sharer: str, marks: str, intids: tuple[int, ...] = (72,)) -> str:
    pair = nic(sharer)
    found = judged(pair, Outcome(0, "", files(pair, marks, list(intids))))
    return found.kind


DISABLED = 'status = "disabled";'


def test_what_is_bound_is_judged_by_xen() -> None:
    in_tree = "bound, but refused: dom1: Failed to add NODE to the IOMMU: stream N already in tree"
    assert bound("", NIC.path) == f"{in_tree}, of NODE"
    assert bound(DISABLED, NIC.path) == f"{in_tree}, of NODE"
    taken = "bound, but refused: dom1: Unable to map IRQN to dom1: IRQ N is already used by dom0"
    assert bound(DISABLED, "/dma@9001000") == f"{taken} (NODE)"
    # The marks are right. rules.py then finds what this partial tree has not: a bus, and iommus.
    right = f"{NIC.path} /dma@9001000"
    assert bound(DISABLED, right).startswith("bound, but by rules.py ")
    assert bound(DISABLED, right, (72, 73)) == "bound, but Xen does not route INTID N of NODE"


def refused(sharer: str, id: str, is_right: bool = True) -> Verdict:
    pair = nic(sharer)
    pair = pair._replace(guest=pair.guest._replace(is_right=is_right))
    return judged(pair, Outcome(1, f"guest.overlay:6: error: [{id}] no\nhint: do\n", {}))


def test_what_is_refused_is_judged_by_what_would_do() -> None:
    assert refused("", "shared-stream-id")[:2] == (True, "refused, and Xen agrees")
    falsely = (False, "refused falsely: shared-stream-id")
    assert refused(DISABLED, "shared-stream-id")[:2] == falsely
    wrong = (True, "refused, and the request is wrong")
    assert refused(DISABLED, "shared-stream-id", is_right=False)[:2] == wrong
    designed = (True, "refused by design: host-memory")
    assert refused(DISABLED, "host-memory")[:2] == designed


@pytest.mark.parametrize("status", ["okay", "reserved", "disabled"])
def test_an_id_behind_a_gap_is_one_all_the_same(status: str) -> None:
    """Xen does not attach it, but the SMMU cannot tell the DMA of the two apart."""
    behind = SHARER.replace("<&smmu 0x21>", "<0 &smmu 0x21>")
    root = tree(blob(HOST % (WIDE + behind % f'status = "{status}";')))
    pair = Pair(root, RandomGuest((NIC,), True), SIDES[0])
    words = "guest.overlay:6: error: [shared-stream-id] no\nhint: do\n"
    assert judged(pair, Outcome(1, words, {})).agrees == (status != "disabled")


@pytest.mark.parametrize("outcome", [Outcome(-1, "Traceback", {}), Outcome(1, "no id", {})])
def test_a_crash_is_a_disagreement(outcome: Outcome) -> None:
    assert judged(nic(""), outcome).agrees is False


def test_the_report_has_the_smallest_of_each_kind() -> None:
    found = [
        Result(1, 50, "xen-rfc", "xl", Verdict(False, "bound, but double", ["page 1"])),
        Result(2, 40, "xen-rfc", "xl", Verdict(False, "bound, but double", ["page 2"])),
        Result(3, 30, "xen-rfc", "xl", Verdict(True, "bound, and Xen agrees", [])),
    ]
    assert report(found).splitlines() == [
        "3 pairs",
        "      1  bound, and Xen agrees",
        "      2  DISAGREES: bound, but double",
        "         --show 2  (xen-rfc, xl)",
        "         --show 1  (xen-rfc, xl)",
        "             page 2",
        "2 disagreements",
    ]


def test_one_pair_is_shown_whole(tmp_path: Path) -> None:
    show(pair_of(3), tmp_path)
    assert "compatible" in (tmp_path / "host.dts").read_text()
    assert "passthrough {" in (tmp_path / "guest.overlay").read_text()
    assert (tmp_path / "stderr.txt").exists()
    assert "\nthe host alone:\n" in (tmp_path / "verdict.txt").read_text()


def test_a_smaller_pair_is_as_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    def verdict(pair: Pair) -> Verdict:
        paths = [node.path for node in pair.host.below() if "iommus" in node.props]
        return Verdict("/dma@9001000" not in paths, "wrong", [])

    monkeypatch.setattr(random_pairs, "verdict", verdict)
    small = smaller(nic(DISABLED), "wrong")
    assert [(node.path, list(node.props)) for node in small.host.below()] == [
        ("/nic@9000000", []),
        ("/dma@9001000", ["iommus"]),
    ]


def test_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["--show", "3"])
    assert "--show needs --into DIR" in capsys.readouterr().err
