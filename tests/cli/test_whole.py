# SPDX-License-Identifier: Apache-2.0
"""The files of a run are whole or absent: under a kill at every file operation, a full disk, a
read-only folder, odd things in the place of our files, and two runs at once.
"""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from tests.cli.build import Build
from tests.cli.faults import KILL, NO_SPACE, READ_ONLY, Fault, run_in_fork
from tests.cli.whole import (
    Case,
    Files,
    assert_foreign_untouched,
    assert_whole_or_unsealed,
    content,
    fill,
    remembered,
)
from tests.support import Run
from west_viommu.cli import bind
from west_viommu.diagnostics import Refused
from west_viommu.read.guest import sealed_plan
from west_viommu.write.files import Output

# As it is, while a case remembers what it returned.
DONE = bind.done


def faulty(case: Case, before: Files, first: int, fault: Fault) -> tuple[int, bool, str]:
    """Exit status, whether it got to its fault, and output of a run with a fault."""
    fill(case.folder, before)
    log = case.folder.parent / "log"
    status, reached = run_in_fork(case.run, case.folder, first, fault, log)
    return status, reached, log.read_text()


@pytest.mark.parametrize("before", ["empty", "other content", "other profile"])
def test_a_kill_at_every_file_operation(before: str, case: Case, viommu: Run) -> None:
    earlier = case.befores[before]
    first, reached = 0, True
    while reached:
        # Five operations belong to a file, so every third one meets each kind. All take long.
        first += 1 if before == "other profile" else 3
        status, reached, log = faulty(case, earlier, first, KILL)
        assert status == (-9 if reached else 0), log
        assert_whole_or_unsealed(case.folder, [earlier, case.files])
        assert_foreign_untouched(case.folder)
        overlay = content(case.folder).get("viommu.overlay")
        if overlay == case.files["viommu.overlay"]:
            # A build that does not look for the seal has at least one run's files.
            assert content(case.folder).items() >= {
                (k, v) for k, v in case.files.items() if k != "viommu.json"
            }
        assert viommu(*case.command).status == 0
        assert content(case.folder) == case.files
        assert_foreign_untouched(case.folder)
    assert first > len(case.files) * 3


def test_a_run_that_is_killed_while_it_reads_has_broken_the_seal(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(bind, "_both", killed)
    status, _, _ = faulty(case, case.befores["other content"], 1000, KILL)
    assert status == -9
    assert sealed_plan(case.folder) is None


@pytest.mark.parametrize("fault", [NO_SPACE, READ_ONLY])
def test_a_disk_that_fails_from_some_operation_on(fault: Fault, case: Case, viommu: Run) -> None:
    earlier = case.befores["other profile"]
    first, reached = 1, True
    while reached:
        first += 3
        status, reached, log = faulty(case, earlier, first, fault)
        assert status == (1 if reached else 0), log
        assert "Traceback" not in log
        assert not reached or "error: [unwritable] " in log
        assert_foreign_untouched(case.folder)
        assert_whole_or_unsealed(case.folder, [earlier, case.files])
        if reached and fault is NO_SPACE:
            assert content(case.folder) == {}
    assert viommu(*case.command).status == 0
    assert content(case.folder) == case.files


@pytest.mark.parametrize("place", ["zephyr", "viommu"])
@pytest.mark.parametrize("fault", [KILL, NO_SPACE])
def test_a_build_whose_hook_fails_at_some_operation(
    fault: Fault, place: str, build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CMake stops when the preprocessor's command fails; the next configure starts afresh."""
    monkeypatch.setattr(bind, "done", remembered(bind.done, lambda *_: None))
    assert build.run() == 0
    files, source, rule = content(build.output), build.source.read_bytes(), build.rule.read_bytes()
    log = build.build / "log"
    first, reached = 0, True
    while reached:
        first += 1 if place == "zephyr" else 12
        status, reached = run_in_fork(build.run, build.build / place, first, fault, log)
        assert "Traceback" not in log.read_text()
        if reached:
            assert status == (-9 if fault is KILL else 1)
            assert fault is KILL or "error: [unwritable] " in log.read_text()
            assert_whole_or_unsealed(build.output, [files])
            assert fault is KILL or content(build.output) == {}
    assert (content(build.output), build.source.read_bytes()) == (files, source)
    assert build.rule.read_bytes() == rule
    assert first > 4


def test_a_stale_overlay_that_is_given_to_a_build_is_left_out(build: Build) -> None:
    """As EXTRA_DTC_OVERLAY_FILE, of an earlier run that took another device for another node."""
    assert build.run() == 0
    source = build.source.read_bytes()
    stale = build.app / "viommu.overlay"
    text = (build.output / "viommu.overlay").read_text()
    stale.write_text(text.replace("<&vsmmu 0x40>", "<&vsmmu 0x77>"))
    guest = build.app / "guest.overlay"
    with guest.open("a") as file:
        file.write('#include "viommu.overlay"\n')
    assert "0x77" in stale.read_text()
    assert build.run() == 0
    assert b"0x77" not in build.source.read_bytes()
    assert build.source.read_bytes().count(b"iommu@4040000") == source.count(b"iommu@4040000")


def test_a_build_that_asks_for_nothing_leaves_a_stale_overlay_out(build: Build) -> None:
    assert build.run() == 0
    shutil.copy(build.output / "viommu.overlay", build.app)
    (build.app / "empty.overlay").write_text('/ { passthrough { }; };\n#include "viommu.overlay"\n')
    assert build.run(overlay="empty.overlay") == 0
    assert b"iommu@" not in build.source.read_bytes()


@pytest.mark.parametrize("name", ["viommu.overlay", "viommu.json", "xl.cfg"])
@pytest.mark.parametrize("kind", ["folder", "pipe", "dangling link", "link to another's"])
def test_what_is_no_file_of_ours_is_left_alone(
    kind: str, name: str, case: Case, viommu: Run, tmp_path: Path
) -> None:
    fill(case.folder, {})
    place = case.folder / name
    other = tmp_path / "other"
    if kind == "folder":
        place.mkdir()
    elif kind == "pipe":
        os.mkfifo(place)
    else:
        place.symlink_to(other)
        if kind == "link to another's":
            other.write_text("mine")
    before = place.lstat()
    outcome = viommu(*case.command)
    assert outcome.status == 1
    assert outcome.err == (
        f"viommu/{name}: error: [unwritable] a file of this name exists that this tool did not "
        "write\nhint: move it away, or give another folder with -o\n"
    )
    assert (place.lstat().st_ino, place.lstat().st_mode) == (before.st_ino, before.st_mode)
    assert other.exists() == (kind == "link to another's")
    assert not other.exists() or other.read_text() == "mine"


def test_a_link_to_a_file_of_ours_is_replaced_and_that_file_stays(
    case: Case, viommu: Run, tmp_path: Path
) -> None:
    fill(case.folder, case.befores["other content"])
    elsewhere = tmp_path / "elsewhere.overlay"
    (case.folder / "viommu.overlay").rename(elsewhere)
    text = elsewhere.read_bytes()
    (case.folder / "viommu.overlay").symlink_to(elsewhere)
    assert viommu(*case.command).status == 0
    assert content(case.folder) == case.files
    assert not (case.folder / "viommu.overlay").is_symlink()
    assert elsewhere.read_bytes() == text


@pytest.mark.parametrize("link", ["dts", "dts/bindings"])
@pytest.mark.parametrize("target", ["full", "missing"])
def test_a_link_inside_the_folder_is_not_followed(
    link: str, target: str, case: Case, viommu: Run, tmp_path: Path
) -> None:
    """Neither to write there nor to remove what is ours."""
    fill(case.folder, case.files)
    elsewhere = tmp_path / "elsewhere"
    (case.folder / link).rename(elsewhere)
    (case.folder / link).symlink_to(elsewhere)
    for name in ("notes", ".west-viommu.1"):
        (elsewhere / name).write_text("mine")
    if target == "missing":
        shutil.rmtree(elsewhere)
    before = content(elsewhere)
    outcome = viommu(*case.command)
    assert outcome.status == 1
    assert outcome.err == (
        f"viommu/{link}: error: [unwritable] this is a link, and nothing is written outside of the "
        "output folder\nhint: move it away, or give another folder with -o\n"
    )
    assert (case.folder / link).is_symlink()
    assert content(elsewhere) == before and elsewhere.exists() == (target == "full")
    assert not (case.folder / "viommu.overlay").exists()


def test_a_run_that_needs_no_folder_inside_leaves_a_link_alone(
    case: Case, viommu: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(case.folder, case.files)
    elsewhere = tmp_path / "elsewhere"
    (case.folder / "dts").rename(elsewhere)
    (case.folder / "dts").symlink_to(elsewhere)
    before = content(elsewhere)
    monkeypatch.delenv("ZEPHYR_BASE")
    monkeypatch.setattr(bind, "done", DONE)
    assert viommu(*case.command).status == 0
    assert content(elsewhere) == before
    assert sealed_plan(case.folder)


def test_a_folder_that_is_a_link_itself_is_the_users_choice(
    case: Case, viommu: Run, tmp_path: Path
) -> None:
    shutil.rmtree(case.folder)
    (tmp_path / "elsewhere").mkdir()
    case.folder.symlink_to(tmp_path / "elsewhere")
    assert viommu(*case.command).status == 0
    assert content(tmp_path / "elsewhere") == case.files


@pytest.mark.parametrize("link", ["dts", "dts/bindings", "dts/bindings/vendor-prefixes.txt"])
def test_a_build_that_asks_for_nothing_follows_no_link(
    link: str, build: Build, tmp_path: Path
) -> None:
    (build.app / "empty.overlay").write_text("/ { };\n")
    place = build.output / link
    place.parent.mkdir(parents=True)
    place.symlink_to(tmp_path / "elsewhere")
    assert build.run(overlay="empty.overlay") == (not link.endswith(".txt"))
    assert not (tmp_path / "elsewhere").exists()


def test_a_binding_of_somebody_else_is_not_replaced(case: Case, viommu: Run) -> None:
    """With -o, a run may come into an application's own folder."""
    fill(case.folder, {"dts/bindings/vendor-prefixes.txt": b"acme\tAcme\n"})
    outcome = viommu(*case.command)
    assert outcome.status == 1
    assert "vendor-prefixes.txt: error: [unwritable] a file of this name exists" in outcome.err
    assert content(case.folder) == {"dts/bindings/vendor-prefixes.txt": b"acme\tAcme\n"}


def test_what_a_killed_run_left_is_told_from_what_is_called_so(case: Case, viommu: Run) -> None:
    blob = next(data for name, data in case.files.items() if name.endswith(".dtb"))
    other = Path("other.dts").absolute()
    other.write_text("/dts-v1/; / { };")
    subprocess.run(["dtc", "-q", "-o", "other.dtb", other], check=True)
    left = [data[:size] for data in case.files.values() for size in (0, 3, 6, 40, len(data))]
    fill(case.folder, {f".west-viommu.{i + 1000}": data for i, data in enumerate(left)})
    assert blob in left
    mine = Files(
        {".west-viommu.1": b"mine", ".west-viommu.2": other.with_suffix(".dtb").read_bytes()}
    )
    for name, data in mine.items():
        (case.folder / name).write_bytes(data)
    (case.folder / ".west-viommu.3").mkdir()
    (case.folder / ".west-viommu.4").symlink_to(case.folder / ".west-viommu.3/none")
    (case.folder / ".west-viommu.5").symlink_to(os.devnull)
    assert viommu(*case.command).status == 0
    assert content(case.folder) == case.files | mine
    assert (case.folder / ".west-viommu.3").is_dir()
    assert (case.folder / ".west-viommu.4").is_symlink()
    assert (case.folder / ".west-viommu.5").is_symlink()


def test_what_a_power_cut_emptied_is_written_again(case: Case, viommu: Run) -> None:
    fill(case.folder, dict.fromkeys(case.files, b""))
    assert viommu(*case.command).status == 0
    assert content(case.folder) == case.files


def test_a_file_where_the_folder_should_be(case: Case, viommu: Run) -> None:
    shutil.rmtree(case.folder)
    case.folder.write_text("mine")
    outcome = viommu(*case.command)
    assert outcome.status == 1
    assert outcome.err.startswith("viommu: error: [unwritable] Not a directory\n")
    assert case.folder.read_text() == "mine"


def test_the_first_refusal_is_told_also_where_our_files_cannot_be_removed(
    case: Case, viommu: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    fill(case.folder, case.files)
    (case.folder.parent / "viommu.yml").write_text("hst: host.dts\n")
    monkeypatch.setattr(os, "unlink", refuse)
    outcome = viommu(*case.command)
    assert outcome.status == 1
    assert "viommu.yml:1: error: [malformed]" in outcome.err
    assert "viommu: error: [unwritable] Read-only file system" in outcome.err


def test_two_runs_at_once_end_as_one_of_them(case: Case) -> None:
    """Each sees the other's folder at any time; the last to write has it, and has it alone."""
    sets = [case.files, *case.befores.values()]
    fill(case.folder, {})
    children = []
    for which in (0, 2, 3, 0):
        child = os.fork()
        if not child:
            status = 1
            try:
                for i in range(40):
                    with suppress(KeyError), Output(case.folder) as output:
                        # Some fail.
                        output.write(in_order(sets[which] if i % 8 < 7 else {}))
                status = 0
            finally:
                os._exit(status)
        children.append(child)
    running = set(children)
    while running:
        for child in list(running):
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                assert status == 0
                running.remove(child)
        # A consumer meanwhile: refused, nothing there, or what is sealed.
        with suppress(Refused):
            sealed_plan(case.folder)
    assert content(case.folder) in [{}, *sets]
    assert_foreign_untouched(case.folder)


def in_order(files: Files) -> Files:
    """`files` as a run writes them."""
    last = ("viommu.overlay", "viommu.json")
    return {name: files[name] for name in (*(each for each in files if each not in last), *last)}
