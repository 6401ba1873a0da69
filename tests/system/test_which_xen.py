# SPDX-License-Identifier: Apache-2.0
"""`xen-version` and `hardware-domain` of system.yml."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import Run
from tests.system.guests import Guest, judged

# It has the line of another device.
ADC = Guest(["/adc@10003000"], has_dom0=False)
HARDWARE = "dom0: none\nhardware-domain: true\n"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def told(viommu: Run, keys: str, tail: str = "", guest: Guest = ADC) -> tuple[int, list[str]]:
    """The status, and the messages without lines of the source."""
    outcome = judged(viommu, "xen", {"a": guest}, keys, tail)
    return outcome.status, [line for line in outcome.err.splitlines() if line[:4] != "    "]


def test_without_one_nobody_has_the_rest(viommu: Run) -> None:
    status, messages = told(viommu, "dom0: none\n")
    assert (status, messages) == (0, [])


def test_a_hardware_domain_has_the_rest(viommu: Run) -> None:
    status, messages = told(viommu, HARDWARE)
    assert status == 1
    assert "[interrupt-clash] INTID 76 also belongs to /dac@10004000" in messages[0]


def test_it_is_not_in_the_files(viommu: Run) -> None:
    net = Guest(["/net@10000000"], has_dom0=False)
    status, messages = told(viommu, HARDWARE, guest=net)
    assert (status, messages) == (
        0,
        [
            "note: no boot.cmd: xen.dtb lacks the hardware domain: add its node to /chosen, "
            "behind all others"
        ],
    )


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ("hardware-domain: true\n", "2: error: [malformed] hardware-domain says that another"),
        (
            f'{HARDWARE}xen-version: "4.20"\n',
            "3: error: [malformed] 4.20 creates no hardware domain at boot",
        ),
        ('xen-version: "4.1"\n', "2: error: [malformed] the profile xen knows no version 4.1"),
        ("xen-version: 4.20\n", "2: error: [malformed] xen-version is"),
    ],
)
def test_what_cannot_be(keys: str, says: str, viommu: Run) -> None:
    status, messages = told(viommu, keys)
    assert status == 1
    assert messages[0].startswith(f"system.yml:{says}")


@pytest.mark.parametrize(
    ("version", "status", "severity"),
    [("", 0, "warning"), ("4.17", 1, "error"), ("4.20", 1, "error"), ("4.22.1", 0, "")],
)
def test_the_version_has_room_for_a_tree(
    version: str, status: int, severity: str, viommu: Run
) -> None:
    keys = "dom0: none\n" + (f'xen-version: "{version}"\n' if version else "")
    net = Guest(["/net@10000000"], has_dom0=False)
    found, messages = told(viommu, keys, "    cpus: 60\n", net)
    sizes = [line for line in messages if "[tree-size]" in line]
    assert (found, [line.split(": ")[1] for line in sizes]) == (status, [severity][: len(sizes)])
    assert bool(sizes) is bool(severity)
