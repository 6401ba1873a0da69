# SPDX-License-Identifier: Apache-2.0
"""samples/stage1 moves its bytes, on a machine with an SMMUv3 and no Xen."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading

from tests.support import CHECKOUT, QEMU, needs_program
from tests.zephyr.workspace import Workspace, needs_toolchain, needs_zephyr

pytestmark = [needs_zephyr, needs_toolchain, needs_program(*QEMU)]

SAMPLE = CHECKOUT / "samples" / "stage1"


def printed(workspace: Workspace, *command: str) -> list[str]:
    """What a command prints up to PASS or FAIL, or in two minutes. It need not end by itself."""
    lines = []
    with subprocess.Popen(
        command,
        cwd=workspace.app,
        env=workspace.environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        late = threading.Timer(120, os.killpg, (process.pid, signal.SIGKILL))
        late.start()
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line.rstrip())
            if re.match("PASS|FAIL", line):
                break
        late.cancel()
        os.killpg(process.pid, signal.SIGKILL)  # west, ninja and QEMU
    return lines


def test_the_sample_runs_in_qemu(workspace: Workspace) -> None:
    build = str(workspace.build)
    ran = workspace.run(
        *("west", "build", "-p", "always", "-b", "qemu_cortex_a53", "-d", build, str(SAMPLE)),
        *("--", "-DEXTRA_CFLAGS=-mno-outline-atomics"),
    )
    assert ran.status == 0, ran.log
    assert workspace.iommus() == {"/passthrough/edu@10000000": [["/iommu@9050000", 0x10]]}
    symbols = subprocess.run(
        ["nm", f"{build}/zephyr/zephyr.elf"], capture_output=True, text=True, check=True
    ).stdout
    (source,) = re.findall("^([0-9a-f]+) . from$", symbols, re.MULTILINE)
    lines = printed(workspace, "west", "build", "-d", build, "-t", "run")
    start = next(i for i, line in enumerate(lines) if line.startswith("*** Booting Zephyr"))
    assert lines[start + 1 :] == [
        "/passthrough/edu@10000000: streams 1, the first 0x10, behind /iommu@9050000",
        "by its own addresses: all bytes moved",
        "by an address that is not mapped: not moved",
        "  event 0x10 of stream 0x10 for 0x4000007000",
        "by the guest's addresses: not moved",
        f"  event 0x10 of stream 0x10 for {int(source, 16):#x}",
        "by addresses that changed: all bytes moved",
        "PASS",
    ]


def test_the_sample_builds_for_xen(workspace: Workspace) -> None:
    ran = workspace.run(
        *("west", "build", "-p", "always", "-b", "xenvm//gicv3", "-d", str(workspace.build)),
        *(str(SAMPLE), "--", "-DEXTRA_CFLAGS=-mno-outline-atomics"),
    )
    assert ran.status == 0, ran.log
    assert workspace.iommus() == {"/passthrough/edu@10000000": [["/iommu@4040000", 0x10]]}
