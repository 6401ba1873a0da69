# SPDX-License-Identifier: Apache-2.0
"""The results as markdown, and as JSON with every single run."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence

from bench.environments import LOPPER as LOPPER_PACKAGE
from bench.hosts import SIZES
from bench.measure import Block, Measured, ratio
from bench.results import OnHost, Results, growth, targets
from bench.subjects import (
    ASSIGN,
    AUDIT,
    BARE,
    BIND,
    DTC,
    LIST,
    LIST_JSON,
    LOPPER,
    PYLIBFDT,
    SYSTEM,
)

SCHEMA = 1
_SUBJECTS = (BARE, LIST, LIST_JSON, BIND, ASSIGN, SYSTEM, AUDIT, PYLIBFDT, DTC, LOPPER)
_WORDS = {True: "yes", False: "**no**", None: "not measured"}
_ABOUT = {
    PYLIBFDT: "pylibfdt, the whole tree read",
    DTC: "dtc, to source",
    LOPPER: "Lopper, extract and extract-xen",
}


def markdown(results: Results, plot: str) -> str:
    """The report; `plot` is the name of its picture."""
    return "\n".join(_lines(results, plot)) + "\n"


def as_json(results: Results) -> str:
    """Everything that was measured."""
    document = {
        "schema": SCHEMA,
        "machine": results.machine,
        "targets": [target._asdict() for target in targets(results)],
        "real": {kind: _host(each) for kind, each in results.real.items()},
        "generated": {str(devices): _host(each) for devices, each in results.generated.items()},
        "west": _host(results.west),
        "zephyr": {
            name: {"share": share, "steps": _runs(block)}
            for name, (block, share) in results.zephyr.items()
        },
    }
    return json.dumps(document, indent=1) + "\n"


def _lines(results: Results, plot: str) -> Iterator[str]:
    # REUSE-IgnoreStart
    yield "<!-- SPDX-License-Identifier: Apache-2.0 -->"
    # REUSE-IgnoreEnd
    yield "# Results of `make bench`"
    yield ""
    yield "One run. How to repeat it, and what is measured: [README.md](README.md)."
    yield ""
    yield from _table(("", ""), results.machine.items())
    yield "## Targets"
    yield ""
    rows = ((each.wanted, each.found, _WORDS[each.is_met]) for each in targets(results))
    yield from _table(("target", "measured", "met"), rows)
    yield "## Hosts"
    yield ""
    real = [*results.real.items()]
    yield from _on_hosts([(f"{kind}: {on.host.name}", on) for kind, on in real])
    if not results.has_corpus:
        yield "VIOMMU_CORPUS is not set: these are hosts that come with the project."
    yield from _notes(on for _, on in real)
    yield "## Generated hosts"
    yield ""
    yield from _on_hosts([(f"{n:,} devices", on) for n, on in results.generated.items()])
    yield "Growth of the duration when the devices double:"
    yield ""
    steps = [f"{a:,} to {b:,}" for a, b in zip(SIZES, SIZES[1:], strict=False)]
    shown = [name for name in _SUBJECTS[1:] if name in results.generated[SIZES[0]].block]
    yield from _table(
        ("", *steps), ((_name(name), *map(_factor, growth(results, name))) for name in shown)
    )
    yield f"![durations over the number of devices]({plot})"
    yield ""
    if not results.has_lopper:
        yield f"Lopper is missing in these tables: {LOPPER_PACKAGE} could not be installed."
        yield ""
    yield "## With west"
    yield ""
    yield f"In a workspace that lists this project, on {results.west.host.name}."
    yield ""
    yield from _durations(results.west.block)
    for name, (block, share) in results.zephyr.items():
        yield f"## Zephyr's devicetree stage, {name}"
        yield ""
        yield f"The hook adds {share:.1%}." if share is not None else "A step failed."
        yield ""
        yield from _durations(block)


def _on_hosts(hosts: Sequence[tuple[str, OnHost]]) -> Iterator[str]:
    """Durations, what they are of bare Python's, and peaks of memory."""
    titles = [title for title, _ in hosts]
    blocks = [on.block for _, on in hosts]
    shown = [name for name in _SUBJECTS if any(name in block for block in blocks)]

    def rows(cell: Callable[[Measured, Block], str]) -> Iterator[list[str]]:
        for name in shown:
            cells = (cell(block[name], block) if name in block else "" for block in blocks)
            yield [_name(name), *cells]

    sizes = [f"{on.host.bytes / 1000:,.0f} KB" for _, on in hosts]
    yield from _table(("duration", *titles), [["size of the blob", *sizes], *rows(_duration)])
    yield from _table(("times bare Python", *titles), rows(_times_bare))
    yield from _table(("peak memory", *titles), rows(_peak))


def _durations(block: Block) -> Iterator[str]:
    rows = (
        (f"`{name}`", _duration(each, block), _peak(each, block)) for name, each in block.items()
    )
    yield from _table(("", "duration", "peak memory"), rows)


def _duration(each: Measured, block: Block) -> str:
    if each.median is None:
        return each.failure
    return f"{each.median * 1000:,.{0 if each.median >= 0.1 else 1}f} ms"


def _times_bare(each: Measured, block: Block) -> str:
    found = ratio(each, block[BARE])
    return _factor(found)


def _peak(each: Measured, block: Block) -> str:
    return "" if each.failure else f"{each.peak / 1024:.1f} MiB"


def _factor(found: float | None) -> str:
    return "" if found is None else f"{found:,.{0 if found >= 100 else 2}f}"


def _name(subject: str) -> str:
    return _ABOUT.get(subject, f"`{subject}`")


def _notes(hosts: Iterable[OnHost]) -> Iterator[str]:
    for host, _ in hosts:
        if host.note:
            yield f"For `bind` and Lopper, {host.device} of {host.name} has {host.note}."
    yield ""


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"
    yield ""


def _host(on: OnHost) -> dict[str, object]:
    host = on.host
    about = {"name": host.name, "bytes": host.bytes, "device": host.device, "note": host.note}
    return {**about, "subjects": _runs(on.block)}


def _runs(block: Block) -> dict[str, object]:
    return {
        name: {"seconds": [*each.seconds.values()], "peak_kib": each.peak, "failure": each.failure}
        for name, each in block.items()
    }
