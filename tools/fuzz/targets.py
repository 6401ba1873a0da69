# SPDX-License-Identifier: Apache-2.0
"""What can be damaged: the inputs of each kind, and the commands that take them."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

from absurd import Absurd
from commands import Runner, absurd, audit, config, dtb, dump, guest, profile, shapes
from mutants import DTS_TOKENS, SET_TOKENS, YAML_TOKENS, Blobs, Texts
from seeds import (
    BOARD,
    DEMO,
    built_blob,
    compiled,
    configs,
    given_blob,
    guest_sources,
    host_blobs,
    profiles,
    sets,
)
from shapes import Shapes

TARGETS = ("dtb", "guest", "shapes", "config", "profile", "dump", "audit", "absurd")


def target(
    name: str, run: Runner, pick: random.Random, corpus: str | None, every: int
) -> tuple[Blobs | Texts | Shapes | Absurd, Iterator[int]]:
    """What mutates the inputs, and what runs the commands on each; `every`: for how many hosts that
    are accepted one also goes through extract and bind.
    """
    Path("host.dtb").write_bytes(compiled((DEMO / "host.dts").read_text()))
    shutil.copy(DEMO / "guest.overlay", "guest.overlay")
    if name == "absurd":
        return Absurd(pick), absurd(run, pick)
    if name == "dtb":
        seeds = host_blobs(corpus)
        return Blobs(seeds, pick), dtb(run, pick, every)
    if name == "shapes":
        return Shapes(pick), shapes(run)
    if name == "dump":
        run("bind", "--host", "host.dtb", "guest.overlay")
        built = built_blob()
        Path("built.dtb").write_bytes(built)
        return Blobs([built, given_blob(built)], pick), dump(run)
    if name == "audit":
        shutil.copytree(BOARD, ".", dirs_exist_ok=True)
    seeds, tokens, commands = {
        "audit": (sets, SET_TOKENS, audit),
        "guest": (guest_sources, DTS_TOKENS, guest),
        "config": (configs, YAML_TOKENS, config),
        "profile": (profiles, YAML_TOKENS, profile),
    }[name]
    return Texts(seeds(), tokens, pick), commands(run)
