# SPDX-License-Identifier: Apache-2.0
"""The strings of a configuration of xl, read back by Debian's libxlutil."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.read.xlutil import NO_XLUTIL, XLUTIL, Xlutil
from tests.support import Run
from tests.system.guests import Guest, bound
from west_viommu.write.xl import _quoted

ALL_BYTES = [os.fsdecode(bytes([number])) for number in range(1, 256)]
NAMES = ("bärbel", 'a "b" c', "back\\slash", "\\x41", "line\nbreak", "tab\there", "it's", "a;b # c")


@pytest.fixture(scope="module")
def xlutil() -> Iterator[Xlutil]:
    if not XLUTIL.is_dir():
        pytest.skip(NO_XLUTIL)
    library = Xlutil()
    yield library
    library.close()


def read(xlutil: Xlutil, source: bytes) -> dict[str, str]:
    """The strings that the library finds."""
    found = xlutil.read(source)
    assert "keys" in found, found
    keys = found["keys"].items()
    return {
        key: os.fsdecode(value.encode("latin-1")) for key, value in keys if isinstance(value, str)
    }


@pytest.mark.parametrize("around", ["{}", "a{}b", "\\{}", "{}\\", '"{}', "{0}{0}"])
def test_every_byte_comes_back(around: str, xlutil: Xlutil) -> None:
    texts = [around.format(byte) for byte in ALL_BYTES]
    source = "".join(f"k{i} = {_quoted(text)}\n" for i, text in enumerate(texts))
    found = read(xlutil, os.fsencode(source))
    assert [found[f"k{i}"] for i in range(len(texts))] == texts


@pytest.mark.parametrize("name", NAMES)
def test_the_paths_of_a_system(
    name: str, viommu: Run, xlutil: Xlutil, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    bound(viommu, "xen", {"net": Guest(["/net@10000000"])})
    os.rename("net", name)
    Path(name, "initrd").write_bytes(b"x")
    domain = {"build": name, "ramdisk": f"{name}/initrd", "bootargs": 'a="b c" \\x41'}
    system = {"host": "host.dts", "domains": {"net": domain}}
    Path("system.yml").write_text(yaml.safe_dump(system, allow_unicode=True))
    outcome = viommu("system", "system.yml")
    assert outcome.status == 0, outcome.err
    found = read(xlutil, Path("viommu-system/net.cfg").read_bytes())
    assert (found["kernel"], found["device_tree"], found["ramdisk"], found["cmdline"]) == (
        f"{name}/zephyr/zephyr.bin",
        f"{name}/viommu/passthrough-xl.dtb",
        f"{name}/initrd",
        'a="b c" \\x41',
    )
