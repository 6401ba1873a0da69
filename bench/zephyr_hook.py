# SPDX-License-Identifier: Apache-2.0
"""What binding adds to Zephyr's own devicetree stage, in one run and in pairs.

Zephyr's stage is what its dts.cmake runs: the preprocessor, gen_edt, gen_defines,
gen_driver_kconfig_dts and gen_dts_cmake; dtc's check is left out. The steps are run again in a
configured build, with the real preprocessor and with ours around it.

usage: ZEPHYR_BASE=... python bench/zephyr_hook.py
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROUNDS = 15
CHECKOUT = Path(__file__).resolve().parent.parent
SAMPLE = CHECKOUT / "samples" / "passthrough"


def seconds(*command: str) -> float:
    """The duration of one process, which must succeed."""
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


class Stage:
    """The steps of Zephyr's devicetree stage for the sample, in a configured build."""

    def __init__(self, base: Path, build: Path, app: Path):
        self.base = base
        self.build = build
        self.app = app
        self.generated = build / "zephyr"
        helper = base / "cmake" / "package_helper.cmake"
        subprocess.run(
            ["cmake", "-DBOARD=xenvm", "-B", str(build), "-S", str(app), "-DMODULES=dts"]
            + [f"-DZEPHYR_MODULES={CHECKOUT}", "-P", str(helper)],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        roots = (CHECKOUT / "zephyr", build / "viommu", base)
        self.bindings = [str(root / "dts" / "bindings") for root in roots]
        self.pre = self.generated / "zephyr.dts.pre"

    def compiler(self) -> list[str]:
        """The real preprocessor with the options of zephyr_dt_preprocess()."""
        includes: list[str] = []
        for folder in ("include", "include/zephyr", "dts/common", "dts/vendor", "dts/arm64", "dts"):
            includes += ["-isystem", str(self.base / folder)]
        board = next(self.base.glob("boards/*/xenvm/xenvm.dts"))
        return [
            *("cpp", "-x", "assembler-with-cpp", "-nostdinc", *includes),
            *("-include", str(board), "-include", str(self.app / "app.overlay")),
            *("-undef", "-D__DTS__", "-E", "-MD", "-MF", str(self.generated / "zephyr.dts.d")),
            *("-o", str(self.pre), str(self.base / "misc" / "empty_file.c")),
        ]

    def hook(self) -> list[str]:
        """Our front end around the real preprocessor, as zephyr/cmake/dts.cmake sets it up."""
        command = [sys.executable, str(CHECKOUT / "zephyr" / "preprocess.py")]
        command += ["--zephyr-base", str(self.base), "--app", str(self.app)]
        command += ["--output", str(self.build / "viommu")]
        for folder in self.bindings:
            command += ["--dts-root", str(Path(folder).parent.parent)]
        return [*command, "--", *self.compiler()]

    def rest(self) -> float:
        """What Zephyr's scripts do with the source."""
        scripts = self.base / "scripts" / "dts"
        pickle = str(self.generated / "bench.pickle")
        prefixes = str(self.base / "dts" / "bindings" / "vendor-prefixes.txt")
        return (
            seconds(
                *(sys.executable, str(scripts / "gen_edt.py"), "--dts", str(self.pre)),
                *("--dtc-flags", "", "--bindings-dirs", *self.bindings),
                *("--workspace-dir", str(self.base.parent), "--vendor-prefixes", prefixes),
                *("--dts-out", str(self.generated / "bench.dts"), "--edt-pickle-out", pickle),
            )
            + seconds(
                *(sys.executable, str(scripts / "gen_defines.py"), "--edt-pickle", pickle),
                *("--header-out", str(self.generated / "bench.h")),
            )
            + seconds(
                *(sys.executable, str(scripts / "gen_driver_kconfig_dts.py")),
                *("--kconfig-out", str(self.generated / "bench.kconfig")),
                *("--bindings-dirs", *self.bindings),
            )
            + seconds(
                *(sys.executable, str(scripts / "gen_dts_cmake.py"), "--edt-pickle", pickle),
                *("--cmake-out", str(self.generated / "bench.cmake")),
            )
        )


def measured(stage: Stage) -> tuple[float, float]:
    """Median of Zephyr's stage in seconds, and of what the hook adds, as a share of it."""
    shares = []
    stages = []
    for _ in range(ROUNDS):
        plain = seconds(*stage.compiler())
        bound = seconds(*stage.hook())
        whole = plain + stage.rest()
        stages.append(whole)
        shares.append((bound - plain) / whole)
    return statistics.median(stages), statistics.median(shares)


def main() -> None:
    """Print the share for the sample, and for the same application without passthrough."""
    base = os.environ.get("ZEPHYR_BASE")
    if not base:
        sys.exit("ZEPHYR_BASE is not set: it names a Zephyr tree of version 4.1 or later")
    with tempfile.TemporaryDirectory() as folder:
        for name, overlay in (("2 devices", None), ("nothing to bind", "/ { };\n")):
            app = Path(folder, name.replace(" ", "-"))
            shutil.copytree(SAMPLE, app)
            # A blob, as a real host is.
            blob, source = str(app / "host.dtb"), str(app / "host.dts")
            subprocess.run(["dtc", "-q", "-O", "dtb", "-o", blob, source], check=True)
            (app / "viommu.yml").write_text("host: host.dtb\n")
            if overlay:
                (app / "app.overlay").write_text(overlay)
            stage, share = measured(Stage(Path(base), app / "build", app))
            print(f"{name:16} Zephyr's stage {stage * 1000:.0f} ms, the hook adds {share:.1%}")


if __name__ == "__main__":
    main()
