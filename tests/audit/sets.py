# SPDX-License-Identifier: Apache-2.0
"""Sets that the tool wrote itself, for `viommu audit`: by bind, of random hosts and guests, and by
bind, assign and system of the devices of real hosts that can go.

    python -m tests.audit.sets --count 1000 --seed 1      # each must audit clean
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from tests.system.guests import KERNEL
from tests.xen.judged import ENVIRONMENT, bound, pair_of
from west_viommu.__main__ import main
from west_viommu.api import read_host
from west_viommu.host.devices import ram
from west_viommu.names import PROFILES

XL = ("xl.cfg", "host.overlay")
DOM0LESS = ("passthrough-dom0less.dts", "host.overlay")


class Outcome(NamedTuple):
    status: int
    out: str
    err: str


class Set(NamedTuple):
    """A set in `folder`, for the host and profile; `files` are those that audit is given. Without
    `has_dom0`, nobody gets what no guest asks for.
    """

    name: str
    folder: Path
    host: Path
    profile: str
    files: tuple[str, ...]
    has_dom0: bool = True

    def audit(self, *arguments: str) -> Outcome:
        if not self.has_dom0:
            config = self.folder / "viommu.yml"
            config.write_text("dom0: none\n")
            arguments = (*arguments, "--config", str(config))
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


def passable(host: Path, profile: str) -> list[str]:
    """Return the devices of a host that can go, and have registers."""
    listed = viommu("list", "--host", str(host), "--profile", profile, "--passable", "--json")
    masters = json.loads(listed.out)["masters"] if listed.out else []
    return [master["path"] for master in masters if master["regions"]]


def host_sets(host: Path, profile: str, rng: random.Random, folder: Path) -> Iterator[Set]:
    """Yield the sets of a guest that gets a few devices of a real host, by bind, by assign, and as
    one of two of a system.
    """
    paths = passable(host, profile)
    if not paths:
        return
    chosen = rng.sample(paths, rng.randint(1, min(3, len(paths))))
    name = f"{host.stem} {profile} {' '.join(chosen)}"
    (folder / "Image").write_bytes(KERNEL)
    on = ("--host", str(host), "--profile", profile)
    for number, some in enumerate((chosen, chosen[:1], chosen[1:])):
        overlay = folder / f"{number}.overlay"
        overlay.write_text(viommu("extract", *on, *some).out if some else "")
        out = folder / f"plan{number}"
        if some and viommu("bind", *on, "-o", str(out), str(overlay)).status == 0 and not number:
            yield from sets_in(f"bind {name}", out, host, profile)
    kernel: tuple[str, ...] = ("--kernel", str(folder / "Image"))
    if not ram(read_host(host).devices):
        kernel += ("--ram", "0x40000000:0x40000000")
    dom0 = ("--toolstack", "xl", "--dom0-kernel", str(folder / "Image"))
    for toolstack in ((), dom0):
        out = folder / f"assign{len(toolstack)}"
        viommu("assign", *on, *kernel, *toolstack, "-o", str(out), *chosen)
        for each in sets_in(f"assign {name}", out, host, profile):
            yield each._replace(has_dom0=bool(toolstack))
        for of_chosen in (("xen.dtb", DOM0LESS[0]), ("xen.dtb", XL[0])):
            if all((out / file).is_file() for file in of_chosen):
                yield Set(
                    f"assign {name} {of_chosen}", out, host, profile, of_chosen, bool(toolstack)
                )
    plans = [n for n in (1, 2) if (folder / f"plan{n}").is_dir()]
    domains = "".join(f"  d{n}: {{build: plan{n}, kernel: Image, memory: 64}}\n" for n in plans)
    (folder / "system.yml").write_text(f"host: {host}\nprofile: {profile}\ndomains:\n{domains}")
    out = folder / "system"
    if plans and viommu("system", str(folder / "system.yml"), "-o", str(out)).status == 0:
        trees = tuple(f"../plan{n}/{DOM0LESS[0]}" for n in plans)
        cfgs = tuple(f"d{n}.cfg" for n in plans)
        cfgs += tuple(f"../plan{n}/passthrough-xl.dts" for n in plans)
        for files in (
            *(("host.overlay", *trees), ("host.overlay", *cfgs)),
            *(("xen.dtb", *trees), ("imagebuilder.config", *trees)),
        ):
            if all((out / file).is_file() for file in files):
                yield Set(f"system {name} {files}", out, host, profile, files)


def corpus() -> list[Path]:
    return sorted(Path(os.environ.get("VIOMMU_CORPUS", "/nowhere")).glob("*.dtb"))


def all_sets(count: int, seed: int) -> Iterator[Set]:
    """Yield `count` sets: of random pairs, and one in four of real hosts, if there are any."""
    hosts = corpus()
    made = 0
    rng = random.Random(seed)
    while made < count:
        seed += 1
        with TemporaryDirectory() as name:
            folder = Path(name)
            if hosts and seed % 4 == 0:
                found = host_sets(rng.choice(hosts), rng.choice(PROFILES), rng, folder)
            else:
                found = random_sets(seed, folder)
            for each in found:
                made += 1
                yield each


def sets_of(host: Path, seed: int) -> Iterator[Set]:
    """Yield sets of a few devices of a real host under each profile."""
    rng = random.Random(seed)
    for profile in PROFILES:
        with TemporaryDirectory() as name:
            yield from host_sets(host, profile, rng, Path(name))


def run() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--corpus", action="store_true", help="each real host, each profile")
    options = parser.parse_args()
    wrong = count = 0
    sets = all_sets(options.count, options.seed)
    if options.corpus:
        sets = (each for host in corpus() for each in sets_of(host, options.seed))
    for each in sets:
        count += 1
        found = each.audit()
        if found.status:
            wrong += 1
            if wrong < 6:
                print(each.name, found.status, found.err[:1500])
                for file in each.files:
                    print((each.folder / file).read_text(errors="replace")[:1500])
    print(f"{wrong} of {count} sets of the tool's own are called wrong")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(run())
