# SPDX-License-Identifier: Apache-2.0
"""A configuration of xl (xl.cfg(5)), in the grammar of xl itself: libxlu_cfg_l.l, libxlu_cfg_y.y
and libxlu_cfg.c of Xen, the same from 4.15 to 4.22. It is not Python, and nothing is executed.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from west_viommu.diagnostics import Refused, Where, refusal
from west_viommu.read.plain_file import content, unreadable

# The largest public one has 20 KB.
MOST_BYTES = 1 << 20
# YYMAXDEPTH of bison is 10,000 symbols; an open list takes two.
_DEEPEST = 4_990

_TOKEN = re.compile(
    rb"(?P<word>[a-z][._0-9a-z]*)|(?P<number>[0-9][0-9a-fx]*)|(?P<blank>[ \t]+)|(?P<add>\+=)"
    rb"|(?P<sign>[],=;[])|(?P<newline>\n|#.*\n)"
    rb"|(?P<text>'(?:[^'\\\n]|\\.)*'|\"(?:[^\"\\\n]|\\.)*\")"
)
# The result of xlu__cfgl_dequote() for the character after a backslash.
_ESCAPES = dict(zip(b"\"'\\abfnrtv", b"\"'\\\a\b\f\n\r\t\v", strict=True))
_ESCAPED = re.compile(rb"\\(?:(?P<kept>[\"'\\abfnrtv])|(?P<digit>[0-7]))", re.DOTALL)
# strtoul() reads this from the three characters that follow \0 to \7: even a blank and a sign.
_DECIMAL = re.compile(rb"[ \t\n\v\f\r]*[+-]?[0-9]+")


class XlText(NamedTuple):
    """A number or a string. `span`: its bytes in the file."""

    text: str
    line: int
    span: tuple[int, int]


class XlList(NamedTuple):
    """A list. `span`: the bytes from its opening bracket to its closing bracket."""

    items: tuple[XlText | XlList, ...]
    line: int
    span: tuple[int, int]


class XlSetting(NamedTuple):
    """A statement: `value` is the value of the key after this line, including += of earlier lines.
    `written`: the value in this statement alone.
    """

    key: str
    adds: bool
    line: int
    value: XlText | XlList
    written: XlText | XlList


class XlConfig(NamedTuple):
    """A configuration: all of its statements, in their order, and its bytes."""

    file: str
    settings: tuple[XlSetting, ...]
    source: bytes

    @property
    def last(self) -> Mapping[str, XlSetting]:
        """The statement that counts for each key: the last (find() in libxlu_cfg.c)."""
        return {setting.key: setting for setting in self.settings}


class _Token(NamedTuple):
    """A token: its kind ("word", "number", "text", "add", "newline", "end", or a punctuation mark),
    and its place.
    """

    kind: str
    text: bytes
    line: int
    start: int


def read_xl_config(file: str) -> XlConfig:
    """Return the configuration in `file`. Raises Refused, with the line that xl would refuse."""
    try:
        source = content(file, MOST_BYTES)
    except OSError as error:
        raise Refused([unreadable(file, error, "check its path")]) from None
    return xl_config(source, file)


def xl_config(source: bytes, file: str) -> XlConfig:
    """Return the configuration of the text `source` of `file`. Raises Refused."""
    return XlConfig(file=file, settings=tuple(_Parser(source, file).statements()), source=source)


class _Parser:
    """Reads statements, as the grammar of libxlu_cfg_y.y has them."""

    def __init__(self, source: bytes, file: str):
        self._source = source
        self._file = file
        self._ends = [match.start() for match in re.finditer(b"\n", source)]
        self._tokens = self._scanned()
        self._token = next(self._tokens)

    def statements(self) -> Iterator[XlSetting]:
        """Yield each statement. Raises Refused."""
        last: dict[bytes, XlText | XlList] = {}
        while self._token.kind != "end":
            if self._token.kind in ("newline", ";"):
                self._next()
                continue
            key = self._expected("word", "a statement `key = value`")
            sign = self._token
            if sign.kind not in ("=", "add"):
                raise self._wrong(sign, f"= or += after {key.text.decode()}")
            self._next()
            written = value = self._value()
            if sign.kind == "add" and key.text in last:
                value = self._sum(last[key.text], written)
            last[key.text] = value
            yield XlSetting(
                key=key.text.decode(),
                adds=sign.kind == "add",
                line=key.line,
                value=value,
                written=written,
            )
            if self._token.kind not in ("newline", ";", "end"):
                raise self._wrong(self._token, "the end of the line, or ;")

    def _value(self) -> XlText | XlList:
        """Return the value that begins here. Nested lists use a stack, as they may be deep."""
        stack: list[tuple[_Token, list[XlText | XlList]]] = []
        while True:
            value: XlText | XlList
            if self._token.kind == "[":
                if len(stack) == _DEEPEST:
                    raise self._refusal(
                        "lists are nested too deeply", "write a flat list", self._token.line
                    )
                stack.append((self._token, []))
                self._next_line()
                if self._token.kind != "]":
                    continue
                value = self._closed(*stack.pop())
            elif self._token.kind in ("number", "text"):
                token = self._token
                self._next()
                text = token.text if token.kind == "number" else self._dequoted(token)
                span = token.start, token.start + len(token.text)
                value = XlText(text.decode("utf-8", "surrogateescape"), token.line, span)
            else:
                what = "a value or ]" if stack else "a value: a number, a string in quotes, or ["
                raise self._wrong(self._token, what)
            while stack:
                stack[-1][1].append(value)
                self._skip_lines()
                if self._token.kind == ",":
                    self._next_line()
                    if self._token.kind != "]":
                        break
                elif self._token.kind != "]":
                    raise self._wrong(self._token, ", or ] after an item of a list")
                value = self._closed(*stack.pop())
            else:
                return value

    def _closed(self, opening: _Token, items: list[XlText | XlList]) -> XlList:
        end = self._token.start + 1
        self._next()
        return XlList(items=tuple(items), line=opening.line, span=(opening.start, end))

    def _sum(self, before: XlText | XlList, added: XlText | XlList) -> XlText | XlList:
        """Return the result of += for two values (xlu__cfg_concat_vals())."""
        if isinstance(before, XlList) and isinstance(added, XlList):
            return added._replace(items=before.items + added.items)
        if isinstance(before, XlText) and isinstance(added, XlText):
            return added._replace(text=before.text + added.text)
        raise self._refusal(
            "+= adds a list to a single value, or a single value to a list",
            "write both as lists",
            self._line(added.span[1] - 1),
        )

    def _next(self) -> None:
        self._token = next(self._tokens)

    def _next_line(self) -> None:
        self._next()
        self._skip_lines()

    def _skip_lines(self) -> None:
        while self._token.kind == "newline":
            self._next()

    def _expected(self, kind: str, what: str) -> _Token:
        token = self._token
        if token.kind != kind:
            raise self._wrong(token, what)
        self._next()
        return token

    def _scanned(self) -> Iterator[_Token]:
        """Yield the tokens of libxlu_cfg_l.l. Raises Refused for a lexical error."""
        at = 0
        source = self._source
        while at < len(source):
            match = _TOKEN.match(source, at)
            if match is None:
                # A final character by itself ends the file in the state lexerr: no rule reports it.
                if at + 1 == len(source):
                    break
                raise self._lexical(at)
            kind = match.lastgroup or ""
            if kind != "blank":
                text = match[0]
                kind = text.decode() if kind == "sign" else kind
                yield _Token(kind, text, self._line(at), at)
            at = match.end()
        end = _Token("end", b"", self._line(len(source) - 1) if source else 1, len(source))
        while True:
            yield end

    def _line(self, at: int) -> int:
        return bisect_left(self._ends, at) + 1

    def _dequoted(self, token: _Token) -> bytes:
        """Return the value of a string. xl has no \\x; for \\0 to \\7 it reads decimal digits, and
        keeps nothing (NUMERIC_CHAR of libxlu_cfg.c).
        """
        text = token.text[1:-1]
        if b"\0" in text:
            raise self._refusal("a string has a zero byte", "take it out", token.line)
        if b"\\" not in text:
            return text
        parts = []
        at = 0
        while at < len(text):
            escape = text.find(b"\\", at)
            if escape < 0:
                parts.append(text[at:])
                break
            parts.append(text[at:escape])
            match = _ESCAPED.match(text, escape)
            at = escape + 2
            if match and match["kept"]:
                parts.append(bytes([_ESCAPES[match["kept"][0]]]))
                continue
            number = match and _DECIMAL.match(token.text[1 + at : 1 + at + 3])
            if not number or number.end() < 2:
                hint = "write the bytes as they are: xl reads no \\x and no \\0 to \\7"
                what = "xl does not know this escape in a string"
                raise self._refusal(what, hint, token.line, found=_shown(text[escape : escape + 2]))
            at += number.end()
        return b"".join(parts)

    def _lexical(self, at: int) -> Refused:
        """Return the refusal of a character that begins no token."""
        line = self._line(at)
        source = self._source
        character = source[at : at + 1]
        what = "xl does not read this character"
        hint = "write `key = value`, with strings in quotes"
        if character == b"\r":
            what = "a line ends in CR LF"
            hint = "convert the file to Unix line ends: `sed -i 's/\\r$//' FILE`"
        elif source.startswith(b"\xef\xbb\xbf", at):
            what, hint = "the file begins with a byte order mark", "save it as UTF-8 without one"
        elif character == b"\0":
            what, hint = "there is a zero byte", "take it out"
        elif character == b"#":
            what, hint = "the last line is a comment without a line end", "add a line end"
        elif character in b"'\"":
            what, hint = "a string does not end in its line", "close it with the same quote"
        elif character.isalpha():
            what = "xl reads keys in lower case, and other words only in quotes"
            hint = "write the key in lower case, or the value in quotes"
        elif character == b"-":
            hint = "xl knows no ranges and no key with -: list each number, or quote the value"
        elif character in b"(.:+":
            hint = "this is no Python (libxlu_cfg_l.l): write out lists, numbers and strings"
        return self._refusal(what, hint, line, found=_shown(character))

    def _wrong(self, token: _Token, expected: str) -> Refused:
        """Return the refusal of a token that the grammar does not allow there."""
        found = {"end": "the end of the file", "newline": "the end of the line"}.get(
            token.kind, _shown(token.text)
        )
        hint = "write `key = value`; a value is a number, a string in quotes, or a list of these"
        if token.kind == "word":
            hint = f'put the word in quotes: "{_shown(token.text)}"'
            if expected.startswith("= or"):
                hint = "this is no Python: write `key = value`"
        return self._refusal(
            "xl does not read this", hint, token.line, expected=expected, found=found
        )

    def _refusal(
        self, what: str, hint: str, line: int, *, expected: str = "", found: str = ""
    ) -> Refused:
        refused = refusal("malformed", what, hint, self._file, expected=expected, found=found)
        problem = refused.problems[0]
        return Refused([problem._replace(where=Where(self._file, line))])


def _shown(text: bytes) -> str:
    return text.decode("utf-8", "backslashreplace")
