"""Writes the dashboards into charts/observability; `./tools/dev dashboards` calls it, a test holds them equal."""

import json
from pathlib import Path

from tools.dashboards.catalogue import DASHBOARDS
from tools.dashboards.panels import Dashboard

FOLDER = Path(__file__).parents[2] / "charts" / "observability" / "dashboards"


def text_of(dashboard: Dashboard) -> str:
    return json.dumps(dashboard.as_json(), indent=2) + "\n"


def main() -> None:
    for name, dashboard in DASHBOARDS.items():
        (FOLDER / f"{name}.json").write_text(text_of(dashboard), encoding="utf-8")
    print(f"{len(DASHBOARDS)} dashboards written to {FOLDER}")


if __name__ == "__main__":
    main()
