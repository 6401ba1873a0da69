# SPDX-License-Identifier: Apache-2.0
"""The settings that xl takes from its configuration for a domain with devices: parse_config_data()
of xl_parse.c (4.17 to 4.22), which ends the command for an item that it cannot read.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from west_viommu.audit.records import MOST_PAGES, HostPath, Line, Pages
from west_viommu.diagnostics import Diagnostic, Where
from west_viommu.hypervisor.pages import PAGE
from west_viommu.read.xl_config import XlConfig, XlList, XlSetting, XlText
from west_viommu.tree.addresses import Region

LISTS = ("dtdev", "irqs", "iomem")
# A GIC has 988 SPIs.
MOST_ITEMS = 2048
_COPIED = "dt_passthrough_nodes"
# strtoul(buf, &ep, 10), to the end of the text.
_DECIMAL = re.compile(r"[ \t\n\v\f\r]*[+-]?[0-9]+")
# sscanf() with "%lx,%lx%n@%lx%n", to the end of the text.
_NUMBER = r"[ \t\n\v\f\r]*[+-]?(?:0[xX])?[0-9a-fA-F]+"
_RANGE = re.compile(rf"({_NUMBER}),({_NUMBER})(?:@({_NUMBER}))?")
_MOST_IRQ = (1 << 32) - 1
# This key stands for no list, so its value is not read as one.
_NO_KEY = "iommu"
# Keys of other tools, or mistyped keys, that xl ignores without a message.
_NEAR_MISSES = {
    "dtb": "device_tree",
    "dt": "device_tree",
    "devicetree": "device_tree",
    "device_trees": "device_tree",
    "dtdevs": "dtdev",
    "dt_dev": "dtdev",
    "dt_devs": "dtdev",
    "irq": "irqs",
    "iomems": "iomem",
    "io_mem": "iomem",
    _NO_KEY: "dtdev",
}


class XlDomain(NamedTuple):
    """The settings of a domain in its configuration; `copied`: dt_passthrough_nodes."""

    name: str
    device_tree: HostPath | None
    dtdev: tuple[HostPath, ...]
    lines: tuple[Line, ...]
    pages: tuple[Pages, ...]
    copied: tuple[HostPath, ...]
    has_vuart: bool
    memory: int | None
    keys: dict[str, Where]
    unread: dict[str, tuple[Diagnostic, ...]]
    problems: tuple[Diagnostic, ...]


def xl_domain(config: XlConfig) -> XlDomain:
    """Return the settings that xl takes from `config`, and problems for those that it would refuse
    or ignore.
    """
    reader = _Reader(config)
    tree = reader.last.get("device_tree")
    path = None
    if tree and isinstance(tree.value, XlText):
        path = HostPath(tree.value.text, Where(config.file, tree.line))
    name, memory = reader.text("name"), reader.text("memory")
    return XlDomain(
        name=name or "",
        device_tree=path,
        dtdev=tuple(HostPath(item.text, reader.at(item)) for item in reader.items("dtdev")),
        lines=tuple(reader.lines()),
        pages=tuple(reader.pages()),
        copied=tuple(HostPath(item.text, reader.at(item)) for item in reader.items(_COPIED)),
        has_vuart=bool(reader.text("vuart")),
        memory=int(memory) if memory and memory.isdecimal() and len(memory) < 10 else None,
        keys={
            key: Where(config.file, reader.last[key].line) for key in LISTS if key in reader.last
        },
        unread={key: tuple(found) for key, found in reader.unread.items()},
        problems=tuple((*reader.slips(), *reader.problems)),
    )


def statements(config: XlConfig) -> dict[str, XlSetting]:
    """Return the statement that counts for each key. A misspelt key is reported, and its statement
    counts for the key that it means.
    """
    meant = {
        _NEAR_MISSES[key]: setting
        for key, setting in config.last.items()
        if key in _NEAR_MISSES and key != _NO_KEY
    }
    return meant | dict(config.last)


class _Reader:
    """Reads the lists, and collects the problems in them."""

    def __init__(self, config: XlConfig):
        self._config = config
        self.last = statements(config)
        self.unread: dict[str, list[Diagnostic]] = {}
        self.problems: list[Diagnostic] = []

    def at(self, item: XlText | XlList) -> Where:
        """Return the place of an item."""
        return Where(self._config.file, item.line)

    def text(self, key: str) -> str | None:
        """Return the single value of `key`."""
        setting = self.last.get(key)
        return setting.value.text if setting and isinstance(setting.value, XlText) else None

    def items(self, key: str) -> Iterator[XlText]:
        """Yield the texts of the list `key`."""
        setting = self.last.get(key)
        if setting is None:
            return
        if not isinstance(setting.value, XlList):
            self._add(
                f"{key} is a single value: xl wants a list, and drops it",
                f'write {key} = [ "{setting.value.text}" ]',
                setting.value,
                setting.value.text,
            )
            yield setting.value
            return
        if len(setting.value.items) > MOST_ITEMS:
            self._add(
                f"{key} has more than {MOST_ITEMS} items: no guest has as many",
                "list each once; what comes later is not judged",
                setting.value,
                str(len(setting.value.items)),
            )
        for item in setting.value.items[:MOST_ITEMS]:
            if isinstance(item, XlText):
                yield item
            else:
                self._add(
                    f"{key} has a list as an item, which xl refuses",
                    "write its items one by one",
                    item,
                )

    def lines(self) -> Iterator[Line]:
        """Yield the interrupt lines."""
        for item in self.items("irqs"):
            if not _DECIMAL.fullmatch(item.text):
                hint = "write the INTID in decimal, the SPI's number + 32"
                self._unread("irqs", "xl cannot read this line of irqs", hint, item)
            elif not 0 <= _small(item.text, 10) < _MOST_IRQ:
                self._unread("irqs", "xl refuses this line of irqs", "write an INTID", item)
            else:
                yield Line(_small(item.text, 10), self.at(item))

    def pages(self) -> Iterator[Pages]:
        """Yield the ranges of pages."""
        for item in self.items("iomem"):
            match = _RANGE.fullmatch(item.text)
            if not match:
                hint = 'write "FIRST,COUNT" or "FIRST,COUNT@GUEST": page numbers in hexadecimal'
                self._unread("iomem", "xl cannot read this range of iomem", hint, item)
                continue
            first, count = _small(match[1], 16), _small(match[2], 16)
            there = first if match[3] is None else _small(match[3], 16)
            if count < 1 or min(first, there) < 0 or max(first, there) + count > MOST_PAGES:
                hint = "count pages of 4 KiB: a page number is an address without its last 3 digits"
                what = "this range of iomem is not within the address space"
                self._unread("iomem", what if count else "this range maps nothing", hint, item)
                continue
            host = Region(first * PAGE, count * PAGE)
            yield Pages(host, there * PAGE, self.at(item), "", item.text)

    def slips(self) -> Iterator[Diagnostic]:
        """Yield keys that xl does not know, and lists that a later line replaces."""
        before: dict[str, XlText | XlList] = {}
        for setting in self._config.settings:
            key = setting.key
            known = before.get(key)
            if key in LISTS and known and not setting.adds and known != setting.value:
                yield Diagnostic(
                    id="wrong",
                    what=f"{key} is set again: xl takes only the last list",
                    hint=f"write += here, or one list; what line {known.line} gives is lost",
                    found=_texts(known),
                    where=Where(self._config.file, setting.line),
                )
            before[key] = setting.value
            if key == "passthrough" and isinstance(setting.value, XlText):
                yield from self._passthrough(setting.value)
            meant = _NEAR_MISSES.get(key)
            if meant:
                yield Diagnostic(
                    id="wrong",
                    what=f"xl has no key {key}, and ignores it",
                    hint="name each device behind an IOMMU in dtdev"
                    if key == _NO_KEY
                    else f"did you mean {meant}?",
                    where=Where(self._config.file, setting.line),
                )

    def _passthrough(self, value: XlText) -> Iterator[Diagnostic]:
        """Yield a diagnostic if devices are not assigned (libxl__domain_config_setdefault(), 4.13
        on).
        """
        dtdev = self.last.get("dtdev")
        if value.text == "disabled" and dtdev and isinstance(dtdev.value, XlList):
            yield Diagnostic(
                id="wrong",
                what='passthrough = "disabled" beside dtdev: libxl refuses the domain',
                hint="remove the line",
                found=value.text,
                where=self.at(value),
            )

    def _unread(self, key: str, what: str, hint: str, item: XlText) -> None:
        self.unread.setdefault(key, []).append(
            Diagnostic(id="wrong", what=what, hint=hint, found=item.text, where=self.at(item))
        )

    def _add(self, what: str, hint: str, item: XlText | XlList, found: str = "") -> None:
        self.problems.append(
            Diagnostic(id="wrong", what=what, hint=hint, found=found, where=self.at(item))
        )


def _small(text: str, base: int) -> int:
    """Return the number in `text`; 2^65 if it is too long."""
    text = text.strip(" \t\n\v\f\r")
    return int(text, base) if len(text) < 40 else 1 << 65


def _texts(value: XlText | XlList) -> str:
    items = value.items if isinstance(value, XlList) else (value,)
    return " ".join(item.text for item in items[:50] if isinstance(item, XlText))
