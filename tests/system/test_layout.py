# SPDX-License-Identifier: Apache-2.0
"""Places in host RAM for what a boot loader loads."""

from __future__ import annotations

import gzip
import random
from collections.abc import Callable

import pytest

from west_viommu.diagnostics import Where, rendered
from west_viommu.system.kernels import Ends, Kernel, image_size, kernel
from west_viommu.system.layout import Module, layout, needed_memory
from west_viommu.tree.addresses import Region

MIB = 1 << 20
RAM = [Region(0x40000000, 256 * MIB)]
YML = Where("system.yml", 5)


def test_modules_lie_one_after_the_other_on_2_mib_above_16_mib() -> None:
    places, problems = layout([Module("xen", 0x1360C8), Module("kernel", 3 * MIB + 1)], RAM, {})
    assert not problems
    assert places["xen"] == Region(0x41000000, 0x1360C8)
    assert places["kernel"] == Region(0x41200000, 3 * MIB + 1)


def test_what_is_taken_is_passed_over() -> None:
    taken = {Region(0x41100000, 0x1000): "/reserved-memory/optee@41100000"}
    places, _ = layout([Module("xen", 2 * MIB)], RAM, taken)
    assert places["xen"].base == 0x41200000


def test_the_last_64_mib_of_a_bank_are_left_to_the_boot_loader() -> None:
    _, problems = layout([Module("kernel", 177 * MIB)], RAM, {})
    assert "there is no room for kernel" in rendered(problems[0])
    places, _ = layout([Module("kernel", 176 * MIB)], RAM, {})
    assert places["kernel"].end == 0x40000000 + (256 - 64) * MIB


def test_a_second_bank_is_used_if_the_first_is_full() -> None:
    ram = [*RAM, Region(0x880000000, 1 << 30)]
    places, _ = layout([Module("kernel", 200 * MIB)], ram, {})
    assert places["kernel"].base == 0x881000000


def messages(modules: list[Module], taken: dict[Region, str] | None = None) -> list[str]:
    return [rendered(problem) for problem in layout(modules, RAM, taken or {}).problems]


def test_an_address_outside_ram_is_refused() -> None:
    assert messages([Module("kernel of net", MIB, 0x50000000 - MIB // 2, YML)]) == [
        "system.yml:5: error: [load-address] kernel of net does not lie in the host's RAM "
        "(expected 0x40000000/0x10000000, found 0x4ff80000/0x100000)\n"
        "hint: choose an address in RAM, or leave the address out to have a free one chosen"
    ]


def test_an_address_in_reserved_memory_is_refused() -> None:
    taken = {Region(0x48000000, 0x1000): "/memreserve/"}
    assert messages([Module("kernel", MIB, 0x47F80000, YML)], taken) == [
        "system.yml:5: error: [load-address] kernel lies on /memreserve/ (expected memory outside "
        "0x48000000/0x1000, found 0x47f80000/0x100000)\n"
        "hint: leave the address out to have a free one chosen"
    ]


def test_two_modules_that_overlap_are_one_message_at_the_later_one() -> None:
    modules = [Module("kernel", MIB, 0x44000000, YML), Module("tree", MIB, 0x44080000, YML)]
    assert messages(modules) == [
        "system.yml:5: error: [load-address] tree overlaps kernel (expected an address from "
        "0x44200000 on, found 0x44080000/0x100000)\n"
        "hint: leave the address out to have a free one chosen"
    ]


def test_two_modules_at_one_address_are_one_message() -> None:
    modules = [Module("a", MIB, 0x44000000, YML), Module("b", MIB, 0x44000000, YML)]
    assert len(messages(modules)) == 1


def test_an_address_within_a_page_is_warned_of() -> None:
    (problem,) = layout([Module("kernel", MIB, 0x44000800, YML)], RAM, {}).problems
    assert problem.warning


def test_a_chosen_address_keeps_others_away() -> None:
    places, _ = layout([Module("a", MIB), Module("b", MIB, 0x41000000, YML)], RAM, {})
    assert places["a"].base == 0x41200000


def test_a_host_without_ram_names_the_option() -> None:
    (problem,) = layout([Module("xen", MIB)], [], {}).problems
    assert "--ram BASE:SIZE" in problem.hint


def arm64(extent: int = 0, offset: int = 0, magic: int = 0x644D5241) -> bytes:
    header = [0, 0, *offset.to_bytes(8, "little")]
    head = bytearray(64)
    head[8:16] = bytes(header[2:])
    head[16:24] = extent.to_bytes(8, "little")
    head[56:60] = magic.to_bytes(4, "little")
    return bytes(head)


def ends(data: bytes) -> Ends:
    found = Ends()
    assert b"".join(found.of([data[:5000], data[5000:]])) == data
    return found


def test_an_arm64_image_counts_its_bss() -> None:
    found = kernel(ends(arm64(extent=0x3000, offset=0x80000)), 0x2000)
    assert found == Kernel("arm64 Image", size=0x2000, extent=0x3000, offset=0x80000)
    assert image_size(arm64(extent=0x1360C8)) == 0x1360C8
    assert image_size(b"\x7fELF" + bytes(60)) is None


def test_an_old_arm64_image_is_known_by_its_first_word() -> None:
    head = (0x14000008).to_bytes(4, "little") + arm64(magic=0)[4:]
    assert isinstance(kernel(ends(head), 0x2000), Kernel)


def test_a_compressed_image_is_measured_by_its_last_word() -> None:
    image = arm64(extent=0x9000) + bytes(0x8000)
    packed = gzip.compress(image)
    found = kernel(ends(packed), len(packed))
    assert isinstance(found, Kernel)
    assert (found.format, found.size, found.extent) == ("arm64 Image, gzip", 0x8040, 0x9000)
    for other in (gzip.compress(b"text"), b"\x1f\x8bnot gzip"):
        assert kernel(ends(other), 24) == "another file compressed by gzip"


@pytest.mark.parametrize("damage", [lambda d: d[:-9], lambda d: d + b"\0", lambda d: d[:-1] + b"!"])
def test_a_compressed_image_that_is_damaged(damage: Callable[[bytes], bytes]) -> None:
    rng = random.Random(1)
    packed = damage(gzip.compress(arm64(extent=0x9000) + rng.randbytes(0x8000)))
    what = "a file compressed by gzip that is cut off or damaged"
    assert kernel(ends(packed), len(packed)) == what


def uimage(length: int, architecture: int) -> bytes:
    words = [0x27051956, 0, 0, length, 0, 0, 0]
    return (
        b"".join(w.to_bytes(4, "big") for w in words) + bytes([5, architecture, 2, 0]) + bytes(32)
    )


def test_a_uimage_of_arm_and_of_arm64() -> None:
    found = kernel(ends(uimage(0x100, 22)), 0x140)
    assert found == Kernel("uImage", size=0x100, extent=0x100)
    of_32_bits = kernel(ends(uimage(0x100, 2)), 0x140)
    assert isinstance(of_32_bits, Kernel) and not of_32_bits.is_64_bit
    assert kernel(ends(uimage(0x100, 5)), 0x140) == "2705195600000000"
    assert kernel(ends(uimage(0x101, 22)), 0x140) == "2705195600000000"


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"", "an empty file"),
        (b"hello\n", "text"),
        (b"\x7fELF\2\1\1", "an ELF file"),
        (
            b"version https://git-lfs.github.com/spec/v1\n",
            "a pointer of Git LFS: run `git lfs pull`",
        ),
        (b"\xd0\x0d\xfe\xed", "a devicetree blob"),
    ],
)
def test_what_another_file_is(head: bytes, kind: str) -> None:
    assert kernel(ends(head), len(head)) == kind


def test_a_zimage_of_32_bits() -> None:
    words = (0x016F2818, 0x1000, 0x1200)
    head = bytes(36) + b"".join(w.to_bytes(4, "little") for w in words)
    found = kernel(ends(head), 0x200)
    assert found == Kernel("zImage", size=0x200, extent=0x200, is_64_bit=False)
    assert isinstance(kernel(ends(head), 0x1FF), str)


def test_the_memory_that_a_domain_needs() -> None:
    image = Kernel("arm64 Image", size=MIB, extent=3 * MIB, offset=0x80000)
    assert needed_memory(image, 4096, 0) == (4 + 2) * MIB
    assert needed_memory(image, 4096, 2 * MIB + 1) == (4 + 2 + 4) * MIB
