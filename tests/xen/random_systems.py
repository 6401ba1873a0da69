# SPDX-License-Identifier: Apache-2.0
"""Random systems of a host and a few guests: does the model of Xen agree with `viommu system`?

    python -m tests.xen.random_systems --count 1000 --seed 1

Each guest is bound by itself, and what of its devices would be shared with the host is allowed, so
that the judgement is left to the system. What that takes, the model must create without a fault,
and no two hands may hold one thing; what it refuses, the model must not take.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections import Counter
from collections.abc import Iterable
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import NamedTuple

import yaml

from tests.xen.by_hand import with_marks
from tests.xen.domains import AtBoot
from tests.xen.irqs import XEN
from tests.xen.judged import (
    SIDES,
    Side,
    is_told_of,
    is_warned_of,
    layout_of,
    marked_by,
)
from tests.xen.nodes import Node, blob_of
from tests.xen.random_guests import RandomGuest, random_guest
from tests.xen.random_hosts import random_host, with_other_iommus
from tests.xen.random_shapes import shaped
from tests.xen.running import DOM0
from tests.xen.whole import World, faults, whole
from west_viommu.__main__ import main as viommu

# Of one thing in two hands: what a run of one guest can only say of dom0.
OF_HANDS = ("shared-page", "shared-stream-id", "interrupt-clash", "unassigned-child")
# The model takes it; the domain that has the parent may drive the child all the same.
BY_DESIGN = frozenset({"unassigned-child"})
ERROR = re.compile(r"^\S+: error: \[([a-z0-9-]+)\] .*\(node (\S+?),", re.MULTILINE)


class System(NamedTuple):
    """The guests of a host, some of them with shapes of random_shapes.py."""

    host: Node
    guests: tuple[RandomGuest, ...]
    side: Side


class Verdict(NamedTuple):
    agrees: bool
    kind: str
    details: list[str]


def system_of(seed: int) -> System:
    """The system of a seed."""
    rng = Random(f"system {seed}")
    side = rng.choice([side for side in SIDES if side.toolstack == "dom0less"])
    host = random_host(rng)
    if side.profile == "xen" and rng.random() < 0.5:
        with_other_iommus(host, rng)
    guests = tuple(random_guest(rng, host) for _ in range(rng.randint(2, 3)))
    if rng.random() < 0.7:
        guests = (shaped(rng, host, guests[0], side.profile), *guests[1:])
    return System(host, guests, side)


def run(*command: str) -> tuple[int, str, str]:
    out, err = StringIO(), StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        status = viommu([*command])
    return status, out.getvalue(), err.getvalue()


def is_bound(system: System, guest: RandomGuest, folder: Path) -> bool:
    """Bind the guest into `folder`; whether that went, once what may be allowed is."""
    (folder / "guest.overlay").write_text(guest.overlay)
    allow: list[dict[str, str]] = []
    for _ in range(3):
        config = folder / "viommu.yml"
        # The model gives each guest a vpl011.
        config.write_text(yaml.safe_dump({"domain": ["vpl011"], "allow": allow}))
        status, _, err = run(
            *("bind", "--host", str(folder.parent / "host.dtb"), "--config", str(config)),
            *("--profile", system.side.profile, "-o", str(folder / "viommu")),
            str(folder / "guest.overlay"),
        )
        if status == 0:
            (folder / "warnings").write_text(err)
            return (folder / "viommu" / "passthrough-dom0less.dtb").is_file()
        found = dict.fromkeys(ERROR.findall(err))
        new = [
            {"hazard": hazard, "device": node, "reason": "random"}
            for hazard, node in found
            if hazard in OF_HANDS
        ]
        allow += [entry for entry in new if entry not in allow]
        if not new:
            return False
    return False


def verdict(system: System) -> Verdict:
    with TemporaryDirectory() as top:
        folder = Path(top)
        (folder / "host.dtb").write_bytes(blob_of(system.host))
        made, kept = [], []
        for place, guest in enumerate(system.guests):
            own = folder / f"g{place}"
            own.mkdir()
            if is_bound(system, guest, own):
                made.append(own)
                kept.append(guest)
        if len(made) < 2:
            return Verdict(True, "fewer than two guests can be bound", [])
        out = str(folder / "out")
        host = ("--host", str(folder / "host.dtb"), "--format", "json", "-o", out)
        status, told, err = run("system", *host, *map(str, made))
        guests = [
            AtBoot(
                (own / "viommu/passthrough-dom0less.dtb").read_bytes(),
                f"dom{place}",
                layout_of((own / "viommu/viommu.json").read_bytes(), guest, has_uart=True),
            )
            for place, (own, guest) in enumerate(zip(made, kept, strict=True), 1)
        ]
        if status == 0:
            marked = marked_by(Path(out, "marks.overlay").read_text())
            world = whole(with_marks(system.host, marked), guests, system.side.xen)
            # What a run of one guest has warned of is not said again.
            err += "".join((own / "warnings").read_text() for own in made)
            return accepted(json.loads(told), made, world, err)
        marked = set()
        for own in made:
            marked |= marked_by((own / "viommu/host.overlay").read_text())
        tree = with_marks(system.host, marked)
        xens = [side.xen for side in SIDES if side.profile == system.side.profile]
        return refused(
            err,
            whole(tree, guests, system.side.xen),
            *(whole(tree, guests, xen) for xen in xens),
        )


def accepted(told: dict[str, object], made: Iterable[Path], world: World, err: str) -> Verdict:
    """Judge what was taken, with the warnings in `err`."""
    allowed = 0
    for own in made:
        allowed += len(json.loads((own / "viommu/viommu.json").read_text())["allowed"])
    unneeded = told["unneeded"]
    assert isinstance(unneeded, list)
    if len(unneeded) < allowed:
        return Verdict(True, "taken, with what the plans allow", [])
    if any(fault.hand in (XEN, DOM0) for fault in world.faults):
        if not is_told_of(faults(world)[0], err):
            return Verdict(False, "taken without a word; the host does not start", faults(world))
        return Verdict(True, "taken; the host does not start", [])
    if world.is_sound:
        return Verdict(True, "taken, and Xen agrees", [])
    if all(is_warned_of(fault, err) for fault in faults(world)):
        return Verdict(True, "taken, with a warning", faults(world))
    return Verdict(False, "taken, but not by Xen", faults(world))


def refused(err: str, *worlds: World) -> Verdict:
    """Judge what was refused: one Xen of the profile at least must refuse it as well."""
    ids = {hazard for hazard, _ in ERROR.findall(err)}
    if not ids:
        return Verdict(False, "refused without a hazard", err.splitlines()[:4])
    for world in worlds:
        if not world.is_sound:
            return Verdict(True, "refused, and Xen agrees", faults(world))
    if ids <= BY_DESIGN:
        return Verdict(True, f"refused by design: {' '.join(sorted(ids))}", [])
    return Verdict(False, f"refused falsely: {' '.join(sorted(ids))}", err.splitlines()[:4])


def report(found: dict[int, Verdict]) -> str:
    kinds = Counter((each.agrees, each.kind) for each in found.values())
    lines = [f"{len(found)} systems"]
    for (agrees, kind), count in sorted(kinds.items()):
        lines.append(f"{count:7}  {'' if agrees else 'DISAGREES: '}{kind}")
        if not agrees:
            seed = next(s for s, each in found.items() if each[:2] == (agrees, kind))
            lines.append(f"{'':9}seed {seed}")
            lines += [f"{'':13}{detail[:150]}" for detail in found[seed].details[:4]]
    return "\n".join(lines)


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args(argv)
    seeds = range(arguments.seed, arguments.seed + arguments.count)
    found = {seed: verdict(system_of(seed)) for seed in seeds}
    print(report(found))
    return 0 if all(each.agrees for each in found.values()) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
