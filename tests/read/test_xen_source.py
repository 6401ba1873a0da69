# SPDX-License-Identifier: Apache-2.0
"""`viommu profiles --from`: what the headers of a Xen say. Real ones were read by hand: 4.17 to
4.22, master, AMD's 2023.1 and 2023.2 and the RFC are as the shipped profiles say.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import DEMO, Run
from west_viommu.diagnostics import Refused
from west_viommu.names import PROFILES
from west_viommu.read.profiles import content_of, profile
from west_viommu.read.xen_source import differences, xen_source

MAKEFILE = """# Where the version is.
export XEN_VERSION       = 4
export XEN_SUBVERSION    = %d
export XEN_EXTRAVERSION ?= .0
"""
# Of each region, the stem of its macros.
STEMS = {
    "GIC distributor": ("GICD", "GICV3_GICD"),
    "GIC CPU interface": ("GICC",),
    "GIC redistributors": ("GICV3_GICR0",),
    "GIC ITS": ("GICV3_ITS",),
    "TPM": ("TPM",),
    "grant table": ("GNTTAB",),
    "magic pages": ("MAGIC",),
    "virtio-mmio": ("VIRTIO_MMIO",),
    "virtio-PCI prefetchable memory": ("VIRTIO_PCI_PREFETCH_MEM",),
    "virtio-PCI configuration space": ("VIRTIO_PCI_ECAM",),
    "virtio-PCI memory": ("VIRTIO_PCI_MEM",),
    "vPCI configuration space": ("VPCI_ECAM",),
    "vPCI memory": ("VPCI_MEM",),
    "vPCI prefetchable memory": ("VPCI_PREFETCH_MEM",),
    "ACPI tables": ("ACPI",),
    "vpl011": ("PL011",),
}
BY_ADDR = ("VPCI_MEM", "VPCI_PREFETCH_MEM")
LINES = {"vpl011": "VPL011", "virtio-mmio": "VIRTIO_MMIO", "virtio-PCI": "VIRTIO_PCI"}


def header_of(name: str) -> str:
    """A header in the form of arch-arm.h that says what a profile does."""
    data = content_of(name)
    lines = ["#ifndef __XEN_PUBLIC_ARCH_ARM_H__", "#define __XEN_PUBLIC_ARCH_ARM_H__"]
    lines += ["#ifndef __ASSEMBLY__", "typedef int not_for_the_preprocessor;", "#endif"]
    lines.append("#if defined(__XEN__) || defined(__XEN_TOOLS__)")
    for each in data["reserved"]["regions"]:
        stems = STEMS[each["name"]]
        stem = stems[-1] if each["if"] == "gicv3" else stems[0]
        base = "ADDR" if stem in BY_ADDR else "BASE"
        # In two terms, as some are.
        half = each["base"] // 2 & ~0xFFF
        lines.append(f"#define GUEST_{stem}_PART xen_mk_ullong({half:#x})")
        rest = each["base"] - half
        lines.append(f"#define GUEST_{stem}_{base} (GUEST_{stem}_PART + \\")
        lines.append(f"                            xen_mk_ullong({rest:#x})) /* here */")
        lines.append(f"#define GUEST_{stem}_SIZE   xen_mk_ullong({each['size']:#010x})")
    lines.append(f"#define GUEST_RAM_BANKS   {len(data['ram'])}")
    for number, bank in enumerate(data["ram"]):
        lines.append(f"#define GUEST_RAM{number}_BASE xen_mk_ullong({bank['base']:#x})")
        lines.append(f"#define GUEST_RAM{number}_SIZE xen_mk_ullong({bank['size']:#x})")
    lines.append("#define GUEST_RAM_BANK_BASES   { GUEST_RAM0_BASE, GUEST_RAM1_BASE }")
    for each in data["reserved"]["interrupts"]:
        stem = LINES[each["name"]]
        if each["first"] == each["last"]:
            lines.append(f"#define GUEST_{stem}_SPI        {each['first']}")
        else:
            lines.append(f"#define GUEST_{stem}_SPI_FIRST   {each['first']}")
            lines.append(f"#define GUEST_{stem}_SPI_LAST    {each['last']}")
    if data["viommu"]:
        lines.append(f"#define GUEST_VSMMUV3_BASE xen_mk_ullong({data['viommu']['base']:#x})")
        lines.append(f"#define GUEST_VSMMUV3_SIZE xen_mk_ullong({data['viommu']['size']:#x})")
        lines.append(f"#define GUEST_VSMMU_SPI {data['viommu']['interrupts'][0]['intid']}")
    return "\n".join([*lines, "#endif", "#endif", ""])


def make_source(
    folder: Path, header: str, subversion: int = 17, phandle: int | None = None
) -> Path:
    """A source tree of Xen, as far as it is read."""
    public = folder / "xen/include/public"
    public.mkdir(parents=True)
    (public / "arch-arm.h").write_text(header)
    text = f"#define GUEST_PHANDLE_VSMMUV3 ({phandle})\n" if phandle else ""
    (public / "device_tree_defs.h").write_text(f"#define GUEST_PHANDLE_GIC (65000)\n{text}")
    (folder / "xen/Makefile").write_text(MAKEFILE % subversion)
    return folder


XENS = [name for name in PROFILES if name != "qemu-virt"]


@pytest.mark.parametrize("inside", ["", "xen"])
@pytest.mark.parametrize("name", XENS)
def test_a_source_says_what_its_profile_says(name: str, inside: str, tmp_path: Path) -> None:
    viommu = content_of(name)["viommu"]
    make_source(tmp_path, header_of(name), phandle=viommu["phandle"] if viommu else None)
    assert list(differences(xen_source(str(tmp_path / inside)), profile(name, None))) == []


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "GUEST_VSMMU_SPI 33",
            "GUEST_VSMMU_SPI 50",
            ["vSMMU: intid is 0x32 here, 0x21 there"],
        ),
        (
            "GUEST_VIRTIO_MMIO_SPI_LAST    44",
            "GUEST_VIRTIO_MMIO_SPI_LAST    45",
            [
                "reserved: virtio-mmio, INTID 34 to 45 (if virtio), here alone",
                "reserved: virtio-mmio, INTID 34 to 44 (if virtio), there alone",
            ],
        ),
        (
            "GUEST_RAM1_SIZE xen_mk_ullong(0xfe00000000)",
            "GUEST_RAM1_SIZE xen_mk_ullong(0xee00000000)",
            [
                "ram: 0x40000000/0xc0000000, 0x200000000/0xee00000000 here, 0x40000000/0xc0000000, "
                "0x200000000/0xfe00000000 there"
            ],
        ),
    ],
)
def test_what_differs(old: str, new: str, said: list[str], viommu: Run, tmp_path: Path) -> None:
    header = header_of("xen-amd")
    assert header.count(old) == 1
    folder = make_source(tmp_path / "src", header.replace(old, new), phandle=0xFDEA)
    outcome = viommu("profiles", "--from", folder, "--compare", "xen-amd")
    assert (outcome.status, outcome.out.splitlines(), outcome.err) == (1, said, "")


def test_a_profile_that_was_made_binds(viommu: Run, tmp_path: Path) -> None:
    header = header_of("xen-amd").replace("GUEST_VSMMU_SPI 33", "GUEST_VSMMU_SPI 50")
    folder = make_source(tmp_path / "src", header, phandle=0xFDEA)
    outcome = viommu("profiles", "--from", folder)
    assert (outcome.status, outcome.err) == (0, "")
    Path("mine.yaml").write_text(outcome.out)
    outcome = viommu(
        "bind", "--host", DEMO / "host.dts", "--profile", "./mine.yaml", DEMO / "guest.overlay"
    )
    assert outcome.status == 0, outcome.err
    assert "<0 18 2 0xa0>; /* INTID 50 level */" in Path("viommu/viommu.overlay").read_text()


@pytest.mark.parametrize(
    ("subversion", "rooms"), [(17, [(4096, False)]), (20, [(4096, True)]), (23, [(18432, True)])]
)
def test_facts_are_those_of_its_version(
    subversion: int, rooms: list[tuple[int, bool]], viommu: Run, tmp_path: Path
) -> None:
    folder = make_source(tmp_path / "src", header_of("xen"), subversion)
    Path("mine.yaml").write_text(viommu("profiles", "--from", folder).out)
    found = profile("./mine.yaml", None)
    assert found.versions == (f"4.{subversion}",)
    assert [(room.bytes, room.adds_module) for room in found.tree_rooms] == rooms
    assert bool(found.cell_limits) == (subversion >= 20)
    assert bool(found.hardware_domain) == (subversion >= 21)
    assert f'"drops-masks": {str(subversion < 20).lower()}' in Path("mine.yaml").read_text()


def test_what_cannot_be_read_is_named(viommu: Run, tmp_path: Path) -> None:
    header = header_of("xen-amd").replace("#define GUEST_RAM_BANKS", "#define GUEST_RAM_BANKS_")
    more = "#define GUEST_CRYPTO_BASE 0x0d000000\n#define GUEST_CRYPTO_SIZE 0x1000\n#endif\n#endif"
    folder = make_source(tmp_path / "src", header.replace("#endif\n#endif", more))
    outcome = viommu("profiles", "--from", folder)
    assert outcome.status == 0
    facts = (
        "the phandle of the vSMMU (GUEST_PHANDLE_VSMMUV3)",
        "what GUEST_CRYPTO_BASE is for: it is taken as reserved for every guest",
        "the banks of a guest's memory (GUEST_RAM_BANKS, GUEST_RAM0_BASE)",
    )
    for fact in facts:
        assert f"note: this could not be read: {fact}\n" in outcome.err
        assert f"# Could not be read: {fact}." in outcome.out
    assert '{"name": "GUEST_CRYPTO", "base": 0xd000000, "size": 0x1000, "if": "always"}' in (
        outcome.out
    )


def test_no_source_of_xen(viommu: Run, tmp_path: Path) -> None:
    outcome = viommu("profiles", "--from", tmp_path)
    assert (outcome.status, outcome.out) == (1, "")
    assert "error: [unreadable] this is no source tree of Xen" in outcome.err
    make_source(tmp_path, header_of("xen"))
    (tmp_path / "xen/Makefile").write_text("all:\n")
    with pytest.raises(Refused, match="the version of this Xen cannot be read"):
        xen_source(str(tmp_path))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--compare", "xen"), "--compare needs the source of a Xen: --from DIR"),
        (("xen", "--from", "."), "name a profile or a source tree"),
    ],
)
def test_the_command_line_is_wrong(arguments: tuple[str, ...], says: str, viommu: Run) -> None:
    outcome = viommu("profiles", *arguments)
    assert outcome.status == 2
    assert says in outcome.err
