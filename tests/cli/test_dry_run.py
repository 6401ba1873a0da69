# SPDX-License-Identifier: Apache-2.0
"""`bind --dry-run`, `--diff` and `--quiet`: what they say, and that the folder stays as it is."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.support import DEMO, Run
from west_viommu.write.files import changes

BIND = ("bind", "--host", DEMO / "host.dts", DEMO / "guest.overlay")
PROFILE = ("--profile", "xen-rfc")
OTHER = ("--profile", "xen-v3-dom0less")


def state(folder: Path) -> dict[str, tuple[int, bytes]]:
    """The files below `folder`, with when they were changed."""
    files = (Path(top, name) for top, _, names in os.walk(folder) for name in names)
    return {str(file): (file.stat().st_mtime_ns, file.read_bytes()) for file in files}


def test_a_dry_run_tells_the_plan_and_writes_nothing(viommu: Run, tmp_path: Path) -> None:
    dry = viommu(*BIND, *PROFILE, "--dry-run")
    assert list(tmp_path.iterdir()) == []
    wet = viommu(*BIND, *PROFILE)
    assert (dry.status, dry.err) == (wet.status, wet.err) == (0, "")
    assert dry.out == wet.out.replace("\nwrote ", "\nwould write ")
    before = state(tmp_path)
    assert viommu(*BIND, *OTHER, "-n").status == 0
    assert state(tmp_path) == before


@pytest.mark.parametrize("option", ["--dry-run", "--diff"])
def test_what_is_refused_leaves_an_earlier_run_alone(
    option: str, viommu: Run, tmp_path: Path
) -> None:
    assert viommu(*BIND).status == 0
    wrong = (DEMO / "guest.overlay").read_text().replace("<0x0 0x40>", "<0x0 0x41>")
    (tmp_path / "guest.overlay").write_text(wrong)
    before = state(tmp_path)
    refused = viommu("bind", "--host", DEMO / "host.dts", "guest.overlay", option)
    assert (refused.status, refused.out) == (1, "")
    assert "[stream-mismatch]" in refused.err
    assert viommu(*BIND, option, "--profile", "./none.yaml").status == 1
    assert state(tmp_path) == before


def test_it_is_refused_where_the_run_would_be(viommu: Run, tmp_path: Path) -> None:
    (tmp_path / "viommu").mkdir()
    (tmp_path / "viommu/xl.cfg").write_text("mine")
    dry = viommu(*BIND, "--dry-run")
    assert dry == viommu(*BIND)
    assert "a file of this name exists that this tool did not write" in dry.err


def test_a_diff_is_empty_where_nothing_would_change(viommu: Run) -> None:
    viommu(*BIND)
    assert viommu(*BIND, "--diff", "-q") == (0, "", "")


def test_a_diff_shows_what_would_change(viommu: Run, tmp_path: Path) -> None:
    viommu(*BIND, *PROFILE)
    (tmp_path / "viommu/README").write_text("mine\n")
    shown = viommu(*BIND, *OTHER, "--diff")
    assert (shown.status, shown.err) == (0, "")
    assert (
        "@@ -11,7 +11,7 @@\n"
        "  *   };\n"
        "  * Its memory is at most 2561 MiB (dom0less: <0 0x280400>), as a device is above it.\n"
        "  *\n"
        "- * For the vSMMU, Xen's own command line has viommu=on.\n"
        "+ * For the vSMMU, Xen's own command line has viommu=smmuv3.\n"
        "  */\n"
    ) in shown.out
    assert "\n-\tiommus = <&vsmmu 0x40>;\n+\tiommus = <&vsmmu 0x0>;\n" in shown.out
    assert "README" not in shown.out


def test_a_diff_against_nothing_and_against_more(viommu: Run, tmp_path: Path) -> None:
    names = [
        line.split("/", 1)[1]
        for line in viommu(*BIND, "--diff").out.splitlines()
        if line.startswith("+++ ")
    ]
    assert names == [
        "host.overlay",
        "passthrough-dom0less.dts",
        "passthrough-xl.dts",
        "viommu.json",
        "viommu.overlay",
        "xenlib.h",
        "xl.cfg",
    ]
    assert "Binary files /dev/null and viommu/passthrough-xl.dtb differ\n" in (
        viommu(*BIND, "--diff").out
    )
    viommu(*BIND, *PROFILE)
    # That one gives nothing to libxl.
    gone = viommu(*BIND, *OTHER, "--diff").out
    shutil.rmtree(tmp_path / "viommu")
    viommu(*BIND, *OTHER)
    for name in ("xl.cfg", "xenlib.h", "passthrough-xl.dts"):
        assert (f"--- viommu/{name}\n+++ /dev/null\n" in gone) == (
            not (tmp_path / "viommu" / name).exists()
        )


def test_nothing_of_a_file_reaches_the_terminal() -> None:
    lines = changes("out", {"a": b"\tone\x1b[2J\n"}, {"a": b"\tone\n"})
    assert list(lines) == [
        "--- out/a\n",
        "+++ out/a\n",
        "@@ -1 +1 @@\n",
        "-\tone\\x1b[2J\n",
        "+\tone\n",
    ]


def test_quiet(viommu: Run, tmp_path: Path) -> None:
    assert "no --profile" in viommu(*BIND).err
    shutil.rmtree(tmp_path / "viommu")
    assert viommu(*BIND, "-q") == (0, "", "")
    assert (tmp_path / "viommu/viommu.json").exists()
    near = (DEMO / "guest.overlay").read_text().replace("iommus", "iommu = <1>; iommus", 1)
    (tmp_path / "guest.overlay").write_text(near)
    warned = viommu("bind", "--host", DEMO / "host.dts", "guest.overlay", "--quiet")
    assert (warned.status, warned.out) == (0, "")
    assert warned.err.startswith("guest.overlay:18: warning: [malformed] nothing reads iommu")
