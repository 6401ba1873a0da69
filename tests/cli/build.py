# SPDX-License-Identifier: Apache-2.0
"""A Zephyr build without Zephyr: the command line that Zephyr gives our preprocessor."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.support import CHECKOUT, DEMO, XENVM
from west_viommu.cli.preprocessor import main

GIC_HEADER = "zephyr/dt-bindings/interrupt-controller/arm-gic.h"
BOARD = XENVM.replace("/dts-v1/;\n", f"/dts-v1/;\n#include <{GIC_HEADER}>\n", 1)
HEADER = """#define GIC_SPI 0x0
#define IRQ_TYPE_LEVEL 2
#define IRQ_DEFAULT_PRIORITY 0xa0
"""


class Build:
    """An application, a folder that stands for Zephyr's bindings and headers, and a build."""

    def __init__(self, top: Path):
        self.app = top / "app"
        self.build = top / "build"
        self.zephyr = top / "zephyr"
        shutil.copytree(DEMO, self.app)
        (self.app / "board.dts").write_text(BOARD)
        (self.app / "viommu.yml").write_text("host: host.dts\n")
        header = self.zephyr / "include/zephyr/dt-bindings/interrupt-controller/arm-gic.h"
        header.parent.mkdir(parents=True)
        header.write_text(HEADER)
        (self.zephyr / "dts/bindings").mkdir(parents=True)
        (self.zephyr / "empty_file.c").write_text("")
        (self.build / "zephyr").mkdir(parents=True)
        self.source = self.build / "zephyr" / "zephyr.dts.pre"
        self.rule = self.build / "zephyr" / "zephyr.dts.d"
        self.output = self.build / "viommu"

    def run(
        self, *options: str, overlay: str = "guest.overlay", tail: str = "", cpp: str = "cpp"
    ) -> int:
        command = [
            *(cpp, "-x", "assembler-with-cpp", "-nostdinc"),
            *("-isystem", str(self.zephyr / "include")),
            *("-include", str(self.app / "board.dts"), "-include", str(self.app / overlay)),
            *("-undef", "-D__DTS__", "-E", "-MD", "-MF", str(self.rule), "-o", str(self.source)),
            str(self.zephyr / f"empty_file.c{tail}"),
        ]
        own = ["--zephyr-base", str(self.zephyr), "--app", str(self.app)]
        own += ["--output", str(self.output), "--dts-root", str(CHECKOUT / "zephyr")]
        return main([*own, "--dts-root", str(self.zephyr), *options, "--", *command])

    def left(self) -> list[str]:
        """The files in the output folder."""
        return [str(file) for file in self.output.rglob("*") if file.is_file()]
