"""The compiled path: one unit is the objective, batches share shapes, and nothing asks the device for a value."""

import contextlib
import gc
import logging
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from hybrid import Exponential, HybridModel, Mesh, RungeKutta, Solver, rollout
from hybrid.solve.schemes.tableau import constants
from learned import Ensemble
from physics import capture
from training import Cohort, Record, Stability, gaussian_nll
from training.machinery.unit import Unit, bucket, padded, unit

MESH = Mesh(0.65, 0.2, 0.5)


@pytest.fixture(params=["explicit", "explicit inside", "exponential", "exponential inside"])
def case(request: pytest.FixtureRequest) -> tuple[Solver, Mesh]:
    inside = request.param.endswith("inside")
    mesh = Mesh(MESH.step, MESH.first, MESH.growth, observed=not inside)
    return (RungeKutta() if request.param.startswith("explicit") else Exponential()), mesh


def objective(model: HybridModel, cohort: Cohort, weights: torch.Tensor, solver: Solver) -> Callable[[], torch.Tensor]:
    personal = torch.zeros(model.members, cohort.conditions.size, model.personal, dtype=torch.float64)

    def value() -> torch.Tensor:
        run = rollout(model, cohort.conditions, personal, solver)
        return (weights * gaussian_nll(cohort.y, run.mean, run.variance)).sum(1)

    return value


def used(model: HybridModel) -> list[torch.nn.Parameter]:
    """The parameters that have any numbers: a network without covariates has weights of size 0 for them."""
    return [p for p in model.parameters() if p.numel()]


class NoQuestions(TorchDispatchMode):
    """Refuses every operation whose result the host would have to wait for."""

    # lift_fresh: a number on its way from the host, which a capture does not allow either
    asked = (
        *("lift_fresh", "_local_scalar_dense", "equal", "is_nonzero", "item"),
        *("nonzero", "_unique2", "unique_dim", "masked_select"),
    )

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        if func.__name__.split(".")[0] in self.asked:
            raise AssertionError(f"{func} waits for the device")
        return func(*args, **(kwargs or {}))


def test_nothing_waits_for_the_device_the_second_time(
    model: HybridModel, people: tuple[Record, ...], case: tuple[Solver, Mesh], monkeypatch: pytest.MonkeyPatch
) -> None:
    solver, mesh = case
    stack = Ensemble(3).stack(model, torch.Generator().manual_seed(1))
    cohort = Cohort.of(people, stack, mesh)
    run = unit(objective(stack, cohort, torch.ones(3, 4, dtype=torch.float64), solver), used(stack))
    first = run()
    gradients = [p.grad.clone() for p in used(stack)]
    for question in (lambda: torch.ones(1).item(), lambda: torch.tensor([1.0])):
        with pytest.raises(AssertionError, match="waits for the device"), NoQuestions():
            question()
    monkeypatch.setattr(capture, "capturing", lambda: True)
    with NoQuestions():
        again = run()
    torch.testing.assert_close(again, first, rtol=1e-13, atol=1e-13)
    for p, g in zip(used(stack), gradients, strict=True):
        torch.testing.assert_close(p.grad, g, rtol=1e-12, atol=1e-12)


class Watched(TorchDispatchMode):
    """Weak references to the memory that operations read or write and that was there before them."""

    def __init__(self) -> None:
        super().__init__()
        self.before: dict[int, StorageWeakRef] = {}
        self.made: dict[int, StorageWeakRef] = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        def storages(value: object) -> list[torch.UntypedStorage]:
            return [t.untyped_storage() for t in tree_leaves(value) if isinstance(t, torch.Tensor)]

        for storage in storages((args, kwargs or {})):
            if storage._cdata not in self.made:
                self.before[storage._cdata] = StorageWeakRef(storage)
        found = func(*args, **(kwargs or {}))
        self.made.update((s._cdata, StorageWeakRef(s)) for s in storages(found) if s._cdata not in self.before)
        return found


@pytest.fixture
def captures(monkeypatch: pytest.MonkeyPatch) -> list[Watched]:
    """What every capture reads that was there before it; no GPU is needed, since nothing is replayed."""
    found: list[Watched] = []

    @contextlib.contextmanager
    def graph(_: object) -> Iterator[None]:
        found.append(Watched())
        with monkeypatch.context() as inside, found[-1]:
            inside.setattr(capture, "capturing", lambda: True)
            yield

    nowhere = SimpleNamespace(wait_stream=lambda other: None)
    monkeypatch.setattr(torch.Tensor, "is_cuda", property(lambda tensor: True), raising=False)
    monkeypatch.setattr(torch.cuda, "device", lambda where: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "Stream", lambda: nowhere)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: nowhere)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: SimpleNamespace(replay=lambda: None))
    monkeypatch.setattr(torch.cuda, "graph", graph)
    return found


def test_what_a_graph_reads_lives_as_long_as_the_unit(
    model: HybridModel, people: tuple[Record, ...], case: tuple[Solver, Mesh], captures: list[Watched]
) -> None:
    solver, mesh = case

    def made() -> Unit:  # as a helper function makes it: model, cohort, weights and objective end with the call
        stack = Ensemble(3).stack(model, torch.Generator().manual_seed(1))
        cohort = Cohort.of(people, stack, mesh)
        value = objective(stack, cohort, torch.ones(3, 4, dtype=torch.float64), solver)
        stability = Stability(torch.eye(2, dtype=torch.float64), 0.05)
        personal = torch.zeros(3, 4, 3, dtype=torch.float64)

        def whole() -> torch.Tensor:
            return value() + stability.penalty(stack, stack.theta(personal, {})).sum(1)

        return unit(whole, used(stack))

    run = made()
    assert run.captured
    (read,) = captures
    assert len(read.before) > 20
    other = Cohort.of(people[:2], model, mesh)  # the solver's buffers go to another problem
    objective(model, other, torch.ones(1, 2, dtype=torch.float64), solver)().sum().backward()
    constants.cache_clear()
    gc.collect()
    assert [r for r in read.before.values() if r.expired()] == []
    del run
    gc.collect()
    assert any(r.expired() for r in read.before.values())  # nobody else held it


def test_eager_says_why_in_one_line(
    model: HybridModel, cohort: Cohort, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "training.machinery.unit"):
        run = unit(objective(model, cohort, torch.ones(1, 4, dtype=torch.float64), RungeKutta()), used(model))
    assert not run.captured
    assert [r.getMessage() for r in caplog.records] == [f"runs operation by operation: {run.reason}"]
    assert "on cpu" in run.reason


def test_a_unit_is_the_objective_and_its_gradient(model: HybridModel, cohort: Cohort) -> None:
    value = objective(model, cohort, torch.ones(1, 4, dtype=torch.float64), RungeKutta())
    run = unit(value, used(model))
    run()
    have = run()  # gradients are not added up
    grads = [p.grad.clone() for p in used(model)]
    want = value()
    torch.testing.assert_close(have, want.detach(), rtol=1e-14, atol=0.0)
    for g, w in zip(grads, torch.autograd.grad(want.sum(), used(model)), strict=True):
        torch.testing.assert_close(g, w, rtol=1e-13, atol=1e-13)


@given(st.integers(1, 10**6))
def test_buckets(size: int) -> None:
    found = bucket(size)
    assert size <= found <= max(1.5 * size, 4)
    assert bucket(found) == found
    assert found & (found - 1) == 0 or (found // 3) & (found // 3 - 1) == 0


def test_padding_changes_nobody(
    model: HybridModel, people_of: Callable[..., tuple[Record, ...]], case: tuple[Solver, Mesh]
) -> None:
    solver, mesh = case
    stack = Ensemble(2).stack(model, torch.Generator().manual_seed(1))
    cohort = Cohort.of(people_of(5), stack, mesh)
    weights = torch.tensor([[1.0, 2.0, 0.0, 1.0, 3.0], [1.0] * 5], dtype=torch.float64)
    wide, more = padded(cohort, weights)
    assert wide.conditions.size == more.shape[1] == 6
    results = []
    for c, w in ((cohort, weights), (wide, more)):
        stack.zero_grad()
        value = objective(stack, c, w, solver)()
        value.sum().backward()
        results.append([value.detach(), *(p.grad.clone() for p in used(stack))])
    for have, want in zip(*results, strict=True):
        torch.testing.assert_close(have, want, rtol=1e-12, atol=1e-12)


def test_what_is_refused(model: HybridModel, cohort: Cohort) -> None:
    with pytest.raises(ValueError, match="1 or more, got 0"):
        bucket(0)
    with pytest.raises(ValueError, match="already, more than"):
        cohort.conditions.segments.padded(1, 1)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_captured_graph_is_the_eager_objective(
    model: HybridModel, people: tuple[Record, ...], case: tuple[Solver, Mesh]
) -> None:
    solver, mesh = case
    stack = Ensemble(3).stack(model, torch.Generator().manual_seed(1)).to("cuda")
    cohort = Cohort.of(people, stack, mesh).to("cuda")
    weights = torch.ones(3, 4, dtype=torch.float64, device="cuda")
    personal = torch.zeros(3, 4, 3, dtype=torch.float64, device="cuda")

    def value() -> torch.Tensor:
        run = rollout(stack, cohort.conditions, personal, solver)
        return (weights * gaussian_nll(cohort.y, run.mean, run.variance)).sum(1)

    parameters = used(stack)
    graph, eager = unit(value, parameters), unit(value, parameters, capture=False)
    assert graph.captured, graph.reason
    for _ in range(3):
        have, grads = graph(), [p.grad.clone() for p in parameters]
        want = eager()
        torch.testing.assert_close(have, want, rtol=1e-12, atol=1e-12)
        for p, g in zip(parameters, grads, strict=True):
            torch.testing.assert_close(g, p.grad, rtol=1e-10, atol=1e-10)
            with torch.no_grad():
                p.add_(0.01)
