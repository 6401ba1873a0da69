# SPDX-License-Identifier: Apache-2.0
"""Sets that the tool wrote itself, for `viommu audit`: by bind, of random hosts and guests, and of
the devices of real hosts that can go.

    python -m tests.audit.sets --count 1000 --seed 1      # each must audit clean
"""

from __future__ import annotations

import argparse
import os
import random
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from tests.xen.judged import ENVIRONMENT, bound, pair_of
from west_viommu.__main__ import main
from west_viommu.names import PROFILES

XL = ("xl.cfg", "host.overlay")
DOM0LESS = ("passthrough-dom0less.dts", "host.overlay")


class Outcome(NamedTuple):
    status: int
    out: str
    err: str


class Set(NamedTuple):
    """A set in `folder`, for the host and profile; `files` are those that audit is given."""

    name: str
    folder: Path
    host: Path
    profile: str
    files: tuple[str, ...]

    def audit(self, *arguments: str) -> Outcome:
        return viommu(
            *("audit", "--host", str(self.host), "--profile", self.profile, *arguments),
            *(str(self.folder / name) for name in self.files),
        )


def viommu(*arguments: str) -> Outcome:
    """Run `viommu ARGUMENT...` in this process."""
    for name in ENVIRONMENT:
        os.environ.pop(name, None)
    out, err = StringIO(), StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        status = main(list(arguments))
    return Outcome(status, out.getvalue(), err.getvalue())


def sets_in(name: str, folder: Path, host: Path, profile: str) -> Iterator[Set]:
    """Yield the set of each toolstack that bind wrote into `folder`."""
    for files in (XL, DOM0LESS):
        if all((folder / file).is_file() for file in files):
            yield Set(f"{name} {files[0]}", folder, host, profile, files)


def random_sets(seed: int, folder: Path) -> Iterator[Set]:
    """Yield what bind writes for the random pair of `seed`, if it binds it."""
    pair = pair_of(seed)
    if bound(pair, folder).status == 0:
        yield from sets_in(str(seed), folder / "out", folder / "host.dtb", pair.side.profile)


def host_sets(host: Path, profile: str, rng: random.Random, folder: Path) -> Iterator[Set]:
    """Yield the sets of one guest that gets a few devices of a real host."""
    listed = viommu("list", "--host", str(host), "--profile", profile, "--passable", "--json")
    import json

    masters = json.loads(listed.out)["masters"] if listed.out else []
    paths = [master["path"] for master in masters if master["regions"]]
    if not paths:
        return
    chosen = rng.sample(paths, rng.randint(1, min(3, len(paths))))
    asked = viommu("extract", "--host", str(host), "--profile", profile, *chosen)
    overlay = folder / "guest.overlay"
    overlay.write_text(asked.out)
    out = folder / "out"
    made = viommu("bind", "--host", str(host), "--profile", profile, "-o", str(out), str(overlay))
    if made.status == 0:
        name = f"{host.stem} {profile} {' '.join(chosen)}"
        yield from sets_in(name, out, host, profile)


def all_sets(count: int, seed: int) -> Iterator[Set]:
    """Yield `count` sets: of random pairs, and one in four of real hosts, if there are any."""
    corpus = sorted(Path(os.environ.get("VIOMMU_CORPUS", "/nowhere")).glob("*.dtb"))
    made = 0
    rng = random.Random(seed)
    while made < count:
        seed += 1
        with TemporaryDirectory() as name:
            folder = Path(name)
            if corpus and seed % 4 == 0:
                found = host_sets(rng.choice(corpus), rng.choice(PROFILES), rng, folder)
            else:
                found = random_sets(seed, folder)
            for each in found:
                made += 1
                yield each


def run() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    wrong = 0
    for each in all_sets(options.count, options.seed):
        found = each.audit()
        if found.status:
            wrong += 1
            if wrong < 6:
                print(each.name, found.status, found.err[:1500])
                for file in each.files:
                    print((each.folder / file).read_text()[:1500])
    print(f"{wrong} of {options.count} sets of the tool's own are called wrong")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(run())
