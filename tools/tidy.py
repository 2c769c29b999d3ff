"""Style as a test: the rules of this code base that no off-the-shelf linter knows.

Run as `python -m tools.tidy`: prints `path:line: rule: message` for each finding and exits 1; 0 when there is none.
A line that must break a rule says why, on the line itself or on a comment line right above (line 1 for a rule about
the file): `# tidy: <rule> — reason`.
"""

import argparse
import re
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

from tools.tidiness.files import AREAS, FILE_RULES
from tools.tidiness.queries import PROJECT_RULES
from tools.tidiness.sources import Finding, Source, read_sources

RULES = {
    "file-length", "function-length", "file-name", "wall-clock", "transaction", "print", "float-cents", "sql-cast",
    "unfinished", "metric-place", "metric-help", "sql-use", "org-scope", "narrowing",
}  # fmt: skip
_WAIVER = re.compile(r"(?:#|--) tidy: (?P<rule>[\w-]+)(?: — (?P<reason>.*\S))?")


def without_waived(sources: list[Source], findings: list[Finding]) -> Iterator[Finding]:
    """Drop waived findings; a waiver that is misspelt, without reason or no longer needed is itself one."""
    remaining = set(findings)
    for source in sources:
        for line, comment in source.comments:
            match = _WAIVER.search(comment)
            if match is None:
                continue
            above = source.lines[line - 1].lstrip().startswith(("#", "--"))
            waived = {
                finding
                for finding in findings
                if finding.path == source.path
                and finding.rule == match["rule"]
                and (finding.line == line or (above and finding.line == line + 1))
            }
            remaining -= waived if match["reason"] else set()
            if match["rule"] not in RULES:
                known = ", ".join(sorted(RULES))
                yield source.finding(line, "waiver", f"no rule {match['rule']!r}; there are: {known}")
            elif not match["reason"]:
                yield source.finding(line, "waiver", "say why: # tidy: <rule> — reason")
            elif not waived:
                yield source.finding(line, "waiver", f"nothing here breaks {match['rule']}: remove the waiver")
    yield from remaining


def check(sources: list[Source]) -> list[Finding]:
    """Every finding that no waiver excuses, in the order of files and lines."""
    findings = [
        finding
        for rule, areas in FILE_RULES.items()
        for source in sources
        if source.area in areas
        for finding in rule(source)
    ]
    findings += [finding for rule in PROJECT_RULES for finding in rule(sources)]
    return sorted(without_waived(sources, findings))


def sizes(sources: list[Source]) -> Iterator[str]:
    """Medians and maxima of file and function lengths, Python alone, one line for each area."""
    for area in AREAS:
        files = [source for source in sources if source.area == area and source.path.endswith(".py") and source.lines]
        functions = [(f.end_lineno or f.lineno) - f.lineno + 1 for source in files for f in source.functions]
        lengths = [len(source.lines) for source in files]
        if files:
            yield (
                f"{area:<10} {len(files):4} files, median {statistics.median(lengths):4.0f} lines, longest"
                f" {max(lengths):3}; {len(functions):4} functions, median"
                f" {statistics.median(functions or [0]):3.0f}, longest {max(functions, default=0)}"
            )


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--root", type=Path, default=Path(__file__).parents[1], help="the repository (default: this one)"
    )
    parser.add_argument("--stats", action="store_true", help="print medians of file and function lengths, too")
    arguments = parser.parse_args(argv)
    sources = read_sources(arguments.root, AREAS)
    try:
        findings = check(sources)
    except SyntaxError as error:
        print(f"{error.filename}:{error.lineno}: syntax: {error.msg}")
        return 1
    for finding in findings:
        print(finding)
    if arguments.stats:
        print(*sizes(sources), sep="\n")
    print(f"tidy: {len(sources)} files, {len(findings)} findings", file=sys.stderr)
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
