"""Unscented Kalman filters of whole cohorts: arrays of doses and measurements to the posterior at the end of a day, float64.

288 measurements of each person, one every five minutes, three meals, four states of which two are driven, one step between
two measurements. "Bare" is what cannot be saved: the same right-hand side, evaluated as often for as many points. Claims, in
processor seconds (of all threads together): 10,000 people with a residual of 16 units in 40 s (aim: 20); with 64×64 at most
1.3 times the bare evaluation; 8 members × 1,000 people with three coordinates of their own, 16 units, in 60 s. Beside them one
person at a time, by filterpy. Where torch finds a CUDA device, the same on it, in seconds.
"""

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from benchmarks import race
from hybrid import HybridModel, Mesh, RungeKutta, States, segments_of
from hybrid.filters import UKF, Followed, Track, along, starting_belief
from hybrid.propagate import transition
from learned import MLP, Constant, DiagonalDiffusion, Ensemble
from physics import LinearisedBackbone, LogNormalPopulation, Mechanism, Parameter, SharedPopulation

Found = TypeVar("Found")
CHUNK = 1024  # points that are evaluated together
EVERY, G, SD = 5.0, {"plasma": 1.5, "tissue": 0.4}, 4.0
VALUES = {"ka": 0.02, "ke": 0.03, "kt": 0.05}
SPREAD = {"ka": 0.3, "ke": 0.2, "kt": 0.2}
SPREAD_AT_START = {"plasma": 15.0, "tissue": 15.0, "effect": 5.0}


class Chain(Mechanism):
    """A meal through the gut to plasma, which exchanges with a tissue and acts on an effect, all at rates of their own."""

    time_unit, starts_empty = "min", True
    states = {"gut": "mg", "plasma": "mg", "tissue": "mg", "effect": "mg"}
    scale = {"gut": 100.0, "plasma": 100.0, "tissue": 100.0, "effect": 100.0}
    physical = (
        Parameter("ka", "/min", 0.02, 0.004, 0.1),
        Parameter("ke", "/min", 0.03, 0.006, 0.15),
        Parameter("kt", "/min", 0.05, 0.01, 0.2),
    )

    def rate(self, x: Any, u: Any, theta: Any) -> Mapping[str, Any]:
        return {
            "gut": -theta.ka * x.gut,
            "plasma": theta.ka * x.gut - theta.ke * x.plasma + theta.kt * (x.tissue - x.plasma),
            "tissue": theta.kt * (x.plasma - x.tissue),
            "effect": theta.ke * (x.plasma - x.effect),
        }


def model(hidden: tuple[int, ...], *, personal: bool = False, members: int = 1) -> HybridModel:
    """The chain with a residual; everyone the same, or with three coordinates of their own."""
    backbone = LinearisedBackbone(Chain())
    population = LogNormalPopulation(backbone, spread=SPREAD) if personal else SharedPopulation(backbone, values=VALUES)
    found = HybridModel(
        *(backbone, population, MLP(4, hidden=hidden, state_scale=100.0, rate_scale=0.1)),
        observation=States(("plasma",)),
        noise=Constant([SD], [0.1]),
        process=DiagonalDiffusion(G),
    )
    return found if members == 1 else Ensemble(members, "init").stack(found, torch.Generator().manual_seed(1))


@dataclass(frozen=True)
class Day:
    """What arrives and what is measured, as arrays."""

    dt: Tensor  # (N, T)
    jump: Tensor  # (N, T, 4)
    y: Tensor  # (N, T, 1)

    @staticmethod
    def of(people: int, times: int, device: str = "cpu") -> "Day":
        """Everyone's own three meals, and measurements about the level that they lead to."""
        rng = np.random.default_rng(2)
        jump = np.zeros((people, times, 4))
        for meal in (0.05, 0.3, 0.7):
            jump[:, int(meal * times), 0] = rng.uniform(40.0, 120.0, people)
        y = 30.0 + 10.0 * np.sin(np.arange(times) / 20.0) + SD * rng.standard_normal((people, times))
        dt = torch.full((people, times), EVERY, dtype=torch.float64, device=device)
        return Day(dt, torch.from_numpy(jump).to(device), torch.from_numpy(y)[..., None].to(device))


def posterior(of: HybridModel, day: Day) -> Track:
    """From the arrays to the belief at the end."""
    people, mesh = len(day.dt), Mesh(EVERY)
    with torch.no_grad():
        filter = UKF(Followed.of(of, people, mesh=mesh, solver=RungeKutta("rk4")))
        segments = segments_of(day.dt, 4, jump=day.jump, mesh=mesh)
        return along(filter, starting_belief(filter.people, spread=SPREAD_AT_START), segments, day.y, keep="last")


def bare(of: HybridModel, day: Day) -> Tensor:  # (M, some, 4)
    """The right-hand side, four times a step, for all points of all people, as many together as a cache holds; the last of it."""
    people, times = day.dt.shape
    z = 4 + of.personal
    rows = people * 2 * z
    generator = torch.Generator(day.dt.device).manual_seed(3)
    options: dict[str, Any] = {"dtype": torch.float64, "device": day.dt.device}
    x = 30.0 + 10.0 * torch.randn(of.members, rows, 4, generator=generator, **options)
    u = torch.zeros(1, rows, 0, **options)
    one = rows if of.personal else 1
    eta = 0.1 * torch.randn(of.members if of.personal else 1, one, of.personal, generator=generator, **options)
    rate, every = x, CHUNK if day.dt.device.type == "cpu" else rows
    with torch.no_grad():
        for some in torch.arange(rows, device=day.dt.device).split(every):
            own = eta[:, some] if of.personal else eta
            right, at, held = of.at(of.theta(own, {}), of.context(own, {})), x[:, some], u[:, : len(some)]
            for _ in range(4 * times):
                rate = right.rate(at, held)
    return rate


def timed(work: Callable[[], Found], device: str) -> tuple[float, Found]:
    """Seconds of all threads together on the processor, by the clock on a GPU; and what was found."""
    if device == "cpu":
        begin = time.process_time()
        found = work()
        return time.process_time() - begin, found
    torch.cuda.synchronize()
    begin = time.perf_counter()
    found = work()
    torch.cuda.synchronize()
    return time.perf_counter() - begin, found


def noise_of_steps(of: HybridModel, day: Day) -> np.ndarray:  # (T, 4, 4)
    """What drives the first person in every step, by the slope in the middle of their mean's path."""
    filter = UKF(Followed.of(of, 1, mesh=Mesh(EVERY), solver=RungeKutta("rk4")))
    first = starting_belief(filter.people, spread=SPREAD_AT_START)
    with torch.no_grad():
        track = along(filter, first, segments_of(day.dt[:1], 4, jump=day.jump[:1], mesh=Mesh(EVERY)), day.y[:1], keep="all")
        assert track.mean is not None
        assert track.predicted_mean is not None
        begin = torch.cat([first.mean[:, :, None], track.mean[:, :, :-1]], 2) + day.jump[:1]
        x = 0.5 * (begin + track.predicted_mean)[0]  # (1, T, 4)
        nobody = x.new_zeros(1, 1, 0)
        J = of.at(of.theta(nobody, {}), of.context(nobody, {})).jacobian(x, x.new_zeros(1, x.shape[1], 0))[0]
        D = torch.diag(x.new_tensor([G.get(name, 0.0) ** 2 for name in Chain.states]))
        return (transition(EVERY * J, (EVERY * D).expand_as(J))[1] + 1e-10 * torch.eye(4, dtype=x.dtype)).numpy()


def filterpy_person(of: HybridModel, day: Day) -> Callable[[], tuple[np.ndarray, np.ndarray]]:
    """The first person by filterpy: the same points, its own loop; the noise of each step is given to it."""
    from filterpy.kalman import JulierSigmaPoints, UnscentedKalmanFilter

    nothing = torch.zeros(1, 1, 0, dtype=torch.float64)
    A = of.backbone.matrices(of.theta(nothing, {}))[0][0, 0].detach().numpy()
    layers = of.residual.layers()  # type: ignore[operator]  # a layered residual's
    weights = [w[0].detach().numpy() for w in layers.weights]
    biases = [b[0].detach().numpy() for b in layers.biases]

    def network(x: np.ndarray) -> np.ndarray:
        for w, b in zip(weights[:-1], biases, strict=False):
            x = np.tanh(w @ x + b)
        return np.asarray(weights[-1] @ x + biases[-1])

    offset = network(np.zeros(4))  # ε vanishes at the origin

    def rate(x: np.ndarray) -> np.ndarray:
        return np.asarray(A @ x + network(x) - offset)

    def step(x: np.ndarray, h: float) -> np.ndarray:
        a = rate(x)
        b = rate(x + 0.5 * h * a)
        c = rate(x + 0.5 * h * b)
        return np.asarray(x + h / 6.0 * (a + 2.0 * b + 2.0 * c + rate(x + h * c)))

    noises = noise_of_steps(of, day)
    jump, y = day.jump[0].numpy(), day.y[0].numpy()
    sd = np.array([SPREAD_AT_START.get(name, 1e-3) for name in Chain.states])

    def work() -> tuple[np.ndarray, np.ndarray]:
        one = UnscentedKalmanFilter(4, 1, EVERY, lambda x: x[[1]], step, JulierSigmaPoints(4, kappa=0.0))
        one.x, one.P = np.zeros(4), np.diag(sd**2)
        one.R = np.array([[SD**2 + 0.1**2]])
        for arrives, seen, Q in zip(jump, y, noises, strict=True):
            one.x, one.Q = one.x + arrives, Q
            one.predict()
            # its points are those before the noise of the step, which the measurement would then not hear of
            one.sigmas_f = one.points_fn.sigma_points(one.x, one.P)
            one.update(seen)
        return one.x, one.P

    return work


def cohorts(report: race.Report, setup: race.Settings, device: str) -> None:
    """The three claims on a device: ours and the bare evaluation in turn."""
    times, many, few = (24, 200, 40) if setup.quick else (288, 10_000, 1_000)
    runs = 1 if setup.quick else min(setup.runs, 3)
    kind = "processor seconds" if device == "cpu" else f"seconds on {torch.cuda.get_device_name()}"
    for title, people, of, wanted, ratio in (
        (f"{many:,} × {times}, 16", many, model((16,)), 40.0, None),
        (f"{many:,} × {times}, 64×64", many, model((64, 64)), None, 1.3),
        (f"8 members × {few:,} × {times}, d = 3, 16", few, model((16,), personal=True, members=8), 60.0, None),
    ):
        of, day = of.to(device), Day.of(people, times, device)
        warm = Day.of(min(people, 100), 4, device)
        posterior(of, warm)
        bare(of, warm)
        ours, least = [], []
        for run in range(runs):
            setup.progress(f"filters, {title}, {device}: run {run + 1} of {runs}")
            taken, track = timed(partial(posterior, of, day), device)
            report.wrong |= bool(track.lost.any()) or not bool(torch.isfinite(track.log_likelihood).all())
            ours.append(taken)
            least.append(timed(partial(bare, of, day), device)[0])
        taken, floor = race.middle(ours), race.middle(least)
        report.figures |= {f"{title}: {kind}": taken, f"{title}: bare, {kind}": floor, f"{title}: ratio, {device}": taken / floor}
        if device == "cpu" and not setup.quick:
            if wanted is not None:
                report.target(f"{title}: at most {wanted:g} {kind}", f"{taken:.1f}", taken <= wanted)
            if ratio is not None:
                claim = f"{title}: at most {ratio:g} times the bare evaluation"
                report.target(claim, f"{taken / floor:.2f}", taken <= ratio * floor)


def one_person(report: race.Report, setup: race.Settings) -> None:
    """A person alone: ours, a cohort of a thousand of ours, and filterpy."""
    if not race.installed(report, "filterpy"):
        return
    times = 24 if setup.quick else 288
    of, alone, thousand = model((16,)), Day.of(1, times), Day.of(1_000, times)
    work = filterpy_person(of, alone)
    (x, P), mine = work(), posterior(of, alone).last
    off = float(np.abs((mine.x[0, 0].numpy() - x) / np.sqrt(P.diagonal())).max())
    report.figures["the two answers apart, in standard deviations"] = off
    report.wrong |= off > 1e-4  # the factor of Cholesky that it takes needs a little of every variance
    works: dict[str, race.Work] = {
        **{"ours": lambda: posterior(of, alone), "filterpy": work},
        "1,000": lambda: posterior(of, thousand),
    }
    found = race.timed(works, "filters, alone", setup)
    updates = {"ours": times, "filterpy": times, "1,000": 1_000 * times}
    named = {"ours": "one person, ours", "filterpy": "one person, filterpy", "1,000": "1,000 people at once, ours"}
    for name, taken in found.items():
        report.figures[f"{named[name]}: ms an update of a person"] = race.middle(taken) / updates[name]


def main() -> int:
    """Run the benchmark; the exit code."""
    setup = race.settings("filters", __doc__)
    report = race.Report("filters", "Filters of whole cohorts")
    one_person(report, setup)
    cohorts(report, setup, "cpu")
    if torch.cuda.is_available():
        cohorts(report, setup, "cuda")
    return setup.finish(report)


if __name__ == "__main__":
    sys.exit(main())
