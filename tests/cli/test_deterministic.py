# SPDX-License-Identifier: Apache-2.0
"""The same input gives the same bytes, whatever surrounds the run."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from tests.cli.pair import expanded
from tests.support import DEMO, PACKAGE, PARTIAL_TREE, XENVM, Run, blob

MODEL = "W\u0130rt \u0131\u00df \u4e3b\u673a"
NODES = ("ethernet@100000", "/soc@e0000000/dma-controller@200000")
CONFIG = """vsid: explicit
vsids:
  /passthrough/ethernet@e0100000: [0x10]
  /passthrough/dma-controller@e0200000: [0x11]
domain: [{domain}]
"""
OPTIONS = ("-I", "one", "-I", "two", "-D", "A=1", "-D", "B=2")

# Every command with output in one process, as Python takes longer to start than they do.
CHILD = """
import io, os, sys, time
now = float(os.environ.pop("NOW"))
time.time = lambda: now
time.time_ns = lambda: int(now * 10**9)
time.localtime = time.gmtime = time.strftime = time.ctime = None
os.umask(int(os.environ.pop("MASK"), 8))
from west_viommu.__main__ import main
inputs, out, *options = sys.argv[1:]
into = lambda name: os.path.join(out, name)
host = ["--host", os.path.join(inputs, "host.dts"), *options]
board = os.path.join(inputs, "board.dts")
guest = os.path.join(inputs, os.fsdecode("g\\u00e4st.overlay".encode()))
config = ["--config", os.path.join(inputs, "viommu.yml")]
bind = ["bind", *host, *config, board, guest]
built = ["check", *host, *config, "--dts"]
commands = {
    "bound.txt": [*bind, "-o", into("viommu")],
    "table.txt": ["list", *host],
    "list.json": ["list", *host, "--format", "json"],
    "list.dot": ["list", *host, "--format", "dot"],
    "extracted.overlay": ["extract", *host, NODES],
    "check.txt": [*built, into("built.dts")],
    "check.json": [*built, into("built.dts"), "--format", "json"],
}
for name, command in commands.items():
    if name == "check.txt":
        # As a build has it, but for one ID.
        texts = [open(f, "rb").read() for f in (board, guest, into("viommu/viommu.overlay"))]
        with open(into("built.dts"), "wb") as file:
            file.write(b"".join(texts).replace(b"<&vsmmu 0x10>", b"<&vsmmu 0x19>"))
    words = [w for word in command for w in (word if isinstance(word, tuple) else (word,))]
    sys.stdout = io.TextIOWrapper(open(into(name), "wb"))
    status = main(words)
    sys.stdout.close()
    sys.stdout = sys.__stdout__
    print(name, status)
""".replace("NODES", repr(NODES))


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Host and guest with text that no locale but UTF-8 has, and a Zephyr without bindings."""
    folder = tmp_path_factory.mktemp("inputs")
    host = (DEMO / "host.dts").read_text().replace("west-viommu demo host", MODEL)
    assert MODEL in host
    (folder / "host.dts").write_text(host, encoding="utf-8")
    (folder / "board.dts").write_text(XENVM)
    overlay = expanded((DEMO / "guest.overlay").read_text())
    (folder / "g\u00e4st.overlay").write_text(overlay, encoding="utf-8")
    (folder / "viommu.yml").write_text(CONFIG.format(domain="vpl011, vpci, virtio"))
    (folder / "zephyr/dts/bindings").mkdir(parents=True)
    for name in ("one", "two"):
        (folder / name).mkdir()
        (folder / name / f"{name}.h").write_text("")
    return folder


def outputs(
    inputs: Path,
    out: Path,
    options: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    *,
    inputs_as: str = "",
    cwd: Path | None = None,
) -> dict[str, bytes]:
    """What all commands write into `out`, with the names of the two folders left out."""
    out.mkdir()
    clean = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    environment = {
        **clean,
        "PYTHONPATH": str(PACKAGE.parent),
        "WEST_CONFIG_GLOBAL": str(out / "none"),
        "ZEPHYR_BASE": str(inputs / "zephyr"),
        "NOW": "1000000000",
        "MASK": "022",
        **(environment or {}),
    }
    where = inputs_as or str(inputs)
    command = [sys.executable, "-c", CHILD, where, str(out), *options]
    run = subprocess.run(command, env=environment, cwd=cwd or out, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert [line.split()[1] for line in run.stdout.splitlines()] == [*"00000", "1", "1"], run.stderr
    names = (str(out), str(inputs), where)
    # The width of its columns hangs on those names.
    table = out / "check.txt"
    words = table.read_bytes().split()
    table.write_bytes(b" ".join(word for word in words if word.strip(b"-")))
    return {
        str(file.relative_to(out)): _without(file.read_bytes(), names)
        for file in sorted(out.rglob("*"))
        if file.is_file()
    } | {"stderr": _without(run.stderr.encode(), names)}


def _without(data: bytes, names: Sequence[str]) -> bytes:
    for name in names:
        data = data.replace(f"{name}/".encode(), b"")
    return data


@pytest.fixture(scope="module")
def expected(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What a run leaves in the surroundings that the tests below change."""
    found = outputs(inputs, tmp_path_factory.mktemp("expected") / "out", OPTIONS)
    assert len(found) > 20
    assert MODEL.encode() in found["table.txt"]
    assert b"1 difference" in found["check.txt"]
    return found


@pytest.mark.parametrize(
    "environment",
    [
        pytest.param({"PYTHONHASHSEED": "1"}, id="hash seed 1"),
        pytest.param({"PYTHONHASHSEED": "4242"}, id="hash seed 4242"),
        pytest.param({"LC_ALL": "C"}, id="C"),
        pytest.param({"LC_ALL": "C.UTF-8"}, id="C.UTF-8"),
        pytest.param({"LC_ALL": "tr_TR.UTF-8", "LANGUAGE": "tr"}, id="Turkish"),
        pytest.param(
            {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
            id="not UTF-8",
            marks=pytest.mark.skipif(
                not sys.prefix.isascii(), reason="Python itself loads no extension from such a path"
            ),
        ),
        pytest.param(
            {"NOW": "2000000000", "TZ": "Asia/Kathmandu", "SOURCE_DATE_EPOCH": "1"}, id="clock"
        ),
        pytest.param({"MASK": "077"}, id="umask"),
        pytest.param({"TERM": "xterm-256color", "USER": "you"}, id="terminal"),
    ],
)
def test_surroundings(
    environment: dict[str, str], inputs: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    found = outputs(inputs, tmp_path / "out", OPTIONS, environment)
    if "PYTHONUTF8" in environment:
        # Messages show a name that the locale cannot as escapes; what is written does not.
        found["stderr"] = expected["stderr"]
    assert found == expected
    mode = (tmp_path / "out/viommu/viommu.json").stat().st_mode
    assert stat.S_IMODE(mode) == 0o666 & ~int(environment.get("MASK", "022"), 8)


def test_paths(inputs: Path, expected: dict[str, bytes], tmp_path: Path) -> None:
    """Relative from another folder, of other files with the same content and other times."""
    moved = tmp_path / "elsewhere"
    shutil.copytree(inputs, moved, copy_function=shutil.copyfile)
    for file in moved.iterdir():
        os.utime(file, (0, 0))
    found = outputs(
        moved,
        tmp_path / "out",
        OPTIONS,
        inputs_as=os.path.join(os.pardir, "elsewhere"),
        cwd=moved,
    )
    assert found == expected


def test_the_order_of_equal_things(
    inputs: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(inputs, other)
    vsids, first, second, domain = CONFIG.format(domain="virtio, vpci, vpl011").splitlines()[1:]
    config = "\n".join((domain, "vsid: explicit", vsids, second, first))
    (other / "viommu.yml").write_text(config + "\n")
    options = ["-D", "B=2", "-D", "A=1", "-I", "two", "-I", "one"]
    assert outputs(other, tmp_path / "out", options) == expected


def test_the_order_of_permissions(viommu: Run, tmp_path: Path) -> None:
    """Nothing hangs on it, so neither do the files; nor is it a difference for check."""
    host = blob(
        "/dts-v1/; / { #address-cells = <2>; #size-cells = <2>;"
        " a: a@20000000 { reg = <0 0x20000000 0 0x1000>; };"
        " b: b@20010000 { reg = <0 0x20010000 0 0x1000>; }; };"
    )
    (tmp_path / "host.dtb").write_bytes(host)
    devices = 'a { xen,path = "/a@20000000"; }; b { xen,path = "/b@20010000"; };'
    (tmp_path / "guest.dts").write_text(PARTIAL_TREE % devices)
    entries = [
        f"  - {{hazard: unprotected, device: {device}, reason: no DMA}}\n"
        for device in ("/a@20000000", "/passthrough/b")
    ]
    found = []
    for order in (entries, entries[::-1]):
        (tmp_path / "viommu.yml").write_text("allow:\n" + "".join(order))
        outcome = viommu("bind", "--host", "host.dtb", "guest.dts")
        assert outcome.status == 0, outcome.err
        files = sorted((tmp_path / "viommu").iterdir())
        found.append({file.name: file.read_bytes() for file in files})
    assert found[0] == found[1]
    assert found[0]["viommu.json"].count(b'"reason": "no DMA"') == 2
