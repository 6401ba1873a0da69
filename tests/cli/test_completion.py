# SPDX-License-Identifier: Apache-2.0
"""What the shells complete, in the shells that are installed; and the help that needs no option."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import CHECKOUT, IS_CHECKOUT, Run, needs_program
from west_viommu.cli.arguments import ALONE, COMMANDS, SHELLS
from west_viommu.cli.reference import COMPLETIONS
from west_viommu.names import PROFILES

HAS_SHTAB = importlib.util.find_spec("shtab") is not None
NO_SHTAB = "a checkout has no completions: `pip install shtab`, which makes them"
NAMES = sorted(command.name for command in (*COMMANDS, *ALONE))
PAGE = (CHECKOUT / "docs" / "completion.md").read_text()


def recipe(shell: str) -> str:
    """The lines of the page for the completion of west by `shell`, which know every command."""
    (block,) = [each for each in PAGE.split("```") if each.startswith(f"{shell}\n")]
    lists = re.findall(r"(?:for name in |viommu-\{)([a-z ,]+)", block)
    for names in lists:
        assert re.split("[ ,]", names.strip()) == [command.name for command in COMMANDS]
    assert lists
    return block.removeprefix(f"{shell}\n")


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the completions: of the wheel, or made as they are for one."""
    if not IS_CHECKOUT:
        return Path(COMPLETIONS)
    if not HAS_SHTAB:
        pytest.skip(NO_SHTAB)
    folder = tmp_path_factory.mktemp("completions")
    for shell in SHELLS:
        made = subprocess.run(
            [sys.executable, CHECKOUT / "tools" / "completion.py", shell],
            capture_output=True,
            text=True,
            check=True,
        )
        (folder / f"viommu.{shell}").write_text(made.stdout)
    return folder


# Completes the words $@, the last of which is being typed, by the function that $complete names.
BASH = """
source "$1"; shift
{setup}
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
{function} "$1" "${{@: -1}}" "${{@: -2:1}}"
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


def bash(scripts: Path, folder: Path, *words: str, setup: str = "", function: str = "") -> set[str]:
    """What bash offers for the last of `words`."""
    code = BASH.format(setup=setup, function=function or "_shtab_viommu")
    run = subprocess.run(
        ["bash", "--norc", "-c", code, "bash", scripts / "viommu.bash", *words],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert run.stderr == ""
    return {line.strip() for line in run.stdout.splitlines()} - {""}


@needs_program("bash", "bash")
def test_bash(scripts: Path, tmp_path: Path) -> None:
    (tmp_path / "host.dtb").touch()
    (tmp_path / "build").mkdir()
    assert bash(scripts, tmp_path, "viommu", "") >= set(NAMES)
    assert bash(scripts, tmp_path, "viommu", "ex") == {"extract", "explain"}
    assert bash(scripts, tmp_path, "viommu", "bind", "--pro") == {"--profile"}
    assert bash(scripts, tmp_path, "viommu", "bind", "--profile", "") >= set(PROFILES)
    assert bash(scripts, tmp_path, "viommu", "list", "--host", "h") == {"host.dtb"}
    assert bash(scripts, tmp_path, "viommu", "check", "-d", "b") == {"build"}
    assert "shared-page" in bash(scripts, tmp_path, "viommu", "explain", "shared-p")
    assert bash(scripts, tmp_path, "viommu", "completion", "z") == {"zsh"}


HOST = """/dts-v1/; / { #address-cells = <1>; #size-cells = <1>;
smmu: iommu@1000 { compatible = "arm,smmu-v3"; #iommu-cells = <1>; reg = <0x1000 0x20000>; };
net@100000 { compatible = "x"; reg = <0x100000 0x1000>; iommus = <&smmu 1>; };
rtc@200000 { compatible = "y"; reg = <0x200000 0x1000>; }; };"""
NODES = {"/net@100000", "/rtc@200000"}


@pytest.fixture
def on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A `viommu` that the shells find, and a host beside it."""
    program = tmp_path / "bin/viommu"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m west_viommu "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    (tmp_path / "my host.dts").write_text(HOST)


@needs_program("bash", "bash")
@pytest.mark.usefixtures("on_path")
def test_the_nodes_of_the_host_in_bash(scripts: Path, tmp_path: Path) -> None:
    host = ("--host", "my host.dts")
    assert bash(scripts, tmp_path, "viommu", "assign", *host, "") == NODES
    assert bash(scripts, tmp_path, "viommu", "extract", *host, "/n") == {"/net@100000"}
    assert bash(scripts, tmp_path, "viommu", "list", "--host", "=", "my host.dts", "") == NODES
    # Without a host there is nothing to offer, and nothing is said.
    assert bash(scripts, tmp_path, "viommu", "extract", "") == set()
    (tmp_path / "viommu.yml").write_text("host: my host.dts\n")
    assert bash(scripts, tmp_path, "viommu", "extract", "") == NODES


@needs_program("fish", "fish")
@pytest.mark.usefixtures("on_path")
def test_the_nodes_of_the_host_in_fish(scripts: Path, tmp_path: Path) -> None:
    line = "viommu extract --host 'my host.dts' /"
    code = f'source {str(scripts / "viommu.fish")!r}\ncomplete -C "{line}"'
    run = subprocess.run(
        ["fish", "--no-config", "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert {each.partition("\t")[0] for each in run.stdout.splitlines()} >= NODES


@needs_program("zsh", "zsh")
@pytest.mark.usefixtures("on_path")
def test_the_nodes_of_the_host_in_zsh(scripts: Path, tmp_path: Path) -> None:
    """By the function alone: compadd wants a terminal."""
    code = f"""autoload -U compinit; compinit -D -u; eval "$(<{str(scripts / "viommu.zsh")!r})"
    compadd() {{ print -rl -- ${{(P)2}} }}
    words=(extract --host 'my\\ host.dts' ''); _viommu_nodes"""
    run = subprocess.run(["zsh", "-f", "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert (set(run.stdout.split()), run.stderr) == (NODES, "")


@needs_program("bash", "bash")
def test_bash_by_the_completion_of_west(scripts: Path, tmp_path: Path) -> None:
    """By the lines of the page, and a stand-in for Zephyr's west-completion.bash that calls the
    function of a command as that does.
    """
    own = [line for line in recipe("bash").splitlines() if not line.startswith("source ")]
    west = """
    __comp_west() {
        local cur=${COMP_WORDS[COMP_CWORD]} command=${COMP_WORDS[1]} command_pos=1
        local cmds=(build flash)
        [ "$COMP_CWORD" = 1 ] && command=west
        declare -F __comp_west_${command//-/_} >/dev/null && __comp_west_${command//-/_}
    }
    __set_comp() { COMPREPLY=($(compgen -W "${*:1}" -- "$cur")); }
    __comp_west_west() { __set_comp ${cmds[@]}; }
    """
    setup = west + "\n".join(own)

    def offered(*words: str) -> set[str]:
        return bash(scripts, tmp_path, "west", *words, setup=setup, function="__comp_west")

    (tmp_path / "host.dtb").touch()
    assert offered("viommu-bind", "--pro") == {"--profile"}
    assert offered("viommu-list", "--host", "h") == {"host.dtb"}
    assert offered("viommu-extract", "--profile", "xen-v") == {"xen-v3-dom0less", "xen-v3-libxl"}
    assert offered("viommu-e") == {"viommu-extract", "viommu-explain"}
    assert offered("viommu-a") == {"viommu-assign", "viommu-audit"}
    assert offered("bu") == {"build"}


@needs_program("fish", "fish")
def test_fish(scripts: Path, tmp_path: Path) -> None:
    def offered(line: str) -> set[str]:
        code = f"source {str(scripts / 'viommu.fish')!r}\n{recipe('fish')}\ncomplete -C {line!r}"
        run = subprocess.run(
            ["fish", "--no-config", "-c", code], cwd=tmp_path, capture_output=True, text=True
        )
        assert run.stderr == ""
        return {each.partition("\t")[0] for each in run.stdout.splitlines()}

    assert offered("viommu ") >= set(NAMES)
    assert offered("viommu bind --profile ") >= set(PROFILES)
    assert "--dry-run" in offered("viommu bind --dry")
    assert offered("west viommu-e") == {"viommu-extract", "viommu-explain"}
    assert offered("west viommu-bind --profile xen-v") == {"xen-v3-dom0less", "xen-v3-libxl"}


@needs_program("zsh", "zsh")
def test_zsh(scripts: Path, tmp_path: Path) -> None:
    code = f'autoload -U compinit; compinit -D -u; eval "$(<{str(scripts / "viommu.zsh")!r})"'
    run = subprocess.run(
        ["zsh", "-f", "-c", f"{code}; print -r -- $_comps[viommu]"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert (run.stdout, run.stderr) == ("_shtab_viommu\n", "")


@pytest.mark.parametrize("shell", SHELLS)
def test_the_command_prints_what_came_with_the_wheel(shell: str, viommu: Run) -> None:
    outcome = viommu("completion", shell)
    if not IS_CHECKOUT:
        text = Path(COMPLETIONS, f"viommu.{shell}").read_text()
        assert outcome == (0, text, "")
        return
    assert (outcome.status, outcome.out) == (1, "")
    assert outcome.err == (
        "error: [unreadable] completions are made when the package is built, and this is a "
        "checkout\n"
        f"hint: install the package, or run here: python tools/completion.py {shell}\n"
    )


def test_nothing_shows_what_people_do(viommu: Run) -> None:
    outcome = viommu()
    assert (outcome.status, outcome.err) == (0, "")
    assert (
        outcome.out
        == """\
usage: viommu COMMAND ...

  viommu list --host host.dtb                         which devices can a guest have?
  viommu assign --host host.dtb --kernel Image NODE   from a device to a guest that boots
  viommu bind --host host.dtb guest.overlay           bind the overlay of a Zephyr guest
  viommu system system.yml                            judge several guests of one host
  viommu audit --host host.dtb FILE...                judge a configuration that exists

`viommu help` lists all commands, `viommu help COMMAND` the arguments of one.
"""
    )


def test_help_lists_the_commands(viommu: Run) -> None:
    outcome = viommu("help")
    assert (outcome.status, outcome.err) == (0, "")
    for command in (*COMMANDS, *ALONE):
        assert f"\n    {command.name}" in outcome.out
    assert viommu("--help") == outcome


def test_help_of_a_command(viommu: Run) -> None:
    for command in (*COMMANDS, *ALONE[:1]):
        assert viommu("help", command.name) == viommu(command.name, "--help")
    assert viommu("help", "help").out.startswith("usage: viommu help")
    outcome = viommu("help", "lst")
    assert (outcome.status, outcome.out) == (2, "")
    assert "argument COMMAND: invalid choice: 'lst' (choose from " in outcome.err


def test_a_wrong_command_line_in_the_form_that_is_asked_for(
    viommu: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = "usage: viommu list [-h]"
    says = "viommu list: error: unrecognized arguments: --bad\n"
    assert viommu("list", "--bad").err.startswith(usage)
    assert viommu("list", "--bad").err.endswith(says)
    objects = viommu("list", "--bad", "--errors", "json").err
    assert json.loads(objects)["what"] == "unrecognized arguments: --bad"
    monkeypatch.setenv("VIOMMU_ERRORS", "json")
    assert viommu("list", "--bad").err == objects
    assert json.loads(viommu("lst").err)["what"].startswith("argument COMMAND: invalid choice")
    assert viommu("list", "--bad", "--errors=text").err.startswith(usage)
