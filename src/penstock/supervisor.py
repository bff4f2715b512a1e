"""Several processes on the same ports: one parent that starts them, starts them again, and ends them together."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence

_QUICK_S = 5.0
"""A process that ends sooner than this after its start waits before it is started again."""


class Supervisor:
    """Keeps a number of worker processes running until it is told to stop."""

    def __init__(self, command: Callable[[int], Sequence[str]], workers: int, log: Callable[[str], None]) -> None:
        """`command(number)` is how worker `number` is started."""
        self._command = command
        self._workers = workers
        self._log = log
        self._running: dict[int, tuple[int, subprocess.Popen[bytes], float]] = {}
        self._is_stopping = False

    def run(self) -> int:
        """Until SIGTERM or SIGINT; returns the exit status."""
        for name in (signal.SIGTERM, signal.SIGINT):
            signal.signal(name, self._stop)
        for number in range(self._workers):
            self._start(number)
        while self._running:
            try:
                pid, status = os.wait()
            except ChildProcessError:
                break
            except InterruptedError:
                continue
            self._ended(pid, os.waitstatus_to_exitcode(status))
        return 0 if self._is_stopping else 1

    def _start(self, number: int) -> None:
        process = subprocess.Popen(list(self._command(number)))  # noqa: S603 (our own command)
        self._running[process.pid] = (number, process, time.monotonic())

    def _ended(self, pid: int, code: int) -> None:
        number, process, began = self._running.pop(pid, (-1, None, 0.0))
        if process is None:
            return
        process.returncode = code
        if self._is_stopping:
            return
        self._log(f"worker {number} ended with {code}")
        if code == 2:  # a fault of the configuration: the others will say the same
            self._stop(signal.SIGTERM, None)
            return
        if time.monotonic() - began < _QUICK_S:
            time.sleep(1.0)
        if not self._is_stopping:
            self._start(number)

    def _stop(self, number: int, frame: object) -> None:
        self._is_stopping = True
        for pid in list(self._running):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
