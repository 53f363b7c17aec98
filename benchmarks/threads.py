"""What the library's own choice of threads costs beside the best of one thread and all, idle and under a load.

Claim: the default is within 1.3 times of the best of one thread and all, for certificates, training, personalisation, forecasts
and scores, where the machine does nothing else and where it does four other things.
Each row is measured in turn, one thread, all and the default, after one run, so that whatever else the machine does falls
on all alike. --load says how many processes shall compute beside it (0 and 4), --rows which rows: without it all but the
certificates of 256 and 512, which take minutes under a load.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from statistics import median

import numpy as np
import torch
from threadpoolctl import ThreadpoolController

import hybrid.threads
import stability.threads
from benchmarks import certify as certificates
from benchmarks import race
from benchmarks.scores import problem as scores_of
from hybrid import Concentration, Dose, HybridModel, Mesh, Schedule, predict
from learned import MLP, AdditiveProportional, Ensemble
from physics import LogNormalPopulation, OneCompartmentOral
from stability import certify
from training import Cohort, Record, Search, fit, personalise
from training.trust import Outcome, uncertainty_report

WANTED = 1.3  # times the best
ROWS = ("certify 64", "certify 128", "certify 256", "certify 512", "fit 12", "fit 2048", "personalise", "forecast", "scores")
Work = Callable[[], object]


def study(people: int, hidden: int, members: int) -> tuple[HybridModel, Cohort]:
    """People who took one dose, and an ensemble that does not know them yet."""
    backbone = OneCompartmentOral()
    model = HybridModel(
        backbone,
        LogNormalPopulation(backbone.physical, (0.4, 0.2, 0.2)),
        MLP(2, hidden=(hidden,), separable=True, state_scale=300.0, rate_scale=0.1),
        observation=Concentration(1, 2),
        noise=AdditiveProportional([0.5], [0.1], [0.02]),
    )
    times, random = np.array([0.25, 0.75, 1.5, 3.0, 5.0, 8.0]), np.random.default_rng(0)
    units = {"time": "h", "concentration": "mg/L"}
    schedule, channels = Schedule(doses=(Dose("gut", 0.0, 320.0),)), ("concentration",)
    records = [
        Record(f"P{i}", schedule, times, random.uniform(1.0, 8.0, (len(times), 1)), channels, {}, units)
        for i in range(people)
    ]
    model = Ensemble(members).stack(model, torch.Generator().manual_seed(0))
    return model, Cohort.of(records, model, Mesh(0.65, 0.2, 0.5))


def works(rows: tuple[str, ...]) -> dict[str, Work]:
    """What is timed, each ready to run."""
    found: dict[str, Work] = {}
    for width in (64, 128, 256, 512):
        system = certificates.problem(4, (width, width))
        found[f"certify {width}"] = lambda system=system: certify(system, seconds=600.0)  # type: ignore[misc]
    small, twelve = study(12, 8, 8)
    found["fit 12"] = lambda: list(fit(small, twelve, search=Search(steps=10)))
    if "fit 2048" in rows:
        large, many = study(2048, 64, 2)
        found["fit 2048"] = lambda: list(fit(large, many, search=Search(steps=2)))
    found["personalise"] = lambda: personalise(small, twelve)
    draws = torch.randn(8, 16, 12, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found["forecast"] = lambda: predict(small, twelve, draws)
    outcome = Outcome(*scores_of(100))
    found["scores"] = lambda: uncertainty_report(outcome, generator=torch.Generator().manual_seed(1))
    return {name: work for name, work in found.items() if name in rows}


@contextmanager
def choice(threads: int | None) -> Iterator[None]:
    """The library's own choice, or that number of threads whatever the size."""
    if threads is None:
        yield
        return
    count, ours = torch.get_num_threads(), (hybrid.threads, stability.threads)
    before = [(module, module.LARGE, module.free_processors) for module in ours]
    for module in ours:
        module.LARGE, module.free_processors = 0, lambda: threads
    torch.set_num_threads(threads)
    try:
        with ThreadpoolController().select(user_api="blas").limit(limits=threads):
            yield
    finally:
        torch.set_num_threads(count)
        for module, large, free in before:
            module.LARGE, module.free_processors = large, free


@contextmanager
def load(processes: int) -> Iterator[None]:
    """Other processes that compute."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def main() -> int:
    """Run the benchmark; the exit code."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--rows", nargs="+", choices=ROWS)
    parser.add_argument("--load", nargs="+", type=int, default=[0, 4])
    own, rest = parser.parse_known_args()
    setup = race.settings("threads", __doc__, rest)
    rows = tuple(own.rows or [r for r in ROWS if r not in ("certify 256", "certify 512")])
    report = race.Report("threads", "The default number of threads")
    ready = works(rows)
    choices: dict[str, int | None] = {"one": 1, "all": setup.threads, "default": None}
    for processes in own.load:
        with load(processes) if processes else nullcontext():
            for name, work in ready.items():
                setup.progress(f"threads, load {processes}: {name}")
                times: dict[str, list[float]] = {label: [] for label in choices}
                processor: dict[str, list[float]] = {label: [] for label in choices}
                work()
                for _ in range(setup.runs):
                    for label, threads in choices.items():
                        with choice(threads):
                            begin, used = time.perf_counter(), time.process_time()
                            work()
                            times[label].append(time.perf_counter() - begin)
                            processor[label].append(time.process_time() - used)
                for label in choices:
                    report.figures[f"{name}, load {processes}: {label}, s"] = median(times[label])
                    report.figures[f"{name}, load {processes}: {label}, processor time, s"] = median(processor[label])
                ratio = median(times["default"]) / min(median(times["one"]), median(times["all"]))
                claim = f"{name}, load {processes}: within {WANTED:g} times of the better of one thread and all"
                report.target(claim, f"{ratio:.2f}", ratio < WANTED)
    return setup.finish(report)


if __name__ == "__main__":
    sys.exit(main())
