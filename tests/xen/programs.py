# SPDX-License-Identifier: Apache-2.0
"""The guests of tests/xen/guest, built: C without Zephyr, for where there is none."""

from __future__ import annotations

from pathlib import Path

from tests.support import CHECKOUT
from tests.xen.tools import CROSS, run

GUEST = Path(__file__).parent / "guest"
DRIVERS = CHECKOUT / "zephyr" / "drivers"
CFLAGS = "-O2 -Wall -Wextra -Werror -ffreestanding -mgeneral-regs-only -mstrict-align -fno-pie"
LDFLAGS = "-nostdlib -static -no-pie -Wl,--build-id=none,--no-warn-rwx-segments"


def _linked(program: Path, *sources: Path, macros: list[str]) -> Path:
    options = [*CFLAGS.split(), *LDFLAGS.split(), *macros, "-T", str(GUEST / "guest.ld")]
    includes = [f"-I{GUEST}", f"-I{DRIVERS}"]
    run(f"{CROSS}gcc", *options, *includes, *map(str, sources), "-o", str(program))
    return program


def built(folder: Path, *sources: Path, macros: list[str]) -> Path:
    """The guest of these sources as an ELF file, linked to where RAM begins."""
    common = [GUEST / "start.S", GUEST / "guest.c"]
    return _linked(folder / "guest.elf", *common, *sources, macros=macros)


def image(program: Path) -> Path:
    """The program as an arm64 Linux Image, which is what Xen loads."""
    file = program.with_suffix(".bin")
    run(f"{CROSS}objcopy", "-O", "binary", str(program), str(file))
    return file


def address_of(symbol: str, program: Path) -> int:
    """Where the program has it."""
    lines = run(f"{CROSS}nm", str(program)).splitlines()
    return next(int(line.split()[0], 16) for line in lines if line.split()[2] == symbol)


def idle_image(folder: Path) -> Path:
    """A kernel that does nothing, wherever it is loaded: a dom0 to be given what it would hold."""
    return image(_linked(folder / "idle.elf", GUEST / "idle.S", macros=[]))


def rtc_guest(folder: Path, rtc: int = 0x9010000) -> Path:
    """The guest that owns the clock of samples/xen-rtc, for Xen, and sees it at `rtc`."""
    macros = [f"-DRTC={rtc:#x}UL", "-DRTC_INTID=34", "-DUART=0x22000000UL", "-DGICD=0x3001000UL"]
    return image(built(folder, GUEST / "rtc.c", macros=macros))


def edu_guest(folder: Path, macros: list[str], *, stage1: bool = False, seed: int = 1) -> Path:
    """The guest that owns an edu, which the macros describe. With `stage1`, it programs the SMMU by
    the code of the Zephyr driver. Guests of another `seed` move other bytes."""
    macros = [*macros, f"-DSEED={seed}"]
    if not stage1:
        return built(folder, GUEST / "edu.c", macros=macros)
    return built(folder, GUEST / "edu.c", DRIVERS / "viommu_smmu.c", macros=[*macros, "-DSTAGE1"])
