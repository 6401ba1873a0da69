# SPDX-License-Identifier: Apache-2.0
"""usage: python -m bench [-o FOLDER] [--rounds N] [--limit SECONDS]; `make bench` runs it."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from bench import environments, zephyr
from bench.hosts import LARGEST, TYPICAL, Host, Viommu, generated_hosts, real_hosts
from bench.machine import machine
from bench.measure import block, measured
from bench.results import OnHost, Results
from bench.subjects import on_host, with_west
from bench.table import as_json, markdown

_PLOT = "results.svg"


def main() -> None:
    """Set up, measure, write."""
    arguments = _arguments()
    project, lopper = environments.project(), environments.lopper()
    with tempfile.TemporaryDirectory() as folder:
        results = _measured(arguments, project, lopper, Path(folder))
    arguments.output.mkdir(parents=True, exist_ok=True)
    text = markdown(results, _PLOT)
    (arguments.output / "results.md").write_text(text)
    (arguments.output / "results.json").write_text(as_json(results))
    # Late: it is large.
    from bench.plot import draw

    draw(results, arguments.output / _PLOT)
    print(text)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    default = environments.CHECKOUT / "bench" / "out"
    parser.add_argument("-o", "--output", type=Path, default=default, help="folder for the results")
    parser.add_argument("--rounds", type=int, default=15, help="of fast subjects; slow ones have 3")
    parser.add_argument("--limit", type=float, default=60, help="seconds that a run may take")
    return parser.parse_args()


def _measured(
    arguments: argparse.Namespace, project: Path, lopper: Path | None, folder: Path
) -> Results:
    rounds, limit = arguments.rounds, arguments.limit
    viommu = Viommu(project)

    def of_host(host: Host) -> OnHost:
        _say(host.name)
        subjects = on_host(host, project, lopper, folder / host.blob.stem)
        return OnHost(host, block(subjects, rounds, limit))

    real = {kind: of_host(host) for kind, host in real_hosts(viommu, folder).items()}
    hosts = generated_hosts(viommu, folder)
    _say("generated hosts")
    # In turns over all sizes, as growth is a ratio too.
    subjects = {
        n: on_host(host, project, lopper, folder / host.blob.stem) for n, host in hosts.items()
    }
    runs = iter(
        measured([each for of_size in subjects.values() for each in of_size], rounds, limit)
    )
    generated = {
        n: OnHost(host, {each.name: next(runs) for each in subjects[n]})
        for n, host in hosts.items()
    }
    _say("west")
    host = real[TYPICAL if TYPICAL in real else LARGEST].host
    west = OnHost(host, block(with_west(project, host, folder / "workspace"), rounds, limit))
    stages = {}
    base = os.environ.get("ZEPHYR_BASE")
    for name, overlay in zephyr.APPLICATIONS.items() if base else ():
        _say(f"Zephyr, {name}")
        steps = zephyr.stage(Path(str(base)), overlay, project, folder / name.replace(" ", "-"))
        stage = block(steps, rounds, limit)
        stages[name] = (stage, zephyr.share(stage))
    facts = machine(project, lopper, Path(base) if base else None)
    return Results(facts, real, generated, west, stages, TYPICAL in real, lopper is not None)


def _say(what: str) -> None:
    print(f"measuring: {what}", file=sys.stderr)


if __name__ == "__main__":
    main()
