# SPDX-License-Identifier: Apache-2.0
"""The IDs that the policies give: the two orders of Xen against the model of it, over random
trees from source text to the blob that Xen gets; and the bounds of each policy.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import Outcome, Run
from tests.xen.nodes import cells, tree
from tests.xen.rules import dom0less_vsids, libxl_vsids
from west_viommu.api import plan, read_guest, read_host, render
from west_viommu.diagnostics import Refused
from west_viommu.plan.plan import Plan

AT_BOOT, BY_XL = "passthrough-dom0less.dtb", "passthrough-xl.dtb"
CELLS = "#address-cells = <2>; #size-cells = <2>;"


class Asking(NamedTuple):
    """A node's request: how many streams its host device has, and how it names that."""

    streams: int
    how: str


class Spec(NamedTuple):
    """A node below /passthrough."""

    request: Asking | None
    is_disabled: bool
    children: tuple[Spec, ...]


class Placed(NamedTuple):
    """A node with its path, its number in document order, and the host's IDs that it asks for.
    `asks`: it has a request, and neither it nor what it is below is disabled.
    """

    spec: Spec
    path: str
    number: int
    own: tuple[int, ...]
    ids: tuple[int, ...]
    asks: bool


def _specs(children: st.SearchStrategy[Spec] | None) -> st.SearchStrategy[Spec]:
    hows = st.sampled_from(("ids", "path", "both", "last"))
    return st.builds(
        Spec,
        request=st.none() | st.builds(Asking, streams=st.integers(1, 3), how=hows),
        is_disabled=st.booleans(),
        children=st.lists(children, max_size=3).map(tuple) if children is not None else st.just(()),
    )


NODES = st.recursive(_specs(None), _specs, max_leaves=8)
FLAT = _specs(_specs(None).map(lambda spec: spec._replace(request=None)))


def placed(specs: Sequence[Spec]) -> list[Placed]:
    """All nodes, a node before its children."""
    result: list[Placed] = []

    def walk(siblings: Sequence[Spec], parent: str, is_on: bool) -> None:
        for spec in siblings:
            number = len(result)
            streams = spec.request.streams if spec.request else 0
            # Unique on the host, and in no order.
            own = tuple(0x10 + 0x10 * (number * 37 % 512) + i for i in range(streams))
            how = spec.request.how if spec.request else ""
            ids = own[-1:] if how == "last" else own
            path = f"{parent}/n{number}"
            enabled = is_on and not spec.is_disabled
            result.append(Placed(spec, path, number, own, ids, enabled and bool(own)))
            walk(spec.children, path, enabled)

    walk(specs, "/passthrough", True)
    return result


def host_source(nodes: Sequence[Placed]) -> str:
    """A host with a device for each request."""
    devices = "".join(
        f"d{node.number} {{ iommus = {', '.join(f'<&smmu {i:#x}>' for i in node.own)}; }};\n"
        for node in nodes
        if node.own
    )
    smmu = 'compatible = "arm,smmu-v3"; #iommu-cells = <1>; reg = <0 0x9000000 0 0x40000>;'
    return f"/dts-v1/; / {{ {CELLS} smmu: iommu@9000000 {{ {smmu} }};\n{devices} }};"


def guest_source(specs: Sequence[Spec], nodes: Sequence[Placed], aliases_first: bool) -> str:
    """A guest with a node for each spec."""
    numbers = iter(nodes)

    def body(siblings: Sequence[Spec]) -> str:
        text = ""
        for spec in siblings:
            node = next(numbers)
            how = spec.request.how if spec.request else ""
            text += f"n{node.number} {{\n"
            if how and how != "path":
                text += f"iommus = <{' '.join(f'0 {i:#x}' for i in node.ids)}>;\n"
            if how in ("path", "both"):
                text += f'xen,path = "/d{node.number}";\n'
            if spec.is_disabled:
                text += 'status = "disabled";\n'
            text += body(spec.children) + "};\n"
        return text

    parts = [
        f"passthrough {{ {CELLS} ranges;\n{body(specs)} }};\n",
        f'aliases {{ first = "{nodes[0].path}"; }};\n',
    ]
    return f"/dts-v1/; / {{ {CELLS} {''.join(reversed(parts) if aliases_first else parts)} }};"


class Made(NamedTuple):
    """A plan and its files."""

    plan: Plan
    files: dict[str, bytes]


def bound(
    specs: Sequence[Spec], name: str, domain: Sequence[str] = (), aliases_first: bool = False
) -> Made:
    """The plan for the guest with `specs`, and its files. Raises Refused."""
    nodes = placed(specs)
    with tempfile.TemporaryDirectory() as folder:
        host_file, guest_file = Path(folder, "host.dts"), Path(folder, "guest.dts")
        host_file.write_text(host_source(nodes))
        guest_file.write_text(guest_source(specs, nodes, aliases_first))
        made = plan(read_host(host_file), read_guest([guest_file]), profile=name, domain=domain)
    return Made(made.plan, render(made))


def planned(made: Made) -> dict[str, list[int]]:
    """Path of each device -> its vMasterIDs in the plan."""
    return {
        device.node: [stream.vmaster for stream in device.streams] for device in made.plan.devices
    }


def physical(blob: bytes) -> dict[str, list[int]]:
    """Path of each node with iommus -> the host's IDs that Xen reads there."""
    return {
        node.path: cells(node.props["iommus"])[1::2]
        for node in tree(blob).below()
        if "iommus" in node.props
    }


def has_request(specs: Sequence[Spec]) -> bool:
    return any(node.asks for node in placed(specs))


FORESTS = st.lists(NODES, min_size=1, max_size=4).filter(has_request)
FLAT_FORESTS = st.lists(FLAT, min_size=1, max_size=6).filter(has_request)


@settings(deadline=None, derandomize=True, max_examples=60)
@given(FORESTS, st.booleans())
def test_the_order_of_dom0less(specs: list[Spec], aliases_first: bool) -> None:
    made = bound(specs, "xen-v3-dom0less", aliases_first=aliases_first)
    at_boot = made.files[AT_BOOT]
    assert planned(made) == dom0less_vsids(at_boot)
    assert physical(at_boot) == {node.path: [*node.ids] for node in placed(specs) if node.asks}
    # The other toolstack gets a tree only where it would give the same IDs.
    is_nested = any(node.asks and node.path.count("/") > 2 for node in placed(specs))
    assert (BY_XL in made.files) is not is_nested
    if not is_nested:
        assert libxl_vsids(made.files[BY_XL], has_vpci=False) == planned(made)


@settings(deadline=None, derandomize=True, max_examples=40)
@given(FLAT_FORESTS, st.booleans(), st.booleans())
def test_the_order_of_libxl(specs: list[Spec], has_vpci: bool, aliases_first: bool) -> None:
    domain = ["vpci"] if has_vpci else []
    made = bound(specs, "xen-v3-libxl", domain, aliases_first)
    by_xl = made.files[BY_XL]
    assert planned(made) == libxl_vsids(by_xl, has_vpci)
    assert physical(by_xl) == {node.path: [*node.ids] for node in placed(specs) if node.asks}
    assert min(i for ids in planned(made).values() for i in ids) == (0x1000 if has_vpci else 0)
    assert (AT_BOOT in made.files) is not has_vpci
    # The reverse: what Xen makes itself is not for a libxl that keeps IDs for PCI devices.
    made = bound(specs, "xen-v3-dom0less", domain, aliases_first)
    assert planned(made) == dom0less_vsids(made.files[AT_BOOT])
    assert (BY_XL in made.files) is not has_vpci


@settings(deadline=None, derandomize=True, max_examples=30)
@given(FORESTS)
def test_libxl_numbers_no_nested_nodes(specs: list[Spec]) -> None:
    nested = [node.path for node in placed(specs) if node.asks and node.path.count("/") > 2]
    if not nested:
        assert planned(bound(specs, "xen-v3-libxl"))
        return
    with pytest.raises(Refused) as refused:
        bound(specs, "xen-v3-libxl")
    wrong = [problem for problem in refused.value.problems if not problem.warning]
    what = "libxl numbers the streams of direct children of /passthrough only"
    assert [(problem.node, problem.what) for problem in wrong] == [(p, what) for p in nested]
    assert [problem.hint for problem in wrong] == [
        f"move the node up, to /passthrough/{path.rpartition('/')[2]}" for path in nested
    ]


def devices(ids: Sequence[Sequence[int]]) -> Iterator[str]:
    for i, own in enumerate(ids):
        iommus = f"iommus = {', '.join(f'<&smmu {each:#x}>' for each in own)};" if own else ""
        yield f"d{i} {{ {iommus} }};"


def bind(
    viommu: Run, ids: Sequence[Sequence[int]], config: str = "", options: Sequence[str] = ()
) -> Outcome:
    """bind for a guest that asks for every device of a host with these stream IDs."""
    smmu = 'compatible = "arm,smmu-v3"; #iommu-cells = <1>; reg = <0 0x9000000 0 0x40000>;'
    body = "\n".join(devices(ids))
    Path("host.dts").write_text(
        f"/dts-v1/; / {{ {CELLS} smmu: iommu@9000000 {{ {smmu} }}; {body} }};"
    )
    nodes = " ".join(f'n{i} {{ xen,path = "/d{i}"; }};' for i in range(len(ids)))
    Path("guest.overlay").write_text(f"/ {{ passthrough {{ {CELLS} ranges; {nodes} }}; }};")
    Path("viommu.yml").write_text(config)
    return viommu("bind", "--host", "host.dts", "guest.overlay", *options)


def errors(outcome: Outcome) -> list[str]:
    return [line for line in outcome.err.splitlines() if "error: " in line]


KEEPS_IDS = ("--profile", "xen-rfc")


def test_the_last_id_of_the_vsmmu(viommu: Run) -> None:
    assert bind(viommu, [[0xFFFF]], options=KEEPS_IDS).status == 0
    outcome = bind(viommu, [[0x10000]], options=KEEPS_IDS)
    assert outcome.status == 1
    (error,) = errors(outcome)
    assert "[vsid-range] the vSMMU has stream IDs of 16 bits" in error
    assert error.endswith("(node /passthrough/n0, expected at most 0xffff, found 0x10000)")
    # Where Xen numbers anew, the host's own IDs may be as wide as its SMMU has them.
    assert bind(viommu, [[0x10000]], options=("--profile", "xen-v3-dom0less")).status == 0
    outcome = bind(viommu, [[1]], "vsids: {/d0: [0x10000]}", (*KEEPS_IDS, "--vsid", "explicit"))
    (error,) = errors(outcome)
    assert "[vsid-range]" in error
    assert "hint: write smaller numbers into vsids of viommu.yml" in outcome.err


EXPLICIT = (*KEEPS_IDS, "--vsid", "explicit")
NEEDS = "[malformed] the policy explicit needs"


@pytest.mark.parametrize(
    ("ids", "config", "said"),
    [
        (
            [[1], [2]],
            "{/d0: [5], /d1: [5]}",
            ["[vsid-clash] two streams get the"],
        ),
        ([[1, 2]], "{/d0: [5, 5]}", ["[vsid-clash] two streams get the guest's stream ID 0x5"]),
        ([[1], [2]], "{/d0: [5]}", [f"{NEEDS} 1 stream ID for /d1"]),
        ([[1], [2]], "{}", [f"{NEEDS} 1 stream ID for /d0", f"{NEEDS} 1 stream ID for /d1"]),
        ([[1, 2]], "{/d0: [5]}", [f"{NEEDS} 2 stream IDs for /d0"]),
        ([[1]], "{/d0: [5, 6]}", [f"{NEEDS} 1 stream ID for /d0"]),
        ([[1]], "{/d0: [5], /d9: [6]}", ["[malformed] vsids numbers /d9, which no guest node"]),
        ([[1]], "{/d0: []}", [f"{NEEDS} 1 stream ID for /d0"]),
    ],
)
def test_explicit_numbers_that_are_wrong(
    ids: list[list[int]], config: str, said: list[str], viommu: Run
) -> None:
    outcome = bind(viommu, ids, f"vsids: {config}", EXPLICIT)
    assert outcome.status == 1
    found = errors(outcome)
    assert len(found) == len(said), found
    assert all(words in line for words, line in zip(said, found, strict=True)), found


@pytest.mark.parametrize("names", [("/d0", "/d1"), ("/passthrough/n0", "/passthrough/n1")])
def test_explicit_numbers_by_either_node(names: tuple[str, str], viommu: Run) -> None:
    config = f"vsids: {{{names[0]}: [7, 5], {names[1]}: [0xffff]}}"
    assert bind(viommu, [[1, 2], [3]], config, EXPLICIT).status == 0
    overlay = Path("viommu/viommu.overlay").read_text()
    assert "iommus = <&vsmmu 0x7>, <&vsmmu 0x5>;" in overlay
    assert "iommus = <&vsmmu 0xffff>;" in overlay


@pytest.mark.parametrize(
    ("numbers", "partial_trees"),
    [
        # Only xl can be given another map than the host's own IDs (iommu_devid_map).
        ("[7]", ["passthrough-xl.dtb"]),
        ("[1]", ["passthrough-dom0less.dtb", "passthrough-xl.dtb"]),
    ],
)
def test_the_toolstacks_that_can_give_explicit_numbers(
    numbers: str, partial_trees: list[str], viommu: Run
) -> None:
    outcome = bind(viommu, [[1]], f"vsids: {{/d0: {numbers}}}", EXPLICIT)
    assert outcome.status == 0, outcome.err
    assert sorted(file.name for file in Path("viommu").glob("*.dtb")) == partial_trees


def test_a_device_without_streams_needs_no_explicit_number(viommu: Run) -> None:
    allow = "allow: [{hazard: unprotected, device: /d1, reason: no DMA}]"
    outcome = bind(viommu, [[1], []], f"vsids: {{/d0: [7]}}\n{allow}", EXPLICIT)
    assert (outcome.status, errors(outcome)) == (0, [])


def test_explicit_numbers_under_another_policy(viommu: Run) -> None:
    for options in (KEEPS_IDS, (*KEEPS_IDS, "--vsid", "first-free")):
        outcome = bind(viommu, [[1]], "vsids: {/d0: [5]}", options)
        (error,) = errors(outcome)
        policy = options[-1] if len(options) > 2 else "identity"
        assert error.endswith(
            "[malformed] vsids count only under the policy explicit (found " + policy + ")"
        )


@pytest.mark.parametrize(
    ("policy", "config"), [("identity", ""), ("explicit", "vsids: {/d0: [5]}")]
)
@pytest.mark.parametrize("profile_name", ["xen-v3-dom0less", "xen-v3-libxl"])
def test_no_other_policy_for_a_xen_that_renumbers(
    profile_name: str, policy: str, config: str, viommu: Run
) -> None:
    options = ("--profile", profile_name, "--vsid", policy)
    outcome = bind(viommu, [[1]], config, options)
    assert outcome.status == 1
    (error,) = errors(outcome)
    what = "this hypervisor gives a guest other stream IDs than the policy "
    assert f"[vsid-clash] {what}{policy}" in error


@pytest.mark.parametrize(
    ("policy", "config", "ids", "is_refused"),
    [
        ("identity", "", [0x10], False),
        ("first-free", "", [0x10], True),
        ("first-free", "", [0, 1], False),
        ("explicit", "vsids: {/d0: [0x11]}", [0x10], True),
        ("explicit", "vsids: {/d0: [0x10]}", [0x10], False),
    ],
)
def test_a_hypervisor_that_keeps_ids_is_not_given_others(
    policy: str, config: str, ids: list[int], is_refused: bool, viommu: Run
) -> None:
    """QEMU's machine has the IDs of the host, and no xl to which a map could be given."""
    outcome = bind(viommu, [ids], config, ("--profile", "qemu-virt", "--vsid", policy))
    assert ("[vsid-clash] this hypervisor gives a guest other stream IDs" in outcome.err) is (
        is_refused
    )
    assert outcome.status == is_refused, outcome.err


@pytest.mark.parametrize(
    ("policy", "config"), [("identity", ""), ("explicit", "vsids: {/d0: [0]}")]
)
def test_another_policy_with_the_same_outcome(policy: str, config: str, viommu: Run) -> None:
    options = ("--profile", "xen-v3-dom0less", "--vsid", policy)
    assert bind(viommu, [[0]], config, options).status == 0
