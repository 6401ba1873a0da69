# SPDX-License-Identifier: Apache-2.0
"""Graphviz: text in its language, its drawings, and a picture of a system with each domain's
devices and their IOMMUs.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from html import escape
from typing import TYPE_CHECKING

from west_viommu.diagnostics import Refused, printable, refusal

if TYPE_CHECKING:
    # `list` does not need these.
    from west_viommu.system.records import Domain, Judged

# A host with 60 SMMUs and 240 devices takes one second.
_SECONDS = 120
_HEAD = """digraph system {
  rankdir=LR; ranksep=1.2; nodesep=0.15;
  node [shape=box, style="rounded,filled", fillcolor=white, fontname="sans-serif", fontsize=10];
  edge [fontname="sans-serif", fontsize=9, dir=none];
  graph [fontname="sans-serif", fontsize=11, style="rounded,filled", color=gray50, labeljust=l];
"""
# The fill colours of the domains, in turn; dom0 is grey.
_FILLS = ("#cfe8ff", "#ffe3b8", "#d5f0d0", "#f3d4ee", "#fff3b0", "#d9d2f5")
_DOM0 = "#eeeeee"
_IOMMU = "#ffffff"


def svg(dot: str) -> str:
    """Return the drawing of Graphviz' dot. Raises Refused if dot is not installed or fails."""
    try:
        drawn = subprocess.run(
            ["dot", "-Tsvg"], input=dot.encode(), capture_output=True, check=True, timeout=_SECONDS
        )
    except FileNotFoundError:
        hint = "install graphviz, or take --format dot to where it is"
        raise refusal("unreadable", "a picture needs Graphviz's dot", hint) from None
    except subprocess.TimeoutExpired:
        raise _failed(f"it was not done after {_SECONDS} seconds") from None
    except subprocess.CalledProcessError as error:
        raise _failed(_first_line(error.stderr) or f"its status was {error.returncode}") from None
    except OSError as error:
        raise _failed(error.strerror or str(error)) from None
    return drawn.stdout.decode()


def _failed(why: str) -> Refused:
    hint = (
        "name fewer devices, as in `viommu list --format svg '*/usb@*'`, or draw the text of "
        "--format dot elsewhere"
    )
    return refusal("unreadable", f"Graphviz's dot cannot draw it: {why}", hint)


def _first_line(stderr: bytes) -> str:
    lines = stderr.decode(errors="replace").strip().splitlines()
    return printable(lines[0]) if lines else ""


def quoted(text: str) -> str:
    """Return a string of the dot language, in which only quotes and backslashes are special."""
    lines = (printable(line).replace("\\", "\\\\").replace('"', '\\"') for line in text.split("\n"))
    return '"' + "\\n".join(lines) + '"'


def marked_up(text: str) -> str:
    """Return a text for a label that is a table, in which HTML and backslashes are special."""
    return escape(printable(text).replace("\\", "\\\\"))


def system_dot(judged: Judged) -> str:
    """Return the picture of a system. A cluster is a domain with its devices; an edge, labelled
    with the stream IDs, leads to the IOMMU that a device is behind. dom0's masters are counted by
    IOMMU.
    """
    iommus: dict[str, str] = {}
    lines = [_HEAD]
    for number, domain in enumerate(judged.domains):
        lines += _domain(number, domain, iommus)
    if judged.terms.has_dom0:
        lines += _dom0(judged, iommus)
    for path, name in iommus.items():
        fill = f'fillcolor="{_IOMMU}"'
        lines.append(f"  {name} [label={quoted(path)}, shape=hexagon, {fill}];\n")
    return "".join([*lines, "}\n"])


def _domain(number: int, domain: Domain, iommus: dict[str, str]) -> Iterator[str]:
    yield f"  subgraph cluster_{number} {{\n"
    about = f"{domain.name}\n{domain.memory} MiB{', vSMMU' if domain.plan.viommu else ''}"
    yield f'    label={quoted(about)}; fillcolor="{_FILLS[number % len(_FILLS)]}";\n'
    edges = []
    for at, device in enumerate(domain.plan.devices):
        name = f"d{number}_{at}"
        lines = [device.host]
        lines += [f"INTID {' '.join(map(str, device.intids))}"] if device.intids else []
        yield f"    {name} [label={quoted(chr(10).join(lines))}];\n"
        edges += [(name, iommu, " ".join(ids)) for iommu, ids in device.ids_by_iommu.items()]
    for at, raw in enumerate(domain.plan.raw):
        label = quoted(f"{raw.node}\nwithout a host device")
        yield f"    r{number}_{at} [label={label}];\n"
    yield "  }\n"
    for name, iommu, numbers in edges:
        yield f"  {name} -> {_name(iommu, iommus)} [label={quoted(numbers)}];\n"


def _dom0(judged: Judged, iommus: dict[str, str]) -> Iterator[str]:
    counts: dict[str, list[str]] = {}
    for each in judged.stays:
        for iommu in dict.fromkeys(iommu for iommu, _, _ in each.streams):
            counts.setdefault(iommu, []).append(each.host)
    yield f'  subgraph cluster_dom0 {{\n    label="dom0"; fillcolor="{_DOM0}";\n'
    # An empty cluster is not drawn.
    yield '    rest [label="the rest of the host"];\n'
    for at, hosts in enumerate(counts.values()):
        label = hosts[0] if len(hosts) == 1 else f"{len(hosts):,} masters"
        yield f"    s{at} [label={quoted(label)}];\n"
    yield "  }\n"
    for at, iommu in enumerate(counts):
        yield f"  s{at} -> {_name(iommu, iommus)};\n"


def _name(iommu: str, iommus: dict[str, str]) -> str:
    """Return the name of the node of an IOMMU."""
    return iommus.setdefault(iommu, f"i{len(iommus)}")
