"""The process of one competitor: loads the problem, warms up, and fits when it is told. Started by `benchmarks.remote`.

It computes only between a request and its answer, and otherwise waits for the next one.
"""

from __future__ import annotations

import os
import sys

if hasattr(os, "sched_setaffinity"):
    # Before any library starts threads: those that look at the cores rather than at the variables see as many.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(os.environ["OMP_NUM_THREADS"])])

import gc
import time
import traceback
import warnings
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_info

from benchmarks.competitors import Competitor
from benchmarks.memory import peak_bytes, reset_peak, resident_bytes
from benchmarks.messages import Failed, Fit, Ready
from benchmarks.problem import Problem, load


def serve(connection: Connection) -> None:
    """Answer requests until the other side closes the connection."""
    competitor, folder = connection.recv()
    try:
        problem, ready = _prepare(competitor, folder)
    except Exception as error:  # whatever a library raises is the race's to report
        connection.send(_failed(error))
        return
    connection.send(ready)
    before = resident_bytes()
    while True:
        try:
            tol = connection.recv()
        except EOFError:  # the race is over
            return
        try:
            connection.send(_fit(competitor, problem, tol, before))
        except Exception as error:  # as above
            connection.send(_failed(error))


def _prepare(competitor: Competitor, folder: Path) -> tuple[Problem, Ready]:
    host = load(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of the warm-up say nothing of the race
        # Imports, compilation, thread pools. The fits that look for the right tolerance are the second warm-up.
        competitor.fit(competitor.put(host.small()), 1e-3)
        begin = time.perf_counter()
        problem = competitor.put(host)
        transfer = None if problem is host else time.perf_counter() - begin
        competitor.prepare(problem)
    fields = ("user_api", "internal_api", "version", "num_threads")
    pools = [{field: pool[field] for field in fields} for pool in threadpool_info()]
    return problem, Ready(competitor.version(), pools, transfer)


def _fit(competitor: Competitor, problem: Problem, tol: float, before: int | None) -> Fit:
    gc.collect()
    reset_peak()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        (coef, intercept), seconds = competitor.timed(problem, tol)
    peak = peak_bytes()
    extra = None if peak is None or before is None or competitor.device != "cpu" else max(0, peak - before)
    messages = dict.fromkeys(f"{warning.category.__name__}: {warning.message}" for warning in caught)
    return Fit(seconds, np.asarray(coef), np.asarray(intercept), extra, tuple(messages))


def _failed(error: Exception) -> Failed:
    traceback.print_exc()  # into the log beside the problem
    return Failed(" ".join(f"{type(error).__name__}: {error}".split()))


if __name__ == "__main__":
    with Connection(int(sys.argv[1])) as connection:
        serve(connection)
