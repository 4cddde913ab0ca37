"""The race's side of a worker: start it, let it fit, and end it when it takes too long."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

from benchmarks.competitors import Competitor
from benchmarks.messages import Failed, Fit, Ready

START_SECONDS = 300
"""For imports, compilation, reading the data and a small fit, which no limit of a fit is meant for."""


class CompetitorError(Exception):
    """There is no solution; the message is for the table."""


def environment(threads: int) -> dict[str, str]:
    """The variables of a worker: as many threads for all, and none of them waits by spinning.

    A worker that spins after its fit would take a core from the next one.
    """
    names = ("OMP", "OPENBLAS", "MKL", "BLIS", "NUMBA", "NUMEXPR")
    counts = {f"{name}_NUM_THREADS": str(threads) for name in names} | {"VECLIB_MAXIMUM_THREADS": str(threads)}
    passive = {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"}
    # What can be imported here can be imported there, a competitor defined in a script included.
    path = {"PYTHONPATH": os.pathsep.join(entry or os.getcwd() for entry in sys.path)}
    return {**os.environ, **counts, **passive, **path}


class Remote:
    """A competitor in a process of its own, which starts at the first fit and again after one that had to be ended.

    A process that takes the place of another is warmed up as that one was: it first repeats the last fit that came to its
    end, untimed. The fit on a small problem, with which each begins, loads libraries and starts threads, but the memory of
    a large fit is new to it.

    Attributes:
        ready: what the worker said when it was ready; None before.
    """

    def __init__(
        self, competitor: Competitor, folder: Path, threads: int, start_seconds: float = START_SECONDS
    ) -> None:
        """folder: of the saved problem; the worker's log goes there, too. start_seconds: in which it has to be ready."""
        self.ready: Ready | None = None
        self._competitor, self._folder, self._threads = competitor, folder, threads
        self._start_seconds = start_seconds
        self._log = folder / f"{competitor.name}.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._last_tol: float | None = None

    def __enter__(self) -> Remote:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def fit(self, tol: float, limit: float) -> Fit:
        """A fit to this tolerance in at most `limit` seconds.

        Raises:
            CompetitorError: an exception, a crash, or the limit.
        """
        too_long = f"over {limit:g} s"
        if self._process is None:
            self.start()
            if self._last_tol is not None:
                self._ask(self._last_tol, limit, f"{too_long} in the fit that warms up a new process")
        fit: Fit = self._ask(tol, limit, too_long)
        self._last_tol = tol
        return fit

    def start(self) -> None:
        """Start its process and wait until it is ready.

        Raises:
            CompetitorError: it does not start, or not in time.
        """
        self._connection, theirs = multiprocessing.Pipe()
        with theirs, self._log.open("ab") as log:
            command = [sys.executable, "-m", "benchmarks.worker", str(theirs.fileno())]
            self._process = subprocess.Popen(
                command,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment(self._threads) | self._competitor.environment,
            )
        try:
            self.ready = self._ask(
                (self._competitor, self._folder), self._start_seconds, f"not ready after {self._start_seconds:g} s"
            )
        except CompetitorError:
            self._end()  # a worker that is not ready does not go on
            raise

    def _ask(self, request: object, limit: float, too_long: str) -> Any:
        """What the worker answers to a request."""
        try:
            self._connection.send(request)
            if not self._connection.poll(limit):
                self._end()
                raise CompetitorError(too_long)
            answer = self._connection.recv()
        except (EOFError, BrokenPipeError, ConnectionResetError) as error:
            raise CompetitorError(f"its process ended with {self._last_words()}") from error
        if isinstance(answer, Failed):
            raise CompetitorError(answer.reason)
        return answer

    def _last_words(self) -> str:
        """Exit status and last line of a worker that ended by itself."""
        assert self._process is not None
        status = self._process.wait()
        self._end()
        lines = [line for line in self._log.read_text(errors="replace").splitlines() if line.strip()]
        return f"exit status {status}: {lines[-1] if lines else 'it wrote nothing'}"

    def _end(self) -> None:
        if self._process is not None:
            self._connection.close()
            self._process.kill()
            self._process.wait()
            self._process = None
