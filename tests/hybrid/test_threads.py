"""The number of threads: one for small products, the caller's for large ones, and the caller's again whatever happened."""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController
from torch.utils._python_dispatch import TorchDispatchMode

from hybrid import Dose, HybridModel, Prediction, Schedule, integrate, predict, rollout
from hybrid import threads as torch_threads
from hybrid.threads import LARGE, few_threads, of_cohort, of_conditions, of_schedules, of_slopes, threads_by
from learned import Ensemble
from stability import (
    Certificate,
    Lure,
    Refusal,
    certify,
    certify_step,
    common_metric,
    falsify,
    lipschitz_bound,
    metric_cap,
    spectral_cap,
    weighted_l1,
)
from stability import threads as blas
from training import Cohort, Objective, Search, fit, fit_population, laplace_marginal, personalise, sensitivity, shoot
from training.trust import Outcome, score_table, scores_by_horizon, uncertainty_report
from training.trust.recalibration import Scaling


def blas_threads() -> int:
    """The most that any library takes: some are built for one thread alone."""
    return max(one.num_threads for one in ThreadpoolController().select(user_api="blas").lib_controllers)


@pytest.fixture(autouse=True)
def two_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two threads, as a caller has them who says nothing, on any machine that does nothing else."""
    monkeypatch.setattr(torch_threads, "_others_now", lambda: 0.0)
    before, torch_before = ThreadpoolController().select(user_api="blas"), torch.get_num_threads()
    torch.set_num_threads(2)
    with before.limit(limits=2):
        yield
        assert torch.get_num_threads() == 2
        assert blas_threads() == 2
    torch.set_num_threads(torch_before)


class Watch(TorchDispatchMode):
    """The numbers of threads under which torch's operations ran."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[int] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        self.seen.add(torch.get_num_threads())
        return func(*args, **(kwargs or {}))


def system(width: int = 8, seed: int = 0) -> Lure:
    rng = np.random.default_rng(seed)
    W1, W2 = rng.normal(size=(width, 2)) / 2, 0.3 * rng.normal(size=(2, width)) / np.sqrt(width)
    return Lure(A=[[-1.0, 0.2], [0.0, -0.8]], weights=[W1, W2], biases=[np.zeros(width), np.zeros(2)])


def test_small_products_take_one_thread_and_large_ones_all():
    with few_threads(LARGE - 1):
        assert torch.get_num_threads() == 1
        with few_threads(LARGE):  # nested: what is outside decides, and nothing is raised
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 1
    with few_threads(LARGE):
        assert torch.get_num_threads() == 2
        with few_threads(0):
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2


def test_large_products_take_what_is_free(monkeypatch: pytest.MonkeyPatch):
    for free, taken in ((16, 2), (2, 2), (1, 1)):  # never more than the caller had
        monkeypatch.setattr(torch_threads, "free_processors", lambda free=free: free)
        with few_threads(LARGE):
            assert torch.get_num_threads() == taken
    free_now = iter([1, 2, 1])
    monkeypatch.setattr(torch_threads, "free_processors", lambda: next(free_now))
    steps = counting(LARGE, [])
    assert [next(steps), next(steps)] == [1, 2]  # asked anew at each step
    steps.close()  # type: ignore[attr-defined]


def test_an_error_puts_the_number_back():
    with pytest.raises(RuntimeError, match="inside"), few_threads(0):
        raise RuntimeError("inside")
    assert torch.get_num_threads() == 2
    with blas.few_threads(0):
        assert blas_threads() == 1
    with pytest.raises(RuntimeError, match="inside"), blas.few_threads(0):
        raise RuntimeError("inside")
    assert blas_threads() == 2


@pytest.mark.parametrize("limit", [few_threads, blas.few_threads])
def test_no_other_thread_changes_the_number(limit: Callable[[int], object]):
    inside, go_on, found = threading.Event(), threading.Event(), []

    def elsewhere() -> None:
        with limit(0):  # type: ignore[attr-defined]
            found.append(blas_threads())
            inside.set()
            go_on.wait(10)

    other = threading.Thread(target=elsewhere)
    other.start()
    assert inside.wait(10)
    assert torch.get_num_threads() == 2
    assert found == [2]
    go_on.set()
    other.join()


def test_a_fit_lends_its_caller_the_number_between_steps(model: HybridModel, cohort: Cohort):
    inside = set()

    def watched(y: torch.Tensor, mean: torch.Tensor, variance: torch.Tensor) -> torch.Tensor:
        inside.add(torch.get_num_threads())
        return ((y - mean) ** 2 / variance).nan_to_num(0.0).sum((-1, -2))

    steps = fit(model, cohort, objective=Objective(likelihood=watched), search=Search(steps=4))
    beside = fit(model, cohort, search=Search(steps=2))  # two fits at once, in turn
    for _ in steps:
        assert torch.get_num_threads() == 2
        next(beside, None)
        assert torch.get_num_threads() == 2
        torch.set_num_threads(3)  # whose it is to say
        next(steps)
        assert torch.get_num_threads() == 3
        torch.set_num_threads(2)
    assert inside == {1}


@threads_by(lambda given: given["size"])
def counting(size: int, log: list[tuple[str, int]]) -> Iterator[int]:
    """A generator as `fit` is one: it hears what is thrown into it, and tidies up."""
    try:
        while True:
            try:
                yield torch.get_num_threads()
            except ValueError:
                log.append(("thrown", torch.get_num_threads()))
    finally:
        log.append(("closed", torch.get_num_threads()))


def test_a_generator_is_closed_and_thrown_into_as_without():
    log: list[tuple[str, int]] = []
    steps = counting(0, log)
    assert next(steps) == 1
    assert steps.throw(ValueError()) == 1  # type: ignore[attr-defined]
    assert torch.get_num_threads() == 2
    steps.close()  # type: ignore[attr-defined]
    assert log == [("thrown", 1), ("closed", 1)]
    assert torch.get_num_threads() == 2
    assert next(counting(LARGE, [])) == 2


def test_every_call_that_trains_or_scores_takes_one(model: HybridModel, cohort: Cohort):
    model = Ensemble(2).stack(model, torch.Generator().manual_seed(0))
    eta = torch.zeros(2, 4, 3, dtype=torch.float64)
    draws = torch.randn(2, 3, 4, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    run = predict(model, cohort, draws)
    outcome = Outcome(run, cohort.y, range(4))
    plain = Schedule(doses=(Dose("gut", 0.0, 100.0),))
    theta, x0 = torch.tensor([1.0, 0.1, 30.0], dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    calls: dict[str, Callable[[], object]] = {
        "fit": lambda: list(fit(model, cohort, search=Search(steps=2))),
        "fit_population": lambda: list(fit_population(model, cohort, search=Search(steps=2))),
        "shoot": lambda: list(shoot(model, cohort, search=Search(steps=2), count=2, rounds=1, polish=1)),
        "personalise": lambda: personalise(model, cohort, iterations=2),
        "sensitivity": lambda: sensitivity(model, cohort.conditions, eta),
        "laplace_marginal": lambda: laplace_marginal(model, cohort, iterations=2),
        "rollout": lambda: rollout(model, cohort.conditions, eta),
        "predict": lambda: predict(model, cohort, draws),
        "integrate": lambda: integrate(model, [plain], [[1.0, 2.0]], theta, x0),
        "score_table": lambda: score_table(outcome, generator=torch.Generator().manual_seed(2)),
        "scores_by_horizon": lambda: scores_by_horizon(outcome, generator=torch.Generator().manual_seed(2)),
        "uncertainty_report": lambda: uncertainty_report(outcome, generator=torch.Generator().manual_seed(2)),
        "Scaling.fit": lambda: Scaling.fit(outcome),
    }
    for name, call in calls.items():
        with Watch() as watch:
            call()
        assert watch.seen == {1}, name
        assert torch.get_num_threads() == 2, name


def test_how_large_a_call_is(model: HybridModel, cohort: Cohort):
    # members × people × units of the widest layer (there are four), × what is simulated of each
    model = Ensemble(3).stack(model, torch.Generator().manual_seed(0))
    given = {"model": model, "cohort": cohort, "conditions": cohort.conditions, "draws": torch.zeros(3, 5, 4, 3)}
    assert of_cohort(given) == 3 * 4 * 4
    assert of_slopes(given) == 3 * 4 * 4 * (2 * 3 + 1)
    assert of_conditions(given) == 3 * 4 * 4 * 5
    assert of_schedules({"model": model, "schedules": [None] * 7}) == 3 * 7 * 4
    alone = HybridModel(model.backbone, model.population, observation=model.observation, noise=model.noise)
    assert of_cohort(given | {"model": alone}) == alone.members * 4 * 2


def test_wrong_arguments_are_refused_in_the_functions_own_words(model: HybridModel, cohort: Cohort):
    with pytest.raises(ValueError, match="personalise: curvature"):
        personalise(model, cohort, curvature="none")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="missing"):
        personalise(model)  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="rate"):
        certify(system(), rate=-1.0)
    with pytest.raises(ValueError, match="Search: steps"):
        next(fit(model, cohort, search=Search(steps=0)))


def test_every_search_takes_one_blas_thread(monkeypatch: pytest.MonkeyPatch):
    small, other, seen = system(), system(seed=1), []
    certificate = certify(small)
    assert isinstance(certificate, Certificate)
    entered: list[int] = []
    solve: Callable[..., NDArray[np.float64]] = np.linalg.eigvals

    def watched(*arguments: NDArray[np.float64]) -> NDArray[np.float64]:
        seen.append(blas_threads())
        return solve(*arguments)

    plain = blas.few_threads

    def counted(rows: int) -> object:
        entered.append(rows)
        return plain(rows)

    monkeypatch.setattr(blas, "few_threads", counted)
    monkeypatch.setattr(np.linalg, "eigvals", watched)
    chain = [np.array(w) for w in small.weights]
    calls: dict[str, tuple[Callable[[], object], int]] = {
        "certify": (lambda: certify(small), 10),
        "certify several": (lambda: certify([small, other]), 10),
        "certify_step": (lambda: certify_step(certificate, small, 0.1), 10),
        "weighted_l1": (lambda: weighted_l1(small), 10),
        "spectral_cap": (lambda: spectral_cap(small), 10),
        "metric_cap": (lambda: metric_cap(small), 10),
        "falsify": (lambda: falsify(small, seconds=0.2), 10),
        "common_metric": (lambda: common_metric([[[-1.0, 0.1], [0.0, -1.0]]]), 2),
        "lipschitz_bound": (lambda: lipschitz_bound(chain), 10),
    }
    for name, (call, rows) in calls.items():
        entered.clear()
        call()
        assert entered[0] == rows, name
        assert blas_threads() == 2, name
    assert seen
    assert all(found == 1 for found in seen)


def test_a_large_search_takes_what_is_free(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(blas, "free_processors", lambda: 16)
    with blas.few_threads(blas.LARGE):
        assert blas_threads() == 2  # never more than the caller had
    monkeypatch.setattr(blas, "free_processors", lambda: 1)
    with blas.few_threads(blas.LARGE):
        assert blas_threads() == 1


@pytest.mark.parametrize("module", [blas, torch_threads])
@pytest.mark.parametrize(
    ("others", "mine", "whole", "free"), [(0, 2, 2, 2), (1, 2, 2, 1), (4, 2, 2, 1), (3, 4, 16, 3), (8, 16, 16, 8)]
)
def test_free_processors(
    module: ModuleType, others: int, mine: int, whole: int, free: int, monkeypatch: pytest.MonkeyPatch
):
    looks = iter([float(others + 5), float(others), float(others + 1)])  # what runs for a moment does not count
    monkeypatch.setattr(module, "_others_now", lambda: next(looks))
    monkeypatch.setattr(module.os, "sched_getaffinity", lambda _: set(range(mine)), raising=False)
    monkeypatch.setattr(module.os, "cpu_count", lambda: whole)
    assert module.free_processors() == free


@pytest.mark.parametrize(("load", "free"), [(0.0, 2), (0.4, 2), (0.6, 1), (4.0, 1)])
def test_free_processors_where_the_system_does_not_tell(load: float, free: int, monkeypatch: pytest.MonkeyPatch):
    def silent() -> float:
        raise FileNotFoundError("/proc/loadavg")

    monkeypatch.setattr(blas, "_others_now", silent)
    monkeypatch.setattr(blas.os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    monkeypatch.setattr(blas.os, "cpu_count", lambda: 2)
    monkeypatch.setattr(blas.os, "getloadavg", lambda: (load, 0.0, 0.0), raising=False)
    assert blas.free_processors() == free


@pytest.mark.skipif(not Path("/proc/loadavg").exists(), reason="the system does not tell who runs")
def test_another_process_that_computes_is_seen():
    busy = [sys.executable, "-c", "print(flush=True)\nwhile True: pass"]
    with subprocess.Popen(busy, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        seen = max(blas._others_now() for _ in range(200))
        other.kill()
    assert seen >= 1.0


def test_both_packages_look_the_same_way():
    found = []
    for module in (blas, torch_threads):
        text = Path(str(module.__file__)).read_text()
        found.append(text[text.index("def free_processors") : text.index("def threads_by")])
    assert found[0] == found[1]


def test_the_rate_does_not_depend_on_the_number_of_threads(monkeypatch: pytest.MonkeyPatch):
    found: list[Certificate | Refusal] = []
    for count in (1, 2):
        with ThreadpoolController().select(user_api="blas").limit(limits=count):
            found.append(certify(system(48, seed=2)))
    one, two = found
    assert isinstance(one, Certificate)
    assert isinstance(two, Certificate)
    assert one.rate == two.rate
    assert (one.metric == two.metric).all()
    # and where the products are shared out all the same, it is the rounding of sums that is left
    monkeypatch.setattr(blas, "LARGE", 0)
    monkeypatch.setattr(blas, "free_processors", lambda: 2)
    shared = certify(system(48, seed=2))
    assert isinstance(shared, Certificate)
    assert shared.rate == pytest.approx(one.rate, rel=1e-9)


def test_scores_do_not_depend_on_the_number_of_threads():
    g = torch.Generator().manual_seed(0)
    mean = torch.randn((4, 1, 6, 5, 1), generator=g, dtype=torch.float64)
    run = Prediction(
        mean,
        torch.ones_like(mean),
        torch.arange(5.0).expand(6, 5),
        torch.ones(6, 5, dtype=torch.bool),
        ("y",),
        ("mg/L",),
    )
    y = run.sample(1, g)[0]
    tables = []
    for count in (1, 2):
        torch.set_num_threads(count)
        tables.append(score_table(Outcome(run, y, range(len(y))), generator=torch.Generator().manual_seed(1)))
    assert tables[0] == tables[1]
