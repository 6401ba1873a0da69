# SPDX-License-Identifier: Apache-2.0
"""Profiles: data files with what one hypervisor gives its guests. Some are shipped; a user's own is
named by its path, and checked against schemas/profile.json.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml

from west_viommu.hypervisor.profile import (
    SMMUV3,
    Driver,
    Profile,
    Reserved,
    ReservedInterrupts,
    Switch,
    Viommu,
    ViommuInterrupt,
)
from west_viommu.names import POLICIES, PROFILES, is_profile_path
from west_viommu.problems import Problem, Refused, Where, close_matches
from west_viommu.read.bindings import FAST_LOADER
from west_viommu.read.plain_file import unreadable
from west_viommu.read.plain_yaml import PlainLoader, plain_text
from west_viommu.tree.addresses import Region
from west_viommu.tree.interrupts import Intid

_PACKAGE = Path(__file__).parent.parent
SCHEMA = _PACKAGE / "schemas" / "profile.json"
# Keywords of JSON schema -> what they ask for.
_WORDS = {
    "type": "",
    "const": "",
    "pattern": "text like",
    "minimum": "at least",
    "maximum": "at most",
    "exclusiveMinimum": "more than",
    "minLength": "length at least",
    "minItems": "items at least",
}
_LIST = "`viommu profiles` shows those that are shipped; a file of your own goes by its path"


def profile_file(name: str | None) -> Path:
    """The data file of profile `name`: a shipped one, a path, or (None) the default. Raises
    Refused.
    """
    if name and is_profile_path(name):
        return Path(name)
    return _PACKAGE / "profiles" / f"{_known('profile', name or PROFILES[0], PROFILES)}.yaml"


def profile(name: str | None, policy: str | None) -> Profile:
    """The profile `name` with its policy replaced; None keeps either's default. Raises Refused for
    a name that is not known, and for a file that is no profile.
    """
    data = _content(profile_file(name), is_shipped=not name or not is_profile_path(name))
    ram = data.get("ram")
    return Profile(
        name=data["name"],
        about=data["about"],
        source=data["source"],
        viommu=_viommu(data),
        policy=_known("vsid", policy or data["policy"], POLICIES),
        renumbers=data["renumbers"] or None,
        programs_maps=data["programs-iommu-map"],
        drivers=tuple(
            Driver(
                tuple(each["compatible"]),
                tuple(each["cells"]),
                each["shared-within-domain"],
                each.get("last-stream-id"),
                each.get("drops-masks", False),
            )
            for each in data["iommus"]
        )
        if "iommus" in data
        else (SMMUV3,),
        repeats_ids=data.get("repeated-stream-ids", False),
        toolstacks=tuple(data["toolstacks"]),
        ram=Region(ram["base"], ram["size"]) if ram else None,
        switches=tuple(Switch(**each) for each in data.get("switches", ())),
        reserved=tuple(
            Reserved(each["name"], Region(each["base"], each["size"]), each["if"])
            for each in data["reserved"]["regions"]
        ),
        reserved_interrupts=tuple(
            ReservedInterrupts(each["name"], each["first"], each["last"], each["if"])
            for each in data["reserved"]["interrupts"]
        ),
    )


def _viommu(data: Any) -> Viommu | None:
    """The vSMMU that the profile `data` describes; None where it says that there is none."""
    found = data["viommu"]
    if found is None:
        return None
    return Viommu(
        compatible=found["compatible"],
        base=found["base"],
        size=found["size"],
        phandle=found["phandle"],
        interrupts=tuple(
            ViommuInterrupt(
                name=each["name"],
                intid=Intid(each["intid"]),
                is_edge=each["trigger"] == "edge",
            )
            for each in found["interrupts"]
        ),
        flags=tuple(found.get("flags", ())),
        id_bits=data["stream-id-bits"],
    )


def _content(file: Path, *, is_shipped: bool) -> Any:
    """The data in `file`. The tests hold the shipped ones to the schema; to check them in every
    build again would cost more than the plan.
    """
    try:
        text = file.read_text(encoding="utf-8") if is_shipped else plain_text(str(file))
        # What is not shipped is not trusted, and its messages are to be good ones.
        content = yaml.load(text, Loader=FAST_LOADER if is_shipped else PlainLoader)
    except OSError as error:
        raise Refused([unreadable(str(file), error, _LIST)]) from None
    except RecursionError:
        hint = "start from what `viommu profiles NAME` prints"
        raise _refused(file, "it is nested too deeply", hint) from None
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, IndexError) as error:
        # The last two are PyYAML's own, for a number such as 0x_.
        mark = getattr(error, "problem_mark", None)
        what = f"not valid YAML: {getattr(error, 'problem', None) or 'no text'}"
        line = mark.line + 1 if mark else None
        raise _refused(file, what, "correct the syntax", line) from None
    if not is_shipped:
        problems = schema_problems(str(file), text, content)
        if problems:
            raise Refused(problems)
        if content["name"] in PROFILES:
            what, hint = "a shipped profile has this name", "give yours a name of its own"
            line = _line(yaml.compose(text, Loader=PlainLoader), ["name"])
            raise _refused(file, what, hint, line)
    return content


def schema_problems(file: str, text: str, content: object) -> list[Problem]:
    """What of the profile `content`, written as `text` in `file`, breaks the schema."""
    try:
        import jsonschema
    except ImportError:
        what = "a profile of your own needs the Python package jsonschema"
        raise Refused([Problem("unreadable", what, "pip install jsonschema")]) from None
    # JSON schema takes 33.0 for an integer, and it would be written as such.
    draft = jsonschema.Draft202012Validator
    checker = draft.TYPE_CHECKER.redefine(
        "integer", lambda _, value: isinstance(value, int) and not isinstance(value, bool)
    )
    strict = jsonschema.validators.extend(draft, type_checker=checker)
    validator = strict(json.loads(SCHEMA.read_text(encoding="utf-8")))
    root = yaml.compose(text, Loader=PlainLoader)
    problems = [_schema_problem(file, root, error) for error in validator.iter_errors(content)]
    return sorted(problems, key=lambda problem: (problem.where or Where(file))[1] or 0)


def _schema_problem(file: str, root: Any, error: Any) -> Problem:
    """One error of jsonschema's, with the key and the line that it is about."""
    path = list(error.absolute_path)
    key = ".".join(map(str, path)) or "the profile"
    expected = error.schema.get("description") or _expected(error)
    hint = "docs/profiles.md has the keys; `viommu profiles NAME` prints a profile to start from"
    what, found = f"{key} is not as a profile has it", "" if path == [] else _shown(error.instance)
    if error.validator == "required":
        what, found = f"{key} lacks {', '.join(_missing(error))}", ""
    elif error.validator == "additionalProperties":
        unknown = [name for name in error.instance if name not in error.schema["properties"]]
        what, found = f"{key} has an unknown key", ", ".join(map(str, unknown))
        close = close_matches(str(unknown[0]), error.schema["properties"], 1)
        hint = f"did you mean {close[0]}?" if close else hint
    return Problem(
        "malformed", what, hint, "", expected, found[:80], Where(file, _line(root, path))
    )


def _shown(value: object) -> str:
    """A value for people, without what is in a list."""
    if isinstance(value, (list, dict)):
        return "a list" if isinstance(value, list) else "a mapping"
    return repr(value)


def _missing(error: Any) -> list[str]:
    return [name for name in error.validator_value if name not in error.instance]


def _expected(error: Any) -> str:
    if error.validator in ("required", "additionalProperties"):
        return ", ".join(error.schema["properties"])
    if error.validator == "enum":
        return " or ".join(json.dumps(value) for value in error.validator_value)
    words = _WORDS.get(error.validator, error.validator)
    return f"{words} {error.validator_value}".lstrip()


def _line(root: Any, path: Iterable[object]) -> int | None:
    """The line of what `path`, keys and indices, leads to in the composed YAML `root`."""
    node = root
    for step in path:
        if isinstance(node, yaml.MappingNode):
            # Of two keys, the later one counts.
            values = [value for key, value in node.value if key.value == str(step)]
            node = values[-1] if values else None
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int):
            # Of a key that is there twice, this is the first and the content is the last.
            node = node.value[step] if step < len(node.value) else None
    return node.start_mark.line + 1 if node else None


def _known(key: str, name: str, names: Sequence[str]) -> str:
    """`name` if it is one of `names`. Raises Refused."""
    if name in names:
        return name
    close = close_matches(name, names, 1)
    hint = f"did you mean {close[0]}?" if close else "choose one of those"
    if key == "profile":
        hint = f"{hint} {_LIST}" if close else _LIST
    expected = " or ".join(names)
    raise Refused(
        [Problem("malformed", f"no {key} has this name", hint, expected=expected, found=name)]
    )


def _refused(file: Path, what: str, hint: str, line: int | None = None) -> Refused:
    return Refused([Problem("malformed", what, hint, where=Where(str(file), line))])
