# SPDX-License-Identifier: Apache-2.0
"""Random pairs of a host and a guest: does the model of Xen agree with what `viommu bind` says?

    python -m tests.xen.random_pairs --count 20000 --seed 1
    python -m tests.xen.random_pairs --show 4711 --into /tmp/4711

What it binds, the model must create without a fault, and no two hands may hold one thing; what it
refuses, the model must not take when it is written by hand (by_hand.py). The exit status is 1 where
the two disagree anywhere.
"""

from __future__ import annotations

import argparse
import multiprocessing
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from tests.xen.judged import Outcome, Pair, Verdict, bound, is_made, judged, pair_of, world_of
from tests.xen.nodes import Node, blob_of
from tests.xen.whole import World, faults

EXAMPLES = 3


class Result(NamedTuple):
    seed: int
    size: int
    profile: str
    toolstack: str
    verdict: Verdict


def result(seed: int) -> Result:
    pair = pair_of(seed)
    side = pair.side
    return Result(seed, pair.size, side.profile, side.toolstack, verdict(pair))


def verdict(pair: Pair) -> Verdict:
    with TemporaryDirectory() as folder:
        return judged(pair, bound(pair, Path(folder)))


def results(seeds: Iterable[int], jobs: int) -> Iterator[Result]:
    if jobs == 1:
        yield from map(result, seeds)
        return
    with multiprocessing.Pool(jobs) as pool:
        yield from pool.imap_unordered(result, seeds, chunksize=20)


def report(found: list[Result]) -> str:
    """How many of each kind, then the smallest examples of each kind of disagreement."""
    kinds = Counter((item.verdict.agrees, item.verdict.kind) for item in found)
    lines = [f"{len(found)} pairs"]
    for (agrees, kind), count in sorted(kinds.items(), key=lambda item: (not item[0][0], -item[1])):
        lines.append(f"{count:7}  {'' if agrees else 'DISAGREES: '}{kind}")
        if not agrees:
            same = [item for item in found if item.verdict[:2] == (False, kind)]
            for item in sorted(same, key=lambda item: item.size)[:EXAMPLES]:
                lines.append(f"{'':9}--show {item.seed}  ({item.profile}, {item.toolstack})")
            smallest = min(same, key=lambda item: item.size)
            lines += [f"{'':13}{detail[:150]}" for detail in smallest.verdict.details[:4]]
    wrong = sum(not item.verdict.agrees for item in found)
    return "\n".join([*lines, f"{wrong} disagreements"])


def smaller(pair: Pair, kind: str) -> Pair:
    """The pair with all taken away from it that its disagreement does not need: first requests,
    then host nodes, one at a time, then properties.
    """
    shrunk = True
    while shrunk:
        shrunk = False
        for other in _less(pair):
            found = verdict(other)
            if not found.agrees and found.kind == kind:
                pair, shrunk = other, True
                break
    return pair


def _less(pair: Pair) -> Iterator[Pair]:
    asks = pair.guest.asks
    if len(asks) > 1 and all(ask.inside is None for ask in asks):
        for place in range(len(asks)):
            fewer = asks[:place] + asks[place + 1 :]
            yield pair._replace(guest=pair.guest._replace(asks=fewer))
    wanted = set(pair.wanted)
    for node in list(pair.host.below()):
        if not any(path == node.path or path.startswith(f"{node.path}/") for path in wanted):
            yield pair._replace(host=_without(pair.host, node.path, None))
    for node in list(pair.host.below()):
        for name in node.props:
            if name not in ("compatible", "phandle"):
                yield pair._replace(host=_without(pair.host, node.path, name))


def _without(root: Node, path: str, name: str | None) -> Node:
    """A copy without the node at `path`, or without its property `name`."""

    def copied(node: Node) -> Node:
        drop = name if node.path == path else None
        copy = Node(node.name, {key: v for key, v in node.props.items() if key != drop})
        for child in node.children:
            if name is not None or child.path != path:
                copy.add(copied(child))
        return copy

    return copied(root)


def show(pair: Pair, folder: Path) -> Verdict:
    """Writes host.dts, guest.overlay, the tool's files and words, and the model's, to `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    outcome = bound(pair, folder)
    found = judged(pair, outcome)
    command = ["dtc", "-q", "-I", "dtb", "-O", "dts", "-"]
    source = subprocess.run(command, input=blob_of(pair.host), capture_output=True, check=True)
    (folder / "host.dts").write_bytes(source.stdout)
    (folder / "stderr.txt").write_text(outcome.err)
    (folder / "verdict.txt").write_text("\n".join(_said(pair, outcome, found)) + "\n")
    return found


def _said(pair: Pair, outcome: Outcome, found: Verdict) -> Iterator[str]:
    side = pair.side
    yield f"{'agrees' if found.agrees else 'DISAGREES'}: {found.kind}"
    yield from (f"    {detail}" for detail in found.details)
    yield f"viommu bind --profile {side.profile}: exit {outcome.status}"
    yield f"Xen: {side.xen.name}, guest made by {side.toolstack}, wanted: {' '.join(pair.wanted)}"
    yield f"the request is {'right' if pair.guest.is_right else 'wrong somewhere'}"
    if is_made(pair, outcome):
        yield from _world("with the tool's files", world_of(pair, outcome))
    yield from _world("written by hand", pair.by_hand())
    yield from _world("the host alone", pair.alone())


def _world(title: str, world: World) -> Iterator[str]:
    yield f"\n{title}:"
    yield from (f"    {fault}" for fault in faults(world) or ["nothing is wrong"])
    for name, hand in world.hands.items():
        yield f"    {name}"
        if hand.streams:
            yield f"        {', '.join(f'{s.smmu} {s.id:#x}' for s in sorted(hand.streams))}"
        if hand.lines:
            yield f"        INTID {', '.join(map(str, sorted(hand.lines)))}"
        for pages in hand.pages:
            yield f"        {pages.host << 12:#x}/{pages.count << 12:#x} {pages.of}"


def arguments() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(prog="python -m tests.xen.random_pairs", description=__doc__)
    found.formatter_class = argparse.RawDescriptionHelpFormatter
    found.add_argument("--seed", type=int, default=1, help="the first seed (default: 1)")
    found.add_argument("--count", type=int, default=1000, help="how many pairs (default: 1000)")
    found.add_argument("--jobs", type=int, default=1, help="how many processes (default: 1)")
    found.add_argument("--show", type=int, metavar="SEED", help="write all of one pair")
    found.add_argument("--into", type=Path, metavar="DIR", help="where to, for --show")
    found.add_argument("--smaller", action="store_true", help="also the smallest like it")
    return found


def main(argv: list[str]) -> int:
    parser = arguments()
    given = parser.parse_args(argv)
    if given.show is None:
        seeds = range(given.seed, given.seed + given.count)
        found = list(results(seeds, given.jobs))
        print(report(found))
        return int(any(not item.verdict.agrees for item in found))
    if given.into is None:
        parser.error("--show needs --into DIR")
    pair = pair_of(given.show)
    seen = show(pair, given.into)
    if given.smaller and not seen.agrees:
        show(smaller(pair, seen.kind), given.into / "smaller")
    print((given.into / "verdict.txt").read_text(), end="")
    return int(not seen.agrees)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
