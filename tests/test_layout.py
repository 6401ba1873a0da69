# SPDX-License-Identifier: Apache-2.0
"""The layout that users and Zephyr rely on, and the direction in which modules may import."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
import yaml

from tests.support import CHECKOUT, PACKAGE
from west_viommu import __version__
from west_viommu.cli.arguments import COMMANDS
from west_viommu.names import PROFILES

# A package may import those before it (docs/architecture.md).
LAYERS = (
    "diagnostics",
    "names",
    "tree",
    "host",
    "guest",
    "hypervisor",
    "hazards",
    "plan",
    "check",
    "extract",
    "system",
    "audit",
    "read",
    "write",
    "api",
    "api_system",
    "api_assign",
    "cli",
)
CHANGELOG = CHECKOUT / "CHANGELOG.md"
CORE = LAYERS[LAYERS.index("diagnostics") : LAYERS.index("audit") + 1]
FORBIDDEN_IN_CORE = {"os", "sys", "pathlib", "subprocess", "yaml", "devicetree", "west", "argparse"}


def imported(module: Path) -> set[str]:
    """The full names that `module` imports."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    return names


def modules(layer: str) -> list[Path]:
    single = PACKAGE / f"{layer}.py"
    return [single] if single.exists() else sorted((PACKAGE / layer).glob("*.py"))


@pytest.mark.parametrize("layer", LAYERS)
def test_a_layer_imports_only_those_below_it(layer: str) -> None:
    allowed = LAYERS[: LAYERS.index(layer) + 1]
    for module in modules(layer):
        ours = {name.split(".")[1] for name in imported(module) if name.startswith("west_viommu.")}
        assert ours <= set(allowed), module


def test_the_architecture_lists_them_in_this_order() -> None:
    text = (CHECKOUT / "docs" / "architecture.md").read_text()
    rows = re.findall(r"^\| `(\w+)(?:/|\.py)` \|", text, re.MULTILINE)
    assert rows == [*LAYERS, "start"]


@pytest.mark.parametrize("layer", CORE)
def test_the_core_does_no_input_or_output(layer: str) -> None:
    for module in modules(layer):
        assert not imported(module) & FORBIDDEN_IN_CORE, module


def test_diagnostics_are_built_by_keyword() -> None:
    """Positional blanks hide which field is which."""
    wrong = [
        f"{module}:{call.lineno}"
        for module in sorted(PACKAGE.rglob("*.py"))
        for call in ast.walk(ast.parse(module.read_text()))
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Name)
        and call.func.id == "Diagnostic"
        and call.args
    ]
    assert not wrong


def contents(path: Path) -> dict[str, bytes]:
    """What is in a file or a folder, by the names below `path`."""
    files = path.rglob("*") if path.is_dir() else [path]
    return {str(file.relative_to(path)): file.read_bytes() for file in files}


@pytest.mark.parametrize(
    ("link", "target"),
    [
        (CHECKOUT / "zephyr-module.yml", "zephyr/module.yml"),
        (CHECKOUT / "zephyr/dts/bindings", "bindings"),
    ],
    ids=lambda value: value.name if isinstance(value, Path) else "",
)
def test_the_links_that_zephyr_and_people_follow_are_links(link: Path, target: str) -> None:
    """A checkout without symbolic links (git on Windows) has text files in their place, which no
    build needs (tests/test_portable.py). An sdist may have copies."""
    copied = (CHECKOUT / "PKG-INFO").exists()
    assert link.is_symlink() or copied, (
        f"{link} is no link: git config core.symlinks true, check out anew"
    )
    assert contents(link) == contents(CHECKOUT / target)


def test_what_zephyr_reads_of_the_module_is_there() -> None:
    module = yaml.safe_load((CHECKOUT / "zephyr-module.yml").read_text())
    root = CHECKOUT / module["build"]["settings"]["dts_root"]
    assert (root / "dts/bindings/viommu,passthrough.yaml").is_file()
    ext_root = CHECKOUT / module["build"]["settings"]["module_ext_root"]
    assert (ext_root / "modules/modules.cmake").is_file()
    # The schema of Zephyr 3.1, which refuses a module with any other key.
    assert set(module) <= {"name", "build", "tests", "samples", "boards"}


def test_west_knows_every_command_under_the_same_help() -> None:
    (entry,) = yaml.safe_load((CHECKOUT / "west-commands.yml").read_text())["west-commands"]
    listed = {command["name"]: command["help"] for command in entry["commands"]}
    assert listed == {f"viommu-{command.name}": command.help for command in COMMANDS}


def test_the_profiles_that_can_be_chosen_are_those_that_are_shipped() -> None:
    assert set(PROFILES) == {file.stem for file in (PACKAGE / "profiles").glob("*.yaml")}


@pytest.mark.parametrize("folder", ["tests", "bench"])
def test_nothing_is_imported_from_a_module_of_tests(folder: str) -> None:
    """What several need is in tests/support.py, or in a module beside them with its own name."""
    for module in sorted((CHECKOUT / folder).rglob("*.py")):
        last = {name.rpartition(".")[2] for name in imported(module) if name.startswith("tests.")}
        assert {name for name in last if re.match("test_|conftest$", name)} == set(), module


def test_the_version_is_that_of_the_newest_release() -> None:
    """What came after it is in the changelog's section Unreleased."""
    releases = re.findall(r"^## \[(.*)\] - \d{4}-\d\d-\d\d$", CHANGELOG.read_text(), re.M)
    assert releases[0] == __version__
