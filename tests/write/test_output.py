# SPDX-License-Identifier: Apache-2.0
"""The output folder of a run: what is kept, replaced and removed."""

import os
from pathlib import Path

import pytest

from west_viommu.diagnostics import Refused
from west_viommu.names import (
    BINDING_FIRST_LINE,
    OVERLAY,
    OVERLAY_FIRST_LINE,
    PLAN,
    PLAN_BEGINNING,
    XL_CFG,
    XL_CFG_FIRST_LINE,
)
from west_viommu.write.files import Output

BINDING = "dts/bindings/a.yaml"
_OLD = 1_000_000_000


def files(plan: str = "{}", *names: str) -> dict[str, bytes]:
    """Return the files of a run, the plan last."""
    texts = {OVERLAY: OVERLAY_FIRST_LINE, XL_CFG: XL_CFG_FIRST_LINE, BINDING: BINDING_FIRST_LINE}
    return {
        **{name: f"{texts[name]}\n".encode() for name in (OVERLAY, *names)},
        PLAN: f"{PLAN_BEGINNING}{plan}".encode(),
    }


def write(folder: Path, content: dict[str, bytes]) -> None:
    with Output(folder) as output:
        output.write(content)


def found(folder: Path) -> dict[str, bytes]:
    return {
        str(each.relative_to(folder)): each.read_bytes()
        for each in folder.rglob("*")
        if each.is_file()
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the files of a run, all of the same old time."""
    write(tmp_path, files("{}", XL_CFG))
    for name in files("{}", XL_CFG):
        os.utime(tmp_path / name, ns=(_OLD, _OLD))
    return tmp_path


def test_the_same_files_keep_their_times(folder: Path) -> None:
    write(folder, files("{}", XL_CFG))
    assert {each.stat().st_mtime_ns for each in folder.iterdir()} == {_OLD}


def test_another_plan_takes_the_place_of_the_old_one(folder: Path) -> None:
    write(folder, files('{"a": 1}', XL_CFG))
    assert found(folder) == files('{"a": 1}', XL_CFG)


def test_a_file_that_was_changed_is_written_again(folder: Path) -> None:
    (folder / OVERLAY).write_text(f"{OVERLAY_FIRST_LINE}\nmine\n")
    write(folder, files("{}", XL_CFG))
    assert found(folder) == files("{}", XL_CFG)
    assert (folder / PLAN).stat().st_mtime_ns > _OLD


def test_a_file_that_is_no_longer_written_goes(folder: Path) -> None:
    content = files("{}", XL_CFG)
    del content[XL_CFG]
    write(folder, content)
    assert found(folder) == content


def test_a_new_file_comes(folder: Path) -> None:
    write(folder, files("{}", XL_CFG, BINDING))
    assert found(folder) == files("{}", XL_CFG, BINDING)


def test_files_of_an_earlier_version_are_ours(folder: Path) -> None:
    plan = (folder / PLAN).read_bytes()
    (folder / PLAN).write_bytes(plan.replace(b'"schema": 2', b'"schema": 1'))
    assert (folder / PLAN).read_bytes() != plan
    Output(folder).remove()
    assert found(folder) == {}


def test_an_empty_file_may_be_replaced_and_is_not_removed(folder: Path) -> None:
    (folder / XL_CFG).write_bytes(b"")
    Output(folder).remove()
    assert found(folder) == {XL_CFG: b""}
    write(folder, files("{}", XL_CFG))
    assert found(folder) == files("{}", XL_CFG)


def test_a_file_of_somebody_else_refuses_the_run(tmp_path: Path) -> None:
    (tmp_path / XL_CFG).write_text("mine\n")
    with pytest.raises(Refused, match="that this tool did not write"):
        write(tmp_path, files("{}", XL_CFG))
    assert found(tmp_path) == {XL_CFG: b"mine\n"}


@pytest.mark.parametrize(
    ("name", "content", "is_ours"),
    [
        (".west-viommu.12", OVERLAY_FIRST_LINE[:9], True),
        (".west-viommu.12", "", True),
        (".west-viommu.12", "mine", False),
        (".west-viommu.mine", OVERLAY_FIRST_LINE[:9], False),
        ("a.west-viommu.12", OVERLAY_FIRST_LINE[:9], False),
    ],
)
def test_the_rest_of_a_killed_run(name: str, content: str, is_ours: bool, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    Output(tmp_path).remove()
    assert (tmp_path / name).exists() is not is_ours


def test_a_link_with_our_name_stays(tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.write_text(OVERLAY_FIRST_LINE)
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / ".west-viommu.12").symlink_to(there)
    Output(folder).remove()
    assert (folder / ".west-viommu.12").is_symlink()


def test_bindings_in_a_folder_that_is_a_link_stay(tmp_path: Path) -> None:
    there = tmp_path / "there"
    (there / "bindings").mkdir(parents=True)
    (there / "bindings" / "a.yaml").write_text(BINDING_FIRST_LINE)
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "dts").symlink_to(there)
    Output(folder).remove()
    assert (there / "bindings" / "a.yaml").exists()
    (there / "bindings" / "a.yaml").write_text("mine")
    with pytest.raises(Refused, match="this is a link"):
        write(folder, files("{}", BINDING))
    assert (there / "bindings" / "a.yaml").read_text() == "mine"
