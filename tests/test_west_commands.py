# SPDX-License-Identifier: Apache-2.0
"""The west front end in process, loaded as west loads it: as a lone module."""

from __future__ import annotations

import argparse
import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from west.commands import CommandError

from tests.support import CHECKOUT, DEMO, HOSTS, PACKAGE, PARTIAL_TREE, Run


@pytest.fixture
def module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("lone", PACKAGE / "west_commands.py")
    assert spec and spec.loader
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def test_each_class_that_west_is_told_of_makes_its_command(module: ModuleType) -> None:
    (entry,) = yaml.safe_load((CHECKOUT / "west-commands.yml").read_text())["west-commands"]
    named = {each["name"]: each["class"] for each in entry["commands"]}
    assert {name: getattr(module, made)().name for name, made in named.items()} == {
        name: name for name in named
    }


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("ViommuList", ["--host", str(DEMO / "host.dts")]),
        ("ViommuBind", ["--host", str(DEMO / "host.dts"), str(DEMO / "guest.overlay")]),
        ("ViommuExplain", ["unknown-stream-id"]),
    ],
)
def test_both_front_ends_say_the_same(
    name: str,
    arguments: list[str],
    module: ModuleType,
    viommu: Run,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = getattr(module, name)()
    expected = viommu(command.name.removeprefix("viommu-"), *arguments)
    parser = argparse.ArgumentParser()
    command.do_add_parser(parser.add_subparsers())
    command.do_run(parser.parse_args([command.name, *arguments]), [])
    # What is told to run next is what is there: in a workspace, that is west's.
    out = expected.out.replace("`viommu ", "`west viommu-")
    assert capsys.readouterr() == (out, expected.err)


def test_a_diff_is_of_what_is_in_the_files(
    module: ModuleType, viommu: Run, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A command in the text of a file is not named as west has it."""
    reason = "see `viommu explain shared-page`"
    (tmp_path / "viommu.yml").write_text(
        f"allow: [{{hazard: unprotected, device: /serial@200a0000, reason: '{reason}'}}]\n"
    )
    (tmp_path / "guest.dts").write_text(PARTIAL_TREE % 'e { xen,path = "/serial@200a0000"; };')
    arguments = ["--host", str(HOSTS / "two-smmus.dts"), "guest.dts", "--diff"]
    expected = viommu("bind", *arguments)
    assert reason in expected.out
    command = module.ViommuBind()
    parser = argparse.ArgumentParser()
    command.do_add_parser(parser.add_subparsers())
    command.do_run(parser.parse_args([command.name, *arguments]), [])
    assert capsys.readouterr().out == expected.out


def test_hints_name_the_commands_of_west(
    module: ModuleType, viommu: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    command = module.ViommuExtract()
    parser = argparse.ArgumentParser()
    command.do_add_parser(parser.add_subparsers())
    arguments = [command.name, "--host", str(DEMO / "host.dts"), "zzzzzzz"]
    with pytest.raises(CommandError):
        command.do_run(parser.parse_args(arguments), [])
    assert "hint: `west viommu-list` shows the host nodes" in capsys.readouterr().err


def test_a_refusal_ends_west_with_its_status(
    module: ModuleType, viommu: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    command = module.ViommuList()
    parser = argparse.ArgumentParser()
    command.do_add_parser(parser.add_subparsers())
    nowhere = parser.parse_args(["viommu-list", "--host", "nowhere.dtb"])
    with pytest.raises(CommandError) as caught:
        command.do_run(nowhere, [])
    assert caught.value.returncode == 1
    assert "[unreadable]" in capsys.readouterr().err
