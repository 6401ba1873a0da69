# SPDX-License-Identifier: Apache-2.0
"""Every command line of README.md and docs/ is run, in the order of its page, and prints what the
page shows; or a table says why it is not run here.

A page shows a command as a line that begins with `$`, and below it what that prints: `...` stands
for anything, on a line of its own for any lines, and a line may be folded. A command without output
on its page is only run.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from itertools import groupby
from pathlib import Path

import pytest

from tests.cli.pair import AT_BOOT, make_pair
from tests.pages import blocks, steps
from tests.support import (
    CHECKOUT,
    CORPUS,
    DEMO,
    IS_CHECKOUT,
    NO_CHECKOUT,
    NO_CORPUS,
    PACKAGE,
    QEMU,
    Run,
    blob,
    missing,
)
from tests.system.guests import KERNEL
from tests.xen.machine import host_blob
from west_viommu.__main__ import parser
from west_viommu.cli.arguments import COMMANDS, Command

PAGES = [CHECKOUT / "README.md", *sorted((CHECKOUT / "docs").glob("*.md"))]
# How a command begins -> why it is not run here. Its own commands are still parsed.
NOT_RUN = {
    "west build": "needs a Zephyr; tests/zephyr/test_build.py builds",
    "west viommu-bind  ": "needs a build; tests/zephyr/test_build.py runs it in one",
    "west viommu-bind -b": "needs a Zephyr; tests/zephyr/test_build.py runs it",
    "west viommu-bind -d": "needs a Zephyr; tests/zephyr/test_build.py runs it",
    "viommu bind --host host.dtb app.overlay &&": "needs a Zephyr; tests/zephyr has such builds",
    "viommu assign --host host.dtb --profile xen --kernel build/": "needs a build; "
    "tests/zephyr/test_assign.py runs and boots it",
    "qemu-system-aarch64": "needs a Zephyr to boot; tests/xen/test_boot.py boots Xen with a guest",
    "bash imagebuilder/": "ImageBuilder is not on PyPI, nor in Debian",
    "lopper": "takes seconds, and its host.dts is put there instead",
    "sudo apt install": "changes the machine",
    "python3 -m venv": "the programs are there",
    "pip install /path/of": "the programs are there",
    "sh /path/of/west-viommu/tools/boards.sh": "needs a network; the blobs are put there instead",
    "cd boards": "the blobs are where the page begins",
}
REFUSED = re.compile(r'error: \[|"severity": "error"|: \d+ differences?$', re.MULTILINE)
# Commands in running text.
INLINE = re.compile(r"`(viommu\s+[^`]+|west\s+viommu-[^`]+)`")


def pattern(shown: str) -> re.Pattern[str]:
    """What an output must be like for a page to show it so."""
    parts = []
    for line in shown.splitlines():
        if line.strip() == "...":
            parts.append(r"(?:.*\n)*?")
        else:
            parts.append(re.escape(line).replace(re.escape("..."), ".*?") + r"[ \n]")
    return re.compile("".join(parts) + r"\s*")


def why_not(command: str) -> str | None:
    """Why `command` is not run, None if it is."""
    return next((why for start, why in NOT_RUN.items() if command.startswith(start)), None)


def parsed(command: str) -> int:
    """Parse what of `command` is ours, and say how much that was."""
    count = 0
    reader = shlex.shlex(command.replace("\\\n", " "), posix=True, punctuation_chars="|&>")
    reader.whitespace_split = True
    for is_between, part in groupby(reader, lambda word: set(word) <= set("|&>")):
        words = [] if is_between else list(part)
        if words[:1] == ["west"] and words[1].startswith("viommu-"):
            words = ["viommu", words[1].removeprefix("viommu-"), *words[2:]]
        if words[:1] == ["viommu"]:
            parser().parse_args(words[1:])
            count += 1
    return count


def demo(folder: Path, viommu: Run) -> None:
    """The host of samples/demo as blob and source, and its guest."""
    shutil.copytree(DEMO, folder, dirs_exist_ok=True)
    (folder / "host.dtb").write_bytes(blob((DEMO / "host.dts").read_text()))
    (folder / "Image").write_bytes(KERNEL)


def readme(folder: Path, viommu: Run) -> None:
    """The host of samples/demo, and the guest that the page shows."""
    demo(folder, viommu)
    (guest,) = (block for _, block in blocks(PAGES[0].read_text()) if block[0] == "/ {")
    (folder / "guest.overlay").write_text("\n".join(guest))


def mistaken(folder: Path, viommu: Run) -> None:
    """The demo, with a wrong ID in its guest."""
    demo(folder, viommu)
    guest = folder / "guest.overlay"
    guest.write_text(guest.read_text().replace("<0x0 0x40>", "<0x0 0x41>"))


def boards(folder: Path, viommu: Run) -> None:
    """A kernel and the blobs of the page in an otherwise empty folder, but for the one that it
    makes.
    """
    if CORPUS is None:
        pytest.skip(NO_CORPUS)
    text = (CHECKOUT / "docs" / "tutorial.md").read_text()
    for name in set(re.findall(r"\$ .*--host (\S+\.dtb)", text)) - {"imx95-19x19-evk-smmu-on.dtb"}:
        shutil.copy(CORPUS / name, folder)
    (folder / "Image").write_bytes(KERNEL)


def audited(folder: Path, viommu: Run) -> None:
    """The demo, and the configuration that the page shows."""
    demo(folder, viommu)
    text = (CHECKOUT / "docs" / "audit.md").read_text()
    (block,) = (block for _, block in blocks(text) if block[0].startswith("name = "))
    lines = block[: next(at for at, line in enumerate(block) if not line)]
    (folder / "guest.cfg").write_text("".join(f"{line}\n" for line in lines))


def xen_rtc(folder: Path, viommu: Run) -> None:
    """What `west build` makes of samples/xen-rtc, without Zephyr, and the page's domain.dts."""
    if not shutil.which(QEMU[0]):
        pytest.skip(missing(*QEMU))
    (folder / "build").mkdir()
    host = host_blob(folder / "build")
    sample = CHECKOUT / "samples" / "xen-rtc"
    arguments = ("--host", host, "--config", sample / "viommu.yml", "-o", folder / "build/viommu")
    assert viommu("bind", *arguments, sample / "app.overlay").status == 0
    text = (CHECKOUT / "docs" / "xen.md").read_text()
    (domain,) = (block for _, block in blocks(text) if block[0] == "/dts-v1/;")
    (folder / "domain.dts").write_text("\n".join(domain))


def several(folder: Path, viommu: Run) -> None:
    """The page's system.yml, in an otherwise empty folder."""
    found = steps(CHECKOUT / "docs" / "several-guests.md")
    (text,) = (step.shown for step in found if step.command == "cat system.yml")
    (folder / "system.yml").write_text(f"{text}\n")


def built_demo(folder: Path, viommu: Run) -> None:
    """A build of samples/demo for a Xen that keeps stream IDs, and what one that does not gave."""
    shutil.rmtree(folder / "build")
    os.chdir(folder)
    make_pair(viommu, options=())
    (folder / "boards").mkdir()
    (folder / "boards/host.dtb").write_bytes(blob((DEMO / "host.dts").read_text()))
    (folder / "viommu.yml").write_text("host: boards/host.dtb\n")
    shutil.copy(AT_BOOT, "dump.dtb")


Prepare = Callable[[Path, Run], None]
# Page -> what its reader has before it begins.
SCENES: dict[str, Prepare] = {
    "README.md": readme,
    "assign.md": demo,
    "audit.md": audited,
    "build-step.md": demo,
    "formats.md": mistaken,
    "index.md": demo,
    "several-guests.md": several,
    "tutorial.md": boards,
    "xen.md": xen_rtc,
    "zephyr.md": demo,
}
# What a reader has done between two commands of a page, in words.
BETWEEN: dict[tuple[str, str], Prepare] = {
    ("xen.md", "west viommu-check -d build"): built_demo,
}


@pytest.fixture
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Where `viommu` and `west` are commands, and nothing is chosen."""
    programs = tmp_path_factory.mktemp("bin")
    for name, module in (("viommu", "west_viommu"), ("west", "west")):
        program = programs / name
        path = f"PYTHONPATH={shlex.quote(str(PACKAGE.parent))} " if name == "viommu" else ""
        program.write_text(
            f'#!/bin/sh\n{path}exec {shlex.quote(sys.executable)} -m {module} "$@"\n'
        )
        program.chmod(0o755)
    ours = ("VIOMMU_", "ZEPHYR_", "PYTHONPATH", "CPP")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return {
        **kept,
        "PATH": f"{programs}:{os.environ['PATH']}",
        "WEST_CONFIG_GLOBAL": str(programs / "none"),
        "WEST_VIOMMU": str(CHECKOUT),
    }


def workspace(top: Path, environment: dict[str, str]) -> Path:
    """The application's folder in a west workspace whose manifest lists this project."""
    folder = top / "app"
    folder.mkdir()
    shutil.copy(DEMO / "west.yml", folder)
    (top / "west-viommu").symlink_to(CHECKOUT)
    init = ["west", "init", "-l", "app"]
    subprocess.run(init, cwd=top, env=environment, check=True, capture_output=True)
    return folder


@pytest.mark.parametrize(
    "page", [page for page in PAGES if steps(page)], ids=lambda page: page.name
)
def test_the_commands_of_a_page(
    page: Path, viommu: Run, tmp_path: Path, environment: dict[str, str]
) -> None:
    found = steps(page)
    uses_west = any(step.command.startswith("west viommu-") for step in found)
    if uses_west and not IS_CHECKOUT:
        pytest.skip(NO_CHECKOUT)
    folder = workspace(tmp_path, environment) if uses_west else tmp_path
    SCENES[page.name](folder, viommu)
    for step in found:
        if (page.name, step.command) in BETWEEN:
            BETWEEN[page.name, step.command](folder, viommu)
        if why_not(step.command):
            continue
        ran = subprocess.run(
            ["bash", "-c", step.command],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        place = f"{page.name}:{step.line}: {step.command}\n{ran.stdout}"
        assert ran.returncode == (1 if REFUSED.search(step.shown) else 0), place
        if step.shown:
            assert pattern(step.shown).fullmatch(ran.stdout.expandtabs(8)), place


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_are_shown_as_such(page: Path) -> None:
    """A command without `$` would go unseen here."""
    for first, block in blocks(page.read_text()):
        for number, line in enumerate(block, first):
            bare = re.match(r"(?:viommu|west|dtc|pip|python3?|apt-get|cmake) (?!\W)", line)
            assert not bare, f"{page.name}:{number}: {line}"


def test_the_commands_that_are_not_run_are_right_and_known() -> None:
    commands = [step.command for page in PAGES for step in steps(page)]
    assert sum(parsed(command) for command in commands) >= 20
    for start in NOT_RUN:
        assert any(command.startswith(start) for command in commands), start


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_in_running_text_are_right(page: Path) -> None:
    for span in INLINE.findall(page.read_text()):
        command = " ".join(span.split()).replace("profiles NAME", "profiles xen-rfc")
        if re.match(r"viommu NAME|west viommu-NAME|viommu =", command):
            continue
        try:
            assert parsed(command), f"{page.name}: {command}"
        except SystemExit:
            # `viommu extract`, `viommu check -d`: the sentence does not say of what.
            assert parsed(f"{command} X"), f"{page.name}: {command}"


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_the_examples_of_the_help_are_right(command: Command) -> None:
    examples = [line for line in command.epilog.splitlines() if "%(prog)s" in line]
    assert examples
    for example in examples:
        assert parsed(example.replace("%(prog)s", f"viommu {command.name}")) == 1, example


@pytest.mark.parametrize("page", ["architecture.md", "decisions.md"])
def test_the_modules_that_a_page_names_are_there(page: str) -> None:
    text = (CHECKOUT / "docs" / page).read_text()
    for name in re.findall(r"`((?:\w+/)+\w+\.py|\w+/)`", text):
        assert any((top / name).exists() for top in (PACKAGE, PACKAGE.parent, CHECKOUT)), name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_say_what_they_lead_to(page: Path) -> None:
    """Not the name of a file, which says nothing on the site."""
    assert re.findall(r"\[[^]]*\.md\]\(", page.read_text()) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_has_nothing_that_only_the_site_can_show(page: Path) -> None:
    """Directives of Sphinx look broken on GitHub; docs/generated.py puts them in."""
    assert re.findall(r"^(?:```|:::)\{.*|^\.\. \w+::|\{\w+\}`", page.read_text(), re.M) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """On GitHub too, which Sphinx does not look at."""
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        if not target.startswith("https://"):
            _, inside, module = target.partition("west_viommu/")
            file = PACKAGE / module if inside else page.parent / target
            assert file.exists(), f"{page.name}: {target}"
