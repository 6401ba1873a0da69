# SPDX-License-Identifier: Apache-2.0
"""A picture of the generated hosts: durations and peak memory over the number of devices."""

from __future__ import annotations

from pathlib import Path

import matplotlib

from bench.results import Results
from bench.subjects import BARE, BIND, DTC, LIST, LIST_JSON, LOPPER, PYLIBFDT

_LINES = {
    LIST: ("o-", "tab:blue"),
    LIST_JSON: ("o--", "tab:blue"),
    BIND: ("s-", "tab:green"),
    PYLIBFDT: ("^-", "tab:gray"),
    DTC: ("v-", "tab:brown"),
    LOPPER: ("x-", "tab:red"),
    BARE: (":", "black"),
}


def draw(results: Results, file: Path) -> None:
    """Write the picture to `file`, as SVG."""
    matplotlib.use("svg")
    # Text as text, and the same bytes for the same figures.
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "viommu"})
    from matplotlib import pyplot

    figure, (times, memory) = pyplot.subplots(1, 2, figsize=(11, 4), layout="constrained")
    for name, (style, colour) in _LINES.items():
        found = {
            devices: on.block[name]
            for devices, on in results.generated.items()
            if name in on.block and on.block[name].median is not None
        }
        seconds = [each.median for each in found.values()]
        peaks = [each.peak / 1024 for each in found.values()]
        times.plot([*found], seconds, style, color=colour, label=name, markersize=4)
        memory.plot([*found], peaks, style, color=colour, label=name, markersize=4)
    times.set(xscale="log", yscale="log", ylabel="seconds")
    memory.set(xscale="log", ylim=0, ylabel="peak memory, MiB")
    for axes in (times, memory):
        axes.set(xlabel="devices behind 60 SMMUs")
        sizes = [*results.generated]
        axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
    figure.legend(*times.get_legend_handles_labels(), loc="outside right upper", fontsize="small")
    figure.savefig(file, metadata={"Date": None})
