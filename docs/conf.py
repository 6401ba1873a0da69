# SPDX-License-Identifier: Apache-2.0
"""Sphinx builds these pages by `make docs`; GitHub shows the same files as they are."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
# The package that is documented is this checkout's; generated.py is beside this file.
sys.path[:0] = [str(HERE.parent), str(HERE)]

from west_viommu import __version__  # noqa: E402

project = "west-viommu"
author = "the authors of west-viommu"
html_show_copyright = False
release = version = __version__
language = "en"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx_copybutton", "generated"]
exclude_patterns = ["_build"]
# Links such as hazards.md#map-only.
myst_heading_anchors = 3
# Indented blocks get theirs in generated.py.
highlight_language = "none"
# Of a session, its commands alone are copied.
copybutton_prompt_text = "$ "
copybutton_line_continuation_character = "\\"

html_theme = "furo"
html_title = f"west-viommu {version}"
html_static_path = ["static"]
html_css_files = ["site.css"]

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
# Types in signatures: Python's own, whose inventory would need a network, and those of the inside.
nitpick_ignore_regex = [("py:class", r"(collections|os|pathlib|west_viommu)\..*|[A-Z]\w+")]
