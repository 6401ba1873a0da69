# SPDX-License-Identifier: Apache-2.0
"""QEMU's `edu`, a DMA engine with a buffer, as a platform device behind the machine's SMMUv3.

It is a PCI function, but what a devicetree names is passed through here. So the host's tree
describes it as such a device: its registers, at the place that the guest will give them, and the
page of its configuration space, by which the guest does so. The node of the PCI bridge goes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.support import Outcome, Run, blob
from tests.xen.nodes import Node, blob_of, pack, regions, tree

# hw/arm/virt.c of QEMU, base_memmap and extended_memmap; the first interrupt of the PCI bridge.
WINDOW = 0x10000000
ECAM = 0x4010000000
FIRST_SPI = 3
SIZE = 0x100000
LEVEL_HIGH = 4

SMMUV3 = "arm,smmu-v3"
EDU = "qemu,edu"

Edit = Callable[[Node], None]


@dataclass(frozen=True)
class Edu:
    """The device in one slot of the PCI bus."""

    slot: int

    @property
    def stream(self) -> int:
        """What the SMMU knows it by: the requester ID of function 0."""
        return self.slot << 3

    @property
    def spi(self) -> int:
        """Where INTA arrives: the bridge's four lines take turns by slots."""
        return FIRST_SPI + self.slot % 4

    @property
    def intid(self) -> int:
        return self.spi + 32

    @property
    def base(self) -> int:
        return WINDOW + self.slot * SIZE

    @property
    def config(self) -> int:
        return ECAM + (self.slot << 15)

    @property
    def path(self) -> str:
        return f"/{self.name}"

    @property
    def name(self) -> str:
        return f"edu@{self.base:x}"

    @property
    def options(self) -> list[str]:
        """QEMU's. By the mask, the device can name all addresses and not 28 bits of them."""
        return ["-device", f"edu,addr={self.slot:02x}.0,dma_mask=0xffffffffffffffff"]


@dataclass(frozen=True, kw_only=True)
class Said:
    """What the host's tree says of a device; by itself, what is so."""

    edu: Edu
    stream: int | None = None
    interrupts: bytes = b""
    props: dict[str, bytes] = field(default_factory=dict)

    def node(self, smmu: Node) -> Node:
        edu = self.edu
        stream = edu.stream if self.stream is None else self.stream
        config = pack(edu.config >> 32, edu.config & 0xFFFFFFFF, 0, 0x1000)
        props = {
            "compatible": EDU.encode() + b"\0",
            "reg": pack(0, edu.base, 0, SIZE) + config,
            "interrupts": self.interrupts or pack(0, edu.spi, LEVEL_HIGH),
            "iommus": pack(smmu.cell("phandle", 0), stream),
        }
        return Node(edu.name, {**props, **self.props})


def compatible(root: Node, name: str) -> Node:
    """The one node below `root` that is compatible with `name`."""
    (node,) = (node for node in root.below() if name in node.strings("compatible"))
    return node


def host_tree(dumped: Path, *said: Said, bridge: bool = False, edit: Edit | None = None) -> Path:
    """Beside the tree that QEMU `dumped`: one with the devices in place of the PCI bridge, or with
    the `bridge` as well, and edited."""
    root = tree(dumped.read_bytes())
    if not bridge:
        root.children.remove(compatible(root, "pci-host-ecam-generic"))
    smmu = compatible(root, SMMUV3)
    for device in said:
        root.add(device.node(smmu))
    if edit is not None:
        edit(root)
    file = dumped.with_name("host-with-edu.dtb")
    file.write_bytes(blob_of(root))
    return file


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a guest finds what everybody has."""

    gicd: int
    gicr: int
    gicr_size: int
    uart: int


# hw/arm/virt.c of QEMU; xen/include/public/arch-arm.h of Xen.
UNDER_QEMU = Place(gicd=0x08000000, gicr=0x080A0000, gicr_size=0xF60000, uart=0x09000000)
UNDER_XEN = Place(gicd=0x03001000, gicr=0x03020000, gicr_size=0x01000000, uart=0x22000000)

GUEST = """/dts-v1/;

/ {{
	#address-cells = <2>;
	#size-cells = <2>;
	interrupt-parent = <&gic>;

	memory@40000000 {{
		device_type = "memory";
		reg = <0 0x40000000 0 0x1000000>;
	}};

	gic: interrupt-controller@{place.gicd:x} {{
		compatible = "arm,gic-v3";
		reg = <0 {place.gicd:#x} 0 0x10000>, <0 {place.gicr:#x} 0 {place.gicr_size:#x}>;
		interrupt-controller;
		#interrupt-cells = <4>;
	}};

	serial@{place.uart:x} {{
		compatible = "arm,pl011";
		reg = <0 {place.uart:#x} 0 0x1000>;
	}};

	passthrough {{
		#address-cells = <2>;
		#size-cells = <2>;
		ranges;
{requests}	}};
}};
"""

REQUEST = """
		{name} {{
			compatible = "qemu,edu";
			reg = <0 {base:#x} 0 {size:#x}>, <{high:#x} {low:#x} 0 0x1000>;
			interrupts = <0 {spi} 2 0xa0>;
			iommus = <0x0 {stream:#x}>;{flags}
		}};
"""


def request(said: Said, *, is_coherent: bool) -> str:
    """The guest's node for a device, copied from what the host says as a user would."""
    edu = said.edu
    return REQUEST.format(
        name=edu.name,
        base=edu.base,
        size=SIZE,
        high=edu.config >> 32,
        low=edu.config & 0xFFFFFFFF,
        spi=edu.spi,
        stream=edu.stream if said.stream is None else said.stream,
        flags="\n\t\t\tdma-coherent;" if is_coherent else "",
    )


@dataclass(frozen=True)
class Bound:
    """What `viommu bind` made of a guest."""

    files: Path
    tree: Node

    @property
    def marks(self) -> str:
        return (self.files / "host.overlay").read_text()

    @property
    def has_vsmmu(self) -> bool:
        return any(SMMUV3 in node.strings("compatible") for node in self.tree.below())

    def macros(self) -> list[str]:
        """For the compiler of guest/edu.c: all that the guest knows of its machine."""
        edu = next(node for node in self.tree.below() if EDU in node.strings("compatible"))
        (base, _), (config, _) = regions(edu)
        found = {
            "EDU": base,
            "EDU_CONFIG": config,
            "EDU_INTID": edu.cells("interrupts")[1] + 32,
            "UART": _base(compatible(self.tree, "arm,pl011")),
            "GICD": _base(compatible(self.tree, "arm,gic-v3")),
        }
        if iommus := edu.cells("iommus"):
            (smmu,) = (node for node in self.tree.below() if iommus[0] in node.phandles())
            found |= {"SMMU": _base(smmu), "STREAM_ID": iommus[1]}
        return [f"-D{name}={value:#x}UL" for name, value in found.items()]


def _base(node: Node) -> int:
    return regions(node)[0][0]


def bind(viommu: Run, folder: Path, host: Path, profile: str, place: Place, *said: Said) -> Outcome:
    """`viommu bind` of a guest with these devices to `host`, into `folder`/viommu."""
    folder.mkdir(exist_ok=True)
    guest = folder / "guest.dts"
    # QEMU says so in the root, since 8.0.
    is_coherent = "dma-coherent" in tree(host.read_bytes()).props
    requests = "".join(request(each, is_coherent=is_coherent) for each in said)
    guest.write_text(GUEST.format(place=place, requests=requests))
    return viommu("bind", "--host", host, "--profile", profile, "-o", folder / "viommu", guest)


def bound(viommu: Run, folder: Path, host: Path, profile: str, place: Place, *said: Said) -> Bound:
    """What that makes; there must be nothing to warn of."""
    outcome = bind(viommu, folder, host, profile, place, *said)
    assert outcome.status == 0, outcome.err
    assert "warning:" not in outcome.err
    files = folder / "viommu"
    source = (folder / "guest.dts").read_text() + (files / "viommu.overlay").read_text()
    return Bound(files, tree(blob(source)))
