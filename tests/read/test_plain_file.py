# SPDX-License-Identifier: Apache-2.0
"""Inputs that are no plain files, or too large: each is refused at once, with one message."""

from __future__ import annotations

import errno
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.build import Build
from tests.support import DEMO, Run
from west_viommu.diagnostics import Refused
from west_viommu.read import plain_file, preprocess
from west_viommu.read.guest import sealed_plan

HOST, GUEST = DEMO / "host.dts", DEMO / "guest.overlay"
A_KIND = "name a file, or write into one what comes out of this"
TOO_LARGE = "name the right file: none of these is as large"
# What stands in the place of an input -> what is said of it, and the hint.
KINDS = {
    "a pipe": ("this is a pipe, and only plain files are read", A_KIND),
    "a device": ("this is a device, and only plain files are read", A_KIND),
    "a socket": ("this is a socket, and only plain files are read", A_KIND),
    "50 GB of holes": ("more than {} bytes", TOO_LARGE),
    "a link to itself": ("Too many levels of symbolic links", None),
}
# The command -> how much of such an input is read.
COMMANDS: list[tuple[list[object], int]] = [
    (["list", "--host", "odd"], 1 << 24),
    (["extract", "--host", "odd", "/x"], 1 << 24),
    (["bind", "--host", "odd", GUEST], 1 << 24),
    (["bind", "--host", HOST, "odd"], 1 << 24),
    (["bind", "--host", HOST, GUEST, "odd"], 1 << 24),
    (["bind", "--config", "names-odd.yml", GUEST], 1 << 24),
    (["bind", "--host", HOST, "--config", "odd", GUEST], 1 << 16),
    (["bind", "--host", HOST, "--profile", "./odd", GUEST], 1 << 16),
    (["profiles", "./odd"], 1 << 16),
    (["check", "--dts", "built.dts", "--guest-dtb", "odd"], 1 << 24),
    (["check", "--dts", "odd", "--guest-dtb", "built.dts"], 1 << 24),
]


def make_odd(kind: str, place: Path) -> None:
    if kind == "a pipe":
        os.mkfifo(place)
    elif kind == "a device":
        place.symlink_to("/dev/zero")
    elif kind == "a socket":
        import socket

        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(place))
    elif kind == "a link to itself":
        place.symlink_to(place)
    else:
        place.touch()
        os.truncate(place, 50 << 30)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "names-odd.yml").write_text("host: odd\n")
    (tmp_path / "built.dts").write_text("/dts-v1/; / { #address-cells = <2>; passthrough { }; };")
    return tmp_path


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("command", "most"), COMMANDS)
def test_what_is_no_plain_file_is_refused(
    command: list[object], most: int, kind: str, viommu: Run, folder: Path
) -> None:
    make_odd(kind, folder / "odd")
    started = time.monotonic()
    outcome = viommu(*command)
    assert time.monotonic() - started < 5
    what, hint = KINDS[kind]
    assert (outcome.status, outcome.out) == (1, "")
    message, hinted = outcome.err.splitlines()
    assert message == f"odd: error: [unreadable] {what.format(most)}"
    assert hint is None or hinted == f"hint: {hint}"


@pytest.mark.parametrize("kind", KINDS)
def test_west_config_that_is_no_plain_file(
    kind: str, viommu: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_odd(kind, folder / "odd")
    monkeypatch.setenv("WEST_CONFIG_GLOBAL", str(folder / "odd"))
    outcome = viommu("bind", "--host", HOST, GUEST)
    # What a link to itself names is not there.
    what = "" if kind == "a link to itself" else KINDS[kind][0].format(1 << 20)
    assert outcome.status == bool(what)
    assert what in outcome.err


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["viommu.json", "viommu.overlay"])
def test_a_sealed_file_that_is_no_plain_file(
    name: str, kind: str, viommu: Run, folder: Path
) -> None:
    assert viommu("bind", "--host", HOST, GUEST).status == 0
    (folder / "viommu" / name).unlink()
    make_odd(kind, folder / "viommu" / name)
    with pytest.raises(Refused) as caught:
        sealed_plan(folder / "viommu")
    (problem,) = caught.value.problems
    assert problem.id == "unreadable"
    assert KINDS[kind][0].split("{")[0] in problem.what


@pytest.mark.parametrize("kind", ["a pipe", "50 GB of holes"])
@pytest.mark.parametrize("name", ["CMakeCache.txt", "domains.yaml"])
def test_a_file_of_a_build_that_is_no_plain_file(
    name: str, kind: str, viommu: Run, folder: Path
) -> None:
    (folder / "build").mkdir()
    make_odd(kind, folder / "build" / name)
    outcome = viommu("check", "-d", "build", "--host", HOST)
    assert outcome.status == 1
    assert outcome.err.startswith(f"build/{name}: error: [unreadable] ")
    assert KINDS[kind][0].split("{")[0] in outcome.err


@pytest.mark.parametrize("what", ["pipe", "socket", "link", "too much"])
def test_a_directory_with_what_is_no_plain_file(
    what: str, viommu: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = tmp_path / "tree"
    (tree / "node").mkdir(parents=True)
    (tree / "#address-cells").write_bytes(bytes(4))
    odd = tree / "node" / "odd"
    if what == "link":
        odd.symlink_to(tree)
        says = "tree: error: [malformed] /node has a link 'odd'"
    elif what == "too much":
        os.truncate(os.open(odd, os.O_CREAT | os.O_WRONLY), 50 << 30)
        says = "tree/node/odd: error: [unreadable] more than 167"
    else:
        make_odd(f"a {what}", odd)
        says = f"tree/node/odd: error: [unreadable] this is a {what}, and only plain files are read"
    outcome = viommu("list", "--host", "tree")
    assert outcome.status == 1
    assert outcome.err.startswith(says)


def test_a_directory_of_too_many_small_files(
    viommu: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("west_viommu.read.tree.MOST_OF_A_TREE", 1000)
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "#address-cells").write_bytes(bytes(4))
    for i in range(100):
        (tmp_path / "tree" / f"p{i}").touch()
    outcome = viommu("list", "--host", "tree")
    assert (outcome.status, outcome.err.splitlines()[0]) == (
        1,
        "tree: error: [malformed] more than 1000 bytes",
    )


@pytest.mark.parametrize("kind", ["a pipe", "a device", "50 GB of holes"])
def test_incbin_of_what_is_no_plain_file(kind: str, viommu: Run, folder: Path) -> None:
    make_odd(kind, folder / "odd")
    (folder / "guest.dts").write_text('/dts-v1/;\n/ { a = /incbin/ ("odd"); };\n')
    outcome = viommu("bind", "--host", HOST, "guest.dts")
    assert outcome.status == 1
    assert outcome.err.startswith("guest.dts:2: error: [malformed] ")
    assert KINDS[kind][0].format(1 << 20) in outcome.err.splitlines()[0]


def test_incbin_of_stdin(viommu: Run, folder: Path) -> None:
    (folder / "guest.dts").write_text('/dts-v1/;\n/ { a = /incbin/ ("-"); };\n')
    outcome = viommu("bind", "--host", HOST, "guest.dts")
    assert "stdin is not a file" in outcome.err


def has_reader(pipe: Path) -> bool:
    try:
        os.close(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))
    except OSError as error:
        assert error.errno == errno.ENXIO
        return False
    return True


def test_a_pipe_that_is_included(
    viommu: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preprocess, "MOST_SECONDS", 0.5)
    make_odd("a pipe", folder / "odd")
    (folder / "guest.dts").write_text('#include "odd"\n/dts-v1/;\n')
    outcome = viommu("bind", "--host", HOST, "guest.dts")
    assert outcome.err == (
        "guest.dts: error: [malformed] the C preprocessor had not finished after 0.5 s\n"
        "hint: does it include a pipe, or a macro that stands for too much?\n"
    )
    # Nor does one of the preprocessor's own processes wait for it much longer.
    until = time.monotonic() + 10
    while has_reader(folder / "odd"):
        assert time.monotonic() < until
        time.sleep(0.05)


def test_a_source_of_a_build_that_is_a_pipe_is_left_to_the_preprocessor(build: Build) -> None:
    """Zephyr's own preprocessor reads it, and waits; what we read of it would be missing there."""
    os.mkfifo(build.app / "pipe.overlay")
    # The shell opens it, and so waits for whoever reads it.
    feed = ["sh", "-c", 'cat "$0" >"$1"', str(GUEST), str(build.app / "pipe.overlay")]
    with subprocess.Popen(feed):
        assert build.run(overlay="pipe.overlay") == 0
    assert b"iommu@4040000" in build.source.read_bytes()


@pytest.mark.parametrize("read", [plain_file.content, plain_file.check_plain])
def test_a_file_that_becomes_another_while_it_is_looked_at(
    read: Callable[[str], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, pipe = tmp_path / "plain", tmp_path / "pipe"
    plain.touch()
    os.mkfifo(pipe)
    before = plain.stat()
    monkeypatch.setattr(os, "stat", lambda file: before)
    with pytest.raises(plain_file.NotPlain, match="this is a pipe"):
        read(str(pipe))


def test_a_file_of_the_kernel_whose_size_is_0_is_bounded() -> None:
    assert Path("/proc/self/maps").stat().st_size == 0
    assert plain_file.content("/proc/self/maps").startswith(b"")
    with pytest.raises(plain_file.NotPlain, match="more than 100 bytes"):
        plain_file.content("/proc/self/maps", 100)


@pytest.mark.parametrize("value", ["\0", "x\0y"])
def test_a_name_that_no_file_can_have(
    value: str, viommu: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "of-west").write_text(f"[viommu]\nhost-dtb = {value}\n")
    monkeypatch.setenv("WEST_CONFIG_GLOBAL", str(folder / "of-west"))
    outcome = viommu("bind", GUEST)
    assert outcome.status == 1
    assert "\\x00" in outcome.err
    assert "error: [unreadable] no file can have this name\nhint: correct the name\n" in outcome.err
