"""diffrax on the problems, as its FAQ on speed asks: one compiled function, compiled once, `throw=False`, tight limits.

Imported only where the extra `bench` is installed. JAX runs on the CPU, with XLA's own number of threads.
"""

from collections.abc import Callable
from typing import Any, Literal

import diffrax
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.peers.problem import CohortProblem, Network, Problem
from benchmarks.peers.reference import Answer
from benchmarks.race import Contestant

Arrays = dict[str, jax.Array]
Adjoint = Literal["checkpoint", "direct"]
SOLVERS: dict[str, Callable[[], diffrax.AbstractSolver]] = {
    "Tsit5": diffrax.Tsit5,
    "Dopri5": diffrax.Dopri5,
    "Bosh3": diffrax.Bosh3,
    "Heun": diffrax.Heun,
    "Kvaerno3": diffrax.Kvaerno3,
    "Kvaerno4": diffrax.Kvaerno4,
    "Kvaerno5": diffrax.Kvaerno5,
    "KenCarp3": diffrax.KenCarp3,
    "KenCarp4": diffrax.KenCarp4,
    "KenCarp5": diffrax.KenCarp5,
}


def use(dtype: Literal["float32", "float64"]) -> None:
    """Set JAX's precision: once, before anything else of JAX runs."""
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_enable_x64", dtype == "float64")


def diffrax_contestant(
    name: str,
    problem: Problem,
    dtype: Literal["float32", "float64"],
    solver: str,
    tolerance: float,
    *,
    per_record: bool,
    adjoint: Adjoint,
    max_steps: int,
    step: float | None = None,
) -> Contestant:
    """One of diffrax's solvers on a problem with shared times.

    `per_record`: vmapped, every record with its own steps; else the batch is one state with one step size. `step` fixes
    the step instead of adapting it. KenCarp's methods are implicit in A x and explicit in ε, the others in the sum.
    """
    A, x0, times = (jnp.asarray(v, dtype) for v in (problem.A, problem.x0, problem.times))
    targets = jnp.asarray(problem.targets, dtype)
    leaves = {**_arrays(problem.network, dtype), "x0": x0}
    split = solver.startswith("KenCarp")

    def terms(weights: Arrays) -> diffrax.AbstractTerm:
        learned = _residual(weights)
        if split:
            # diffrax takes the explicit part first
            return diffrax.MultiTerm(
                diffrax.ODETerm(lambda t, x, a: learned(x)), diffrax.ODETerm(lambda t, x, a: x @ A.T)
            )
        return diffrax.ODETerm(lambda t, x, a: x @ A.T + learned(x))

    def path(weights: Arrays, x: jax.Array) -> jax.Array:
        return _solve(terms(weights), x, times, solver, tolerance, adjoint, max_steps, step)

    def loss(leaves: Arrays) -> tuple[jax.Array, jax.Array]:
        weights = {k: v for k, v in leaves.items() if k != "x0"}
        x = leaves["x0"]
        states = jax.vmap(path, (None, 0))(weights, x) if per_record else path(weights, x).swapaxes(0, 1)
        return jnp.mean((states - targets) ** 2), states

    return _contestant(name, loss, leaves)


def diffrax_cohort(
    name: str,
    problem: CohortProblem,
    dtype: Literal["float32", "float64"],
    solver: str,
    tolerance: float,
    *,
    adjoint: Adjoint,
    max_steps: int,
) -> Contestant:
    """vmapped over people: a scan from dose to dose, every solve reading the padded times that fall into it."""
    N, T, D = len(problem.times), max(map(len, problem.times)), max(map(len, problem.doses))
    last = np.array([t[-1] for t in problem.times])
    times, there = np.tile(last[:, None], (1, T)), np.zeros((N, T), bool)
    edges, amounts = np.tile(last[:, None], (1, D + 1)), np.zeros((N, D))
    targets = np.zeros((N, T, 2))
    for i in range(N):
        count, given = len(problem.times[i]), problem.dose_times[i] < last[i]
        times[i, :count], there[i, :count], targets[i, :count] = problem.times[i], True, problem.targets[i]
        edges[i, : given.sum()], amounts[i, : given.sum()] = problem.dose_times[i][given], problem.doses[i][given]
    t, e, m, y = (jnp.asarray(v, dtype) for v in (times, edges, amounts, targets))
    mask, rows = jnp.asarray(there), np.nonzero(there)
    leaves = {**_arrays(problem.network, dtype), "theta": jnp.asarray(problem.theta, dtype)}

    def person(weights: Arrays, theta: jax.Array, t: jax.Array, e: jax.Array, m: jax.Array) -> jax.Array:  # (T, 2)
        learned, (ka, ke) = _residual(weights), theta
        A = jnp.array([[-ka, 0.0], [ka, -ke]])
        term = diffrax.ODETerm(lambda s, x, a: A @ x + learned(x))

        def segment(
            carry: tuple[jax.Array, jax.Array], given: tuple[jax.Array, jax.Array, jax.Array]
        ) -> tuple[tuple[jax.Array, jax.Array], None]:
            (x, states), (begin, end, amount) = carry, given
            x = x + amount * jnp.array([1.0, 0.0], x.dtype)
            clock = jnp.concatenate([begin[None], jnp.clip(t, begin, end), end[None]])
            path = _solve(term, x, clock, solver, tolerance, adjoint, max_steps, None)
            inside = (t > begin) & (t <= end)
            # before the first dose everything is 0: nothing needs to be solved there
            return (path[-1], jnp.where(inside[:, None], path[1:-1], states)), None

        empty = (jnp.zeros(2, t.dtype), jnp.zeros((len(t), 2), t.dtype))
        (_, states), _ = jax.lax.scan(segment, empty, (e[:-1], e[1:], m))
        return states

    def loss(leaves: Arrays) -> tuple[jax.Array, jax.Array]:
        weights = {k: v for k, v in leaves.items() if k != "theta"}
        states = jax.vmap(person, (None, 0, 0, 0, 0))(weights, leaves["theta"], t, e, m)
        return jnp.sum(jnp.where(mask[..., None], (states - y) ** 2, 0.0)) / (2 * mask.sum()), states

    return _contestant(name, loss, leaves, rows)


def _contestant(
    name: str,
    loss: Callable[[Arrays], tuple[jax.Array, jax.Array]],
    leaves: Arrays,
    rows: tuple[np.ndarray, ...] | None = None,
) -> Contestant:
    both = jax.jit(jax.value_and_grad(loss, has_aux=True))

    def answer(raw: Any) -> Answer:
        (value, states), gradients = raw
        array = np.asarray(states, np.float64)
        return Answer(
            array if rows is None else array[rows],
            float(value),
            {k: np.asarray(g, np.float64) for k, g in gradients.items()},
        )

    return Contestant(name, lambda: jax.block_until_ready(both(leaves)), answer)


def _solve(
    term: diffrax.AbstractTerm,
    x0: jax.Array,
    times: jax.Array,
    solver: str,
    tolerance: float,
    adjoint: Adjoint,
    max_steps: int,
    step: float | None,
) -> jax.Array:
    control = diffrax.ConstantStepSize() if step else diffrax.PIDController(rtol=tolerance, atol=tolerance)
    solution = diffrax.diffeqsolve(
        term,
        SOLVERS[solver](),
        times[0],
        times[-1],
        step,
        x0,
        saveat=diffrax.SaveAt(ts=times),
        stepsize_controller=control,
        # with a checkpoint for every step nothing is computed twice
        adjoint=diffrax.DirectAdjoint() if adjoint == "direct" else diffrax.RecursiveCheckpointAdjoint(max_steps),
        max_steps=max_steps,
        throw=False,
    )
    return solution.ys


def _arrays(network: Network, dtype: str) -> Arrays:
    return {k: jnp.asarray(v, dtype) for k, v in network.arrays().items()}


def _residual(w: Arrays) -> Callable[[jax.Array], jax.Array]:
    """ε(x) for x (..., n)."""
    offset = jnp.tanh(w["W2"] @ jnp.tanh(w["b1"]) + w["b2"]) @ w["W3"].T

    def residual(x: jax.Array) -> jax.Array:
        h = jnp.tanh(x @ w["W1"].T + w["b1"])
        return jnp.tanh(h @ w["W2"].T + w["b2"]) @ w["W3"].T - offset

    return residual
