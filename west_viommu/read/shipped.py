# SPDX-License-Identifier: Apache-2.0
"""Where the files are that go with the code and stand elsewhere in the checkout."""

from __future__ import annotations

import os

PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def shipped(name: str, in_checkout: str) -> str:
    """The path of a file or folder that a wheel installs as `name` beside the modules
    (pyproject.toml), and that a checkout has at `in_checkout`. No link between the two: git on
    Windows makes text of links.
    """
    installed = os.path.join(PACKAGE, name)
    if os.path.exists(installed):
        return installed
    return os.path.join(os.path.dirname(PACKAGE), *in_checkout.split("/"))
