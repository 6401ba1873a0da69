# SPDX-License-Identifier: Apache-2.0
"""Graphviz: text as its language has it, and what it draws."""

from __future__ import annotations

import subprocess
from html import escape

from west_viommu.diagnostics import Refused, printable, refusal

# A host of 60 SMMUs and 240 devices takes it a second.
_SECONDS = 120


def svg(dot: str) -> str:
    """What Graphviz' dot draws. Raises Refused where it is not installed, or cannot."""
    try:
        drawn = subprocess.run(
            ["dot", "-Tsvg"], input=dot.encode(), capture_output=True, check=True, timeout=_SECONDS
        )
    except FileNotFoundError:
        hint = "install graphviz, or take --format dot to where it is"
        raise refusal("unreadable", "a picture needs Graphviz's dot", hint) from None
    except subprocess.TimeoutExpired:
        raise _failed(f"it was not done after {_SECONDS} seconds") from None
    except subprocess.CalledProcessError as error:
        raise _failed(_first_line(error.stderr) or f"its status was {error.returncode}") from None
    except OSError as error:
        raise _failed(error.strerror or str(error)) from None
    return drawn.stdout.decode()


def _failed(why: str) -> Refused:
    hint = (
        "name fewer devices, as in `viommu list --format svg '*/usb@*'`, or draw the text of "
        "--format dot elsewhere"
    )
    return refusal("unreadable", f"Graphviz's dot cannot draw it: {why}", hint)


def _first_line(stderr: bytes) -> str:
    lines = stderr.decode(errors="replace").strip().splitlines()
    return printable(lines[0]) if lines else ""


def quoted(text: str) -> str:
    """A string of the dot language: only quotes and backslashes mean something in it."""
    lines = (printable(line).replace("\\", "\\\\").replace('"', '\\"') for line in text.split("\n"))
    return '"' + "\\n".join(lines) + '"'


def marked_up(text: str) -> str:
    """A text in a label that is a table. There a backslash means something as well as in HTML."""
    return escape(printable(text).replace("\\", "\\\\"))
