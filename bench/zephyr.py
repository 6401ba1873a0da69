# SPDX-License-Identifier: Apache-2.0
"""What binding adds to Zephyr's own devicetree stage.

That stage is what Zephyr's dts.cmake runs: the preprocessor, gen_edt, gen_defines,
gen_driver_kconfig_dts and gen_dts_cmake; dtc's check is left out. The steps are run again in a
configured build, with the real preprocessor and with ours around it.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
from pathlib import Path

from bench.environments import CHECKOUT
from bench.measure import Block, Subject, clean_environment

PLAIN, HOOKED = "preprocessor", "preprocessor with the hook"
STEPS = ("gen_edt", "gen_defines", "gen_driver_kconfig_dts", "gen_dts_cmake")
# What the sample is turned into: the overlay of the application.
APPLICATIONS = {"2 devices": None, "nothing to bind": "/ { };\n"}
_SAMPLE = CHECKOUT / "samples" / "passthrough"


def stage(base: Path, overlay: str | None, project: Path, folder: Path) -> list[Subject]:
    """The steps of the stage for the sample, with `overlay` in place of its own, built in `folder`
    with the Zephyr in `base`.
    """
    shutil.copytree(_SAMPLE, folder)
    # A blob, as a real host is.
    blob, source = str(folder / "host.dtb"), str(folder / "host.dts")
    subprocess.run(["dtc", "-q", "-O", "dtb", "-o", blob, source], check=True)
    (folder / "viommu.yml").write_text("host: host.dtb\n")
    if overlay:
        (folder / "app.overlay").write_text(overlay)
    environment = clean_environment(ZEPHYR_BASE=str(base))
    environment["PATH"] = f"{project}:{environment['PATH']}"
    build = folder / "build"
    subprocess.run(
        ["cmake", "-DBOARD=xenvm", "-B", str(build), "-S", str(folder), "-DMODULES=dts"]
        + [f"-DZEPHYR_MODULES={CHECKOUT}", "-P", str(base / "cmake" / "package_helper.cmake")],
        check=True,
        stdout=subprocess.DEVNULL,
        env=environment,
    )
    generated = build / "zephyr"
    made = generated / "zephyr.dts.pre"
    roots = [CHECKOUT / "zephyr", build / "viommu", base]
    python = str(project / "python")
    compiler = _compiler(base, folder / "app.overlay", made)
    hook = [python, str(CHECKOUT / "zephyr" / "preprocess.py"), "--zephyr-base", str(base)]
    hook += ["--app", str(folder), "--output", str(build / "viommu")]
    for root in roots:
        hook += ["--dts-root", str(root)]
    commands = {PLAIN: compiler, HOOKED: [*hook, "--", *compiler]}
    for name, arguments in _scripts(base, generated, made, roots).items():
        commands[name] = [python, str(base / "scripts" / "dts" / f"{name}.py"), *arguments]
    # gen_edt reads what the step before it left: the bound source.
    return [Subject(name, command, environment, folder) for name, command in commands.items()]


def share(block: Block) -> float | None:
    """What the hook adds, as a share of Zephyr's stage; None where a step failed."""
    if any(step.failure for step in block.values()):
        return None
    rounds = set.intersection(*(set(step.seconds) for step in block.values()))
    return statistics.median(
        (block[HOOKED].seconds[n] - block[PLAIN].seconds[n])
        / sum(block[name].seconds[n] for name in (PLAIN, *STEPS))
        for n in rounds
    )


def _compiler(base: Path, overlay: Path, made: Path) -> list[str]:
    """The real preprocessor with the options of zephyr_dt_preprocess()."""
    includes: list[str] = []
    for name in ("include", "include/zephyr", "dts/common", "dts/vendor", "dts/arm64", "dts"):
        includes += ["-isystem", str(base / name)]
    board = next(base.glob("boards/*/xenvm/xenvm.dts"))
    return [
        *(shutil.which("cpp") or "cpp", "-x", "assembler-with-cpp", "-nostdinc", *includes),
        *("-include", str(board), "-include", str(overlay)),
        *("-undef", "-D__DTS__", "-E", "-MD", "-MF", str(made.with_suffix(".d"))),
        *("-o", str(made), str(base / "misc" / "empty_file.c")),
    ]


def _scripts(base: Path, generated: Path, made: Path, roots: list[Path]) -> dict[str, list[str]]:
    """The arguments of Zephyr's scripts, by their names."""
    bindings = ["--bindings-dirs", *(str(root / "dts" / "bindings") for root in roots)]
    pickle = str(generated / "bench.pickle")
    prefixes = str(base / "dts" / "bindings" / "vendor-prefixes.txt")
    return {
        "gen_edt": [
            *("--dts", str(made), "--dtc-flags", "", *bindings),
            *("--workspace-dir", str(base.parent), "--vendor-prefixes", prefixes),
            *("--dts-out", str(generated / "bench.dts"), "--edt-pickle-out", pickle),
        ],
        "gen_defines": ["--edt-pickle", pickle, "--header-out", str(generated / "bench.h")],
        "gen_driver_kconfig_dts": ["--kconfig-out", str(generated / "bench.kconfig"), *bindings],
        "gen_dts_cmake": ["--edt-pickle", pickle, "--cmake-out", str(generated / "bench.cmake")],
    }
