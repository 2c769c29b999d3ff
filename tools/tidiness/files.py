"""Rules about one file at a time."""

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from tools.tidiness.migrations import narrowing
from tools.tidiness.sources import Finding, Source, dotted_name, strings

FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 70
PRODUCT = ("libs", "services")
AREAS = (*PRODUCT, "tools", "tests", "migrations")
GENERATED = {"migrations/schema.sql"}

BANNED_FILE_NAMES = {"utils", "util", "helpers", "helper", "common", "misc", "models", "service"}
WALL_CLOCKS = {
    "datetime.now", "datetime.utcnow", "datetime.today", "datetime.datetime.now", "datetime.datetime.utcnow",
    "datetime.datetime.today", "date.today", "datetime.date.today", "time.time", "time.time_ns",
}  # fmt: skip
CLOCK_FILE = "libs/analytics_core/src/analytics_core/clock.py"
DATABASE_FILE = "libs/analytics_core/src/analytics_core/database.py"
METRIC_TYPES = {"Counter", "Gauge", "Histogram", "Summary", "Info", "Enum"}

_CENTS = re.compile(r"(^|_)(micro)?cents?(_|$)")
_BOUND_CAST = re.compile(r"(?<![:\w]):[a-z_]\w*::[a-z]", re.IGNORECASE)
_UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")


def calls(source: Source) -> Iterator[tuple[ast.Call, str]]:
    for node in source.nodes:
        if isinstance(node, ast.Call):
            yield node, dotted_name(node.func)


def file_length(source: Source) -> Iterator[Finding]:
    if len(source.lines) > FILE_LINES_MAX and source.path not in GENERATED:
        yield source.finding(1, "file-length", f"{len(source.lines)} lines, at most {FILE_LINES_MAX}: split it")


def function_length(source: Source) -> Iterator[Finding]:
    for function in source.functions:
        length = (function.end_lineno or function.lineno) - function.lineno + 1
        if length > FUNCTION_LINES_MAX:
            message = f"{function.name}() has {length} lines, at most {FUNCTION_LINES_MAX}: split it"
            yield source.finding(function, "function-length", message)


def file_name(source: Source) -> Iterator[Finding]:
    *folders, name = Path(source.path).parts
    banned = BANNED_FILE_NAMES & {*folders, Path(name).stem}
    for part in sorted(banned):
        yield source.finding(1, "file-name", f"{part!r} says nothing: name it after what it does")


def wall_clock(source: Source) -> Iterator[Finding]:
    for call, name in calls(source):
        if name in WALL_CLOCKS and source.path != CLOCK_FILE:
            yield source.finding(call, "wall-clock", f"{name}(): take a Clock, or call analytics_core.clock.now")


def transaction(source: Source) -> Iterator[Finding]:
    for call, _ in calls(source):
        attribute = call.func.attr if isinstance(call.func, ast.Attribute) else ""
        if attribute in {"commit", "transaction"} and source.path != DATABASE_FILE:
            message = f".{attribute}(): only analytics_core.database opens and commits transactions"
            yield source.finding(call, "transaction", message)


def printing(source: Source) -> Iterator[Finding]:
    for call, name in calls(source):
        if name == "print":
            yield source.finding(call, "print", "print(): log it, or write to a stream that the caller passes")


def float_cents(source: Source) -> Iterator[Finding]:
    for node in source.nodes:
        match node:
            case ast.AnnAssign(target=ast.Name(id=name) | ast.Attribute(attr=name), annotation=annotation):
                pass
            case ast.arg(arg=name, annotation=ast.AST() as annotation):
                pass
            case ast.FunctionDef(name=name, returns=ast.AST() as annotation):
                pass
            case ast.AsyncFunctionDef(name=name, returns=ast.AST() as annotation):
                pass
            case _:
                continue
        names = {child.id for child in ast.walk(annotation) if isinstance(child, ast.Name)}
        if _CENTS.search(name) and "float" in names:
            yield source.finding(node, "float-cents", f"{name} is money: int micro-cents or Decimal, never float")


def sql_cast(source: Source) -> Iterator[Finding]:
    texts = strings(source.tree) if source.path.endswith(".py") else enumerate(source.lines, 1)
    for line, text in texts:
        if found := _BOUND_CAST.search(text):
            message = f"{found.group()}… binds nothing in SQLAlchemy text(): write CAST(:x AS type)"
            yield source.finding(line, "sql-cast", message)


def unfinished(source: Source) -> Iterator[Finding]:
    for line, comment in source.comments:
        if found := _UNFINISHED.search(comment):
            yield source.finding(line, "unfinished", f"{found.group()}: finish it, or write down why it is right")


def metric(source: Source) -> Iterator[Finding]:
    imported = {
        alias.asname or alias.name
        for node in source.nodes
        if isinstance(node, ast.ImportFrom) and node.module == "prometheus_client"
        for alias in node.names
        if alias.name in METRIC_TYPES
    }
    known = imported | {f"prometheus_client.{name}" for name in METRIC_TYPES}
    for call, name in calls(source):
        if name not in known:
            continue
        if Path(source.path).name != "metrics.py":
            yield source.finding(call, "metric-place", "metrics are defined in metrics.py, all in one catalogue")
        texts = [*call.args[1:2], *(word.value for word in call.keywords if word.arg == "documentation")]
        if not any(text.strip() for node in texts for _, text in strings(node)):
            yield source.finding(call, "metric-help", "a metric needs a help text: what it tells, and the remedy")


Check = Callable[[Source], Iterator[Finding]]
# Each rule with the areas that it holds in: tests and tools may read the clock, print, and open transactions.
FILE_RULES: dict[Check, tuple[str, ...]] = {
    file_length: AREAS,
    function_length: AREAS,
    file_name: AREAS,
    wall_clock: PRODUCT,
    transaction: PRODUCT,
    printing: ("services",),
    float_cents: AREAS,
    sql_cast: (*PRODUCT, "tools", "migrations"),
    unfinished: AREAS,
    metric: PRODUCT,
    narrowing: ("migrations",),
}
