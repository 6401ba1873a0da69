# SPDX-License-Identifier: Apache-2.0
"""Guest trees made by shuffling what people write in them: parents, numbers for phandles, labels,
nesting, cells, disabled nodes, raw mappings. They parse; what they mean is another matter.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

# Devices of samples/demo: base, SPI, stream IDs, path.
_DEVICES = (
    (0xE0100000, 56, (0x40,), "/soc@e0000000/ethernet@100000"),
    (0xE0200000, 60, (0x48,), "/soc@e0000000/dma-controller@200000"),
    (0xE0300000, 57, (0x50,), "/soc@e0000000/ethernet@300000"),
)
_PROVIDERS = (
    ("clocks", "clock-names"),
    ("resets", ""),
    ("phy-handle", ""),
    ("acme,syscon", ""),
    ("acme,link", ""),
    ("interrupts-extended", ""),
    ("power-domains", ""),
)
_NUMBERS = (0, 1, 2, 3, 5, 7, 0xFDE8, 0xFDEA, 0xFFFFFFFF)


class Shapes:
    """Makes one guest after the other."""

    def __init__(self, pick: random.Random):
        self._pick = pick
        self._labels: list[str] = []
        self._count = 0

    def mutant(self) -> bytes:
        """A guest's source."""
        self._labels, self._count = [], 0
        # In half of them, most is as it should be.
        self._is_tame = self._pick.randrange(2) == 0
        self._width = self._choice((3, 3, 3, 4), (1, 2))
        parts = [self._cells(), self._parent(), self._gic(), self._somewhere()]
        inside = "".join(self._node(1) for _ in range(self._pick.randint(1, 3)))
        bus = f"{self._cells()} {self._ranges()} {self._parent()} {self._status()} {inside}"
        bus_label = self._label()
        parts.append(f"{bus_label}passthrough {{ {bus} }};")
        head = self._pick.choice(("/dts-v1/;", "/dts-v1/;", "/dts-v1/;", "/dts-v1/; /plugin/;", ""))
        self._pick.shuffle(parts[2:])
        text = f"{head} / {{ {' '.join(parts)} }};"
        return text.replace("&?", "&" + (self._pick.choice(self._labels or ["gic"]))).encode()

    def _choice(self, usual: Sequence[T], odd: Sequence[T]) -> T:
        """One of those that are `usual`; of the others as well in a guest that is not tame."""
        is_odd = not self._is_tame and self._pick.randrange(3) == 0
        return self._pick.choice(odd if is_odd else usual)

    def _maybe(self, text: str, one_in: int = 2) -> str:
        return text if self._pick.randrange(one_in) == 0 else ""

    def _label(self) -> str:
        if self._pick.randrange(2):
            return ""
        self._labels.append(f"l{len(self._labels)}")
        return f"{self._labels[-1]}: "

    def _cells(self) -> str:
        if self._is_tame or self._pick.randrange(3):
            return "#address-cells = <2>; #size-cells = <2>;"
        address, size = self._pick.randint(0, 3), self._pick.randint(0, 3)
        return f"#address-cells = <{address}>; #size-cells = <{size}>;"

    def _ranges(self) -> str:
        return self._choice(("ranges;",), ("", "ranges = <0 0 0 0 1 0>;"))

    def _parent(self) -> str:
        value = self._choice(("0xfde8", "65000", "&gic"), ("&?", "1", "7", "0", "1 2"))
        return self._maybe(f"interrupt-parent = <{value}>;", 4)

    def _status(self) -> str:
        value = self._choice(('"disabled"', '"okay"', '"fail"'), ("[ff]", "<1>", '"reserved"'))
        return self._maybe(f"status = {value};", 6)

    def _phandle(self) -> str:
        return self._maybe(f"phandle = <{self._pick.choice((1, 2, 3, 5, 7, 0xFDE8, 0xFDEA))}>;", 3)

    def _gic(self) -> str:
        name = self._pick.choice(("gic", "interrupt-controller@1000", "gic@0"))
        compatible = self._maybe('compatible = "arm,gic-v3";')
        body = f"interrupt-controller; #interrupt-cells = <{self._width}>; {compatible}"
        self._labels.append("gic")
        return f"gic: {name} {{ {body} {self._maybe('phandle = <1>;', 3)} }};"

    def _somewhere(self) -> str:
        """A node that does not come along."""
        return f"{self._label()}away {{ {self._phandle()} #clock-cells = <1>; }};"

    def _number(self) -> str:
        return self._pick.choice((hex(self._pick.choice(_NUMBERS)), "&?"))

    def _providers(self) -> str:
        name, names = self._pick.choice(_PROVIDERS)
        numbers = " ".join(self._number() for _ in range(self._pick.randint(0, 5)))
        value = self._pick.choice((f"<{numbers}>", f"<{numbers}>", "[00 01]", '"text"', "&?"))
        return f"{name} = {value};" + (f'{names} = "a";' if names else "")

    def _reg(self, base: int) -> str:
        value = self._choice((f"0 {base:#x} 0 0x1000",), (f"{base:#x} 0x1000", "1", "0 0 0 0 0"))
        return f"reg = <{value}>;"

    def _asks(self, ids: tuple[int, ...], path: str, base: int) -> str:
        smmu = self._choice(("0", "0", "0xfdea"), ("&?", "5"))
        pairs = " ".join(f"{smmu} {stream_id:#x}" for stream_id in ids)
        flat = " ".join(map(hex, ids))
        triple = f"xen,reg = <0 {base:#x} 0 0x1000 0 {base:#x}>;"
        return self._choice(
            (
                f"iommus = <{pairs}>;",
                f'xen,path = "{path}";',
                f'xen,path = "{path}"; {triple}',
                f'iommus = <{pairs}>; xen,path = "{path}";',
                f'xen,path = "{path}"; xen,smmu-stream-ids = <{flat}>;',
                f"xen,smmu-stream-ids = <{flat}>;",
                f"{triple} xen,force-assign-without-iommu;",
                "",
            ),
            (
                f"iommus = <{pairs} 1>;",
                f'xen,pth = "{path}";',
                "iommu-map = <0 &? 0 1>;",
            ),
        )

    def _node(self, depth: int) -> str:
        pick = self._pick
        self._count += 1
        base, spi, ids, path = _DEVICES[self._count % 3] if self._is_tame else pick.choice(_DEVICES)
        cells = " ".join(
            str(n) for n in (0, spi, 4, 0xA0)[: self._choice((3, self._width), (2, 5))]
        )
        body = [
            self._reg(base),
            self._maybe(f"interrupts = <{cells}>;"),
            self._asks(ids, path, base),
            self._parent(),
            self._status(),
            self._phandle(),
            self._maybe(self._providers()),
            self._maybe(self._cells(), 3),
            self._maybe(self._ranges(), 3),
            self._maybe("interrupt-controller; #interrupt-cells = <2>;", 6),
            self._maybe("#clock-cells = <1>;", 4),
        ]
        pick.shuffle(body)
        children = "".join(
            self._node(depth + 1) for _ in range(pick.choice((0, 0, 1, 2)) * (depth < 4))
        )
        return f"{self._label()}n{self._count}@{base:x} {{ {' '.join(body)} {children} }};"
