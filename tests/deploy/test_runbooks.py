"""The runbooks' own commands: SQL runs, Prometheus can parse the queries, commands exist, links lead somewhere."""

import re
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from tests.support.programs import prometheus
from tests.support.stack import Database
from tools.devstack.stack import PROJECT

RUNBOOKS = sorted((PROJECT / "docs" / "runbooks").glob("*.md"))
BLOCK = re.compile(r"```(?P<language>\w+)\n(?P<text>.*?)```", re.DOTALL)
COMMAND = re.compile(r"\b(?P<script>analytics-(?:ingest|query-api|rollup|export))(?P<words>(?: (?!--)[a-z][a-z-]+)*)")


def blocks(language: str) -> list[tuple[str, str]]:
    return [
        (page.stem, match["text"].strip())
        for page in RUNBOOKS
        for match in BLOCK.finditer(page.read_text())
        if match["language"] == language
    ]


def test_the_sql_runs_on_the_schema(database: Database) -> None:
    """Somebody who was woken must not have to mend a query first."""
    statements = blocks("sql")

    assert len(statements) >= 10
    with psycopg.connect(database.owner_dsn) as connection:
        for page, statement in statements:
            try:
                connection.execute(statement.encode())
            except psycopg.Error as error:
                pytest.fail(f"{page}: {error}\n{statement}")


@pytest.mark.timeout(600)
def test_prometheus_can_parse_the_queries(tmp_path: Path) -> None:
    promtool = prometheus("promtool")
    if promtool is None:
        pytest.skip("promtool is not here, and Debian's package cannot be fetched")
    queries = [(page, line) for page, text in blocks("promql") for line in text.splitlines()]
    rules = tmp_path / "queries.yaml"
    entries = "".join(
        f"      - record: q:{number}\n        expr: {line!r}\n" for number, (_, line) in enumerate(queries)
    )
    rules.write_text(f"groups:\n  - name: runbooks\n    rules:\n{entries}")
    done = subprocess.run([promtool, "check", "rules", rules], capture_output=True, text=True, check=False)

    assert len(queries) >= 20
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_services_commands_exist() -> None:
    """Each `analytics-SERVICE words …` in a runbook is a command with a --help."""
    text = "\n".join(page.read_text() for page in RUNBOOKS)
    commands = {(match["script"], *match["words"].split()) for match in COMMAND.finditer(text) if match["words"]}

    assert commands
    for script, *words in sorted(commands):
        program = Path(sys.prefix) / "bin" / script
        done = subprocess.run([program, *words, "--help"], capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{script} {' '.join(words)}: {done.stderr}"
        assert all(word in done.stdout for word in words[-1:]), f"{script} {' '.join(words)} has no help of its own"


@pytest.mark.parametrize("page", RUNBOOKS, ids=lambda page: page.stem)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_the_capacity_table_follows_from_the_figures() -> None:
    """New measurements go into the first table; the rows that follow from them are in this test's failure."""
    page = (PROJECT / "docs" / "runbooks" / "scaling.md").read_text()
    postgres, ingest, rollup, rabbitmq, stored, streamed = (
        float(value) for value in re.findall(r"\| ([\d.]+) (?:µs|bytes) \|", page)
    )
    rows = []
    for rate in (300, 3_000, 15_000, 55_000, 100_000):
        cores = [f"{rate * cost_us / 1e6:.2f}" for cost_us in (postgres, ingest, rollup, rabbitmq)]
        disk = [f"{rate * 86_400 * size / 1e9:,.0f} GB" for size in (stored, streamed)]
        rows.append(f"| {' | '.join([f'{rate:,}', f'{rate * 86_400 / 1e6:,.0f} million', *cores, *disk])} |")

    assert "\n".join(rows) in page
