# SPDX-License-Identifier: Apache-2.0
"""The comparison of a domain's lines, streams and own tree with its devices."""

import re
from collections.abc import Sequence

from west_viommu.audit.given import Given
from west_viommu.audit.host import line_text
from west_viommu.audit.records import Line, TreeNode
from west_viommu.diagnostics import Diagnostic, Severity, Where, first_few
from west_viommu.guest.faults import is_slip
from west_viommu.host.devices import Device
from west_viommu.tree.interrupts import FIRST_SPI

_NUMBER = re.compile("0[xX][0-9a-fA-F]{1,8}|[0-9]{1,10}")
# Lines of one device, or of the one beside it.
_NEIGHBOURS = 8
# If a set has more lines that fit no device, it was made for another tree.
_MOST_UNKNOWN = 8
# If more lines of a device are missing, they are missing, and not mistyped.
_MOST_MISTYPED = 3
_FROM_TO = re.compile(r"\s*([0-9]{1,10})\s*-\s*([0-9]{1,10})\s*")


def judge_lines(given: Given) -> None:
    """Report lines and streams that are missing, or belong to others, and errors of the guest's
    tree.
    """
    judge = _Lines(given)
    if given.domain.is_xl:
        judge.judge_lines()
        judge.judge_dtdev()
    judge.judge_trees()


def missing_lines(given: Given, path: str) -> list[int]:
    """Return the lines that the guest's tree lists, or without a tree all of the device, and that
    are not in irqs.
    """
    nodes = given.nodes.get(path, ())
    device = given.host.device(path)
    own = dict.fromkeys(device.intids if device else ())
    lines = [int(intid) for intid in own if intid >= FIRST_SPI]
    if nodes and all(node.intids is not None for node in nodes):
        listed = {intid for node in nodes for intid in node.intids or ()}
        lines = [intid for intid in given.own_lines(path) if intid in listed]
    return [intid for intid in lines if intid not in given.intids]


def _is_meant(unread: Diagnostic, line: tuple[str, int]) -> bool:
    """Return whether an item of irqs that cannot be read may mean `line`: as a number in another
    base, an SPI's number, one of several, or one of a range.
    """
    numbers = [int(n, 16 if n[:2] in ("0x", "0X") else 10) for n in _NUMBER.findall(unread.found)]
    first_and_last = _FROM_TO.fullmatch(unread.found)
    if first_and_last and int(first_and_last[1]) <= line[1] <= int(first_and_last[2]):
        return True
    return line[1] in numbers or line[1] - FIRST_SPI in numbers


def _mistyped(
    missing: Sequence[tuple[str, int]], others: Sequence[Line]
) -> list[tuple[str, int, Line]]:
    """Return the missing lines that one of `others` means: the nearest one of few; the only one
    with a digit more, less or other; or the only one at all.
    """
    found: list[tuple[str, int, Line]] = []
    left = [*others]
    for path, intid in missing:
        near = [line for line in left if abs(line.intid - intid) < _NEIGHBOURS]
        if near or len(missing) == len(others) == 1:
            line = min(near or left, key=lambda line: abs(line.intid - intid))
            left.remove(line)
            found.append((path, intid, line))
    paired = {intid for _, intid, _ in found}
    for path, intid in missing if len(left) <= _MOST_UNKNOWN else ():
        alike = [line for line in left if is_slip(str(line.intid), str(intid))]
        of_device = sum(of == path for of, _ in missing)
        if intid not in paired and len(alike) == 1 and of_device <= _MOST_MISTYPED:
            number = str(alike[0].intid)
            if sum(i not in paired and is_slip(number, str(i)) for _, i in missing) == 1:
                found.append((path, intid, alike[0]))
    return found


class _Lines:
    """Judges the lines, streams and nodes of one domain."""

    def __init__(self, given: Given):
        self._set = given

    def judge_lines(self) -> None:
        missing = [(path, i) for path in self._set.found for i in missing_lines(self._set, path)]
        own = {intid for path in self._set.found for intid in self._set.own_lines(path)}
        extras: list[Line] = []
        twice: list[Line] = []
        seen: set[int] = set()
        for line in self._set.domain.lines:
            if line.intid in seen:
                twice.append(line)
            elif line.intid not in own:
                extras.append(line)
            seen.add(line.intid)
        self._set.tell_unread(
            "irqs", missing, _is_meant, lambda line: str(line[1]), lambda line: line[0]
        )
        for path, intid in [*missing]:
            slip = next((line for line in extras if line.intid + FIRST_SPI == intid), None)
            if slip:
                missing.remove((path, intid))
                extras.remove(slip)
                hint = f"irqs takes INTIDs: SPI {slip.intid} is {intid}"
                self._wrong_line(path, intid, slip, hint)
        for others in (extras, twice):
            for path, intid, line in _mistyped(missing, others):
                others.remove(line)
                missing.remove((path, intid))
                self._wrong_line(path, intid, line, f"write {intid}")
        for path in dict.fromkeys(path for path, _ in missing):
            intids = [intid for of, intid in missing if of == path]
            self._tell_missing_lines(path, intids)
        self._tell_extra_lines(extras)
        for line in twice:
            self._set.add(
                "wrong",
                f"INTID {line.intid} is in irqs twice: Xen refuses the second "
                "(vgic_reserve_virq())",
                "remove one",
                line.where,
                found=str(line.intid),
            )

    def _wrong_line(self, path: str, intid: int, line: Line, hint: str) -> None:
        whose = self._owner_of_line(line.intid)
        what = f"{line_text(intid)} of {path} is not given"
        if whose and whose != path:
            what += f", and INTID {line.intid} is of {whose}"
        self._set.add(
            "wrong", what, hint, line.where, expected=str(intid), found=str(line.intid), path=path
        )

    def _tell_missing_lines(self, path: str, intids: Sequence[int]) -> None:
        names = ", ".join(first_few(map(line_text, intids)))
        verb = "is" if len(intids) == 1 else "are"
        numbers = ", ".join(first_few(map(str, intids)))
        self._set.add(
            "missing",
            f"{names} of {path} {verb} not in irqs",
            f"add to irqs: {numbers}",
            self._set.domain.keys.get("irqs") or self._set.found[path],
            expected=numbers,
            path=path,
        )

    def _tell_extra_lines(self, extras: Sequence[Line]) -> None:
        by_owner: dict[tuple[str, Where], list[str]] = {}
        for line in extras:
            if line.intid < FIRST_SPI:
                what = f"INTID {line.intid} is no SPI: Xen refuses it"
                hint = f"irqs takes INTIDs: SPI {line.intid} is {line.intid + FIRST_SPI}"
                self._set.add("extra", what, hint, line.where, found=str(line.intid))
                continue
            whose = self._owner_of_line(line.intid), line.where
            by_owner.setdefault(whose, []).append(str(line.intid))
        for (owner, where), intids in by_owner.items():
            numbers = ", ".join(first_few(intids))
            is_one = len(intids) == 1
            name, verb, it = ("INTID", "is", "it") if is_one else ("INTIDs", "are", "them")
            what = f"no device of the host has {name} {numbers}"
            hint = f"remove {it}: Xen routes SPIs of this host alone"
            if owner:
                domain = self._set.elsewhere.get(owner)
                which = f"which {domain} is given" if domain else "of which nothing else is given"
                what = f"{name} {numbers} {verb} of {owner}, {which}"
                hint = f"remove {it}, or give the guest the whole device"
            self._set.add("extra", what, hint, where, found=numbers)

    def _owner_of_line(self, intid: int) -> str:
        claims = self._set.host.holdings.all_lines if intid >= FIRST_SPI else []
        return next((claim.path for claim in claims if claim.first == intid), "")

    def judge_dtdev(self) -> None:
        missing = [
            path
            for path in self._set.found
            if path not in self._set.dtdev
            and self._set.is_protected(path)
            and path not in self._set.doubted
        ]
        refused = [path for path in self._set.dtdev if not self._set.has_streams_at(path)]
        extras = [p for p in self._set.dtdev if p not in self._set.found and p not in refused]
        whys = ((refused, "it is behind no IOMMU"), (extras, "nothing else of it is given"))
        for others, why in whys:
            for other in [*others]:
                below = [path for path in missing if path.startswith(f"{other}/")]
                path = next(iter(below or (missing if others is extras else ())), None)
                if path is None:
                    continue
                missing.remove(path)
                others.remove(other)
                self._set.add(
                    "wrong",
                    f"{path} is not in dtdev, and {other} is: {why}",
                    f'write "{path}"',
                    self._set.dtdev[other].where,
                    expected=path,
                    found=self._set.dtdev[other].path,
                    path=path,
                )
        for path in missing:
            self._set.add(
                "missing",
                f"{path} is not in dtdev: its DMA cannot reach the guest's memory",
                f'add to dtdev: "{path}"',
                self._set.domain.keys.get("dtdev") or self._set.found[path],
                expected=path,
                path=path,
            )
        for path in extras:
            domain = self._set.elsewhere.get(path)
            self._set.add(
                "extra",
                f"dtdev has {path}, which {domain} is given"
                if domain
                else f"dtdev has {path}, of which no page and no line is given",
                "remove it from one of the two" if domain else "remove it, or give the rest of it",
                self._set.dtdev[path].where,
                found=self._set.dtdev[path].path,
            )
        for path in refused:
            self._set.add(
                "wrong",
                f"dtdev has {path}, which is behind no IOMMU: Xen refuses it (-EINVAL)",
                "remove it from dtdev",
                self._set.dtdev[path].where,
                found=self._set.dtdev[path].path,
                path=path,
            )

    def judge_trees(self) -> None:
        """Report resources that the guest reads in its tree and the host does not have."""
        for path, nodes in self._set.nodes.items():
            device = self._set.host.device(path)
            for node in nodes if device else ():
                assert device
                own = self._set.own_lines(path)
                listed = node.intids or ()
                foreign = [intid for intid in listed if intid not in own]
                if len(set(own)) == len(device.intids):
                    foreign += [i for at, i in enumerate(listed) if i in listed[:at]]
                if foreign and path not in self._set.doubted:
                    self._set.add(
                        "wrong",
                        f"{node.path} has interrupts that {path} does not have",
                        "write those of the host node: "
                        + ", ".join(first_few(f"<0 {i - FIRST_SPI} ...>" for i in own)),
                        self._set.at(node.path, "interrupts"),
                        node.path,
                        expected=", ".join(first_few(map(line_text, own))) or "none",
                        found=", ".join(first_few(map(line_text, foreign))),
                        path=path,
                    )
                self._judge_ids(path, node, device)
                if not (self._set.domain.is_xl or node.has_parent):
                    self._set.add(
                        "wrong",
                        f"{node.path} has interrupts and no interrupt-parent: a guest that reads "
                        "the tree finds no controller for them",
                        "write interrupt-parent = <&gic>, with a node /gic (Xen gives the root "
                        "none)",
                        self._set.at(node.path, "interrupts"),
                        node.path,
                        severity=Severity.WARNING,
                    )
                is_right = self._set.domain.is_xl or self._set.is_protected(path) or node.is_forced
                if is_right or path in self._set.doubted:
                    continue
                if not self._set.has_streams(device):
                    self._set.add(
                        "wrong",
                        f"{path} is behind no IOMMU: Xen panics (iommu_assign_dt_device())",
                        "add xen,force-assign-without-iommu, if the guest may reach all memory",
                        self._set.at(node.path, "xen,path"),
                        node.path,
                        path=path,
                    )

    def _judge_ids(self, path: str, node: TreeNode, device: Device) -> None:
        """Report stream IDs that the host device does not have, if the guest has a vSMMU."""
        if not self._set.host.terms.profile.viommu or not device.master:
            return
        ids = [stream.id for stream in device.master.streams]
        foreign = [number for number in node.ids if number not in ids]
        if foreign:
            self._set.add(
                "wrong",
                f"{node.path} has stream IDs that {path} does not have",
                "write the IDs of the host node",
                self._set.at(node.path, "iommus"),
                node.path,
                expected=" ".join(
                    first_few(f"{number:#x}" for number in ids if number is not None)
                ),
                found=" ".join(first_few(f"{number:#x}" for number in foreign)),
                path=path,
            )
