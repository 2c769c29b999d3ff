"""Metrics, dashboards and alerts against running services: what they name exists, and alerts fire when things break."""

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import httpx
import psycopg
import pytest
import yaml

from tests.e2e import prometheus
from tests.e2e.platform import Platform, token, wait_until
from tests.support import programs
from tools.dashboards.catalogue import DASHBOARDS
from tools.dashboards.panels import Panel, Sql
from tools.devstack.stack import PROJECT
from tools.replay.source import Source

RULES = PROJECT / "charts" / "observability" / "rules" / "analytics-alerts.yaml"
# Names of recording rules have colons in them.
NAME = re.compile(r"(?<![:\w])(?:analytics|http|process)_[a-z_]+(?![:\w])")
PANELS = [(name, panel) for name, dashboard in DASHBOARDS.items() for panel in dashboard.panels]
ORG = "9a1c7a52-51a7-4f0e-8a51-3f2f4f0b7c11"

pytestmark = pytest.mark.timeout(900)


def exported(platform: Platform) -> set[str]:
    """The names of all series that the four services have, histograms by their parts."""
    names: set[str] = set()
    for service in platform.services.values():
        for _, name, kind in re.findall(r"^# (TYPE) (\S+) (\S+)$", metrics_of(service.url), re.MULTILINE):
            parts = ("_bucket", "_sum", "_count") if kind == "histogram" else ("",)
            names |= {name + part for part in parts}
    return names


def metrics_of(url: str) -> str:
    return httpx.get(f"{url}/metrics", timeout=10, trust_env=False).raise_for_status().text


def test_every_metric_of_dashboards_and_alerts_is_exported(platform: Platform) -> None:
    """A renamed metric would leave an empty panel, and an alert that can never fire."""
    there = exported(platform)
    queries = [query.expression for _, panel in PANELS if not isinstance(panel.queries, Sql) for query in panel.queries]
    groups = yaml.safe_load(RULES.read_text())["groups"]
    expressions = [rule["expr"] for group in groups for rule in group["rules"]]
    named = {name for text in [*queries, *expressions] for name in NAME.findall(text)}

    assert len(named) > 25
    assert named - there == set()


def test_every_query_of_the_database_runs(platform: Platform) -> None:
    """As Grafana would send it: with its macros and variables filled in."""
    macros = {"$__timeFrom()": "now() - INTERVAL '7 days'", "$__timeTo()": "now()", "$org": ORG}
    statements = [panel.queries.statement for _, panel in PANELS if isinstance(panel.queries, Sql)]
    statements += [statement for dashboard in DASHBOARDS.values() for _, statement in dashboard.variables]

    with psycopg.connect(platform.database.owner_dsn) as connection:
        for statement in statements:
            for macro, value in macros.items():
                statement = statement.replace(macro, value)  # noqa: PLW2901
            connection.execute(statement.encode())


@pytest.mark.parametrize(("dashboard", "panel"), PANELS, ids=lambda value: getattr(value, "title", value))
def test_every_panel_explains_itself(dashboard: str, panel: Panel) -> None:
    assert panel.description.endswith(".")
    assert panel.unit


@pytest.fixture
def watched(platform: Platform, free_port: Callable[[], int]) -> Iterator[prometheus.Prometheus]:
    program = programs.prometheus("prometheus")
    if program is None:
        pytest.skip("Prometheus is not here, and Debian's package cannot be fetched")
    targets = {f"analytics-{name}": service.url.removeprefix("http://") for name, service in platform.services.items()}
    with prometheus.running(program, free_port(), targets, prometheus.compressed(RULES.read_text())) as running:
        wait_until(lambda: running.targets_up() == len(targets), "Prometheus reaches all services")
        yield running


def test_alerts_fire_when_things_break_and_end_when_they_are_mended(
    platform: Platform, watched: prometheus.Prometheus
) -> None:
    """Folds blocked, ingest frozen, the object store's key wrong: each its own alert, none of the others' criticals."""
    publish(platform, seed=1)
    wait_until(lambda: watched.firing() == set(), "no alert at first")

    behind = ("AnalyticsRollupStalled", "AnalyticsFreshnessLag")
    with psycopg.connect(platform.database.owner_dsn) as blocker:
        blocker.execute("LOCK TABLE analytics.usage_hourly IN ACCESS EXCLUSIVE MODE")
        publish(platform, seed=2)
        wait_until(lambda: named(watched, *behind) == {(name, "") for name in behind}, "both while folds are blocked")
    wait_until(lambda: not named(watched, *behind), "folding ends both")

    platform.services["ingest"].freeze()
    wait_until(lambda: ("AnalyticsServiceDown", "analytics-ingest") in watched.firing(), "ingest is missed")
    platform.services["ingest"].thaw()
    wait_until(lambda: not named(watched, "AnalyticsServiceDown"), "ingest is back")

    fail_exports(platform)
    wait_until(lambda: bool(named(watched, "AnalyticsExportFailures")), "failed exports are told")
    wait_until(lambda: not named(watched, "AnalyticsExportFailures"), "an hour later they are history")
    assert named(watched, "AnalyticsReconcileDrift", "AnalyticsStreamGap", "AnalyticsPartitionStopped") == set()


def named(watched: prometheus.Prometheus, *names: str) -> set[tuple[str, str]]:
    return {alert for alert in watched.firing() if alert[0] in names}


def publish(platform: Platform, seed: int) -> None:
    source = Source(anchor=datetime.now(UTC), events=500, duration=timedelta(hours=2), seed=seed)
    platform.publish(source.messages()[1])


def fail_exports(platform: Platform) -> None:
    """Two exports by a worker whose key the object store refuses."""
    url = platform.services["export"].url
    right = platform.environments["export"]["S3_SECRET_KEY"]
    platform.services["export"].stop()
    platform.environments["export"]["S3_SECRET_KEY"] = "not the key of this object store"
    platform.environments["export"]["EXPORT_RETRY_DELAY"] = "10ms"
    platform.start("export")
    assert platform.services["export"].url == url
    wait_until(lambda: answers(url), "export answers")
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    body = {"timeRange": {"start": (today - timedelta(days=1)).isoformat(), "end": today.isoformat()}}
    bearer = token("org:admin", orgs=[ORG])
    for _ in range(2):
        created = platform.call("export", "POST", f"/orgs/{ORG}/exports", bearer=bearer, json=body)
        assert created.status_code == 202, created.text
    failed = "SELECT count(*) FROM analytics.export_jobs WHERE status = 'failed'"
    wait_until(lambda: platform.query(failed) == (2,), "both exports failed")
    platform.environments["export"]["S3_SECRET_KEY"] = right


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/analytics/v1/status/healthz", timeout=2, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False
