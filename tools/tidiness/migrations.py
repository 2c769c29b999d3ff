"""The rule of expand, migrate, contract: services of the previous release run on the schema of the next one."""

import re
from collections.abc import Iterator

from tools.tidiness.sources import Finding, Source

# What takes away, or asks for more than the previous release gives. Adding and loosening (DROP NOT NULL) are fine.
NARROWING = {
    r"\bDROP\s+(?!NOT\s+NULL)(?:\w+)": "the previous release may use it",
    r"\bRENAME\b": "the previous release knows the old name alone",
    r"\bALTER\s+COLUMN\s+\w+\s+(?:SET\s+DATA\s+)?TYPE\b": "the previous release reads and writes the old type",
    r"\bSET\s+NOT\s+NULL\b": "the previous release may leave it empty",
    r"\bADD\s+COLUMN\s+(?![^,;]*\bDEFAULT\b)[^,;]*\bNOT\s+NULL\b": "the previous release does not fill it",
    r"\bADD\s+CONSTRAINT\b": "rows of the previous release may break it",
    r"\bCREATE\s+UNIQUE\s+INDEX\b": "rows of the previous release may break it",
    r"\bREVOKE\b(?![^;]*\bFROM\s+PUBLIC\b)": "the previous release may need the right",
}
_NARROWING = re.compile("|".join(f"({pattern})" for pattern in NARROWING), re.IGNORECASE)
_REASONS = tuple(NARROWING.values())
_COMMENT_OR_FUNCTION_BODY = re.compile(r"--[^\n]*|\bAS\s+(\$\w*\$).*?\1", re.DOTALL)
_CREATED = re.compile(r"\bCREATE\s+(?:TABLE|VIEW)\s+(?:IF\s+NOT\s+EXISTS\s+)?(?P<name>[\w.]+)", re.IGNORECASE)
_NAMED = re.compile(r"\b(?:ON|TABLE)\s+(?P<names>[\w.]+(?:\s*,\s*[\w.]+)*)", re.IGNORECASE)


def narrowing(source: Source) -> Iterator[Finding]:
    """Statements that the previous release may not survive; what the same migration creates is nobody's yet."""
    if not source.path.startswith("migrations/sql/"):
        return
    text = _COMMENT_OR_FUNCTION_BODY.sub(_blank, source.text)
    created = {match["name"] for match in _CREATED.finditer(text)}
    start = 0
    for statement in text.split(";"):
        named = {name for match in _NAMED.finditer(statement) for name in re.split(r"\s*,\s*", match["names"])}
        if not named or not named <= created:
            for match in _NARROWING.finditer(statement):
                line = text.count("\n", 0, start + match.start()) + 1
                reason = _REASONS[(match.lastindex or 1) - 1]
                yield source.finding(line, "narrowing", f"{' '.join(match.group().split())}: {reason}")
        start += len(statement) + 1


def _blank(match: re.Match[str]) -> str:
    """As many lines, without their text."""
    return re.sub(r"[^\n]", " ", match.group())
