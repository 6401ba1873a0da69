# SPDX-License-Identifier: Apache-2.0
"""A host blob with as many devices as wanted, spread over SMMUs.

usage: python -m bench.generate DEVICES > host.dtb

Made by libfdt's sequential writer: dtc is slow on such trees, and gives up on deep ones.
"""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager
from itertools import count
from typing import Any, NamedTuple

import libfdt

SMMUS = 60
_GIC = 1
_CLOCKS = 2
_FIRST_SMMU = 16
# Each SMMU and its devices have a bus, whose window is where its own addresses 0 and up are.
_FIRST_WINDOW = 0x2000000000
_WINDOW = 0x10000000
_SMMU_SIZE, _DEVICE_SIZE = 0x40000, 0x10000
_LEVEL_HIGH = 4


class _Kind(NamedTuple):
    """What devices of one sort have in common."""

    name: str
    compatible: tuple[str, ...]
    clocks: tuple[str, ...]
    flags: tuple[str, ...]


_KINDS = (
    _Kind("ethernet", ("cdns,gem",), ("pclk", "hclk", "tx_clk"), ("dma-coherent",)),
    _Kind("dma-controller", ("arm,pl330", "arm,primecell"), ("apb_pclk",), ()),
    _Kind("usb", ("snps,dwc3",), ("bus_early", "ref"), ("dma-coherent",)),
    _Kind("mmc", ("arasan,sdhci-8.9a",), ("clk_xin", "clk_ahb"), ("no-1-8-v",)),
)


class Writer:
    """libfdt's sequential writer, with property values of the forms that are needed here."""

    def __init__(self) -> None:
        self._fdt: Any = libfdt.FdtSw()
        self._fdt.INC_SIZE = 1 << 20
        self._fdt.finish_reservemap()

    def node(self, name: str) -> AbstractContextManager[None]:
        node: AbstractContextManager[None] = self._fdt.add_node(name)
        return node

    def cells(self, name: str, *values: int) -> None:
        self._fdt.property(name, b"".join(value.to_bytes(4, "big") for value in values))

    def strings(self, name: str, *values: str) -> None:
        self._fdt.property(name, b"".join(value.encode() + b"\0" for value in values))

    def flag(self, name: str) -> None:
        self._fdt.property(name, b"")

    def blob(self) -> bytes:
        tree = self._fdt.as_fdt()
        tree.pack()
        return bytes(tree.as_bytearray())


def generated_host(devices: int, smmus: int = SMMUS) -> bytes:
    """A blob with `devices` devices behind `smmus` SMMUv3s, as evenly as can be.

    Each device has a region, an SPI and a stream ID that no other of the host has, so each could go
    to a guest. (No GIC has so many SPIs. But devices that shared one would all be refused.)
    """
    writer = Writer()
    with writer.node(""):
        writer.strings("model", f"generated host: {devices} devices, {smmus} SMMUs")
        writer.strings("compatible", "generated,host")
        writer.cells("interrupt-parent", _GIC)
        writer.cells("#address-cells", 2)
        writer.cells("#size-cells", 2)
        _base(writer)
        spis = count(smmus)
        stream_ids = count(1)
        for i in range(smmus):
            share = (devices * (i + 1)) // smmus - (devices * i) // smmus
            _bus(writer, i, share, spis, stream_ids)
    return writer.blob()


def _base(writer: Writer) -> None:
    """What every host has beside its devices."""
    with writer.node("memory@80000000"):
        writer.strings("device_type", "memory")
        writer.cells("reg", 0, 0x80000000, 0, 0x80000000)
    with writer.node("timer"):
        writer.strings("compatible", "arm,armv8-timer")
        writer.cells("interrupts", *(cell for ppi in (13, 14, 11, 10) for cell in (1, ppi, 4)))
    with writer.node("interrupt-controller@f9000000"):
        writer.strings("compatible", "arm,gic-v3")
        writer.cells("reg", 0, 0xF9000000, 0, 0x10000, 0, 0xF9080000, 0, 0x80000)
        writer.flag("interrupt-controller")
        writer.cells("#interrupt-cells", 3)
        writer.cells("interrupts", 1, 9, _LEVEL_HIGH)
        writer.cells("phandle", _GIC)
    with writer.node("clock-controller@fa000000"):
        writer.strings("compatible", "generated,clock")
        writer.cells("reg", 0, 0xFA000000, 0, 0x10000)
        writer.cells("#clock-cells", 1)
        writer.cells("phandle", _CLOCKS)


def _bus(
    writer: Writer, number: int, devices: int, spis: count[int], stream_ids: count[int]
) -> None:
    window = _FIRST_WINDOW + number * _WINDOW
    with writer.node(f"soc@{window:x}"):
        writer.strings("compatible", "simple-bus")
        writer.cells("#address-cells", 1)
        writer.cells("#size-cells", 1)
        writer.cells("ranges", 0, window >> 32, window & 0xFFFFFFFF, _WINDOW)
        smmu = _FIRST_SMMU + number
        with writer.node("iommu@0"):
            writer.strings("compatible", "arm,smmu-v3")
            writer.cells("reg", 0, _SMMU_SIZE)
            writer.cells("interrupts", 0, number, _LEVEL_HIGH)
            writer.strings("interrupt-names", "combined")
            writer.cells("#iommu-cells", 1)
            writer.cells("phandle", smmu)
        for i in range(devices):
            kind = _KINDS[i % len(_KINDS)]
            address = _SMMU_SIZE + i * _DEVICE_SIZE
            with writer.node(f"{kind.name}@{address:x}"):
                writer.strings("compatible", *kind.compatible)
                writer.cells("reg", address, _DEVICE_SIZE)
                writer.cells("interrupts", 0, next(spis), _LEVEL_HIGH)
                clocks = range(len(kind.clocks))
                writer.cells("clocks", *(cell for clock in clocks for cell in (_CLOCKS, clock)))
                writer.strings("clock-names", *kind.clocks)
                for flag in kind.flags:
                    writer.flag(flag)
                writer.cells("iommus", smmu, next(stream_ids))


if __name__ == "__main__":
    sys.stdout.buffer.write(generated_host(int(sys.argv[1])))
