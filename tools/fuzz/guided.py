# SPDX-License-Identifier: Apache-2.0
"""As tools/fuzz, but guided by what of the code an input reaches; needs the package atheris.

    python tools/fuzz/guided.py TARGET RUNS [CORPUS]

An input that reaches new code is damaged further. A failure ends the run with its traceback.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["west_viommu"]):
    from commands import Runner
    from scratch import scratch
    from targets import TARGETS, target


def main(name: str, runs: str, corpus: str | None = None) -> None:
    """Never returns: atheris ends the process."""
    known = [each for each in TARGETS if each != "absurd"]
    if name not in known:
        # What is absurd is made, not damaged: there is nothing to guide.
        sys.exit(f"{name}: no target; there are {', '.join(known)}")
    pick = random.Random()
    with atheris.instrument_imports(include=["west_viommu"]), scratch():
        inputs, commands = target(name, Runner(2.0), pick, corpus, 20)

        def mutated(data: bytes, most: int, seed: int) -> bytes:
            pick.seed(seed)
            if not data.strip():
                return inputs.mutant()[:most]
            if seed % 4 == 0:
                return bytes(atheris.Mutate(data, most))
            return inputs.mutant_of(data)[:most]

        def tried(data: bytes) -> None:
            Path("input").write_bytes(data)
            next(commands)

        options = [sys.argv[0], f"-runs={runs}", "-max_len=131072", "-timeout=30"]
        atheris.Setup(options, tried, custom_mutator=mutated)
        atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
