# SPDX-License-Identifier: Apache-2.0
"""The other nodes of its host that a device needs: clocks, resets, power domains, pins, supplies.

A guest of Xen gets the registers of its device and none of these nodes. They are listed, so that
the user can see what must stay switched on, and by which driver.
"""

from collections.abc import Collection, Iterator
from functools import cached_property
from itertools import islice
from struct import unpack_from
from typing import NamedTuple

from west_viommu.diagnostics import first_few
from west_viommu.tree.cells import TreeError
from west_viommu.tree.node import Node, Tree, is_at_or_below, paths_above
from west_viommu.tree.providers import provider
from west_viommu.tree.references import reading_of

FIXED, REGISTERS = "fixed", "registers"
# Properties of dt-schema's common bindings that name a provider which the driver switches: by the
# property's name, or its end.
_NAMES = frozenset(
    {
        "clocks",
        "resets",
        "power-domains",
        "phys",
        "phy-handle",
        "phy",
        "dmas",
        "nvmem-cells",
        "nvmem",
        "mboxes",
        "interconnects",
    }
)
_ENDS = ("-supply", "gpios", "gpio")
_PINS = "pinctrl-"
# Compatible, or its beginning -> the firmware behind the node (the bindings of Linux 6.12).
_FIRMWARE = (
    ("arm,scmi", "SCMI"),
    ("linaro,scmi", "SCMI"),
    ("arm,scpi", "SCPI"),
    ("amlogic,meson-gxbb-scpi", "SCPI"),
    ("nvidia,tegra186-bpmp", "BPMP"),
    ("xlnx,zynqmp-firmware", "EEMI"),
    ("xlnx,versal-firmware", "EEMI"),
    ("xlnx,versal-net-firmware", "EEMI"),
    ("ti,k2g-sci", "TI SCI"),
    ("ti,am654-sci", "TI SCI"),
    ("fsl,imx8qxp-scu", "SCU"),
    ("fsl,imx-scu", "SCU"),
    ("qcom,rpm", "RPMh"),
    ("qcom,scm", "SCM"),
    ("arm,psci", "PSCI"),
)
# Interconnects of Qualcomm have no registers: a voter speaks to the firmware for them.
_VOTERS = "qcom,bcm-voters"
_MOST_DERIVED = 8
# The users of an entry that one line of a message names.
_MOST_SHOWN = 3


# Further users of one entry are not listed: a clock may have as many as a host has devices.
_MOST_USERS = 16


class User(NamedTuple):
    """Another node of the host that lists the same entry, and whether it stays with the host."""

    host: str
    stays: bool


class Need(NamedTuple):
    """An entry of property `prop` of the host node `node`, by its `name` in clock-names or the
    like: the `provider` (a path), its kind ("fixed" if no driver can switch it, "registers", or the
    name of a firmware), the cells of the specifier, and the first other nodes that list the same
    entry.
    """

    node: str
    prop: str
    name: str
    provider: str
    kind: str
    specifier: tuple[int, ...]
    users: tuple[User, ...]

    def __str__(self) -> str:
        cells = f" <{' '.join(map(str, self.specifier))}>" if self.specifier else ""
        name = f" {self.name!r}" if self.name else ""
        return f"{self.prop}{name}: {self.provider}{cells} ({self.kind})"

    @property
    def sharing(self) -> str:
        """The other devices that use the same entry, as text; "" if none is known."""
        parts = [
            f"{' and '.join(first_few(hosts, _MOST_SHOWN))}, which {verbs[len(hosts) > 1]}"
            for stays, *verbs in ((True, "stays", "stay"), (False, "comes along", "come along"))
            if (hosts := [user.host for user in self.users if user.stays is stays])
        ]
        return f"also of {'; '.join(parts)}" if parts else ""


# The key of an entry: clock 5 of a provider is not its reset 5.
_Entry = tuple[str, str, tuple[int, ...]]


def _entry(prop: str, target: str, specifier: tuple[int, ...]) -> _Entry:
    row = provider(prop)
    return (row.cells or "") if row else "", target, specifier


class Needs:
    """The providers of one host, and the nodes that use each entry of them. `devices`: the paths of
    the devices of interest; None for all.
    """

    def __init__(self, tree: Tree, devices: Collection[str] | None = None):
        self._tree = tree
        self._devices = devices
        self._kinds: dict[str, str] = {}
        self._is_need: dict[str, bool] = {}

    def of(self, path: str, along: Collection[str] = ()) -> tuple[Need, ...]:
        """Return the needs of the device at `path` and of the nodes below it, except nodes that are
        below it or below a device that goes `along` with it.
        """
        node = self._tree.node(path)
        own = frozenset((path, *along))
        return tuple(
            Need(
                node=user.path,
                prop=prop,
                name=name,
                provider=target,
                kind=self.kind(target),
                specifier=specifier,
                users=self._others(_entry(prop, target, specifier), path, own)
                if self.kind(target) != FIXED
                else (),
            )
            for user in (_below(node) if node else ())
            for prop, name, target, specifier in _entries(self._tree, user)
            if not _is_at_or_below(target, own)
        )

    def _others(self, entry: _Entry, path: str, own: Collection[str]) -> tuple[User, ...]:
        """Return the first nodes besides the device at `path` that list `entry`."""
        found = (user for user in self._users.get(entry, ()) if not is_at_or_below(user, path))
        return tuple(
            User(user, stays=not _is_at_or_below(user, own))
            for user in islice(dict.fromkeys(found), _MOST_USERS)
        )

    def kind(self, path: str) -> str:
        """Return the kind of the provider at `path`."""
        known = self._kinds.get(path)
        if known is None:
            node = self._tree.node(path)
            known = self._kinds[path] = self._found(node, _MOST_DERIVED) if node else FIXED
        return known

    def _found(self, node: Node, deeper: int) -> str:
        """Return the kind of `node`. A node without registers has the kind of the node behind it:
        the parent of a derived clock, the GPIO that switches a supply, the voter of an
        interconnect. If there is no such node either, no driver can switch it.
        """
        lineage = list(self._tree.lineage(node))
        for above in lineage:
            for name in above.known_compatible:
                for beginning, firmware in _FIRMWARE:
                    if name.startswith(beginning):
                        return firmware
        if any("reg" in above.properties for above in lineage):
            return REGISTERS
        for above in lineage:
            for _, _, target, _ in _entries(self._tree, above, _VOTERS):
                parent = self._tree.node(target)
                if parent and parent is not node and deeper:
                    return self._found(parent, deeper - 1)
        return FIXED

    @cached_property
    def _users(self) -> dict[_Entry, list[str]]:
        """The nodes that list each entry of a provider, if one of the devices lists it."""
        users: dict[_Entry, list[str]] = {}
        wanted = self._wanted()
        for node in self._tree.nodes():
            if wanted is not None and not self._lists(node, wanted):
                continue
            for prop, _, target, specifier in _entries(self._tree, node):
                users.setdefault(_entry(prop, target, specifier), []).append(node.path)
        return users

    def _wanted(self) -> frozenset[bytes] | None:
        """Return the phandles of the providers that the devices need; None if all devices are of
        interest.
        """
        if self._devices is None:
            return None
        tree = self._tree
        asked = (node for path in self._devices if (node := tree.node(path)))
        providers = {
            target
            for device in asked
            for node in _below(device)
            for _, _, target, _ in _entries(tree, node)
        }
        found = (node for path in providers if (node := tree.node(path)))
        return frozenset(
            node.properties["phandle"] for node in found if "phandle" in node.properties
        )

    def _lists(self, node: Node, phandles: frozenset[bytes]) -> bool:
        """Return whether a property of `node` that names providers has one of `phandles`."""
        known = self._is_need
        for name, value in node.properties.items():
            if name not in known:
                known[name] = _is_need(name)
            if known[name] and not phandles.isdisjoint(_words(value)):
                return True
        return False


def _below(node: Node) -> Iterator[Node]:
    yield node
    for child in node.children:
        yield from _below(child)


def _is_need(name: str) -> bool:
    return name in _NAMES or name.startswith(_PINS) or name.endswith(_ENDS)


def _entries(
    tree: Tree, node: Node, also: str = ""
) -> Iterator[tuple[str, str, str, tuple[int, ...]]]:
    """Yield the entries of the properties of `node` that name a provider, and of the property
    `also`: the property, the entry's name, the provider's path, and the cells of the specifier.
    """
    for prop, value in node.properties.items():
        if not _is_need(prop) and prop != also:
            continue
        row = provider(prop)
        cells = reading_of(tree, node, prop).reference.cells if value else {}
        if not cells:
            continue
        names = _names(node, row.names if row and not prop.startswith(_PINS) else "")
        numbers = unpack_from(f">{len(value) // 4}I", value)
        places = sorted(cells)
        ends = [*places[1:], len(numbers)]
        for entry, (at, end) in enumerate(zip(places, ends, strict=True)):
            name = names[entry] if len(names) == len(places) else ""
            yield prop, name, cells[at], numbers[at + 1 : end]


def _names(node: Node, prop: str) -> tuple[str, ...]:
    try:
        return node.string_list(prop) if prop else ()
    except TreeError:
        return ()


# Each end of a graph's link names the other, but does not need it.
_LINK = "remote-endpoint"


def consumers(tree: Tree, providers: Collection[str]) -> Iterator[tuple[Node, str, str]]:
    """Yield each node outside of `providers` (paths) that one of them, or a node below one, serves;
    the property that names the provider; and the path of that provider.
    """
    serving = {
        node.path: node.properties["phandle"]
        for node in tree.nodes()
        if "phandle" in node.properties and _is_at_or_below(node.path, providers)
    }
    phandles = frozenset(serving.values())
    for node in tree.nodes() if phandles else ():
        for name, value in node.properties.items():
            if name == _LINK or not provider(name) or phandles.isdisjoint(_words(value)):
                continue
            if _is_at_or_below(node.path, providers):
                break
            for served_by in reading_of(tree, node, name).reference.targets:
                if served_by in serving:
                    yield node, name, served_by


def _words(value: bytes) -> Iterator[bytes]:
    return (value[at : at + 4] for at in range(0, len(value), 4))


def _is_at_or_below(path: str, paths: Collection[str]) -> bool:
    return path in paths or any(above in paths for above in paths_above(path))


# A table rather than a pattern: any small number may be some node's phandle.
_PROPERTIES = frozenset({"phys", "phy-handle", "usb-phy"})
# Properties that each vendor has under its own prefix: fsl,usbmisc.
_OF_VENDORS = frozenset({"usbmisc", "usbphy", "gmu"})


def wholes(tree: Tree) -> dict[str, str]:
    """Return, by the path of a node, the device of which it is a part: the only one that names it
    so.
    """
    naming = _naming(tree)
    namers: dict[str, set[str]] = {}
    for node in tree.nodes() if naming else ():
        for part in _named_by(tree, node, naming):
            namers.setdefault(part, set()).add(node.path)
    return {part: paths.pop() for part, paths in namers.items() if len(paths) == 1}


def _naming(tree: Tree) -> frozenset[str]:
    """Return the properties of `tree` that name parts."""
    names = {name for node in tree.nodes() for name in node.properties}
    return frozenset(name for name in names if _names_a_part(name))


def _names_a_part(prop: str) -> bool:
    vendor, _, name = prop.partition(",")
    return prop in _PROPERTIES or (bool(vendor) and name in _OF_VENDORS)


def _named_by(tree: Tree, node: Node, naming: frozenset[str]) -> Iterator[str]:
    for name in naming & node.properties.keys():
        value = node.properties[name]
        if value and len(value) % 4 == 0:
            target = tree.with_phandle(int.from_bytes(value[:4], "big"))
            if target:
                yield target.path
