"""Metrics, dashboards and alerts against running services: what they name exists, and alerts fire when things break."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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

# No panel and no alert: they refine what one of those says, and are asked for by hand.
FOR_A_CLOSER_LOOK = {
    "analytics_audit_unlinked_records",
    "analytics_export_rows_total",
    "analytics_freshness_cache_invalidations_total",
    "analytics_ingestion_batch_events",
    "analytics_ingestion_dead_letters_replayed_total",
    "analytics_ingestion_last_progress_timestamp_seconds",
    "analytics_ingestion_late_batches_total",
    "analytics_ingestion_unknown_field_events_total",
    "analytics_ingestion_wakeups_dropped_total",
    "analytics_rollup_batches_folded_total",
    "analytics_rollup_days_closed_total",
    "analytics_rollup_dimensions_rows_processed_total",
    "analytics_rollup_last_success_timestamp",
}

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


def test_every_metric_is_in_a_panel_or_an_alert(platform: Platform) -> None:
    """Whoever adds one decides what an operator does with it; the others are for a closer look, as their help says."""
    shown = "".join(json.dumps(dashboard.as_json()) for dashboard in DASHBOARDS.values()) + RULES.read_text()
    pages = "".join(metrics_of(service.url) for service in platform.services.values())
    families = set(re.findall(r"^# TYPE (analytics_\w+) (?:counter|gauge|histogram)$", pages, re.MULTILINE))
    of_interest = {name for name in families if not name.endswith("_created")}

    assert len(of_interest) > 50
    assert {name for name in of_interest if name not in shown} - FOR_A_CLOSER_LOOK == set()
    assert of_interest >= FOR_A_CLOSER_LOOK


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


# What the things that are broken below may bring along, a minute being half a second.
TOLERATED = {
    "AnalyticsAuditUnlinked",
    "AnalyticsAvailabilityBurnsFast",
    "AnalyticsAvailabilityBurnsSlowly",
    "AnalyticsDimensionsLag",
    "AnalyticsExportLeftovers",
    "AnalyticsExportQueueOld",
    "AnalyticsFreshnessBurnsFast",
    "AnalyticsPartitionWithoutOwner",
    "AnalyticsReaderRestarts",
}
EXPECTED = {
    "AnalyticsExportFailures",
    "AnalyticsFreshnessLag",
    "AnalyticsIngestionLag",
    "AnalyticsRollupStalled",
    "AnalyticsServiceDown",
}


class Watch:
    """Waits for alerts, and remembers all that fired meanwhile."""

    def __init__(self, watched: prometheus.Prometheus) -> None:
        self._watched = watched
        self.seen: set[str] = set()

    def until_firing(self, alert: str, job: str = "") -> None:
        wait_until(lambda: (alert, job) in self._firing(), f"{alert} {job} fires")

    def until_over(self, *alerts: str) -> None:
        wait_until(lambda: not {name for name, _ in self._firing()} & set(alerts), f"{alerts} end")

    def _firing(self) -> set[tuple[str, str]]:
        firing = self._watched.firing()
        self.seen |= {name for name, _ in firing}
        return firing


def test_alerts_fire_when_things_break_and_end_when_they_are_mended(
    platform: Platform, watched: prometheus.Prometheus
) -> None:
    """Rollup, ingest and the object store, each hindered and each gone: the right alerts, and no others' criticals."""
    watch = Watch(watched)
    publish(platform, seed=1)
    watch.until_over(*EXPECTED, *TOLERATED)

    with blocked(platform, "analytics.usage_hourly"):
        publish(platform, seed=2)
        watch.until_firing("AnalyticsRollupStalled")
        watch.until_firing("AnalyticsFreshnessLag")
    watch.until_over("AnalyticsRollupStalled", "AnalyticsFreshnessLag")
    with blocked(platform, "analytics.usage_events"):
        publish(platform, seed=3)
        watch.until_firing("AnalyticsIngestionLag")
    watch.until_over("AnalyticsIngestionLag", "AnalyticsFreshnessLag")

    platform.services["ingest"].freeze()
    watch.until_firing("AnalyticsServiceDown", "analytics-ingest")
    platform.services["ingest"].thaw()
    watch.until_over("AnalyticsServiceDown")
    for service in ("rollup", "ingest"):
        assert platform.services[service].stop() == 0
        publish(platform, seed=len(service))
        watch.until_firing("AnalyticsServiceDown", f"analytics-{service}")
        platform.start(service)
        watch.until_over("AnalyticsServiceDown", "AnalyticsIngestionLag", "AnalyticsRollupStalled")

    right = platform.environments["export"]["S3_SECRET_KEY"]
    restart_export(platform, "not the key of this object store")
    exports_become(platform, "failed", 2)
    watch.until_firing("AnalyticsExportFailures")
    restart_export(platform, right)
    exports_become(platform, "succeeded", 1)
    watch.until_over("AnalyticsExportFailures")

    assert watch.seen >= EXPECTED
    assert watch.seen - EXPECTED <= TOLERATED


@contextmanager
def blocked(platform: Platform, table: str) -> Iterator[None]:
    """Nobody gets at the table for the length of the block."""
    with psycopg.connect(platform.database.owner_dsn) as connection:
        connection.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE".encode())
        yield


def publish(platform: Platform, seed: int) -> None:
    source = Source(anchor=datetime.now(UTC), events=500, duration=timedelta(hours=2), seed=seed)
    platform.publish(source.messages()[1])


def restart_export(platform: Platform, secret_key: str) -> None:
    assert platform.services["export"].stop() == 0
    platform.environments["export"].update(S3_SECRET_KEY=secret_key, EXPORT_RETRY_DELAY="10ms")
    platform.start("export")
    wait_until(lambda: answers(platform.services["export"].url), "export answers")


def exports_become(platform: Platform, status: str, count: int) -> None:
    """Ask for so many exports, and wait for them to end like this."""
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    body = {"timeRange": {"start": (today - timedelta(days=1)).isoformat(), "end": today.isoformat()}}
    bearer = token("org:admin", orgs=[ORG])
    for _ in range(count):
        created = platform.call("export", "POST", f"/orgs/{ORG}/exports", bearer=bearer, json=body)
        assert created.status_code == 202, created.text
    ended = "SELECT count(*) FROM analytics.export_jobs WHERE status = %s"
    wait_until(lambda: platform.query(ended, status) == (count,), f"{count} exports {status}")


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/analytics/v1/status/healthz", timeout=2, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False
