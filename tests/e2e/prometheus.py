"""A real Prometheus beside the services, with the product's alert rules, for which time runs faster."""

import json
import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.support.polling import eventually

# A minute of the rules lasts half a second here: windows, `for` and bounds on ages alike.
SECONDS_PER_MINUTE = 0.5
UNITS_MINUTES = {"m": 1, "h": 60, "d": 1440}
DURATION = re.compile(r"(?<=[\[: ])(\d+)([mhd])\b(?=[\]:\n ]|$)", re.MULTILINE)
AGE_BOUND = re.compile(r"(?P<metric>\w*(?:lag|age)_seconds\S*\)?) > (?P<bool>bool )?(?P<seconds>\d+)")


def compressed(rules: str) -> str:
    """The rules with every duration and every bound on an age shortened alike."""

    def duration(match: re.Match[str]) -> str:
        return f"{int(match[1]) * UNITS_MINUTES[match[2]] * SECONDS_PER_MINUTE * 1000:.0f}ms"

    def bound(match: re.Match[str]) -> str:
        seconds = int(match["seconds"]) / 60 * SECONDS_PER_MINUTE
        return f"{match['metric']} > {match['bool'] or ''}{seconds:g}"

    return AGE_BOUND.sub(bound, DURATION.sub(duration, rules))


class Prometheus:
    """What it says of its targets and alerts."""

    def __init__(self, url: str) -> None:
        self._url = url

    def firing(self) -> set[tuple[str, str]]:
        """Name and job (or nothing) of each alert that fires now."""
        return {
            (alert["labels"]["alertname"], alert["labels"].get("job", ""))
            for alert in self._get("alerts")["alerts"]
            if alert["state"] == "firing"
        }

    def targets_up(self) -> int:
        return sum(target["health"] == "up" for target in self._get("targets")["activeTargets"])

    def _get(self, what: str) -> Any:
        response = httpx.get(f"{self._url}/api/v1/{what}", timeout=10, trust_env=False)
        return response.raise_for_status().json()["data"]


@contextmanager
def running(program: Path, port: int, targets: Mapping[str, str], rules: str) -> Iterator[Prometheus]:
    """Prometheus scraping `targets` (job → host:port) four times a second; stopped at the end."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "rules.yaml").write_text(rules)
        configuration = {
            "global": {"scrape_interval": "250ms", "scrape_timeout": "250ms", "evaluation_interval": "250ms"},
            "rule_files": [str(folder / "rules.yaml")],
            "scrape_configs": [
                {"job_name": job, "static_configs": [{"targets": [target]}]} for job, target in targets.items()
            ],
        }
        (folder / "prometheus.yaml").write_text(json.dumps(configuration))
        command = [
            str(program),
            f"--config.file={folder}/prometheus.yaml",
            f"--storage.tsdb.path={folder}/data",
            f"--web.listen-address=127.0.0.1:{port}",
        ]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        try:
            prometheus = Prometheus(f"http://127.0.0.1:{port}")
            eventually(lambda: _answers(prometheus, process, folder / "log"), patience_s=60)
            yield prometheus
        finally:
            process.kill()
            process.wait()


def _answers(prometheus: Prometheus, process: "subprocess.Popen[bytes]", log: Path) -> bool:
    assert process.poll() is None, log.read_text()
    try:
        return prometheus.targets_up() >= 0
    except httpx.HTTPError:
        return False
