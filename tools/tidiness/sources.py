"""What the rules look at: files, read and parsed once, and findings about them."""

import ast
import io
import tokenize
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

SKIPPED = {"__pycache__", ".venv", "build", "dist", "node_modules"}

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, order=True)
class Finding:
    path: str
    line: int
    rule: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.rule}: {self.message}"


@dataclass(frozen=True)
class Source:
    """One file, read and parsed once; `path` is relative to the root, with slashes."""

    path: str
    text: str

    @property
    def area(self) -> str:
        return self.path.partition("/")[0]

    @cached_property
    def lines(self) -> list[str]:
        return self.text.splitlines()

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text if self.path.endswith(".py") else "", self.path)

    @cached_property
    def nodes(self) -> list[ast.AST]:
        return list(ast.walk(self.tree))

    @cached_property
    def functions(self) -> list[Function]:
        return [node for node in self.nodes if isinstance(node, Function)]

    @cached_property
    def comments(self) -> list[tuple[int, str]]:
        """Every comment with its line."""
        if not self.path.endswith(".py"):
            return [(n, line) for n, line in enumerate(self.lines, 1) if "--" in line]
        tokens = tokenize.generate_tokens(io.StringIO(self.text).readline)
        return [(token.start[0], token.string) for token in tokens if token.type == tokenize.COMMENT]

    def finding(self, line: int | ast.AST, rule: str, message: str) -> Finding:
        number = line if isinstance(line, int) else getattr(line, "lineno", 1)
        return Finding(self.path, number, rule, message)


def dotted_name(node: ast.AST) -> str:
    """`a.b.c` of a chain of attributes; empty parts where the chain starts with something else than a name."""
    if isinstance(node, ast.Attribute):
        return f"{dotted_name(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def strings(node: ast.AST) -> Iterator[tuple[int, str]]:
    """String constants below a node, the literal parts of f-strings included."""
    for child in ast.walk(node):
        if isinstance(child, ast.Constant) and isinstance(child.value, str):
            yield child.lineno, child.value


def read_sources(root: Path, areas: Iterable[str]) -> list[Source]:
    """All Python and SQL files of the areas, sorted by path."""
    found = []
    for path in sorted(file for area in areas for file in (root / area).rglob("*")):
        relative = path.relative_to(root)
        if path.suffix in {".py", ".sql"} and not SKIPPED & {*relative.parts} and path.is_file():
            found.append(Source(relative.as_posix(), path.read_text(encoding="utf-8")))
    return found
