# SPDX-License-Identifier: Apache-2.0
"""A random pair, what the tool made of it, and whether the model of Xen agrees."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from io import StringIO
from pathlib import Path
from random import Random
from traceback import format_exc
from typing import Any, NamedTuple

from tests.xen.by_hand import guest_by_hand, marks, with_marks
from tests.xen.domains import Guest
from tests.xen.guest_map import MIB, Layout
from tests.xen.host import Host
from tests.xen.irqs import XEN
from tests.xen.nodes import Node, blob_of
from tests.xen.random_guests import RandomGuest, random_guest
from tests.xen.random_hosts import random_host, with_odd_shapes, with_other_iommus
from tests.xen.random_shapes import shaped
from tests.xen.rules import dom0less_faults, libxl_faults
from tests.xen.running import DOM0
from tests.xen.whole import AtBoot, Hand, World, by_xl, faults, whole
from tests.xen.xens import AMD, MASTER, RFC, V3, V417, V420, V422, Xen
from west_viommu.__main__ import main
from west_viommu.names import VARIABLES

# Refused though Xen would go on: the guest's tree does not say for sure what is meant, or what Xen
# would do is not what the tree says.
BY_DESIGN = {
    "ambiguous-master": "the IDs are those of several masters",
    "ambiguous-path": "Xen takes the first path of two that differ in case",
    "interrupt-unroutable": "Xen routes another line than the tree says, or none",
    "iommu-disabled": "a node above the SMMU is disabled; Xen looks at the SMMU's own status",
    "stream-id-range": "an SMMUv2 has no such stream; Xen attaches that of the lower 15 bits",
    "stream-list": "Xen attaches the IDs before a gap in the list alone",
    "hypervisor-owned": "no device, whatever Xen would do",
    "host-memory": "no device, whatever Xen would do",
    "untranslatable-region": "Xen maps nothing where a bus has no ranges",
}
ENVIRONMENT = (*VARIABLES, "ZEPHYR_BASE")
# The status of a device that somebody uses: `reserved` is firmware's, or another system's.
USED: tuple[list[str], ...] = ([], ["okay"], ["ok"], ["reserved"])


class Side(NamedTuple):
    """A profile of ours, the Xen that it is for, and who makes the guest."""

    profile: str
    xen: Xen
    toolstack: str


# With what is at the limits of a version, all of the versions of a profile.
SIDES = (
    Side("xen-rfc", RFC, "dom0less"),
    Side("xen-rfc", RFC, "xl"),
    Side("xen-amd", AMD, "dom0less"),
    Side("xen-amd", AMD, "xl"),
    Side("xen-v3-dom0less", V3, "dom0less"),
    Side("xen-v3-libxl", V3, "xl"),
    Side("xen", V417, "dom0less"),
    Side("xen", V417, "xl"),
    Side("xen", V420, "dom0less"),
    Side("xen", V422, "dom0less"),
    Side("xen", MASTER, "xl"),
)
# Of what Xen says, what some versions do not mind, or no guest: a warning that names it will do.
WARNED = {
    "Device tree generation failed": r"\b4096\b|\bbytes\b|\bsize\b",
    "Invalid address_cells": r"\bcells\b",
    "Not enough memory in the first bank": r"\bmemory\b|\bRAM\b",
    "Unable to find suitable location": r"\bmemory\b|\bRAM\b",
    "is where its RAM is": r"\bmemory\b|\bRAM\b",
    # A Xen without the driver of the first kind takes the second.
    "is not driven": r"\bone kind of IOMMU\b",
    # Before 4.20, an SMMUv2 has no masks.
    "overlaps another of": r"\blies across\b",
}


class Pair(NamedTuple):
    """A host, a guest of it, and the Xen that is to have both."""

    host: Node
    guest: RandomGuest
    side: Side

    @property
    def wanted(self) -> list[str]:
        return [ask.path for ask in self.guest.asks]

    @property
    def size(self) -> int:
        return 10 * len(list(self.host.below())) + len(self.guest.overlay.splitlines())

    def by_hand(self, xen: Xen | None = None) -> World:
        """The pair as somebody who knows Xen would write it."""
        host = Host(self.host)
        guest = guest_by_hand(host, self.wanted, self.side.toolstack, self.guest)
        marked = with_marks(self.host, marks(host, set(self.wanted)))
        return whole(marked, [guest], xen or self.side.xen)

    def is_taken(self, xen: Xen) -> bool:
        """Whether that Xen takes what is written by hand, and gives the guest what it wants."""
        world = self.by_hand(xen)
        given = {path for path, hand in world.assigned.items() if hand not in (XEN, DOM0)}
        return world.is_sound and given == set(self.wanted)

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
    shapes = Random(f"shapes of {seed}")
    side = shapes.choice(SIDES)
    while True:
        host = random_host(rng)
        if side.profile == "xen" and kinds.random() < 0.5:
            with_other_iommus(host, kinds)
        pair = Pair(host, random_guest(rng, host), side)
        if kinds.random() < 0.3:
            with_odd_shapes(host, kinds, pair.wanted)
        if shapes.random() < 0.7:
            pair = Pair(host, shaped(shapes, host, pair.guest, side.profile), side)
        if pair.starts() or rng.random() < 0.3:
            return pair


def bound(pair: Pair, folder: Path) -> Outcome:
    """Runs `viommu bind` in this process; `folder` gets its files in `out`."""
    host, overlay, out = folder / "host.dtb", folder / "guest.overlay", folder / "out"
    host.write_bytes(blob_of(pair.host))
    overlay.write_text(pair.guest.overlay)
    command = ["bind", "--host", str(host), "--profile", pair.side.profile, "-o", str(out)]
    if pair.side.toolstack == "dom0less":
        # The model gives such a guest a vpl011.
        (folder / "viommu.yml").write_text("domain: [vpl011]\n")
        command += ["--config", str(folder / "viommu.yml")]
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


def world_of(pair: Pair, outcome: Outcome, xen: Xen | None = None) -> World:
    """What Xen makes of the files that the tool wrote."""
    marked = with_marks(pair.host, marked_by(outcome.files["host.overlay"].decode()))
    return whole(marked, [_guest(pair, outcome)], xen or pair.side.xen)


def layout_of(plan: bytes, guest: RandomGuest, *, has_uart: bool) -> Layout:
    """With as much memory as the plan lets the guest have, by itself no more than it needs."""
    limit: int | None = json.loads(plan)["memory_limit"]
    if limit is None:
        limit = 2048 * MIB if guest.shared else 16 * MIB
    return Layout(memory=limit, has_uart=has_uart, shared=guest.shared)


def marked_by(overlay: str) -> set[str]:
    """The paths of host.overlay: it has nothing but marks."""
    found = re.findall(r'target-path = "([^"]*)";\s*__overlay__ \{\s*xen,passthrough;', overlay)
    assert len(found) == overlay.count("target-path"), overlay
    return set(found)


def _guest(pair: Pair, outcome: Outcome) -> Guest:
    is_by_xl = pair.side.toolstack == "xl"
    layout = layout_of(outcome.files["viommu.json"], pair.guest, has_uart=not is_by_xl)
    if is_by_xl:
        return replace(by_xl(outcome.files["xl.cfg"].decode()), layout=layout)
    return AtBoot(outcome.files["passthrough-dom0less.dtb"], layout=layout)


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
        found = faults(world)
        if not is_told_of(found[0], outcome.err):
            return Verdict(False, f"bound without a word, but {_kind(found[0])}", found)
        return Verdict(True, "bound; the host does not start, with a guest or without", [])
    if "[xen-stops]" in outcome.err and not _stops_some(pair, outcome):
        said = [line for line in _warnings(outcome.err) if "[xen-stops]" in line]
        return Verdict(False, "warned of a host that starts", said)
    if not world.is_sound:
        found = faults(world)
        if all(is_warned_of(fault, outcome.err) for fault in found):
            return Verdict(True, f"bound with a warning: {_kind(found[0])}", found)
        return Verdict(False, f"bound, but {_kind(found[0])}", found)
    planned = json.loads(outcome.files["viommu.json"])
    hosts = [device["host"] for device in planned["devices"]]
    if pair.guest.is_right and sorted(hosts) != sorted(pair.wanted):
        return Verdict(False, "bound, but others than asked for", hosts)
    given = {path for path, hand in world.assigned.items() if hand not in (XEN, DOM0)}
    if given != set(hosts):
        return Verdict(False, "bound, but Xen assigns others", sorted(given ^ set(hosts)))
    guest = next(_hands_of_guests(world), Hand())
    missing = list(_not_given(planned["devices"], guest))
    page = pair.guest.page
    if page is not None and not any(p.host <= page >> 12 < p.host + p.count for p in guest.pages):
        missing.append("Xen does not map a page of no device")
    if missing:
        return Verdict(False, f"bound, but {_kind(missing[0])}", missing)
    wrong = _rules(pair, outcome)
    if wrong:
        return Verdict(False, f"bound, but by rules.py {_kind(wrong[0])}", wrong)
    return Verdict(True, "bound, and Xen agrees", [])


def _stops_some(pair: Pair, outcome: Outcome) -> bool:
    """Whether a Xen of the profile does not come to the guest."""
    xens = {side.xen for side in SIDES if side.profile == pair.side.profile}
    return any(_before_the_guest(world_of(pair, outcome, xen)) for xen in xens)


def is_told_of(fault: str, err: str) -> bool:
    """Whether a warning names a node for which Xen stops."""
    paths = re.findall(r"/[\w@,./-]+", fault)
    return any(path in line for path in paths for line in _warnings(err))


def is_warned_of(fault: str, err: str) -> bool:
    """Whether the fault is one for which a warning will do, and there is one."""
    words = next((words for says, words in WARNED.items() if says in fault), None)
    return words is not None and any(re.search(words, line) for line in _warnings(err))


def _warnings(err: str) -> list[str]:
    return [line for line in err.splitlines() if "warning:" in line]


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
    if not pair.is_taken(pair.side.xen):
        return Verdict(True, "refused, and Xen agrees", faults(pair.by_hand()))
    for side in SIDES:
        if side.profile == pair.side.profile and not pair.is_taken(side.xen):
            kind = "refused, and another Xen of the profile agrees"
            return Verdict(True, kind, faults(pair.by_hand(side.xen)))
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
    if "the host node is malformed: a phandle that no node has" in outcome.err:
        return Verdict(True, "refused by design: Xen reads iommus up to the mistake only", [])
    if "Xen gives dom0 no right" in outcome.err and not pair.is_taken(
        replace(pair.side.xen, permits_one_more=False)
    ):
        return Verdict(True, "refused by design: dom0 has one page more by a bug alone", [])
    return Verdict(False, f"refused falsely: {' '.join(ids)}", outcome.err.splitlines()[:6])


def _is_listed_elsewhere(pair: Pair) -> bool:
    """Whether a node that is in use, and that nobody asks for, lists an ID of one that is asked
    for, on one SMMU.
    """
    asked = set(pair.wanted)
    widths = {node.cell("phandle", 0): node.cell("#iommu-cells", 1) for node in pair.host.below()}
    listed: dict[bool, list[tuple[int, int, int]]] = {True: [], False: []}
    for node in pair.host.below():
        is_asked = node.path in asked
        is_enabled = node.strings("status")[:1] in USED
        values = node.cells("iommus") if is_asked or is_enabled else []
        while values:
            phandle, *values = values
            # Neither a gap nor a reference at the end of the list has an ID.
            if phandle not in (0, 0xFFFFFFFF) and values:
                width = widths.get(phandle, 1)
                mask = values[1] if width == 2 and len(values) > 1 else 0
                listed[is_asked].append((phandle, values[0], mask))
                values = values[width:]
    return any(
        mine[0] == theirs[0] and not (mine[1] ^ theirs[1]) & ~(mine[2] | theirs[2])
        for mine in listed[True]
        for theirs in listed[False]
    )


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
