# SPDX-License-Identifier: Apache-2.0
"""Mutation testing of a sample, by hand: docs/reliability.md, "Do the tests notice?".

    python tools/mutants.py [--count N] [--seed S] PACKAGE...

cosmic-ray makes the mutants of west_viommu/PACKAGE, and of those that tools/mutation.toml does not
leave out, N are picked at random: the same seed picks the same. Each gets a process of its own in
which the mutated module is imported in place of ours, no file is changed, and the tests run until
one fails. What cpp, dtlib and dtc made of an input is kept from a run without a mutant.
"""

from __future__ import annotations

import argparse
import ast
import importlib.abc
import importlib.machinery
import io
import os
import random
import re
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest
import yaml
from cosmic_ray.ast import ast_nodes, get_ast_from_path
from cosmic_ray.commands.init import _operators
from cosmic_ray.mutating import mutate_code

CHECKOUT = Path(__file__).resolve().parents[1]
PAIRS = range(1, 41)
# What survives the cases and the pairs meets these, and then the others.
FAST = (
    "tests/tree",
    "tests/host",
    "tests/plan",
    "tests/guest",
    "tests/hazards",
    "tests/cli/test_isolation.py",
    "tests/write/test_for_xen.py",
)
OTHERS = (
    "tests/xen/test_pairs_agree.py",
    "tests/cli/test_wild.py",
    "tests/cli/test_bind.py",
    "tests/cli/test_extract.py",
)
_KILLED, _SURVIVED, _TIMEOUT = "killed", "survived", "killed by time"


class Mutant(NamedTuple):
    """A change of `line` of `module`, and the whole changed source."""

    module: str
    operator: str
    line: int
    before: str
    after: str
    source: str


def mutants(package: str) -> Iterator[Callable[[], Mutant | None]]:
    """What makes each mutant of a package; None where the code would be the same."""
    left_out = re.compile("core/ReplaceBinaryOperator_BitOr_.*")
    for file in sorted((CHECKOUT / "west_viommu" / package).glob("*.py")):
        nodes = list(ast_nodes(get_ast_from_path(file)))
        for name, _, operator in _operators({}):
            if not left_out.fullmatch(name):
                places = [place for node in nodes for place in operator.mutation_positions(node)]
                for occurrence, (start, _) in enumerate(places):
                    yield _maker(file, name, operator, occurrence, start[0])


def _maker(
    file: Path, name: str, operator: Any, occurrence: int, line: int
) -> Callable[[], Mutant | None]:
    def make() -> Mutant | None:
        code = file.read_text(encoding="utf-8")
        source = mutate_code(code, operator, occurrence)
        try:
            if source is None or ast.dump(ast.parse(source)) == ast.dump(ast.parse(code)):
                return None
        except SyntaxError:
            # The * of a signature is no product.
            return None
        before, after = code.splitlines(), source.splitlines()
        at = next(
            (i for i, pair in enumerate(zip(before, after, strict=False)) if pair[0] != pair[1]),
            line - 1,
        )
        module = ".".join(file.relative_to(CHECKOUT).with_suffix("").parts)
        return Mutant(module, name, at + 1, before[at].strip(), after[at].strip(), source)

    return make


class Instead(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports the mutant in place of its module."""

    def __init__(self, mutant: Mutant):
        self._mutant = mutant
        self._file = CHECKOUT / (mutant.module.replace(".", "/") + ".py")

    def find_spec(self, name: str, *_: object) -> importlib.machinery.ModuleSpec | None:
        if name != self._mutant.module:
            return None
        return importlib.machinery.ModuleSpec(name, self, origin=str(self._file))

    def exec_module(self, module: ModuleType) -> None:
        module.__file__ = str(self._file)
        exec(compile(self._mutant.source, str(self._file), "exec"), module.__dict__)


class Kept:
    """A plugin of pytest that keeps what cpp, dtlib and dtc make of an input."""

    def __init__(self) -> None:
        self._of_cpp: dict[object, object] = {}
        self._of_dtlib: dict[object, object] = {}
        self._of_dtc: dict[object, object] = {}
        self._run = subprocess.run

    def pytest_sessionstart(self) -> None:
        """The modules are those of this process: after a fork, they are imported anew."""
        from west_viommu import api
        from west_viommu.read import preprocess, source

        run, parsed = preprocess._bounded_run, source._parsed

        def kept_run(command: Sequence[str]) -> Any:
            key = (tuple(command), tuple(self._contents(command)))
            if key not in self._of_cpp:
                self._of_cpp[key] = run(command)
            return self._of_cpp[key]

        def kept_parsed(text: str, name: str, outline: Any) -> Any:
            if "incbin" in text:
                return parsed(text, name, outline)
            if (text, name) not in self._of_dtlib:
                self._of_dtlib[text, name] = parsed(text, name, outline)
            return self._of_dtlib[text, name]

        def kept_dtc(command: Any, **options: Any) -> Any:
            if command[0] != "dtc" or "input" not in options:
                return self._run(command, **options)
            key = (tuple(command), *options.items())
            if key not in self._of_dtc:
                self._of_dtc[key] = self._run(command, **options)
            return self._of_dtc[key]

        made = api.Compilers

        class KeptCompilers:
            def __init__(kept, sources: Mapping[str, str]):
                kept.sources = sources

            def __enter__(kept) -> Any:
                return kept

            def __exit__(kept, *raised: object) -> None:
                pass

            def blobs(kept) -> Any:
                key = tuple(kept.sources.items())
                if key not in self._of_dtc:
                    with made(kept.sources) as compilers:
                        self._of_dtc[key] = compilers.blobs()
                return self._of_dtc[key]

        preprocess._bounded_run, source._parsed = kept_run, kept_parsed
        subprocess.run, api.Compilers = kept_dtc, KeptCompilers

    def _contents(self, command: Sequence[str]) -> Iterator[object]:
        """What the preprocessor may read."""
        here = sorted(each for each in Path().iterdir() if each.is_file())
        for file in (*map(Path, command), *here):
            if file.is_file():
                yield str(file), file.read_bytes()


def run_tests(kept: Kept, tests: Sequence[str]) -> int:
    """The exit status of pytest on the `tests`."""
    # Those that put another dtc into the path would not meet it.
    options = ["-x", "-q", "--no-header", "-p", "no:cacheprovider", "-k", "not dtc"]
    return int(pytest.main([*options, *tests], plugins=[kept]))


class Case(NamedTuple):
    """What tests/refused or tests/cli/test_harmless.py says of one input: a folder with it, the
    command, and the status and messages; of what is harmless, only the ids count.
    """

    folder: Path
    command: Sequence[str]
    is_refused: bool
    status: int
    said: str


def cases(folder: Path) -> Iterator[Case]:
    """Each way to be refused, and its harmless twin, made in `folder`; to be run in process."""
    from tests.cli.refused_cases import CASES, prepared
    from tests.cli.test_harmless import TWINS
    from tests.support import HOSTS, PARTIAL_TREE

    for file in CASES:
        own = folder / file.stem
        own.mkdir()
        content = yaml.safe_load(file.read_text())
        os.chdir(own)
        options = prepared(content, own)
        yield Case(own, options, True, 1, content["stderr"])
    for number, twin in enumerate(TWINS):
        own = folder / f"twin{number}"
        own.mkdir()
        text = (HOSTS / twin.host).read_text()
        (own / "host.dts").write_text(text.replace(*twin.edit) if twin.edit[0] else text)
        (own / "guest.dts").write_text(PARTIAL_TREE % twin.passthrough)
        if twin.config:
            (own / "viommu.yml").write_text(twin.config)
        yield Case(own, twin.options, False, 0, "")


def said_of(case: Case) -> tuple[int, str]:
    """The status of the command, and what the tests look at of what it says."""
    from west_viommu.__main__ import main as viommu

    os.chdir(case.folder)
    said = io.StringIO()
    with redirect_stderr(said), redirect_stdout(io.StringIO()):
        status = viommu(["bind", "--host", "host.dts", *case.command, "guest.dts"])
    if case.is_refused:
        return status, said.getvalue()
    return status, " ".join(sorted(re.findall(r"\[[\w-]+\]", said.getvalue())))


def quickly(mutant: Mutant, kept: Kept, known: Sequence[Case], seconds: int) -> tuple[str, float]:
    """As `outcome`, by the cases, and by random pairs of which the model of Xen says the same."""

    def differs() -> int:
        kept.pytest_sessionstart()
        if any(said_of(case) != (case.status, case.said) for case in known):
            return 1
        from tests.xen.random_pairs import result

        return not all(result(seed).verdict.agrees for seed in PAIRS)

    return _in_child(mutant, differs, seconds)


def outcome(mutant: Mutant, kept: Kept, tests: Sequence[str], seconds: int) -> tuple[str, float]:
    """What becomes of the mutant, and after how many seconds of a processor."""
    return _in_child(mutant, lambda: run_tests(kept, tests), seconds)


def _in_child(mutant: Mutant, run: Callable[[], int], seconds: int) -> tuple[str, float]:
    child = os.fork()
    if child == 0:
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
        nowhere = os.open(os.devnull, os.O_RDWR)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        sys.meta_path.insert(0, Instead(mutant))
        try:
            os._exit(run())
        except BaseException:
            os._exit(1)
    _, status, usage = os.wait4(child, 0)
    taken = usage.ru_utime + usage.ru_stime
    if os.WIFSIGNALED(status):
        return _TIMEOUT, taken
    return (_KILLED if os.WEXITSTATUS(status) else _SURVIVED), taken


def forget() -> None:
    """Have the project and its tests imported anew."""
    for name in list(sys.modules):
        if name.split(".")[0] in ("west_viommu", "tests"):
            del sys.modules[name]


def main() -> None:
    """Pick, run, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("packages", nargs="+", metavar="PACKAGE")
    parser.add_argument("--count", type=int, default=60, metavar="N", help="of each package")
    parser.add_argument("--seed", type=int, default=1, metavar="S")
    parser.add_argument("--seconds", type=int, default=60, help="that the tests may take")
    parser.add_argument("--quick", action="store_true", help="the cases alone")
    arguments = parser.parse_args()
    os.chdir(CHECKOUT)
    sys.path.insert(0, str(CHECKOUT))
    sys.dont_write_bytecode = True
    kept = Kept()
    with tempfile.TemporaryDirectory(prefix="viommu-mutants-") as folder:
        kept.pytest_sessionstart()
        known = list(cases(Path(folder)))
        known = [case._replace(**_as_it_is(case)) for case in known]
        forget()
        os.chdir(CHECKOUT)
        _sampled(arguments, kept, known)


def _as_it_is(case: Case) -> dict[str, Any]:
    """Raises AssertionError where the case does not come out as its test wants it."""
    status, said = said_of(case)
    assert status == case.status, case
    if case.is_refused:
        assert said == case.said, case
    return {"said": said}


def _sampled(arguments: argparse.Namespace, kept: Kept, known: Sequence[Case]) -> None:
    for package in arguments.packages:
        makers = list(mutants(package))
        random.Random(arguments.seed).shuffle(makers)
        found: list[str] = []
        for make in makers:
            mutant = make() if len(found) < arguments.count else None
            if mutant:
                what, taken = quickly(mutant, kept, known, arguments.seconds)
                for tests in (FAST, OTHERS) if not arguments.quick else ():
                    if what == _SURVIVED:
                        what, more = outcome(mutant, kept, tests, arguments.seconds)
                        taken += more
                found.append(what)
                print(
                    f"{what} {taken:5.1f} s  {mutant.module}:{mutant.line}  {mutant.operator}\n"
                    f"    - {mutant.before}\n    + {mutant.after}",
                    flush=True,
                )
        killed = len(found) - found.count(_SURVIVED)
        print(f"{package}: {killed} of {len(found)} killed; there are {len(makers)}", flush=True)


if __name__ == "__main__":
    main()
