# SPDX-License-Identifier: Apache-2.0
"""What a run of the bench found, and which targets it meets."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

from bench.hosts import DOMAINS, LARGEST, SIZES, TYPICAL, Host
from bench.measure import Block, Measured, ratio
from bench.subjects import (
    ASSIGN,
    AUDIT,
    BARE,
    BIND,
    LIST,
    LIST_JSON,
    LOPPER,
    SYSTEM,
    WEST,
    WEST_BIND,
)

_MOST = SIZES[-1]


class OnHost(NamedTuple):
    """A host and what was measured on it."""

    host: Host
    block: Block


class Results(NamedTuple):
    """`real`: by SMALL, TYPICAL, LARGEST. `generated`: by the number of devices. `hook`: by
    application, Zephyr's stage and what the hook adds to it. `machine`: facts by what they are.
    """

    machine: dict[str, str]
    real: dict[str, OnHost]
    generated: dict[int, OnHost]
    west: OnHost
    zephyr: dict[str, tuple[Block, float | None]]
    has_corpus: bool
    has_lopper: bool


class Target(NamedTuple):
    """A row of the table: whether it is met is None where it was not measured."""

    wanted: str
    found: str
    is_met: bool | None


def targets(results: Results) -> Iterator[Target]:
    """Every target of the project."""
    for kind, most in ((TYPICAL, 4), (LARGEST, 5)):
        wanted = f"`viommu list` on the {kind} real blob: at most {most} x bare Python"
        if results.has_corpus:
            yield _at_most(wanted, _over(results.real[kind].block, LIST, BARE), most, "x")
        else:
            yield Target(wanted, "VIOMMU_CORPUS is not set", None)
    for name, what, most in ((ASSIGN, "one device", 12), (AUDIT, "two devices", 9)):
        wanted = f"`{name}` of {what} on the typical real blob: at most {most} x bare Python"
        if results.has_corpus:
            yield _at_most(wanted, _over(results.real[TYPICAL].block, name, BARE), most, "x")
        else:
            yield Target(wanted, "VIOMMU_CORPUS is not set", None)
    over = _over(results.generated[_MOST].block, SYSTEM, LIST_JSON)
    wanted = f"`{SYSTEM}` of {DOMAINS} domains on {_MOST:,} devices: at most 1.3 x `{LIST_JSON}`"
    yield _at_most(wanted, over, 1.3, "x")
    for name in (LIST, LIST_JSON):
        steps = growth(results, name)
        worst = max((step for step in steps if step), default=None)
        wanted = f"`{name}`, up to {_MOST:,} devices: at most 2.2 x per doubling"
        yield _at_most(wanted, worst, 2.2, "x")
        peak = results.generated[_MOST].block[name].peak / 1024
        yield _at_most(f"`{name}` of {_MOST:,} devices: within 60 MiB", peak, 60, "MiB")
    for name in (LIST, BIND):
        wanted = f"`{name}` on the typical real blob: at least 25 x faster than Lopper"
        if not results.has_corpus:
            yield Target(wanted, "VIOMMU_CORPUS is not set", None)
        elif not results.has_lopper:
            yield Target(wanted, "Lopper cannot be installed", None)
        else:
            found = _over(results.real[TYPICAL].block, LOPPER, name)
            yield Target(wanted, _shown(found, "x"), found is not None and found >= 25)
    over = _over(results.west.block, WEST_BIND, WEST)
    yield _at_most(f"`{WEST_BIND}`: at most 1.6 x `{WEST}`", over, 1.6, "x")
    wanted = "the hook of a Zephyr build: under 20 % of Zephyr's own devicetree stage"
    if results.zephyr:
        worst = max((share for _, share in results.zephyr.values() if share), default=None)
        yield _at_most(wanted, worst and worst * 100, 20, "%")
    else:
        yield Target(wanted, "ZEPHYR_BASE is not set", None)


def growth(results: Results, name: str) -> list[float | None]:
    """By which factor the duration grows when the devices double, from each size to the next."""
    return [
        _per_doubling(results.generated[one].block[name], results.generated[other].block[name], n)
        for one, other in zip(SIZES, SIZES[1:], strict=False)
        for n in [math.log2(other / one)]
    ]


def _per_doubling(one: Measured, other: Measured, doublings: float) -> float | None:
    factor = ratio(other, one)
    return None if factor is None else factor ** (1 / doublings)


def _over(block: Block, one: str, other: str) -> float | None:
    return ratio(block[one], block[other]) if one in block and other in block else None


def _at_most(wanted: str, found: float | None, most: float, unit: str) -> Target:
    return Target(wanted, _shown(found, unit), found is not None and found <= most)


def _shown(found: float | None, unit: str) -> str:
    if found is None:
        return "failed"
    return f"{found:.2f} {unit}" if found < 10 else f"{found:.1f} {unit}"
