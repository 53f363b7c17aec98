"""How many threads numpy's linear algebra takes in a search: one for small products, what is free for large ones."""

import inspect
import math
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numpy as np
from threadpoolctl import ThreadpoolController

P = ParamSpec("P")
R = TypeVar("R")

# Rows of the largest matrix, n + H, from which a second thread gains a fifth; with fewer, the threads of a product wait for
# each other more than they compute.
LARGE = 800


@contextmanager
def few_threads(rows: int) -> Iterator[None]:
    """One BLAS thread inside for matrices of fewer than `LARGE` rows; else as many as nobody else on the machine is using.

    A Newton step is hundreds of products, and at the end of each its threads wait for the last one. Where that one's processor
    does something else too, they wait for its next turn, and a search takes twenty times as long. So a large search takes the
    processors that are free (`free_processors`), at least one, as OMP_DYNAMIC does in GNU OpenMP by the load.
    The caller's numbers are there again afterwards and are never raised; in any thread but the main one nothing is changed,
    for the numbers are the process's. May be nested. The libraries are looked up once a call, in about half a millisecond.
    Law: the rate that is found does not depend on the number of threads, but for rounding.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    most = 1 if rows < LARGE else free_processors()
    before = [(blas, blas.num_threads) for blas in ThreadpoolController().select(user_api="blas").lib_controllers]
    above = [(blas, count) for blas, count in before if count > most]
    try:
        for blas, _ in above:
            blas.set_num_threads(most)
        yield
    finally:
        for blas, count in above:
            blas.set_num_threads(count)


def free_processors() -> int:
    """Processors that this process may use, less those on which others compute at this moment; at least one.

    Others are the threads that the machine runs, less our own of that state: the least of three looks a millisecond apart, so
    that what runs for a moment does not count. They are taken to be spread evenly over all processors. Where the system does
    not tell (no /proc), the load of the last minute stands for them, ours included.
    """
    whole = os.cpu_count() or 1
    mine = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else whole
    try:
        others = min(_others_now() for _ in range(3))
    except (OSError, ValueError, IndexError):
        others = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    return max(1, math.floor(mine - others * mine / whole + 0.5))


def _others_now() -> float:
    """Threads of other processes that run or could: proc(5), the fourth field of loadavg and the third of a task's stat."""
    time.sleep(0.001)
    running = int(Path("/proc/loadavg").read_text().split()[3].split("/")[0])
    ours = [task.read_text().rpartition(")")[2].split()[0] for task in Path("/proc/self/task").glob("*/stat")]
    return max(0.0, float(running - ours.count("R")))


def threads_by(rows: Callable[[Mapping[str, Any]], int]) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Make a function run under `few_threads` of the rows that its arguments, by name, ask for."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)

        @wraps(function)
        def limited(*arguments: P.args, **named: P.kwargs) -> R:
            try:
                count = rows(signature.bind(*arguments, **named).arguments)
            except (AttributeError, TypeError, ValueError, LookupError):
                count = 0  # what cannot be measured is for the function itself to refuse, in its own words
            with few_threads(count):
                return function(*arguments, **named)

        return limited

    return decorate


def of_system(given: Mapping[str, Any]) -> int:
    """n + H of `system`, in whatever form it is given, or of the largest of several."""
    system = given["system"]
    several = system if isinstance(system, (list, tuple)) else [system]
    return max(_rows_of(one) for one in several)


def _rows_of(system: Any) -> int:
    if not isinstance(system, Mapping):
        return int(system.states + sum(system.widths))
    networks = [system, *(system.get("branches") or ())]
    hidden = [w for one in networks for w in (one["weights"] if isinstance(one, Mapping) else one.weights)[:-1]]
    return int(np.shape(system["A"])[-1] + sum(np.shape(w)[-2] for w in hidden))


def of_weights(given: Mapping[str, Any]) -> int:
    """H and the inputs of a chain of `weights`."""
    shapes = [np.shape(w) for w in given["weights"]]
    return int(shapes[0][-1] + sum(shape[-2] for shape in shapes[:-1]))


def of_jacobians(given: Mapping[str, Any]) -> int:
    """n of the `jacobians`."""
    return int(np.shape(given["jacobians"])[-1])
