# SPDX-License-Identifier: Apache-2.0
"""Single changes of sets that are right: each must be found, at its line and with the value that
was right, or be harmless for one of the reasons in HARMLESS.

    python -m tests.audit.changes --count 1000 --seed 1
"""

from __future__ import annotations

import argparse
import json
import random
import re
import sys
from collections import Counter
from typing import Any, NamedTuple

from tests.audit.sets import Set, all_sets
from west_viommu.api import read_host
from west_viommu.host.intervals import Cover, Interval
from west_viommu.hypervisor.pages import in_pages
from west_viommu.read.dtb import tree_from_dtb
from west_viommu.tree.addresses import Region
from west_viommu.tree.node import is_at_or_below

# Why a change that is not found changes nothing.
HARMLESS = {
    "twice": "the same pages once more, or at a second place: Xen maps them; a warning says so",
    "own line": "another line of the same device, which Xen routes to the guest as well",
    "marked": "the host's tree has that mark already",
    "of two": "the page is of two devices of the set, each mapped where it is",
    "beside": "a part of a device that is given, a bus above it, or what has a page or line of it: "
    "dom0 has to do without it",
    "case": "Xen compares paths without regard to case (dt_find_node_by_path())",
}


MARK = "xen,passthrough"


class Change(NamedTuple):
    """What was done to `file`: `line` is that of the change, `near` of the list or node that it is
    in; `right` what a message must name.
    """

    kind: str
    file: str
    text: str
    line: int
    near: tuple[int, ...]
    right: str
    wrong: str


class Finding(NamedTuple):
    is_found: bool
    reason: str
    problems: list[dict[str, object]]


def changed(each: Set, rng: random.Random) -> Change | None:
    """Return a random change of one file; None if this one has nothing to change so."""
    # Of its tree, libxl reads neither xen,reg nor xen,path.
    files = [f for f in each.files if f.endswith((".cfg", ".dts", ".overlay"))]
    file = rng.choice([f for f in files if not f.endswith("-xl.dts")])
    lines = (each.folder / file).read_text().split("\n")
    if file.endswith(".cfg"):
        change = _of_xl(lines, rng)
    elif file == "host.overlay":
        tree = tree_from_dtb(each.host.read_bytes())
        nodes = [node.path for node in tree.nodes() if "reg" in node.properties]
        change = _of_marks(lines, rng, nodes)
    else:
        change = _of_tree(lines, rng)
    return change._replace(file=file) if change else None


def found(each: Set, change: Change) -> Finding:
    """Audit the changed set."""
    path = each.folder / change.file
    before = path.read_text()
    path.write_text(change.text)
    try:
        outcome = each.audit("--json")
    finally:
        path.write_text(before)
    try:
        report = json.loads(outcome.out)
        problems = report["problems"]
    except ValueError:
        # A refusal of the whole file, on stderr.
        has_line = f"{change.file}:" in outcome.err
        return Finding(has_line, "", [{"what": outcome.err}])
    places = (change.line, *change.near)
    for problem in problems:
        # Of a mark that is gone, the device has the place.
        is_gone = change.kind in ("mark removed", "mark altered")
        is_there = str(problem["file"]).endswith(change.file) or is_gone
        if problem["severity"] == "error" and is_there:
            text = " ".join(str(problem[key]) for key in ("what", "expected", "found", "hint"))
            has_value = change.right in text or change.wrong in text
            if (problem["line"] in places or is_gone) and has_value:
                return Finding(True, "", problems)
    given = [device for domain in report["domains"] for device in domain["devices"]]
    return Finding(False, _harmless(each, change, problems, given), problems)


def is_fixed(each: Set, change: Change) -> bool:
    """Whether the changed configuration of xl audits clean once --fix is applied."""
    path = each.folder / change.file
    before = path.read_text()
    path.write_text(change.text)
    try:
        diff = each.audit("--fix").out
        path.write_text(patched(change.text, diff))
        return each.audit().status == 0
    finally:
        path.write_text(before)


def patched(text: str, diff: str) -> str:
    """Apply a unified diff, as patch does."""
    lines, after, at = text.splitlines(keepends=True), [], 0
    for line in diff.splitlines(keepends=True)[2:]:
        hunk = re.match(r"@@ -(\d+)", line)
        if hunk:
            start = int(hunk[1]) - 1
            after += lines[at:start]
            at = start
        elif line.startswith("+"):
            after.append(line[1:])
        else:
            assert lines[at] == line[1:], (lines[at], line)
            after += [lines[at]] if line.startswith(" ") else []
            at += 1
    return "".join([*after, *lines[at:]])


def _harmless(
    each: Set, change: Change, problems: list[dict[str, object]], given: list[dict[str, Any]]
) -> str:
    if change.kind in ("xen,reg removed", "iomem removed", "iomem altered"):
        item = change.wrong if change.kind == "iomem altered" else change.right
        first, _, rest = item.partition(",")
        base = int(first, 16) << (12 if change.kind.startswith("iomem") else 0)
        end = base + (int(rest.partition("@")[0] or "1", 16) << 12)
        pages = Cover(
            Interval(page["base"], page["base"] + page["size"] - 1)
            for device in given
            for page in device["pages"]
        )
        if all(device["right"] for device in given) and pages.has(base, end - 1):
            return "of two"
    if change.kind == "mark added" and _is_beside(each, change.right, given):
        return "beside"
    if change.kind in ("iomem added", "xen,reg altered") and any(
        p["line"] == change.line for p in problems
    ):
        return "twice"
    if change.kind == "interrupts altered" and _is_own_line(each, change):
        return "own line"
    if change.kind == "mark removed":
        node = tree_from_dtb(each.host.read_bytes()).node(change.right)
        if node and "xen,passthrough" in node.properties:
            return "marked"
    is_path = change.kind in ("mark altered", "xen,path altered", "dtdev altered")
    if is_path and change.right.lower() == change.wrong.lower():
        return "case"
    return ""


def _is_beside(each: Set, path: str, given: list[dict[str, Any]]) -> bool:
    """Whether a node is below or above a device that is given, or has a page or line of it."""
    device = read_host(each.host).devices.device(path)
    assert device
    pages = [in_pages(region) for region in device.regions if region]
    return any(
        is_at_or_below(path, other["host"])
        or is_at_or_below(other["host"], path)
        or not set(device.intids).isdisjoint(other["intids"])
        or any(
            page.overlaps(Region(p["base"], p["size"])) for page in pages for p in other["pages"]
        )
        for other in given
    )


def _is_own_line(each: Set, change: Change) -> bool:
    """Whether the line that was written is another one of the device of the same node."""
    after = change.text.split("\n")[change.line :]
    path = next(line.split('"')[1] for line in after if "xen,path" in line)
    device = read_host(each.host).devices.device(path)
    return device is not None and int(change.wrong, 16) + 32 in device.intids


def _items(lines: list[str], key: str) -> tuple[int, list[int]]:
    """Return the line of a list of xl.cfg, and the indexes of its items, all on their own lines."""
    for at, line in enumerate(lines):
        if line.startswith(f"{key} = ["):
            if line.endswith("["):
                end = lines.index("]", at)
                return at, list(range(at + 1, end))
            return at, [at] if '"' in line or re.search(r"\d", line) else []
    return -1, []


def _of_xl(lines: list[str], rng: random.Random) -> Change | None:
    key = rng.choice(("irqs", "iomem", "dtdev"))
    top, items = _items(lines, key)
    if not items:
        return None
    at = rng.choice(items)
    match = re.search(r'"[^"]*"|\b\d+\b', lines[at].partition("=")[2] or lines[at])
    assert match
    old = match[0]
    kind = rng.choice(("removed", "altered", "altered", "added"))
    bare = old.strip('"')
    if kind == "removed":
        if at == top:
            lines[at] = lines[at].replace(old, "")
        else:
            del lines[at]
        return _change(f"{key} removed", lines, top, (top, at, at - 1), _value(key, bare), bare)
    new = _altered(key, bare, rng)
    quoted = f'"{new}"' if old != bare else new
    if kind == "added":
        lines[at] = lines[at].replace(old, f"{old}, {quoted}")
        return _change(f"{key} added", lines, at, (top, *items), new, new)
    if new == bare:
        return None
    lines[at] = lines[at].replace(old, quoted)
    # Of two lines that are one now, either may be the wrong one.
    return _change(f"{key} altered", lines, at, (top, *items), _value(key, bare), new)


def _value(key: str, item: str) -> str:
    """What of an item a message must name: of pages, where they begin."""
    return item.partition(",")[0] if key == "iomem" else item


def _altered(key: str, item: str, rng: random.Random) -> str:
    if key == "irqs":
        return str(rng.choice((int(item) + 1, int(item) - 32, rng.randint(32, 500))))
    if key == "dtdev":
        at = rng.randrange(1, len(item))
        return item[:at] + rng.choice("0123456789abcxyz/") + item[at + 1 :]
    first, _, rest = item.partition(",")
    count, _, there = rest.partition("@")
    numbers = [int(first, 16), int(count, 16), int(there, 16)]
    at = rng.randrange(3)
    numbers[at] += rng.choice((1, 16, -1 if numbers[at] > 1 else 2))
    return f"{numbers[0]:x},{numbers[1]:x}@{numbers[2]:x}"


def _of_marks(lines: list[str], rng: random.Random, nodes: list[str]) -> Change | None:
    targets = [
        at
        for at, line in enumerate(lines)
        if "target-path" in line and any(MARK in later for later in lines[at : at + 5])
    ]
    if not targets:
        return None
    at = rng.choice(targets)
    old = lines[at].split('"')[1]
    if rng.random() < 0.3 and nodes:
        other = rng.choice(nodes)
        if f'"{other}"' in "\n".join(lines):
            return None
        first = next(i for i, line in enumerate(lines) if "fragment@" in line)
        block = f'fragment@99 {{ target-path = "{other}"; __overlay__ {{ xen,passthrough; }}; }};'
        lines.insert(first, block)
        return _change("mark added", lines, first, (), other, other)
    mark = next(i for i in range(at, len(lines)) if MARK in lines[i])
    if rng.random() < 0.5:
        lines[mark] = ""
        return _change("mark removed", lines, mark, (at,), old, old)
    i = rng.randrange(1, len(old))
    new = old[:i] + rng.choice("0123456789abcxyz") + old[i + 1 :]
    if new == old:
        return None
    lines[at] = lines[at].replace(old, new)
    return _change("mark altered", lines, mark, (at,), old, new)


def _of_tree(lines: list[str], rng: random.Random) -> Change | None:
    prop = rng.choice(("xen,reg", "xen,path", "interrupts"))
    places = [at for at, line in enumerate(lines) if line.strip().startswith(f"{prop} = ")]
    if not places:
        return None
    at = rng.choice(places)
    start = next(i for i in range(at, -1, -1) if lines[i].endswith("{"))
    near = tuple(i for i in range(start, len(lines)) if i - start < 25)
    if prop == "xen,path":
        old = lines[at].split('"')[1]
        i = rng.randrange(1, len(old))
        new = old[:i] + rng.choice("0123456789abcxyz") + old[i + 1 :]
        if new == old:
            return None
        lines[at] = lines[at].replace(old, new)
        return _change("xen,path altered", lines, at, near, old, new)
    cells = re.findall(r"0x[0-9a-f]+", lines[at])
    if not cells:
        return None
    if prop == "xen,reg" and rng.random() < 0.2:
        lines[at] = ""
        return _change("xen,reg removed", lines, at, near, cells[1], cells[1])
    which = rng.randrange(len(cells))
    step = 0x1000 if prop == "xen,reg" else 1
    if prop == "interrupts":
        which = which // 3 * 3 + 1
    elif which % 2 == 0 and len(cells) % 6 == 0:
        which += 1
    cells[which] = f"{int(cells[which], 16) + step * rng.choice((1, 2, 16)):#x}"
    old = lines[at]
    lines[at] = f"{old.partition('=')[0]}= <{' '.join(cells)}>;"
    return _change(f"{prop} altered", lines, at, near, "", cells[which])


def _change(
    kind: str, lines: list[str], at: int, near: tuple[int, ...], right: str, wrong: str
) -> Change:
    places = tuple(each + 1 for each in near)
    return Change(kind, "", "\n".join(lines), at + 1, places, right, wrong)


def run() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--show", type=int, default=8)
    parser.add_argument("--fix", action="store_true", help="of xl.cfg alone: does --fix mend it?")
    options = parser.parse_args()
    rng = random.Random(options.seed)
    kinds: Counter[tuple[str, str]] = Counter()
    missed = done = 0
    for each in all_sets(options.count, options.seed):
        for _ in range(4):
            change = changed(each, rng)
            if change is None or done == options.count:
                continue
            if options.fix and not change.file.endswith(".cfg"):
                continue
            done += 1
            if options.fix:
                mended = is_fixed(each, change)
                kinds[change.kind, "mended" if mended else "not mended"] += 1
                missed += not mended
                if not mended and missed <= options.show:
                    print("NOT MENDED", each.name, change)
                continue
            finding = found(each, change)
            outcome = "found" if finding.is_found else finding.reason or "missed"
            kinds[change.kind, outcome] += 1
            if outcome == "missed":
                missed += 1
                if missed <= options.show:
                    print("MISSED", each.name, change.kind, change.file, change.line, change.near)
                    print("   right", change.right, "wrong", change.wrong)
                    for problem in finding.problems:
                        print("   ", {k: v for k, v in problem.items() if v and k != "hint"})
        if done == options.count:
            break
    for (kind, outcome), count in sorted(kinds.items()):
        print(f"{count:5}  {kind:20} {outcome}")
    print(f"{missed} of {done} changes are missed")
    return bool(missed)


if __name__ == "__main__":
    sys.exit(run())
