"""Services as real processes that a test may kill, freeze and read the log of."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

PROJECT = Path(__file__).resolve().parents[2]
HERE = Path(sys.prefix)
READY_PATIENCE_S = 60
POLL_S = 0.05


class ServiceProcess:
    """One running console script with its own log file."""

    def __init__(
        self, script: str, env: Mapping[str, str], log: Path, launcher: str | None = None, prefix: Path = HERE
    ) -> None:
        self.script = script
        self.url = f"http://127.0.0.1:{env['HTTP_PORT']}" if "HTTP_PORT" in env else ""
        self.log_file = log
        program = [prefix / "bin" / script] if launcher is None else [sys.executable, "-m", launcher, script]
        with log.open("ab") as out:
            self._process = subprocess.Popen(
                program,
                env={"PATH": os.defpath, "HTTP_HOST": "127.0.0.1", **env},
                cwd=PROJECT if launcher else None,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; minus the signal's number when a signal ended it."""
        return self._process.poll()

    @property
    def is_frozen(self) -> bool:
        """Whether it was stopped by SIGSTOP and not continued."""
        return "\nState:\tT" in Path(f"/proc/{self.pid}/status").read_text()

    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    def wait_until_ready(self, patience_s: float = READY_PATIENCE_S) -> Self:
        """Returns when readyz answers 200; raises AssertionError with the log when it ends first or takes too long."""
        deadline = time.monotonic() + patience_s
        answer = "no answer"
        while time.monotonic() < deadline:
            if self.exit_code is not None:
                raise AssertionError(f"{self.script} ended with {self.exit_code} before it was ready:\n{self.log()}")
            try:
                response = httpx.get(f"{self.url}/analytics/v1/status/readyz", timeout=2, trust_env=False)
                if response.status_code == 200:
                    return self
                answer = f"{response.status_code} {response.text}"
            except httpx.HTTPError as error:
                answer = repr(error)
            time.sleep(POLL_S)
        raise AssertionError(f"{self.script} is not ready after {patience_s} s ({answer}):\n{self.log()}")

    def kill(self) -> None:
        """SIGKILL: no clean-up, as when the machine's memory killer strikes."""
        self._send(signal.SIGKILL)
        self._process.wait(10)

    def stop(self, patience_s: float = 30) -> int:
        """SIGTERM, then waits; returns the exit code."""
        self._send(signal.SIGTERM)
        return self._process.wait(patience_s)

    def freeze(self) -> None:
        """SIGSTOP: it holds its connections and does nothing, as in a long pause."""
        self._send(signal.SIGSTOP)

    def thaw(self) -> None:
        self._send(signal.SIGCONT)

    def wait(self, patience_s: float = 30) -> int:
        """Waits until it ends by itself; returns the exit code."""
        return self._process.wait(patience_s)

    def end(self) -> None:
        """Ends it and its children, whatever state they are in."""
        if self.exit_code is None:
            os.killpg(self.pid, signal.SIGKILL)
            self._process.wait(10)

    def _send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)


class ServiceProcesses:
    """The service processes of one test, from the Python environment `prefix`; leaving it ends them all."""

    def __init__(self, prefix: Path = HERE) -> None:
        self._prefix = prefix
        self._started: list[ServiceProcess] = []
        self._logs = tempfile.TemporaryDirectory(prefix="service-logs-")

    def start(
        self, script: str, env: Mapping[str, str], *, wait: bool = True, launcher: str | None = None
    ) -> ServiceProcess:
        """Starts a console script (such as `analytics-ingest`) with exactly `env`; returns when it is ready.

        A launcher is a module that runs the script in its own way.
        """
        log = Path(self._logs.name) / f"{len(self._started)}-{script}.log"
        process = ServiceProcess(script, env, log, launcher, self._prefix)
        self._started.append(process)
        return process.wait_until_ready() if wait else process

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._started:
            process.end()
        self._logs.cleanup()
