# SPDX-License-Identifier: Apache-2.0
"""Ratio of `viommu list` to the start of bare Python: whole processes, in pairs, in one run.

usage: python bench/list_startup.py [HOST ...]; the default is every blob of VIOMMU_CORPUS, else
the demo host compiled by dtc.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROUNDS = 21
DEMO = Path(__file__).parent.parent / "samples" / "demo" / "host.dts"


def seconds(*command: str) -> float:
    """The duration of one process."""
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def ratio(host: Path) -> float:
    """The median of `viommu list` over bare Python, each pair run back to back."""
    bare = (sys.executable, "-c", "pass")
    listing = (sys.executable, "-m", "west_viommu", "list", "--host", str(host))
    seconds(*listing)
    return statistics.median(seconds(*listing) / seconds(*bare) for _ in range(ROUNDS))


def hosts(arguments: list[str], folder: Path) -> list[Path]:
    """The blobs to measure."""
    if arguments:
        return [Path(argument) for argument in arguments]
    if "VIOMMU_CORPUS" in os.environ:
        return sorted(Path(os.environ["VIOMMU_CORPUS"]).glob("*.dtb"))
    compiled = folder / "demo.dtb"
    subprocess.run(["dtc", "-q", "-O", "dtb", "-o", str(compiled), str(DEMO)], check=True)
    return [compiled]


def main() -> None:
    """Print one line for each host."""
    with tempfile.TemporaryDirectory() as folder:
        for host in hosts(sys.argv[1:], Path(folder)):
            print(f"{host.name:40} {host.stat().st_size:8} bytes  {ratio(host):.2f} x bare Python")


if __name__ == "__main__":
    main()
