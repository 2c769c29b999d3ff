"""Rules about SQL and who runs it, which need all files of a package together."""

import ast
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from tools.tidiness.sources import Finding, Function, Source, dotted_name, strings

TENANT_TABLES = {
    "usage_events", "visible_events", "usage_hourly", "usage_daily", "usage_quarter_hourly", "usage_detail_hourly",
    "usage_detail_daily", "usage_actor_hourly", "usage_actor_daily", "freshness_status", "export_jobs",
    "export_schedules", "audit_log",
}  # fmt: skip
SCOPES = ("OrgScope", "PlatformScope")
SCOPED_SERVICES = ("services/query-api", "services/export")
QUERY_CALLS = {"select", "select_from", "insert", "update", "delete"}

_SQL_BLOCK = re.compile(r"^-- ([a-z][a-z0-9_]*) --$", re.MULTILINE)
_SQL_VERB = re.compile(r"\b(SELECT|INSERT|UPDATE|DELETE|FROM|JOIN)\b")
_TENANT_TABLE = re.compile(rf"\b({'|'.join(sorted(TENANT_TABLES))})\b")


def sql_blocks(sources: Iterable[Source]) -> Iterator[tuple[Source, int, str, str]]:
    """Every named block of the sql/ folders: file, line, name, text."""
    for source in sources:
        if Path(source.path).parent.name != "sql" or not source.path.endswith(".sql"):
            continue
        head, *parts = _SQL_BLOCK.split(source.text)
        line = head.count("\n") + 1
        for name, text in zip(parts[::2], parts[1::2], strict=True):
            yield source, line, name, text
            line += text.count("\n")


def package_of(sql_file: Source) -> str:
    return f"{Path(sql_file.path).parents[1].as_posix()}/"


def query_uses(node: ast.AST) -> Iterator[str]:
    """Names of blocks that a node picks: `QUERIES["name"]`, the collection being a constant by its spelling."""
    for child in ast.walk(node):
        match child:
            case ast.Subscript(value=collection, slice=ast.Constant(value=str(name))):
                if dotted_name(collection).rpartition(".")[2].lstrip("_").isupper():
                    yield name


def sql_use(sources: list[Source]) -> Iterator[Finding]:
    """Each named statement has exactly one place that runs it."""
    blocks = list(sql_blocks(sources))
    defined = Counter((package_of(source), name) for source, _, name, _ in blocks)
    for source, line, name, _ in blocks:
        package = package_of(source)
        used = sum([*query_uses(other.tree)].count(name) for other in sources if other.path.startswith(package))
        if used != defined[package, name]:
            message = f"{name} is used {used} times in {package}: one statement, one use"
            yield source.finding(line, "sql-use", message)


def touches_tenants(function: Function, tenant_blocks: set[str]) -> bool:
    body = ast.Module(function.body, [])
    if tenant_blocks & {*query_uses(body)}:
        return True
    docstring = ast.get_docstring(function, clean=False)
    for _, text in strings(body):
        if text != docstring and _SQL_VERB.search(text) and _TENANT_TABLE.search(text):
            return True
    names = [dotted_name(node).rpartition(".")[2] for node in ast.walk(body)]
    return not TENANT_TABLES.isdisjoint(names) and not QUERY_CALLS.isdisjoint(names)


def takes_scope(function: Function) -> bool:
    arguments = [node for node in ast.walk(function.args) if isinstance(node, ast.arg)]
    annotations = [ast.unparse(argument.annotation) for argument in arguments if argument.annotation]
    return any(scope in annotation for scope in SCOPES for annotation in annotations)


def unscoped(source: Source) -> list[Function]:
    """The functions without a scope of their own or of a function around them."""
    scoped = [function for function in source.functions if takes_scope(function)]
    inside = {node for function in scoped for node in ast.walk(function)}
    return [function for function in source.functions if function not in inside]


def org_scope(sources: list[Source]) -> Iterator[Finding]:
    """Who may read an organisation's rows is decided before the query, and the type says so."""
    for service in SCOPED_SERVICES:
        own = [source for source in sources if source.path.startswith(f"{service}/")]
        tenant_blocks = {name for _, _, name, text in sql_blocks(own) if _TENANT_TABLE.search(text)}
        for source in own:
            for function in unscoped(source):
                if touches_tenants(function, tenant_blocks):
                    message = f"{function.name}() queries tenant rows: take an OrgScope or a PlatformScope"
                    yield source.finding(function, "org-scope", message)


PROJECT_RULES = (sql_use, org_scope)
