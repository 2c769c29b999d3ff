"""Grafana dashboards as data: panels with a unit and a description each, laid out in rows of equal width."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["timeseries", "stat", "table", "bargauge"]
COLUMNS = 24
HEIGHT = 8
PROMETHEUS = {"type": "prometheus", "uid": "${prometheus}"}
POSTGRES = {"type": "grafana-postgresql-datasource", "uid": "${postgres}"}


@dataclass(frozen=True, slots=True)
class Query:
    """PromQL, and how its series are called."""

    expression: str
    legend: str = ""


def quantile(q: float, metric: str, by: str = "") -> str:
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({q}, sum by ({labels}) (rate({metric}_bucket[$__rate_interval])))"


def spread(metric: str) -> list[Query]:
    return [Query(quantile(q, metric), f"p{round(q * 100)}") for q in (0.5, 0.95, 0.99)]


@dataclass(frozen=True, slots=True)
class Sql:
    """A query of the database for what has an organisation in it: metrics never carry one."""

    statement: str
    format: Literal["time_series", "table"] = "time_series"


@dataclass(frozen=True, slots=True)
class Panel:
    """One chart. `unit` is Grafana's name of it; `alert_above` draws the threshold of the alert."""

    title: str
    description: str
    unit: str
    queries: Sequence[Query] | Sql
    kind: Kind = "timeseries"
    alert_above: float | None = None


@dataclass(frozen=True, slots=True)
class Dashboard:
    """Panels, as many to a row as `columns` says. `variables` are SQL lists to choose from, by name."""

    uid: str
    title: str
    description: str
    panels: Sequence[Panel]
    columns: int = 3
    variables: Sequence[tuple[str, str]] = ()

    def as_json(self) -> dict[str, Any]:
        """The document that Grafana imports; equal dashboards give equal documents."""
        needs_database = any(isinstance(panel.queries, Sql) for panel in self.panels)
        return {
            "uid": self.uid,
            "title": self.title,
            "description": self.description,
            "tags": ["analytics"],
            "schemaVersion": 39,
            "editable": False,
            "refresh": "30s",
            "time": {"from": "now-7d" if needs_database else "now-6h", "to": "now"},
            "timezone": "utc",
            "templating": {"list": [*_sources(needs_database=needs_database), *map(_variable, self.variables)]},
            "panels": list(self._laid_out()),
        }

    def _laid_out(self) -> Iterator[dict[str, Any]]:
        width = COLUMNS // self.columns
        for number, panel in enumerate(self.panels):
            row, column = divmod(number, self.columns)
            yield _panel(panel, number + 1, {"x": column * width, "y": row * HEIGHT, "w": width, "h": HEIGHT})


def _sources(*, needs_database: bool) -> Iterator[dict[str, Any]]:
    yield {"name": "prometheus", "label": "Prometheus", "type": "datasource", "query": "prometheus"}
    if needs_database:
        yield {
            "name": "postgres",
            "label": "Database",
            "type": "datasource",
            "query": "grafana-postgresql-datasource",
        }


def _variable(variable: tuple[str, str]) -> dict[str, Any]:
    name, statement = variable
    return {"name": name, "type": "query", "datasource": POSTGRES, "query": statement, "refresh": 2, "sort": 1}


def _panel(panel: Panel, number: int, position: dict[str, int]) -> dict[str, Any]:
    defaults: dict[str, Any] = {"unit": panel.unit}
    if panel.alert_above is not None:
        steps = [{"color": "green", "value": None}, {"color": "red", "value": panel.alert_above}]
        defaults["thresholds"] = {"mode": "absolute", "steps": steps}
        defaults["custom"] = {"thresholdsStyle": {"mode": "line"}}
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": POSTGRES if isinstance(panel.queries, Sql) else PROMETHEUS,
        "gridPos": position,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "targets": list(_targets(panel.queries)),
    }


def _targets(queries: Sequence[Query] | Sql) -> Iterator[dict[str, Any]]:
    if isinstance(queries, Sql):
        yield {"refId": "A", "format": queries.format, "rawQuery": True, "rawSql": queries.statement}
        return
    for letter, query in zip("ABCDEFGH", queries, strict=False):
        yield {"refId": letter, "expr": query.expression, "legendFormat": query.legend}
