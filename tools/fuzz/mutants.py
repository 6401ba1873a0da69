# SPDX-License-Identifier: Apache-2.0
"""What is damaged, and how: bits and cells of blobs, tokens and lines of text."""

from __future__ import annotations

import random
import re
import struct
from collections.abc import Callable, Sequence

CELLS = (0, 1, 2, 3, 4, 5, 8, 9, 16, 32, 33, 64, 255, 256, 0x1000, 0xFDEA, 0xFFFE, 0xFFFF, 0x10000)
CELLS += (0x7FFFFFFF, 0x80000000, 0xFFFFF000, 0xFFFFFFFE, 0xFFFFFFFF, 0xD00DFEED)
TOKEN = re.compile(r"\s+|\w+|.", re.DOTALL)
_DTS_WORDS = """
{ } ; < > = , & &{/ : " /* */ // [ ] ( ) << / \\ # A 'a' 0 1 4 0xffffffff 0x100000000 -1
/dts-v1/; /plugin/; /delete-node/ /delete-property/ /memreserve/ /omit-if-no-ref/ /include/
iommus reg ranges xen,reg xen,path phandle status passthrough
interrupts interrupt-parent interrupt-map iommu-map #address-cells
"""
DTS_TOKENS = (
    *_DTS_WORDS.split(),
    *("/bits/ 64", "1 << 31", "1 / 0", "#if 1", "#define A A", "\n"),
    *("\0", "\x1b[31m", "\xff", "\u202e"),
)
_YAML_WORDS = """
{ } [ ] : | > # ~ " ' null yes 0x10 -1 1e999 .nan 1:2:3 2001-01-01
xen-rfc first-free explicit vpci
"""
YAML_TOKENS = (
    *_YAML_WORDS.split(),
    *("- ", "? ", "&a ", "*a", "<<: ", "!!int ", "!!bool ", "!!binary ", "!!timestamp ", "!!set "),
    *("!!float ", "!x ", "!!python/object:os.system ", "---\n", "...\n", "%YAML 9.9\n", "\n  "),
    *("0x" + "f" * 5000, "9" * 5000, "x" * 5000, "0001-01-01 00:00:00 +23:00"),
    *("\t", "\0", "\x1b[31m", "\xff", "\u2028"),
)
_SET_WORDS = """
[ ] [[ { } " ' ; , = += # ( ) \\ \\x41 \\" $ $(touch$IFS$9ran) `touch` 0 1 -1 0x 09 1e3 112-114
irqs iomem dtdev device_tree passthrough dt_passthrough_nodes iommu DOMU_KERNEL[0] NUM_DOMUS
/soc/mmc@ee140000 xen,path xen,reg @ 40000,1 ee140,1@ee140 True
"""
SET_TOKENS = (
    *_SET_WORDS.split(),
    *("\r\n", "\n", "\0", "\ufeff", "\x1b[31m", "\xff", "\u202e"),
    *("9" * 5000, "f" * 5000, "[" * 5000, "x" * 5000, '"' * 999),
)


def cell_places(blob: bytes) -> list[int]:
    """Where a blob has the cells of its property values. Raises struct.error or ValueError where it
    is not well-formed.
    """
    places = []
    at = struct.unpack_from(">I", blob, 8)[0]
    while True:
        tag = struct.unpack_from(">I", blob, at)[0]
        if tag == 1:
            at = (blob.index(b"\0", at + 4) + 4) & ~3
        elif tag == 3:
            size = struct.unpack_from(">I", blob, at + 4)[0]
            places += range(at + 12, min(at + 12 + size, len(blob)) - 3, 4)
            at = (at + 12 + size + 3) & ~3
        elif tag == 9:
            return places
        else:
            at += 4


class Blobs:
    """Mutates blobs: mostly cells of properties, which gets past the reader, else anything."""

    def __init__(self, seeds: Sequence[bytes], pick: random.Random):
        self.seeds = [(seed, cell_places(seed)) for seed in seeds]
        # Each size of blob takes about as much time in all.
        self.weights = [1 / len(seed) for seed in seeds]
        self.pick = pick

    def mutant(self) -> bytes:
        seed, places = self.pick.choices(self.seeds, self.weights)[0]
        return self._damaged(bytearray(seed), places)

    def mutant_of(self, blob: bytes) -> bytes:
        try:
            places = cell_places(blob)
        except (struct.error, ValueError):
            places = []
        return self._damaged(bytearray(blob), places)

    def _damaged(self, data: bytearray, places: Sequence[int]) -> bytes:
        pick = self.pick
        changes: tuple[Callable[[bytearray], object], ...]
        if places and pick.random() < 0.6:
            changes = (lambda d: self._cell(d, places), lambda d: self._copied_cell(d, places))
        else:
            changes = (
                self._bit,
                self._byte,
                self._aligned,
                self._header,
                self._splice,
                self._removed,
                self._truncated,
                self._crossed,
            )
        for _ in range(pick.choice((1, 1, 2, 3, 6, 12))):
            if len(data) > 60:
                pick.choice(changes)(data)
        return bytes(data)

    def _cell(self, data: bytearray, places: Sequence[int]) -> None:
        at = self.pick.choice(places)
        old = struct.unpack_from(">I", data, at)[0]
        new = self.pick.choice((*CELLS, old + 1, old - 1, old ^ 1 << self.pick.randrange(32)))
        struct.pack_into(">I", data, at, new & 0xFFFFFFFF)

    def _copied_cell(self, data: bytearray, places: Sequence[int]) -> None:
        to, source = self.pick.choices(places, k=2)
        data[to : to + 4] = data[source : source + 4]

    def _bit(self, data: bytearray) -> None:
        data[self.pick.randrange(len(data))] ^= 1 << self.pick.randrange(8)

    def _byte(self, data: bytearray) -> None:
        data[self.pick.randrange(len(data))] = self.pick.choice((0, 0x1B, 0x2F, 0x7F, 0x80, 0xFF))

    def _aligned(self, data: bytearray) -> None:
        struct.pack_into(">I", data, self.pick.randrange(len(data) // 4) * 4, self._any())

    def _header(self, data: bytearray) -> None:
        at = 4 * self.pick.randrange(10)
        old = struct.unpack_from(">I", data, at)[0]
        new = self.pick.choice((self._any(), old + 4, old - 4, old + 1, len(data)))
        struct.pack_into(">I", data, at, new & 0xFFFFFFFF)

    def _any(self) -> int:
        return self.pick.choice((*CELLS, self.pick.randrange(1 << 32)))

    def _splice(self, data: bytearray) -> None:
        size = 4 * self.pick.randrange(1, 65)
        source, to = (4 * self.pick.randrange(len(data) // 4) for _ in range(2))
        chunk = data[source : source + size]
        if self.pick.random() < 0.5:
            data[to : to + size] = chunk
        else:
            data[to:to] = chunk

    def _removed(self, data: bytearray) -> None:
        at = 4 * self.pick.randrange(len(data) // 4)
        del data[at : at + 4 * self.pick.randrange(1, 17)]

    def _truncated(self, data: bytearray) -> None:
        del data[self.pick.randrange(len(data)) :]

    def _crossed(self, data: bytearray) -> None:
        other, _ = self.pick.choice(self.seeds)
        size = 4 * self.pick.randrange(1, 257)
        source = 4 * self.pick.randrange(len(other) // 4)
        to = 4 * self.pick.randrange(len(data) // 4)
        data[to : to + size] = other[source : source + size]


class Texts:
    """Mutates text by tokens and by lines."""

    def __init__(self, seeds: Sequence[str], tokens: Sequence[str], pick: random.Random):
        self.seeds = list(seeds)
        self.tokens = tokens
        self.pick = pick

    def mutant(self) -> bytes:
        return self._damaged(self.pick.choice(self.seeds))

    def mutant_of(self, text: bytes) -> bytes:
        return self._damaged(text.decode("utf-8", "surrogateescape"))

    def _damaged(self, text: str) -> bytes:
        pick = self.pick
        for _ in range(pick.choice((1, 1, 1, 2, 3, 6))):
            if pick.random() < 0.3:
                text = "".join(self._changed(text.splitlines(keepends=True), self._a_line))
            else:
                text = "".join(self._changed(TOKEN.findall(text), self._a_token))
        data = bytearray(text.encode("utf-8", "surrogateescape"))
        if data and pick.random() < 0.1:
            data[pick.randrange(len(data))] ^= 1 << pick.randrange(8)
        return bytes(data)

    def _changed(self, parts: list[str], other: Callable[[], str]) -> list[str]:
        pick = self.pick
        if not parts:
            return [other()]
        at, to = pick.randrange(len(parts)), pick.randrange(len(parts))
        what = pick.randrange(6)
        if what == 0:
            del parts[at]
        elif what == 1:
            parts[at], parts[to] = parts[to], parts[at]
        elif what == 2:
            parts[to:to] = parts[at : at + pick.randrange(1, 9)] * pick.choice((1, 1, 2, 50))
        elif what == 3:
            parts[at] = other()
        elif what == 4:
            parts.insert(at, other())
        else:
            del parts[at : at + pick.randrange(1, 9)]
        return parts

    def _a_line(self) -> str:
        return self.pick.choice(self.pick.choice(self.seeds).splitlines(keepends=True) or ["\n"])

    def _a_token(self) -> str:
        if self.pick.random() < 0.5:
            return self.pick.choice(self.tokens)
        return self.pick.choice(TOKEN.findall(self.pick.choice(self.seeds)) or [" "])
