# SPDX-License-Identifier: Apache-2.0
"""A Sphinx extension for what pages have from the program itself: its commands, its profiles."""

from __future__ import annotations

import re
import shutil
from argparse import Action, ArgumentParser
from collections.abc import Iterator
from pathlib import Path

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


# What a page has where its text goes. GitHub does not show it.
PLACES = {"<!-- the commands -->": commands, "<!-- the profiles -->": profiles}


def _put_in(app: Sphinx, page: str, source: list[str]) -> None:
    for place, text in PLACES.items():
        if place in source[0]:
            source[0] = source[0].replace(place, text())


def _publish_schemas(app: Sphinx, error: Exception | None) -> None:
    """Put the schemas where their `$id` says."""
    if not error and app.builder.format == "html":
        folder = SCHEMAS.rstrip("/").rpartition("/")[2]
        shutil.copytree(PACKAGE / "schemas", Path(app.outdir, folder), dirs_exist_ok=True)


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("build-finished", _publish_schemas)
    app.connect("source-read", _put_in)
    return {"parallel_read_safe": True}
