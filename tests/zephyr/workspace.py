# SPDX-License-Identifier: Apache-2.0
"""A west workspace with a real Zephyr, named by ZEPHYR_BASE, and this checkout as its module."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.support import CHECKOUT

BASE = os.environ.get("ZEPHYR_BASE")
VERSION = (
    tuple(
        int(number)
        for number in re.findall(
            r"^(?:VERSION_MAJOR|VERSION_MINOR) *= *(\d+)",
            Path(BASE, "VERSION").read_text(),
            re.MULTILINE,
        )
    )
    if BASE
    else (0, 0)
)
GICV3 = "xenvm//gicv3" if VERSION >= (3, 7) else "xenvm_gicv3"
SAMPLE = CHECKOUT / "samples" / "passthrough"
MANIFEST = """manifest:
  projects:
    - {name: zephyr, url: https://example.org/zephyr, revision: main,
       west-commands: scripts/west-commands.yml}
    - {name: west-viommu, url: https://example.org/west-viommu, revision: main,
       west-commands: west-commands.yml}
"""
# Prints what edtlib made of each node with iommus: path -> [[controller path, stream ID], ...].
_IOMMUS = """
import json, pickle, sys
edt = pickle.load(open(sys.argv[1], "rb"))
print(json.dumps({
    node.path: [[e.controller.path, e.data["stream-id"]] for e in node.props["iommus"].val]
    for node in edt.nodes if "iommus" in node.props
}))
"""

needs_zephyr = pytest.mark.skipif(
    not BASE, reason="there is no Zephyr: set ZEPHYR_BASE to the tree of one"
)


def since(major: int, minor: int, why: str) -> pytest.MarkDecorator:
    """Skips a test of `needs_zephyr` under an older Zephyr, which says `why`."""
    return pytest.mark.skipif(
        (major, minor) > VERSION,
        reason=f"{why}: set ZEPHYR_BASE to Zephyr {major}.{minor} or later",
    )


needs_toolchain = since(4, 0, "older Zephyrs do not build with every toolchain")

of_4_3 = pytest.mark.skipif(
    VERSION != (4, 3), reason="it is made of Zephyr 4.3: set ZEPHYR_BASE to that"
)

# A guest with one device of the demo's host.
OVERLAY = """/ {
	passthrough {
		compatible = "simple-bus";
		#address-cells = <2>;
		#size-cells = <2>;
		ranges;
		%s
	};
};
"""
ETHERNET = """ethernet@e0100000 {
	compatible = "cdns,gem";
	reg = <0x0 0xe0100000 0x0 0x1000>;
	iommus = <0x0 0x40>;
};"""
VSMMU = "/iommu@4040000"
ETHERNET_IOMMUS = {"/passthrough/ethernet@e0100000": [[VSMMU, 0x40]]}

# Places of a module's folder in CMAKE_MODULE_PATH.
FIRST = "list(PREPEND CMAKE_MODULE_PATH ${d})\n"
AFTER_US = (
    'list(FIND CMAKE_MODULE_PATH "${VIOMMU_CMAKE_DIR}" i)\nmath(EXPR i "${i} + 1")\n'
    "list(INSERT CMAKE_MODULE_PATH ${i} ${d})\n"
)

# Where each function of a Zephyr after 4.3 begins in the dts.cmake of 4.3, and its name there.
_FUNCTIONS = {
    "dts_configuration_files": "if(NOT DEFINED DTS_SOURCE)",
    "dts_edt_pickle": "#\n# Run the C preprocessor",
    "dts_gen_defines": "#\n# Run GEN_DEFINES_SCRIPT.",
    "dts_gen_driver_kconfig": "#\n# Run GEN_DRIVER_KCONFIG_SCRIPT.",
    "dts_dtc": "#\n# Run dtc if it was found.",
    "dts_build_info_output": "build_info(devicetree files",
}
_OF_THE_CALLER = ("DTS_SOURCE", "dts_files", "EXTRA_GEN_EDT_ARGS", "DTS_ROOT_BINDINGS")


class Ran(NamedTuple):
    """A command: its status and all that it printed."""

    status: int
    log: str


class Workspace:
    """A west workspace. `app` is the application to build; a test may write into it."""

    def __init__(self, top: Path):
        self.top = top
        self.app = top / "app"
        self.build = top / "build"
        self.app.mkdir(parents=True)
        (self.app / "west.yml").write_text(MANIFEST)
        (self.app / "prj.conf").write_text("")
        (self.app / "CMakeLists.txt").write_text(
            "cmake_minimum_required(VERSION 3.20.0)\n"
            "include(${CMAKE_CURRENT_LIST_DIR}/before.cmake OPTIONAL)\n"
            "find_package(Zephyr REQUIRED HINTS $ENV{ZEPHYR_BASE})\nproject(app)\n"
            "target_sources(app PRIVATE main.c)\n"
        )
        (self.app / "main.c").write_text("int main(void) { return 0; }\n")
        (top / "zephyr").symlink_to(str(BASE))
        (top / "west-viommu").symlink_to(CHECKOUT)
        self.run("west", "init", "-l", "app", cwd=top)

    def put_stage_off(self) -> None:
        """Make Zephyr 4.3 what comes after it: dts.cmake defines functions, which the macro
        dts_init calls, and Zephyr calls that after the include.
        """
        # west refuses commands in a file that a link brings into the project.
        text = MANIFEST.replace(",\n       west-commands: scripts/west-commands.yml", "")
        (self.app / "west.yml").write_text(text)
        modules = Path("cmake", "modules")
        zephyr = self.top / "zephyr"
        zephyr.unlink()
        for folder in (Path(), modules.parent, modules):
            (zephyr / folder).mkdir()
            for entry in Path(str(BASE), folder).iterdir():
                if folder / entry.name not in (modules.parent, modules):
                    (zephyr / folder / entry.name).symlink_to(entry)
        self._rewrite(zephyr / modules / "dts.cmake", _in_functions)
        include = "  include(${module})\n"
        later = f"{include}  if(module STREQUAL dts)\n    dts_init()\n  endif()\n"
        self._rewrite(
            zephyr / modules / "zephyr_default.cmake", lambda text: text.replace(include, later)
        )

    def _rewrite(self, link: Path, change: Callable[[str], str]) -> None:
        """Put a changed copy in the place of a link."""
        text = link.read_text()
        link.unlink()
        link.write_text(change(text))
        assert link.read_text() != text

    def environment(self, variables: Mapping[str, str] = {}) -> dict[str, str]:
        """What a command in the workspace sees."""
        return {
            **{k: v for k, v in os.environ.items() if not k.startswith("VIOMMU_")},
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "ZEPHYR_BASE": str(self.top / "zephyr"),
            "WEST_CONFIG_GLOBAL": str(self.top / "no-config"),
            **variables,
        }

    def run(self, *command: str, cwd: Path | None = None, variables: Mapping[str, str] = {}) -> Ran:
        """Run `command` in the application's folder."""
        done = subprocess.run(
            command,
            cwd=cwd or self.app,
            env=self.environment(variables),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return Ran(done.returncode, done.stdout)

    def stage(self, *options: str, app: Path | None = None, board: str = "xenvm") -> Ran:
        """Zephyr's devicetree stage and nothing more, in a fresh build directory."""
        if self.build.exists():
            subprocess.run(["rm", "-rf", str(self.build)], check=True)
        helper = self.top / "zephyr" / "cmake" / "package_helper.cmake"
        command = ["cmake", f"-DBOARD={board}", "-B", str(self.build), "-S", str(app or self.app)]
        return self.run(*command, "-DMODULES=dts", *options, "-P", str(helper))

    def header(self) -> str:
        """The C header of the devicetree, without the comment that lists where bindings are."""
        (file,) = [
            *self.build.rglob("devicetree_generated.h"),
            *self.build.rglob("devicetree_unfixed.h"),
        ]
        return re.sub(r"/\*.*?\*/", "", file.read_text(), flags=re.DOTALL)

    def iommus(self, build: Path | None = None) -> dict[str, list[list[Any]]]:
        """What edtlib, Zephyr's own, resolves every `iommus` to."""
        source = self.top / "zephyr/scripts/dts/python-devicetree/src"
        ran = self.run(
            sys.executable,
            "-c",
            _IOMMUS,
            str((build or self.build) / "zephyr" / "edt.pickle"),
            variables={"PYTHONPATH": str(source)},
        )
        assert ran.status == 0, ran.log
        result: dict[str, list[list[Any]]] = json.loads(ran.log)
        return result


def _in_functions(text: str) -> str:
    """Return the dts.cmake of Zephyr 4.3 with its steps in functions, and the macro that calls
    them.
    """
    starts = [text.index(first) for first in _FUNCTIONS.values()]
    parts = [text[: starts[0]]]
    kept = "".join(f"set({name} ${{{name}}} PARENT_SCOPE)\n" for name in _OF_THE_CALLER)
    for name, first, last in zip(_FUNCTIONS, starts, [*starts[1:], len(text)], strict=True):
        parts.append(f"function({name})\n{text[first:last]}\n{kept}endfunction()\n")
    calls = "".join(f"  {name}()\n" for name in _FUNCTIONS)
    return "".join([*parts, f"macro(dts_init)\n{calls}endmacro()\n"])


def another(workspace: Workspace, place: str, *, dts: str) -> str:
    """A module `other` with a dts.cmake of its own at that `place` of CMAKE_MODULE_PATH; the option
    that gives it and ours to a build, such that Zephyr takes ours first.
    """
    other = workspace.top / "other"
    (other / "zephyr").mkdir(parents=True)
    (other / "zephyr/module.yml").write_text(
        "name: other\nbuild: {settings: {module_ext_root: .}}\n"
    )
    (other / "modules").mkdir()
    (other / "modules/modules.cmake").write_text(
        f"get_filename_component(d ${{CMAKE_CURRENT_LIST_DIR}}/../cmake ABSOLUTE)\n{place}"
    )
    (other / "cmake").mkdir()
    (other / "cmake/dts.cmake").write_text(dts)
    modules = [f"{workspace.top}/west-viommu", str(other)]
    order = (workspace.top / "zephyr/cmake/modules/zephyr_module.cmake").read_text()
    if "list(REVERSE MODULE_EXT_ROOT)" in order:
        modules.reverse()
    return f"-DZEPHYR_MODULES={';'.join(modules)}"
