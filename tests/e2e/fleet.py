"""Replicas of each service, who of them gets requests, and how they are replaced, by the charts, as in a cluster."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any

import yaml

from tests.e2e.platform import Places
from tests.support.processes import ServiceProcess, ServiceProcesses
from tools.devstack.stack import PROJECT

READY_PATIENCE_S = 180


def chart_values(service: str) -> dict[str, Any]:
    values: dict[str, Any] = yaml.safe_load((PROJECT / "charts" / service / "values.yaml").read_text())
    return values


class Fleet:
    """`replica` is one ready replica after the other; `replace_all` is a rollout of all services at once."""

    def __init__(self, places: Places, processes: ServiceProcesses, free_port: Callable[[], int]) -> None:
        self._environments = places.environments
        self._processes = processes
        self._free_port = free_port
        self._turn = count()
        self._endpoints: dict[str, list[ServiceProcess]] = {
            service: [self._start(service) for _ in range(chart_values(service)["replicas"])]
            for service in places.environments
        }
        for replicas in self._endpoints.values():
            for replica in replicas:
                replica.wait_until_ready(READY_PATIENCE_S)

    def replica(self, service: str) -> ServiceProcess:
        """The next one that requests are sent to."""
        endpoints = self._endpoints[service]
        return endpoints[next(self._turn) % len(endpoints)]

    def replace_all(self) -> None:
        """Every replica of every service is replaced, those of one service one after the other."""
        with ThreadPoolExecutor() as pool:
            list(pool.map(self._replace_replicas, self._environments))

    def _replace_replicas(self, service: str) -> None:
        values = chart_values(service)
        for old in list(self._endpoints[service]):
            if values["rollingUpdate"]["maxSurge"]:
                self._add(service)
                self._retire(service, old, values["preStopSeconds"])
            else:
                self._retire(service, old, values["preStopSeconds"])
                self._add(service)

    def _add(self, service: str) -> None:
        replica = self._start(service).wait_until_ready(READY_PATIENCE_S)
        self._endpoints[service] = [*self._endpoints[service], replica]

    def _retire(self, service: str, replica: ServiceProcess, pre_stop_s: float) -> None:
        """Requests arrive until the gateways have heard of it, which takes them half of the time that preStop gives."""
        time.sleep(pre_stop_s / 2)
        self._endpoints[service] = [each for each in self._endpoints[service] if each is not replica]
        time.sleep(pre_stop_s / 2)
        assert replica.stop(chart_values(service)["terminationGracePeriodSeconds"]) == 0, replica.log()

    def _start(self, service: str) -> ServiceProcess:
        environment = {**self._environments[service], "HTTP_PORT": str(self._free_port())}
        return self._processes.start(f"analytics-{service}", environment, wait=False)
