"""The lint of our own rules finds what it must, and lets through what is right."""

import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from tools.tidiness.files import AREAS
from tools.tidiness.sources import read_sources
from tools.tidy import RULES, check, main

INGEST = "services/ingest/src/analytics_ingest"
MIGRATION = "migrations/sql/0099_later.sql"
QUERY_API = "services/query-api/src/analytics_query_api"
WAIVER = "# " + "tidy: {}"
FINDS: dict[str, list[tuple[str, str]]] = {
    "file-length": [(f"{INGEST}/long.py", "x = 1\n" * 401)],
    "function-length": [(f"{INGEST}/long.py", "def f() -> None:\n" + "    g()\n" * 70)],
    "file-name": [(f"{INGEST}/utils.py", ""), (f"{INGEST}/common/rows.py", ""), ("tools/helpers.py", "")],
    "wall-clock": [
        (f"{INGEST}/age.py", "from datetime import datetime\nage = datetime.now()\n"),
        (f"{INGEST}/age.py", "import datetime\nage = datetime.datetime.now(datetime.UTC)\n"),
        (f"{INGEST}/age.py", "import time\nage = time.time()\n"),
    ],
    "transaction": [
        (f"{INGEST}/persist.py", "async def f(connection):\n    await connection.commit()\n"),
        (f"{INGEST}/persist.py", "async def f(c):\n    async with c.transaction():\n        pass\n"),
    ],
    "print": [(f"{INGEST}/main.py", "print('ready')\n")],
    "float-cents": [
        (f"{INGEST}/cost.py", "cost_cents: float = 0\n"),
        (f"{INGEST}/cost.py", "class Row:\n    cost_microcents: float | None\n"),
        (f"{INGEST}/cost.py", "def f(cents: float) -> None: ...\n"),
        (f"{INGEST}/cost.py", "async def cost_cents() -> list[float]: ...\n"),
        ("tests/unit/test_cost.py", "def f(cents: float) -> None: ...\n"),
    ],
    "sql-cast": [
        (f"{INGEST}/rows.py", 'QUERY = "SELECT :start::timestamptz"\n'),
        (f"{INGEST}/rows.py", 'x = 1\nQUERY = f"SELECT {x}, :start::timestamptz"\n'),
        ("migrations/sql/0009_rows.sql", "SELECT :start::timestamptz;\n"),
    ],
    "unfinished": [
        (f"{INGEST}/later.py", "x = 1  # TODO: finish\n"),
        ("migrations/sql/0009_rows.sql", "SELECT 1; -- FIXME wrong\n"),
    ],
    "metric-place": [(f"{INGEST}/rows.py", "from prometheus_client import Counter\nC = Counter('a', 'Help.')\n")],
    "metric-help": [
        (f"{INGEST}/metrics.py", "from prometheus_client import Gauge\nG = Gauge('a', ' ')\n"),
        (f"{INGEST}/metrics.py", "import prometheus_client\nG = prometheus_client.Gauge('a', documentation='')\n"),
    ],
    "narrowing": [
        (MIGRATION, "ALTER TABLE analytics.jobs DROP COLUMN name;\n"),
        (MIGRATION, "DROP TABLE analytics.jobs;\n"),
        (MIGRATION, "ALTER TABLE analytics.jobs ALTER COLUMN name DROP DEFAULT;\n"),
        (MIGRATION, "ALTER TABLE analytics.jobs\n    RENAME COLUMN name TO title;\n"),
        (MIGRATION, "ALTER TABLE analytics.jobs ALTER COLUMN name TYPE bigint;\n"),
        (MIGRATION, "ALTER TABLE analytics.jobs ALTER COLUMN name SET NOT NULL;\n"),
        (MIGRATION, "ALTER TABLE analytics.jobs ADD COLUMN a int DEFAULT 1, ADD COLUMN b int NOT NULL;\n"),
        (MIGRATION, "ALTER TABLE analytics.jobs ADD CONSTRAINT whole CHECK (a > 0);\n"),
        (MIGRATION, "CREATE UNIQUE INDEX jobs_name ON analytics.jobs (name);\n"),
        (MIGRATION, "REVOKE SELECT ON analytics.jobs FROM analytics_export;\n"),
        (MIGRATION, "CREATE TABLE analytics.new (a int);\nREVOKE SELECT ON analytics.new, analytics.old FROM x;\n"),
        (MIGRATION, "DO $$ BEGIN DROP FUNCTION analytics.count_jobs(); END $$;\n"),
    ],
}
ALLOWS: list[tuple[str, str]] = [
    (f"{INGEST}/short.py", "x = 1\n" * 400),
    (f"{INGEST}/short.py", "def f() -> None:\n" + "    g()\n" * 69),
    ("tests/unit/test_age.py", "import time\nprint(time.time())\n"),
    (f"{INGEST}/age.py", "import time\nstarted = time.monotonic()\n"),
    ("libs/analytics_core/src/analytics_core/clock.py", "from datetime import UTC, datetime\nx = datetime.now(UTC)\n"),
    ("libs/analytics_core/src/analytics_core/database.py", "async def f(c):\n    await c.commit()\n"),
    (f"{INGEST}/cost.py", "percent: float = 0\nrecent_seconds: float = 1\ncost_cents: int = 0\n"),
    (f"{INGEST}/rows.py", 'QUERY = "SELECT $1::timestamptz, a::date, CAST(:x AS date)"\n'),
    (f"{INGEST}/count.py", "from collections import Counter\nC = Counter()\n"),
    (f"{INGEST}/metrics.py", "from prometheus_client import Counter\nC = Counter('a', 'What it tells.')\n"),
    (f"{INGEST}/text.py", 'x = "TODO is a word here"\n'),
    (MIGRATION, "ALTER TABLE analytics.jobs ALTER COLUMN name DROP NOT NULL;\n"),
    (MIGRATION, "ALTER TABLE analytics.jobs ADD COLUMN a int NOT NULL DEFAULT 0, ADD COLUMN b text;\n"),
    (MIGRATION, "CREATE TABLE analytics.new (a int NOT NULL);\nCREATE UNIQUE INDEX new_a ON analytics.new (a);\n"),
    (MIGRATION, "REVOKE EXECUTE ON FUNCTION analytics.erase FROM PUBLIC;\nSELECT 1; -- DROP TABLE x\n"),
    (MIGRATION, "CREATE FUNCTION analytics.f() RETURNS void AS $$ DROP TABLE x; $$ LANGUAGE sql;\n"),
    (MIGRATION, "-- tidy: narrowing — of a new column\nCREATE UNIQUE INDEX jobs_name ON analytics.jobs (name);\n"),
]


def rules_found(root: Path, files: dict[str, str]) -> list[str]:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text), encoding="utf-8")
    return [finding.rule for finding in check(read_sources(root, AREAS))]


@pytest.mark.parametrize(
    ("rule", "path", "text"),
    [(rule, path, text) for rule, cases in FINDS.items() for path, text in cases],
)
def test_a_broken_rule_is_found(tmp_path: Path, rule: str, path: str, text: str) -> None:
    """Each way of breaking a rule that we have thought of."""
    assert rules_found(tmp_path, {path: text}) == [rule]


@pytest.mark.parametrize(("path", "text"), ALLOWS)
def test_right_code_passes(tmp_path: Path, path: str, text: str) -> None:
    """A lint that cries wolf is switched off."""
    assert rules_found(tmp_path, {path: text}) == []


SQL = """\
    -- store_batch --
    -- Why it is so.
    INSERT INTO batches VALUES ($1);

    -- batch_by_id --
    SELECT * FROM batches;
"""


def test_sql_that_is_used_once_passes(tmp_path: Path) -> None:
    """The rule that keeps one copy of each statement."""
    code = 'QUERIES = load()\nstore = QUERIES["store_batch"]\nread = QUERIES["batch_by_id"]\n'

    assert rules_found(tmp_path, {f"{INGEST}/sql/batches.sql": SQL, f"{INGEST}/persist.py": code}) == []


@pytest.mark.parametrize(
    "code",
    ['x = QUERIES["store_batch"]\n', 'x = [QUERIES["store_batch"], QUERIES["batch_by_id"], _SQL["batch_by_id"]]\n'],
    ids=["unused", "used twice"],
)
def test_sql_that_is_unused_or_used_twice_is_found(tmp_path: Path, code: str) -> None:
    """Unused SQL rots; SQL with two callers belongs into one function."""
    files = {f"{INGEST}/sql/batches.sql": SQL, f"{INGEST}/persist.py": code}

    assert rules_found(tmp_path, files) == ["sql-use"]
    (finding,) = check(read_sources(tmp_path, AREAS))
    assert (finding.line, finding.message.split()[0]) == (5, "batch_by_id")


def test_use_in_another_service_does_not_count(tmp_path: Path) -> None:
    """Each service owns its statements."""
    code = 'x = [QUERIES["store_batch"], QUERIES["batch_by_id"]]\n'
    files = {f"{INGEST}/sql/batches.sql": SQL, "services/rollup/src/analytics_rollup/fold.py": code}

    assert rules_found(tmp_path, files) == ["sql-use", "sql-use"]


UNSCOPED = {
    "core": "def usage(org_id):\n    return select(usage_hourly.c.cost).where(usage_hourly.c.org_id == org_id)\n",
    "text": "def usage(org_id):\n    return 'SELECT * FROM analytics.usage_daily'\n",
    "block": 'def usage(org_id):\n    return QUERIES["freshness_of_org"]\n',
}
FRESHNESS = "-- freshness_of_org --\nSELECT * FROM freshness_status WHERE org_id = $1;\n"


@pytest.mark.parametrize("spelling", UNSCOPED)
def test_tenant_rows_without_a_scope_are_found(tmp_path: Path, spelling: str) -> None:
    """The way to another tenant's rows is a query function that takes a bare id."""
    files = {f"{QUERY_API}/queries/usage.py": UNSCOPED[spelling]}
    if spelling == "block":
        files[f"{QUERY_API}/sql/freshness.sql"] = FRESHNESS

    assert rules_found(tmp_path, files) == ["org-scope"]


@pytest.mark.parametrize("parameter", ["scope: OrgScope", "*, scope: access.OrgScope | None", "scope: PlatformScope"])
def test_tenant_rows_with_a_scope_pass(tmp_path: Path, parameter: str) -> None:
    """The decision was taken before, the type proves it; functions inside inherit it."""
    code = f'def usage({parameter}):\n    def rows():\n        return "SELECT 1 FROM usage_daily"\n    return rows\n'

    assert rules_found(tmp_path, {f"{QUERY_API}/queries/usage.py": code}) == []


def test_other_services_need_no_scope(tmp_path: Path) -> None:
    """Ingest and rollup work for all organisations at once."""
    assert rules_found(tmp_path, {f"{INGEST}/rows.py": UNSCOPED["text"]}) == []


def test_a_waiver_with_a_reason_excuses_its_line_or_the_next(tmp_path: Path) -> None:
    """Rules have exceptions; an exception has a reason."""
    same = f"import time\nx = time.time()  {WAIVER.format('wall-clock — the file format wants it')}\n"
    above = f"import time\n{WAIVER.format('wall-clock — the file format wants it')}\nx = time.time()\n"
    whole = WAIVER.format("file-length — a generated table") + "\n" + "x = 1\n" * 400

    assert rules_found(tmp_path, {f"{INGEST}/a.py": same, f"{INGEST}/b.py": above, f"{INGEST}/c.py": whole}) == []


def test_sql_takes_waivers_in_its_own_comments(tmp_path: Path) -> None:
    """Statements that a tool runs by name are used by nobody else."""
    sql = "-- " + "tidy: sql-use — run by the operators' console\n-- usage_of_all --\nSELECT 1;\n"

    assert rules_found(tmp_path, {f"{INGEST}/sql/console.sql": sql}) == []


@pytest.mark.parametrize("waiver", ["wall-clock", "wallclock — a misspelt rule", "print — another rule"])
def test_a_bad_waiver_excuses_nothing_and_is_itself_a_finding(tmp_path: Path, waiver: str) -> None:
    """Otherwise they pile up and nobody knows which still matter."""
    code = f"import time\nx = time.time()  {WAIVER.format(waiver)}\n"

    assert sorted(rules_found(tmp_path, {f"{INGEST}/a.py": code})) == ["waiver", "wall-clock"]


def test_every_rule_has_a_test() -> None:
    """A rule that is never seen to fire may not."""
    assert set(FINDS) | {"sql-use", "org-scope"} == RULES


def test_findings_are_printed_with_place_and_rule(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Editors and people jump to path:line."""
    rules_found(tmp_path, {f"{INGEST}/main.py": "x = 1\nprint(x)\n"})

    assert main(["--root", str(tmp_path)]) == 1
    assert capsys.readouterr().out.startswith(f"{INGEST}/main.py:2: print: ")


def test_a_file_that_does_not_parse_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A broken file must not pass for a clean one."""
    (tmp_path / "libs").mkdir()
    (tmp_path / "libs/broken.py").write_text("def f(:\n")

    assert main(["--root", str(tmp_path)]) == 1
    assert capsys.readouterr().out.startswith("libs/broken.py:1: syntax: ")


def test_sizes_are_medians_for_each_area(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The house's size targets are medians."""
    rules_found(tmp_path, {f"{INGEST}/a.py": "x = 1\n", f"{INGEST}/b.py": "def f() -> int:\n    return 1\n\n"})

    assert main(["--root", str(tmp_path), "--stats"]) == 0
    assert "2 files, median    2 lines, longest   3;    1 functions, median   2" in capsys.readouterr().out


def test_it_runs_as_a_command() -> None:
    """What the check recipe calls."""
    result = subprocess.run(
        [sys.executable, "-m", "tools.tidy", "--help"], capture_output=True, text=True, check=True, timeout=30
    )

    assert "--stats" in result.stdout
