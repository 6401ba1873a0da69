# SPDX-License-Identifier: Apache-2.0
"""The corrections of an xl.cfg as a unified diff."""

import difflib
from collections.abc import Callable, Iterator

from west_viommu.audit.fix import RightLists
from west_viommu.read.xl_config import XlConfig, XlList, XlSetting, XlText
from west_viommu.read.xl_domain import statements

# The first byte, the byte after the last one, and the replacement.
_Edit = tuple[int, int, bytes]


def xl_diff(config: XlConfig, right: RightLists) -> Iterator[str]:
    """Yield the lines of the diff; nothing if the lists are right."""
    fixed = fixed_source(config, right)
    before, after = (
        text.decode("utf-8", "backslashreplace").splitlines(keepends=True)
        for text in (config.source, fixed)
    )
    for line in difflib.unified_diff(before, after, config.file, config.file):
        yield line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"


def fixed_source(config: XlConfig, right: RightLists) -> bytes:
    """Return the text of the configuration with corrected lists."""
    stays: dict[str, Callable[[str], object]] = {
        "dtdev": lambda text: text if text in right.paths else None,
        "irqs": lambda text: _intid(text) if _intid(text) in right.intids else None,
        "iomem": lambda text: text if text in right.pages else None,
    }
    edits: list[_Edit] = []
    appended = b""
    for key, stay in stays.items():
        setting = statements(config).get(key)
        if setting and setting.key != key:
            at = config.source.rindex(setting.key.encode(), 0, setting.written.span[0])
            edits.append((at, at + len(setting.key), key.encode()))
        added = [item.encode() for item in right.added[key]]
        if setting and isinstance(setting.value, XlList):
            edits += _edits(config.source, setting, setting.value, stay, added)
        elif setting and isinstance(setting.value, XlText):
            first, last = setting.written.span
            kept = [config.source[first:last]] if stay(setting.value.text) is not None else []
            edits.append((first, last, b"[ " + b", ".join([*kept, *added]) + b" ]"))
        elif added:
            appended += key.encode() + b" = [ " + b", ".join(added) + b" ]\n"
    text = config.source
    for first, last, new in sorted(edits, reverse=True):
        text = text[:first] + new + text[last:]
    if appended and text and not text.endswith(b"\n"):
        text += b"\n"
    return text + appended


def _edits(
    source: bytes,
    setting: XlSetting,
    value: XlList,
    stay: Callable[[str], object],
    added: list[bytes],
) -> Iterator[_Edit]:
    """Yield the edits that remove items from a list, and add others after its last item."""
    seen: set[object] = set()
    left: list[XlText] = []
    for item in value.items:
        meaning = stay(item.text) if isinstance(item, XlText) else None
        if meaning is None or meaning in seen:
            yield _removal(source, item)
            continue
        seen.add(meaning)
        if isinstance(item, XlText) and setting.written.span[0] < item.span[0]:
            left.append(item)
    if not added:
        return
    if left:
        at = left[-1].span[1]
        line = source.rfind(b"\n", 0, left[-1].span[0]) + 1
        indent = source[line : left[-1].span[0]]
        between = b"\n" + indent if not indent.strip() else b" "
        yield at, at, b"".join(b"," + between + item for item in added)
    else:
        at = setting.written.span[0] + 1
        yield at, at, b" " + b", ".join(added) + b","


def _removal(source: bytes, item: XlText | XlList) -> _Edit:
    """Return the edit that removes an item, with its comma, and with its line if it stands
    alone.
    """
    first, last = item.span
    end = last
    while source[end : end + 1] in (b" ", b"\t", b"\n"):
        end += 1
    last = end + 1 if source[end : end + 1] == b"," else last
    while source[last : last + 1] in (b" ", b"\t"):
        last += 1
    line = source.rfind(b"\n", 0, first) + 1
    if not source[line:first].strip() and source[last : last + 1] == b"\n":
        return line, last + 1, b""
    return first, last, b""


def _intid(text: str) -> int | None:
    text = text.strip()
    return int(text) if text.isdecimal() and len(text) < 12 else None
