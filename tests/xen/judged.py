# SPDX-License-Identifier: Apache-2.0
"""A random pair, what the tool made of it, and whether the model of Xen agrees."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from random import Random
from traceback import format_exc
from typing import Any, NamedTuple

from tests.xen.by_hand import guest_by_hand, marks, with_marks
from tests.xen.domains import Guest
from tests.xen.host import Host
from tests.xen.irqs import XEN
from tests.xen.nodes import Node, blob_of
from tests.xen.random_guests import RandomGuest, random_guest
from tests.xen.random_hosts import random_host, with_odd_shapes, with_other_iommus
from tests.xen.rules import dom0less_faults, libxl_faults
from tests.xen.running import DOM0
from tests.xen.whole import AtBoot, Hand, World, by_xl, faults, whole
from tests.xen.xens import MASTER, RFC, V3, V417, Xen
from west_viommu.__main__ import main
from west_viommu.names import VARIABLES

# Refused though Xen would go on: the guest's tree does not say for sure what is meant, or what Xen
# would do is not what the tree says.
BY_DESIGN = {
    "ambiguous-master": "the IDs are those of several masters",
    "ambiguous-path": "Xen takes the first path of two that differ in case",
    "interrupt-unroutable": "Xen routes another line than the tree says, or none",
    "iommu-disabled": "a node above the SMMU is disabled; Xen looks at the SMMU's own status",
    "stream-list": "Xen attaches the IDs before a gap in the list alone",
    "hypervisor-owned": "no device, whatever Xen would do",
    "host-memory": "no device, whatever Xen would do",
    "untranslatable-region": "Xen maps nothing where a bus has no ranges",
}
ENVIRONMENT = (*VARIABLES, "ZEPHYR_BASE")


class Side(NamedTuple):
    """A profile of ours, the Xen that it is for, and who makes the guest."""

    profile: str
    xen: Xen
    toolstack: str


SIDES = (
    Side("xen-rfc", RFC, "dom0less"),
    Side("xen-rfc", RFC, "xl"),
    Side("xen-v3-dom0less", V3, "dom0less"),
    Side("xen-v3-libxl", V3, "xl"),
    Side("xen-amd", RFC, "dom0less"),
    Side("xen-amd", RFC, "xl"),
    Side("xen", V417, "dom0less"),
    Side("xen", MASTER, "xl"),
)


class Pair(NamedTuple):
    host: Node
    guest: RandomGuest
    side: Side

    @property
    def wanted(self) -> list[str]:
        return [ask.path for ask in self.guest.asks]

    @property
    def size(self) -> int:
        return 10 * len(list(self.host.below())) + len(self.guest.overlay.splitlines())

    def by_hand(self) -> World:
        """The pair as somebody who knows Xen would write it."""
        host = Host(self.host)
        guest = guest_by_hand(host, self.wanted, self.side.toolstack)
        return whole(with_marks(self.host, marks(host, set(self.wanted))), [guest], self.side.xen)

    def alone(self) -> World:
        """The host without any guest."""
        return whole(self.host, xen=self.side.xen)

    def starts(self) -> bool:
        """Whether the host starts at all, if not as it is, then with the marks."""
        return any(not _before_the_guest(world) for world in (self.alone(), self.by_hand()))


class Outcome(NamedTuple):
    """What the tool did; the files by name, if it bound the pair."""

    status: int
    err: str
    files: dict[str, bytes]


class Verdict(NamedTuple):
    agrees: bool
    kind: str
    details: list[str]


def pair_of(seed: int) -> Pair:
    """The pair of a seed. Most hosts start: what does not is of no use to anybody."""
    rng = Random(seed)
    kinds = Random(f"IOMMUs of {seed}")
    side = rng.choice(SIDES)
    while True:
        host = random_host(rng)
        if side.profile == "xen" and kinds.random() < 0.5:
            with_other_iommus(host, kinds)
        pair = Pair(host, random_guest(rng, host), side)
        if kinds.random() < 0.3:
            with_odd_shapes(host, kinds, pair.wanted)
        if pair.starts() or rng.random() < 0.1:
            return pair


def bound(pair: Pair, folder: Path) -> Outcome:
    """Runs `viommu bind` in this process; `folder` gets its files in `out`."""
    host, overlay, out = folder / "host.dtb", folder / "guest.overlay", folder / "out"
    host.write_bytes(blob_of(pair.host))
    overlay.write_text(pair.guest.overlay)
    command = ["bind", "--host", str(host), "--profile", pair.side.profile, "-o", str(out)]
    for name in ENVIRONMENT:
        os.environ.pop(name, None)
    err = StringIO()
    with redirect_stdout(StringIO()), redirect_stderr(err):
        try:
            status = main([*command, str(overlay)])
        except Exception:  # any is a finding: the commands end with a status
            return Outcome(-1, err.getvalue() + format_exc(), {})
    words = err.getvalue().replace(f"{folder}/", "")
    made = {file.name: file.read_bytes() for file in out.iterdir()} if status == 0 else {}
    return Outcome(status, words, made)


def is_made(pair: Pair, outcome: Outcome) -> bool:
    """Whether the tool wrote what the toolstack of the pair needs."""
    name = "xl.cfg" if pair.side.toolstack == "xl" else "passthrough-dom0less.dtb"
    return outcome.status == 0 and name in outcome.files


def world_of(pair: Pair, outcome: Outcome) -> World:
    """What Xen makes of the files that the tool wrote."""
    marked = with_marks(pair.host, marked_by(outcome.files["host.overlay"].decode()))
    return whole(marked, [_guest(pair, outcome)], pair.side.xen)


def marked_by(overlay: str) -> set[str]:
    """The paths of host.overlay: it has nothing but marks."""
    found = re.findall(r'target-path = "([^"]*)";\s*__overlay__ \{\s*xen,passthrough;', overlay)
    assert len(found) == overlay.count("target-path"), overlay
    return set(found)


def _guest(pair: Pair, outcome: Outcome) -> Guest:
    if pair.side.toolstack == "xl":
        return by_xl(outcome.files["xl.cfg"].decode())
    return AtBoot(outcome.files["passthrough-dom0less.dtb"])


def judged(pair: Pair, outcome: Outcome) -> Verdict:
    if outcome.status == 0:
        return _accepted(pair, outcome)
    if outcome.status != 1 or not ids_of(outcome):
        return Verdict(False, f"status {outcome.status}", outcome.err.splitlines()[-3:])
    return _refused(pair, outcome)


def ids_of(outcome: Outcome) -> list[str]:
    return sorted(set(re.findall(r"error: \[([a-z0-9-]+)\]", outcome.err)))


def _accepted(pair: Pair, outcome: Outcome) -> Verdict:
    if not is_made(pair, outcome):
        # A note says why; as in a refusal, nothing that Xen could be given is there.
        return _refused(pair, outcome)
    world = world_of(pair, outcome)
    if _before_the_guest(world) and _before_the_guest(pair.alone()):
        return Verdict(True, "bound; the host does not start, with a guest or without", [])
    if not world.is_sound:
        found = faults(world)
        return Verdict(False, f"bound, but {_kind(found[0])}", found)
    planned = json.loads(outcome.files["viommu.json"])
    hosts = [device["host"] for device in planned["devices"]]
    if pair.guest.is_right and sorted(hosts) != sorted(pair.wanted):
        return Verdict(False, "bound, but others than asked for", hosts)
    given = {path for path, hand in world.assigned.items() if hand not in (XEN, DOM0)}
    if given != set(hosts):
        return Verdict(False, "bound, but Xen assigns others", sorted(given ^ set(hosts)))
    missing = list(_not_given(planned["devices"], next(_hands_of_guests(world))))
    if missing:
        return Verdict(False, f"bound, but {_kind(missing[0])}", missing)
    wrong = _rules(pair, outcome)
    if wrong:
        return Verdict(False, f"bound, but by rules.py {_kind(wrong[0])}", wrong)
    return Verdict(True, "bound, and Xen agrees", [])


def _hands_of_guests(world: World) -> Iterator[Hand]:
    return (hand for name, hand in world.hands.items() if name not in (XEN, DOM0))


def _not_given(devices: list[dict[str, Any]], guest: Hand) -> Iterator[str]:
    """What the plan promises the guest, and Xen does not give."""
    for device in devices:
        for stream in device["streams"]:
            if not any(s.has(stream["iommu"], stream["pmaster"]) for s in guest.streams):
                yield f"Xen does not attach {stream['pmaster']:#x} of {device['host']}"
        for intid in device["intids"]:
            if intid not in guest.lines:
                yield f"Xen does not route INTID {intid} of {device['host']}"
        for region in device["regions"]:
            first, last = region["host"] >> 12, region["host"] + region["size"] - 1 >> 12
            for page in range(first, last + 1):
                if not any(p.host <= page < p.host + p.count for p in guest.pages):
                    yield f"Xen does not map page {page:#x} of {device['host']}"


def _rules(pair: Pair, outcome: Outcome) -> list[str]:
    host = blob_of(pair.host)
    if pair.side.toolstack == "xl":
        found = libxl_faults(outcome.files["passthrough-xl.dtb"], host)
    else:
        found = dom0less_faults(outcome.files["passthrough-dom0less.dtb"], host)
    if pair.side.xen.vsmmu:
        return found
    # There is nothing for iommus to refer to without a vSMMU. Which IOMMUs such a Xen drives, and
    # whether two devices may have one ID there, the model of the whole says.
    of_vsmmu = (
        "xen,path without iommus",
        "collides in stream ID",
        "behind no SMMUv3 that Xen uses",
        "shares stream ID",
    )
    return [fault for fault in found if not any(words in fault for words in of_vsmmu)]


def _refused(pair: Pair, outcome: Outcome) -> Verdict:
    ids = ids_of(outcome)
    if not pair.guest.is_right:
        return Verdict(True, "refused, and the request is wrong", ids)
    world = pair.by_hand()
    given = {path for path, hand in world.assigned.items() if hand not in (XEN, DOM0)}
    if not world.is_sound or given != set(pair.wanted):
        return Verdict(True, "refused, and Xen agrees", faults(world))
    designed = sorted(set(ids) & set(BY_DESIGN))
    if designed:
        return Verdict(True, f"refused by design: {' '.join(designed)}", [])
    if "libxl numbers the streams of direct children" in outcome.err:
        return Verdict(True, "refused, as libxl sees no nested node: by hand it is not nested", [])
    if ids == ["unassigned-child"] and not _has_protected_child(pair):
        return Verdict(True, "refused by design: a master whose SMMU is off is one as well", [])
    if ids == ["shared-stream-id"] and _is_listed_elsewhere(pair):
        # Xen attaches no node that lists its IDs so; but the SMMU cannot tell its DMA from the
        # guest's.
        return Verdict(True, "refused by design: an ID of a node that Xen does not attach", [])
    return Verdict(False, f"refused falsely: {' '.join(ids)}", outcome.err.splitlines()[:6])


def _is_listed_elsewhere(pair: Pair) -> bool:
    """Whether an enabled node that nobody asks for lists an ID of one that is asked for, on one
    SMMU.
    """
    asked = set(pair.wanted)
    owners: dict[tuple[int, int], set[bool]] = {}
    for node in pair.host.below():
        is_asked = node.path in asked
        is_enabled = node.strings("status")[:1] in ([], ["okay"], ["ok"])
        values = node.cells("iommus") if is_asked or is_enabled else []
        while values:
            phandle, *values = values
            # Neither a gap nor a reference at the end of the list has an ID.
            if phandle not in (0, 0xFFFFFFFF) and values:
                owners.setdefault((phandle, values[0]), set()).add(is_asked)
                values = values[1:]
    return any(len(who) == 2 for who in owners.values())


def _has_protected_child(pair: Pair) -> bool:
    """Whether Xen gives dom0 a master below one that is asked for, with a stream."""
    return any(
        hand == DOM0 and any(path.startswith(f"{above}/") for above in pair.wanted)
        for path, hand in pair.by_hand().assigned.items()
    )


def _before_the_guest(world: World) -> bool:
    return any(fault.hand in (XEN, DOM0) for fault in world.faults)


def _kind(fault: str) -> str:
    """The fault without what is of this pair alone."""
    bare = re.sub(r"/[\w@,./-]+", "NODE", fault)
    return re.sub(r"(?<!dom)(0x[0-9a-f]+|\d+)", "N", bare)
