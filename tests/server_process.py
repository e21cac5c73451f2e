"""A server in a process of its own, as users start it.

`runpy.run_path` brings `Server` to a test: folders of tests are no packages.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx

ROOT = Path(__file__).parents[1]


class Server:
    """Serves the bundles of a directory until the end of a `with`.

    Args:
        bundles: the directory.
        home: a directory for what BentoML writes, and the log.
        environment: more variables.
        command: another that serves; it is given the port.

    Attributes:
        url: of the server.
        returned: what the process has returned with, once it has ended.
    """

    def __init__(self, bundles, home, command=None, **environment):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._log = home / f"server-{self.port}.log"
        command = command or [sys.executable, str(ROOT / "serving" / "run.py")]
        self._command = [*command, "--port", str(self.port)]
        self._environment = {
            **os.environ,
            "BENTOML_HOME": str(home),
            "BENTOML_DO_NOT_TRACK": "true",
            "PYTHONPATH": str(ROOT),
            "ZOO_BUNDLES": str(bundles),
            **environment,
        }
        self._environment.pop("PROMETHEUS_MULTIPROC_DIR", None)
        self.returned = None
        self._is_told = False

    def __enter__(self):
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                self._command, stdout=log, stderr=log, env=self._environment, cwd=ROOT
            )
        until = time.monotonic() + 120
        while time.monotonic() < until and self.process.poll() is None:
            try:
                if httpx.get(f"{self.url}/readyz", timeout=5).status_code == 200:
                    return self
            except httpx.TransportError:
                pass
            time.sleep(0.05)
        self.__exit__()
        raise RuntimeError(f"the server is not ready: {self.log()}")

    def log(self) -> str:
        """What it has written."""
        return self._log.read_text(errors="replace")

    def terminate(self) -> None:
        """Sends SIGTERM, once: a second one cuts short."""
        if not self._is_told:
            self.process.send_signal(signal.SIGTERM)
            self._is_told = True

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.terminate()
        try:
            self.returned = self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.returned = self.process.wait()
