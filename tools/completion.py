# SPDX-License-Identifier: Apache-2.0
"""Prints the completion of viommu for a shell, made by shtab from the parser of the command line:
python tools/completion.py bash|zsh|fish"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, _SubParsersAction
from collections.abc import Iterator
from pathlib import Path

import shtab

CHECKOUT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(CHECKOUT))

from west_viommu.__main__ import parser  # noqa: E402
from west_viommu.cli.arguments import COMMANDS, SHELLS  # noqa: E402
from west_viommu.hazards.table import HAZARDS  # noqa: E402
from west_viommu.names import PROFILES  # noqa: E402

# What an argument stands for, by its name in the help.
_FILES = ("GUEST", "HOST", "FILE", "DUMP", "SYSTEM")
_FOLDERS = ("DIR", "APP")
_CHOICES = {
    "HAZARD": sorted({hazard.id for hazard in HAZARDS}),
    "COMMAND": [command.name for command in COMMANDS],
}

# The paths of the host that the line names, or the files here: `list` looks for one as it does.
_NODES = {
    "bash": "_viommu_nodes",
    "zsh": "_viommu_nodes",
    "fish": "(_viommu_nodes)",
    "preamble": {
        "bash": """
_viommu_nodes() {
    local i at host=()
    for ((i = 1; i < COMP_CWORD; i++)); do
        [ "${COMP_WORDS[i]}" = --host ] || continue
        at=$((i + 1))
        [ "${COMP_WORDS[at]}" = = ] && at=$((i + 2))
        host=(--host "${COMP_WORDS[at]/#\\~/$HOME}")
    done
    compgen -W "$(viommu list --all --format lines "${host[@]}" 2>/dev/null | cut -f2)" -- "$1"
}
""",
        "zsh": """
_viommu_nodes() {
    local -a host nodes
    local -i at=${words[(I)--host]}
    host=(${(M)words:#--host=*})
    (( at )) && host=(--host ${~${(Q)words[at+1]}})
    nodes=(${(f)"$(viommu list --all --format lines $host 2>/dev/null | cut -f2)"})
    compadd -a nodes
}
""",
        "fish": """
function _viommu_nodes
    set -l words (commandline -opc)
    set -l host (string match -- '--host=*' $words)
    if set -l at (contains -i -- --host $words)
        set host --host (string replace -r '^~' $HOME $words[(math $at + 1)])
    end
    viommu list --all --format lines $host 2>/dev/null | cut -f2
end
""",
    },
}


def completion(shell: str) -> str:
    """The script."""
    whole = parser()
    for command, of_command in _commands(whole):
        for action in of_command._actions:
            if action.metavar in _FILES:
                action.complete = shtab.FILE  # type: ignore[attr-defined]
            elif action.metavar in _FOLDERS:
                action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]
            elif action.metavar == "NODE":
                action.complete = _NODES  # type: ignore[attr-defined]
            elif action.dest == "profile" or (command, action.dest) == ("profiles", "topic"):
                action.choices = PROFILES
            elif isinstance(action.metavar, str) and action.metavar in _CHOICES:
                action.choices = _CHOICES[action.metavar]
    return str(shtab.complete(whole, shell))


def _commands(whole: ArgumentParser) -> Iterator[tuple[str, ArgumentParser]]:
    for action in whole._actions:
        if isinstance(action, _SubParsersAction):
            yield from action.choices.items()


if __name__ == "__main__":
    if sys.argv[1:] not in [[shell] for shell in SHELLS]:
        sys.exit(__doc__)
    print(completion(sys.argv[1]), end="")
