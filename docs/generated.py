# SPDX-License-Identifier: Apache-2.0
"""A Sphinx extension for what only the site has. GitHub shows the same pages: what stands for it
there is a comment, which it does not show, and what every page has is found without a mark.
"""

from __future__ import annotations

import re
import shutil
from argparse import Action, ArgumentParser
from collections.abc import Iterator
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx

from west_viommu.cli.arguments import ALONE, COMMANDS, Command, configured
from west_viommu.hypervisor.profile import Profile, switched_on
from west_viommu.names import PROFILES, SCHEMAS
from west_viommu.read.profiles import profile

PACKAGE = Path(__file__).parent.parent / "west_viommu"
# What markdown would take for its own.
_SPECIAL = re.compile(r"[\\*_<>\[\]|]")


def commands() -> str:
    """The reference of all commands, by their argument parsers."""
    return "\n".join(line for command in (*COMMANDS, *ALONE) for line in _section(command))


def _section(command: Command) -> Iterator[str]:
    program = f"viommu {command.name}"
    parser = configured(ArgumentParser(prog=program), command)
    yield f"## {command.name}\n\n{_escaped(command.description)}\n"
    yield _block("text", parser.format_usage().replace("usage: ", "").replace("\n       ", "\n"))
    yield _block(f"{{program}} {program}", "")
    for action in _actions(parser):
        yield _block(f"{{option}} {_synopsis(action)}", _escaped(action.help or ""))
    yield _block("text", command.epilog.replace("%(prog)s", program))


def _actions(parser: ArgumentParser) -> list[Action]:
    # argparse has no public list of them. -h is the same everywhere.
    return [action for action in parser._actions if action.dest != "help"]


def _synopsis(action: Action) -> str:
    """How an argument is written: `-o DIR, --output DIR`, or `GUEST` without an option."""
    if not action.option_strings:
        return str(action.metavar)
    value = action.metavar or ("" if action.nargs == 0 else action.dest.upper())
    if action.choices and not action.metavar:
        value = "{" + ",".join(map(str, action.choices)) + "}"
    return ", ".join(f"{option} {value}".rstrip() for option in action.option_strings)


def profiles() -> str:
    """A section for each profile that is shipped."""
    return "\n".join(line for name in PROFILES for line in _profile_section(profile(name, None)))


def _profile_section(this: Profile) -> Iterator[str]:
    yield f"## {this.name}\n\nFor {_escaped(this.about)}. Source: {_escaped(this.source)}.\n"
    yield "| | |\n|---|---|"
    rows = {**_of_viommu(this)}
    rows["IOMMUs"] = "; ".join(
        f"{', '.join(each.compatible)} with {' or '.join(map(str, each.cells))} cells"
        for each in this.drivers
    )
    rows["IDs of `iommu-map`"] = "programmed" if this.programs_maps else "not programmed"
    rows["partial trees for"] = ", ".join(this.toolstacks) or "nobody"
    rows |= {
        f"addresses of {each.name}": f"{each.region.base:#x}/{each.region.size:#x}, {each.when}"
        for each in this.reserved
    }
    rows |= {
        f"INTIDs of {each.name}": f"{each.first} to {each.last}, {each.when}"
        for each in this.reserved_interrupts
    }
    yield from (f"| {key} | {value} |" for key, value in rows.items())
    yield ""


def _of_viommu(this: Profile) -> dict[str, str]:
    """The rows of its vSMMU."""
    viommu = this.viommu
    if viommu is None:
        return {"vSMMU": "none"}
    rows = {
        "vSMMU": f"`{viommu.node_name}`, {viommu.base:#x}/{viommu.size:#x}",
        "its interrupts, as INTIDs": ", ".join(
            f"{each.name} {each.intid} ({'edge' if each.is_edge else 'level'})"
            for each in viommu.interrupts
        ),
        "its phandle": "any" if viommu.phandle is None else f"{viommu.phandle:#x}",
        "stream IDs": f"{this.policy}, of {viommu.id_bits} bits",
    }
    if viommu.flags:
        rows["its flags"] = ", ".join(viommu.flags)
    for switch in switched_on(this):
        toolstack, _, what = switch.partition(": ")
        rows[f"switched on by {toolstack}"] = what
    return rows


def _escaped(text: str) -> str:
    """`text` for markdown, but for what is in backticks."""
    parts = text.split("`")
    parts[::2] = [_SPECIAL.sub(r"\\\g<0>", part) for part in parts[::2]]
    return "`".join(parts)


def _block(kind: str, content: str) -> str:
    return f"```{kind}\n{content.rstrip()}\n```\n"


def functions() -> str:
    """The reference of the Python interface."""
    return _block("{eval-rst}", ".. include:: functions.txt")


# What a page has where its text goes.
PLACES = {
    "<!-- the commands -->": commands,
    "<!-- the profiles -->": profiles,
    "<!-- the functions -->": functions,
}
# The same with a word of its own: the text of a file, and a part of the site's menu.
_FILE = re.compile(r"<!-- the file (\S+) -->")
_MENU = re.compile(r"<!-- menu (.+): (.+) -->")
# The first that fits. A session that only prints an overlay is highlighted as the overlay.
_LOOKS = (
    ("console", re.compile(r"\A\$ (?!cat \S+\.overlay\n)")),
    ("c", re.compile(r"\A(?:#include|#define) ")),
    ("dts", re.compile(r"^\s*(?:/|[\w&@,.:{}/-]+(?: [\w@,.-]+)?) \{$|^/dts-v1/", re.MULTILINE)),
    ("cmake", re.compile(r"\Aif\(")),
    ("json", re.compile(r"\A\{\n")),
    ("yaml", re.compile(r"\A(?:- \{\w|[\w-]+:(?: [^{]|$))", re.MULTILINE)),
    ("bash", re.compile(r"\A(?:[A-Z]\w* \+?= |for |python |git )")),
)
_OF_FILE = {".bbclass": "bash", ".py": "python", ".yml": "yaml", ".yaml": "yaml"}


def _put_in(app: Sphinx, page: str, source: list[str]) -> None:
    text = source[0]
    for place, generated in PLACES.items():
        if place in text:
            text = text.replace(place, generated())
    text = _FILE.sub(_file, text)
    source[0] = _MENU.sub(_menu, text)


def _file(place: re.Match[str]) -> str:
    language = _OF_FILE.get(Path(place[1]).suffix, "bash")
    return _block(f"{{literalinclude}} {place[1]}", f":language: {language}")


def _menu(place: re.Match[str]) -> str:
    pages = "\n".join(place[2].split())
    return _block("{toctree}", f":hidden:\n:caption: {place[1]}\n\n{pages}")


def _highlight(app: Sphinx, tree: nodes.document) -> None:
    """Give each indented block the language that it is in."""
    for block in tree.findall(nodes.literal_block):
        if block.get("language", "none") in ("none", "default"):
            block["language"] = language(block.astext())
            # A page leaves out lines, by `...`, which no language has.
            block["force"] = True


def language(text: str) -> str:
    """What the code of a page is in, as it looks."""
    return next((name for name, looks in _LOOKS if looks.search(text)), "none")


def _publish_schemas(app: Sphinx, error: Exception | None) -> None:
    """Put the schemas where their `$id` says."""
    if not error and app.builder.format == "html":
        folder = SCHEMAS.rstrip("/").rpartition("/")[2]
        shutil.copytree(PACKAGE / "schemas", Path(app.outdir, folder), dirs_exist_ok=True)


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("build-finished", _publish_schemas)
    app.connect("source-read", _put_in)
    app.connect("doctree-read", _highlight)
    return {"parallel_read_safe": True}
