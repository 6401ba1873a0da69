# SPDX-License-Identifier: Apache-2.0
"""The mutants that cosmic-ray makes of a package, but for those of which no run could tell."""

from __future__ import annotations

import ast
import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from cosmic_ray.ast import ast_nodes, get_ast_from_path
from cosmic_ray.commands.init import _operators
from cosmic_ray.mutating import mutate_code

CHECKOUT = Path(__file__).resolve().parents[2]


class Mutant(NamedTuple):
    """A change of `line` of `module`, and the whole changed source."""

    module: str
    operator: str
    line: int
    before: str
    after: str
    source: str
    # Whether the change is within functions, and not in what runs when the module is imported.
    is_in_function: bool
    lines: range

    @property
    def package(self) -> str:
        """The one that `module` is in."""
        return self.module.split(".")[1]


class _Meaning(ast.NodeTransformer):
    """Without what no run can tell: annotations, types in a name's value (`Name = Type | None`),
    whether a parameter could be given in another way as well, whether None or the member of an enum
    is compared by `is` or by `==`, and whether zip would see that lists of one length are not.
    """

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        node.annotation = ast.Constant(None)
        return self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_arguments(self, node: ast.arguments) -> ast.AST:
        node.args = [*node.posonlyargs, *node.args, *node.kwonlyargs]
        node.posonlyargs, node.kwonlyargs = [], []
        return self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        if isinstance(node.right, ast.Constant) and node.right.value is None:
            node.op = ast.BitOr()
        return self.generic_visit(node)

    def visit_keyword(self, node: ast.keyword) -> ast.AST:
        if node.arg == "strict":
            node.value = ast.Constant(None)
        return self.generic_visit(node)

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        for at, (operator, right) in enumerate(zip(node.ops, node.comparators, strict=True)):
            if _is_single(right) and isinstance(operator, ast.Is | ast.IsNot):
                node.ops[at] = ast.Eq() if isinstance(operator, ast.Is) else ast.NotEq()
        return self.generic_visit(node)


class _AtImport(_Meaning):
    """Without the bodies of functions too."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.body = [ast.Pass()]
        return super().visit_FunctionDef(node)


def _is_single(node: ast.expr) -> bool:
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        return node.value.id[:1].isupper()
    return isinstance(node, ast.Constant) and node.value is None


def mutants(package: str) -> Iterator[Callable[[], Mutant | None]]:
    """What makes each mutant of a package; None where the code would mean the same."""
    for file in sorted((CHECKOUT / "west_viommu" / package).glob("*.py")):
        nodes = list(ast_nodes(get_ast_from_path(file)))
        for name, _, operator in _operators({}):
            places = [place for node in nodes for place in operator.mutation_positions(node)]
            for occurrence, (start, _) in enumerate(places):
                yield functools.partial(_made, file, name, operator, occurrence, start[0])


def unchanged() -> Mutant:
    """One that is none, of a module that nearly all tests run."""
    file = CHECKOUT / "west_viommu" / "tree" / "node.py"
    code = file.read_text(encoding="utf-8")
    lines = range(1, code.count("\n") + 1)
    return Mutant(module_of(file), "unchanged", 1, "", "", code, True, lines)


def _made(file: Path, name: str, operator: Any, occurrence: int, line: int) -> Mutant | None:
    code = file.read_text(encoding="utf-8")
    source = mutate_code(code, operator, occurrence)
    try:
        if source is None or _meaning(source) == _meaning(code):
            return None
    except SyntaxError:
        # The * of a signature is no product.
        return None
    before, after = code.splitlines(), source.splitlines()
    changed = (i for i, pair in enumerate(zip(before, after, strict=False)) if pair[0] != pair[1])
    at = next(changed, line - 1)
    return Mutant(
        module_of(file),
        name,
        at + 1,
        before[at].strip(),
        after[at].strip() if at < len(after) else "",
        source,
        _meaning(source, _AtImport()) == _meaning(code, _AtImport()),
        _statement(ast.parse(code), at + 1),
    )


def module_of(file: Path) -> str:
    """The full name of the module in `file`."""
    return ".".join(file.relative_to(CHECKOUT).with_suffix("").parts)


def _meaning(code: str, transformer: ast.NodeTransformer | None = None) -> str:
    return ast.dump((transformer or _Meaning()).visit(ast.parse(code)))


def _statement(node: ast.AST, line: int) -> range:
    """The lines of the smallest statement with `line`; of one with a body, those before that. Of
    one that only jumps, those from the one around it on, as Python may jump there at once.
    """
    found = range(line, line + 1)
    around = line
    for each in ast.walk(node):
        if isinstance(each, ast.stmt) and each.lineno <= line <= (each.end_lineno or 0):
            body = getattr(each, "body", None)
            end = body[0].lineno - 1 if body else each.end_lineno
            if end and line <= end:
                is_jump = isinstance(each, ast.Continue | ast.Break)
                found = range(around if is_jump else each.lineno, end + 1)
            around = each.lineno
    return found
