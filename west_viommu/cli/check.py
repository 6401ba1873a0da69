# SPDX-License-Identifier: Apache-2.0
"""`viommu check`: whether a built tree still agrees with the host, and with the guest's tree from
Xen.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from west_viommu.api import read_host
from west_viommu.check.compare import between_plans, raw_mappings, unasked, with_given, with_plan
from west_viommu.check.view import View, physical, view
from west_viommu.cli.console import Console
from west_viommu.cli.run import DONE, REFUSED, UsageError, chosen_by
from west_viommu.cli.stage import application, found_build, image
from west_viommu.diagnostics import (
    Diagnostic,
    Refused,
    Where,
    bounded,
    first_few,
    printable,
    refusal,
    shortened,
)
from west_viommu.guest.requests import Asked, Guest, asked
from west_viommu.guest.source import PASSTHROUGH
from west_viommu.host.inventory import StreamId
from west_viommu.hypervisor.assignment import Explicit
from west_viommu.hypervisor.profile import Profile
from west_viommu.names import BUS_COMPATIBLE, PLAN, PROFILES, RELEASED
from west_viommu.plan.plan import Plan
from west_viommu.plan.planning import planned
from west_viommu.read.guest import finished_tree, sealed_plan
from west_viommu.read.plain_file import is_missing, near
from west_viommu.read.profiles import profile
from west_viommu.read.settings import Settings, terms
from west_viommu.tree.cells import counted

BUILT = "zephyr/zephyr.dts"
SCHEMA = 1
# The width of a column: a single longer cell must not widen all of it.
_WIDEST = 200
# Characters of all differences. A few bytes of a tree may expand to a long path in each.
_MOST_TEXT = 1 << 20
# The side compared with -> the meanings of "expected" and "found".
_SIDES = {
    "build": ("the build itself", "planned", "built"),
    "host": ("the host", "host", "built"),
    "guest-dtb": ("the guest's tree", "built", "given"),
}
# Each difference, and its side.
_Found = Sequence[tuple[str, Diagnostic]]


class Options(NamedTuple):
    """The arguments of the command."""

    build_dir: str | None
    dts: str | None
    host: str | None
    guest_dtb: str | None
    source_dir: str | None
    system: list[str] | None
    ram: list[str]
    config: str | None
    xen_version: str | None
    profile: str | None
    vsid: str | None
    include: list[str]
    define: list[str]
    format: str


def run(options: Options, console: Console) -> int:
    """Compare, print, and return whether there is a difference."""
    if options.system is not None:
        # Imported late: a check of one guest does not need it.
        from west_viommu.cli.system import Options as SystemOptions
        from west_viommu.cli.system import check

        check(
            SystemOptions(
                systems=options.system,
                build_dir=options.build_dir,
                host=options.host,
                profile=options.profile,
                include=options.include,
                define=options.define,
                output=None,
                format=options.format,
                ram=options.ram,
            ),
            console,
        )
        return DONE
    if options.build_dir and options.dts:
        raise UsageError(
            "name what was built once: a build directory with -d, or a tree with --dts"
        )
    if not options.build_dir and not options.dts:
        options = options._replace(build_dir=found_build(options.source_dir, console))
        if not options.build_dir:
            raise UsageError(
                "there is no build here: name what was built, a build directory with -d or a tree "
                "with --dts, or go where `west build` finds its build"
            )
    app = application(options.source_dir, options.build_dir)
    build = str(image(options.build_dir)) if options.build_dir else None
    chosen = chosen_by(options, app, options.vsid or os.environ.get("VIOMMU_VSID"), build)
    if not chosen.host and not options.guest_dtb:
        raise UsageError("name what to compare with: --host HOST, --guest-dtb DUMP, or both")
    name, sealed = _built(options.dts, options.build_dir)
    tree = finished_tree(name)
    # A node disabled since then is a difference from the plan.
    wanted = asked(tree, [device.node for device in sealed.devices] if sealed else ())
    guest = Guest((), tree, wanted)
    built = view(tree)
    if not sealed and not chosen.profile:
        chosen = _as_bound(chosen, guest, built, console)
    found = [("build", each) for each in _of_build(wanted, built, sealed)]
    if chosen.host:
        found += [
            ("host", each) for each in _of_host(chosen, options, console, guest, built, sealed)
        ]
    if options.guest_dtb:
        given = view(finished_tree(options.guest_dtb))
        known = _profile_of(chosen, sealed)
        found += [("guest-dtb", each) for each in with_given(built, given, known)]
    if not sealed:
        _check_compared(options, console, wanted, built, has_host=bool(chosen.host), found=found)
    if options.format == "json":
        if _first_ones(found) < len(found):
            raise Refused([_too_many()])
        text = _json(found)
    else:
        names = {"build": name, "host": chosen.host or "", "guest-dtb": options.guest_dtb or ""}
        with_registers = [each for each in built.devices.values() if each.regions]
        count = len(sealed.devices if sealed else wanted.requests or with_registers)
        text = _table(found, names, count)
    console.result([text])
    return REFUSED if found else DONE


def _profile_of(chosen: Settings, sealed: Plan | None) -> Profile | None:
    """Return the profile of the build, or the chosen one; None if neither is known, or it is a
    user's own, and the plan does not have its file.
    """
    if chosen.profile:
        return profile(chosen.profile, None)
    if sealed:
        return profile(sealed.profile, None) if sealed.profile in PROFILES else None
    return profile(None, None)


def _as_bound(chosen: Settings, guest: Guest, built: View, console: Console) -> Settings:
    """Return `chosen` with the profile of a released Xen if bind made the tree for a Xen without
    vSMMU: its overlay is in the tree, without a vSMMU.
    """
    if built.vsmmu or BUS_COMPATIBLE not in guest.asked.bus_compatible:
        return chosen
    about = profile(RELEASED, None).about
    console.note(f"no viommu.json and no --profile, and no vSMMU in the tree: this assumes {about}")
    return chosen._replace(profile=RELEASED)


def _check_compared(
    options: Options,
    console: Console,
    wanted: Asked,
    built: View,
    *,
    has_host: bool,
    found: _Found,
) -> None:
    """Print the nodes of a tree without a plan that name no host device. Raises Refused if no other
    node was compared.
    """
    hint = "give the build directory with its viommu.json (-d), or give each node "
    hint += 'xen,path = "HOST-NODE"'
    is_compared = wanted.requests or wanted.raw or (options.guest_dtb and built.devices)
    if not is_compared and not found:
        what = f"nothing was compared: no node below {PASSTHROUGH} names a host device"
        raise refusal("malformed", what, hint, options.dts or options.build_dir or "")
    for path in first_few(wanted.unasked) if has_host else ():
        console.note(f"{path} was not compared with the host: it names no host device")


def _built(dts: str | None, build_dir: str | None) -> tuple[str, Plan | None]:
    """Return the file of the built tree, and the plan by which it was built, if known."""
    if dts:
        return dts, None
    build = image(build_dir or os.curdir)
    if not os.path.isfile(build / BUILT):
        what, hint = f"there is no {BUILT}", "build first: west build"
        if is_missing(str(build)):
            what, hint = "there is no such folder", f"{near(str(build))}name the build directory"
        raise refusal("unreadable", what, hint, str(build))
    return str(build / BUILT), sealed_plan(build / "viommu")


def _of_build(wanted: Asked, built: View, sealed: Plan | None) -> Iterator[Diagnostic]:
    yield from built.faults
    if sealed:
        yield from with_plan(built, sealed)
        yield from unasked(sealed.unasked, wanted.unasked)
        yield from raw_mappings(sealed.raw, wanted.raw)


def _of_host(
    chosen: Settings,
    options: Options,
    console: Console,
    guest: Guest,
    built: View,
    sealed: Plan | None,
) -> Iterator[Diagnostic]:
    """Yield the problems of the built tree's requests with the host tree: hazards, and changes of
    the plan.
    """
    agreed = terms(_as_built(chosen, sealed))
    host = read_host(chosen.host or "", options.include, options.define)
    bound = sealed.devices if sealed else None
    wanted = physical(guest.asked, guest.tree, bound, agreed.profile.policy)
    made = planned(host, guest._replace(asked=wanted), agreed)
    if not sealed and not chosen.profile:
        note = f"no viommu.json and no --profile: this assumes {agreed.profile.about}"
        console.note(note)
    console.report(made.warnings)
    wrong = [problem for problem in made.problems if not problem.warning]
    told = bounded(wrong)
    if options.format == "json" and any(problem.more for problem in told):
        raise Refused([_too_many()])
    yield from told
    if sealed:
        refused = made.refused.union(problem.node for problem in wrong)
        yield from between_plans(sealed, made.plan, refused, has_errors=bool(wrong))
    elif not wrong:
        yield from with_plan(built, made.plan)


def _too_many() -> Diagnostic:
    what = "there are more differences than --format json can list: it lists all or none"
    return Diagnostic(
        id="malformed", what=what, hint="correct the first ones, or look at the table"
    )


def _as_built(chosen: Settings, sealed: Plan | None) -> Settings:
    """Return `chosen`, with the build's settings if the user chose no others. Raises Refused if the
    build had a profile whose file the plan does not have.
    """
    if not sealed:
        return chosen
    if not chosen.profile and sealed.profile not in PROFILES:
        what = f"the build uses a profile of the user's own, {sealed.profile}"
        raise refusal("unreadable", what, "name its file with --profile FILE")
    name = chosen.profile or sealed.profile
    if profile(name, None).name != sealed.profile:
        return chosen
    numbered = chosen._replace(profile=name, vsid=chosen.vsid or sealed.vsid)
    if numbered.vsid != "explicit" or sealed.vsid != "explicit" or chosen.explicit:
        return numbered
    return numbered._replace(explicit=tuple(_numbered(sealed)))


def _numbered(sealed: Plan) -> Iterator[Explicit]:
    """Yield the numbers of the policy explicit from the plan, for use without a viommu.yml."""
    for device in sealed.devices:
        ids = tuple(StreamId(stream.vmaster) for stream in device.streams)
        if ids:
            yield Explicit(device.node, ids, Where(PLAN))


def _first_ones(found: _Found) -> int:
    """Return how many of the differences to show: as many as a person could read."""
    room = _MOST_TEXT
    for number, (_, each) in enumerate(found):
        room -= sum(map(len, _texts(each).values()))
        if room < 0:
            return number
    return len(found)


def _texts(each: Diagnostic) -> dict[str, str]:
    """Return the fields of a difference as text: a difference of the host has an id, and may have
    no node.
    """
    file = each.where.file if each.where else "/"
    return {
        "node": each.node or file,
        "what": f"[{each.id}] {each.what}" if each.id else each.what,
        "expected": each.expected,
        "found": each.found,
        "hint": each.hint,
    }


def _json(found: _Found) -> str:
    """Return the text of `viommu check --format json`."""
    rows = [{"with": against, **_texts(each)} for against, each in found]
    return json.dumps({"schema": SCHEMA, "differences": rows}, indent=2) + "\n"


def _table(found: _Found, names: Mapping[str, str], devices: int) -> str:
    """Return the text of `viommu check`: a table for each side that differs, or a line that they
    agree. `names`: the file of each side; `devices`: how many were bound.
    """
    lines = []
    shown = found[: _first_ones(found)]
    for against, (title, expected, actual) in _SIDES.items():
        total = sum(side == against for side, _ in found)
        if not total:
            continue
        rows = [tuple(_texts(each).values()) for side, each in shown if side == against]
        lines += [f"{title}, {names[against]}: {counted(total, 'difference')}"]
        cells = [tuple(shortened(cell or "-") for cell in row[:-1]) for row in rows]
        lines += _aligned([("NODE", "WHAT", expected.upper(), actual.upper()), *cells])
        lines += [f"  and {total - len(rows):,} more"] if total > len(rows) else []
        hints = dict.fromkeys(hint for *_, hint in rows if hint)
        lines += [*(f"hint: {hint}" for hint in hints), ""]
    if not found:
        others = [names[side] for side in ("host", "guest-dtb") if names[side]]
        count = counted(devices, "device")
        lines = [f"{names['build']} agrees with {' and '.join(others)} ({count})"]
    return "\n".join(map(printable, lines)).rstrip("\n") + "\n"


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [min(max(map(len, column)), _WIDEST) for column in zip(*rows, strict=True)]
    return [
        "  "
        + "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
