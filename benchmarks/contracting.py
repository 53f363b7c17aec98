"""Contracting by construction: what the certificate costs at width 1,024, and what the guarantee costs in accuracy.

Claims: certificate and check in less than 1 s at width 1,024; the same contracting truth is learned to within 10 % of the
error of a free MLP of the same widths after the same steps.
"""

import itertools
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks import race
from learned import MLP, ContractingMLP, LayeredResidual
from stability import Lure, certify, check

Array = NDArray[np.float64]
F64 = torch.float64
SECONDS, RATIO = 1.0, 1.1
FIRST_SEED = 1000  # truths that had no say in the parameterisation, which was chosen on those of seeds 0 and 1
NOISE = 0.1  # of each component's standard deviation


@dataclass(frozen=True)
class Truth:
    """dx/dt = A x + ε(x), which contracts in P at `rate` on the box |x_i| ≤ 2.5, and whose A alone does at `backbone`."""

    A: Array  # (n, n)
    P: Array  # (n, n)
    residual: Callable[[Array], Array]  # (K, n) -> (K, n)
    rate: float
    backbone: float


def truth(n: int, seed: int, share: float) -> Truth:
    """A drawn truth, no network of ours: sines in random directions, which pull apart, and minus the gradient of a convex
    function with slopes s/√(1 + s²), which pulls together. The sines are as strong as leaves `share` of the backbone's rate.
    """
    rng = np.random.default_rng(seed)
    F = np.eye(n) + 0.5 * np.tril(rng.standard_normal((n, n)), -1)
    inverse = np.linalg.inv(F.T)
    turn = rng.standard_normal((n, n))
    A = inverse @ (-np.diag(rng.uniform(0.5, 1.5, n)) + 0.7 * (turn - turn.T)) @ F.T
    a, phase = rng.standard_normal((3 * n, n)) / np.sqrt(n), rng.standard_normal(3 * n)
    b = rng.standard_normal((n, 3 * n)) / np.sqrt(3 * n)
    d, w = rng.standard_normal((2 * n, n)) / np.sqrt(n), rng.uniform(0.5, 1.5, 2 * n)
    places = rng.uniform(-2.5, 2.5, (4000, n))

    def residual(x: Array, strength: float) -> Array:
        y = x @ F
        s = y @ d.T
        waves = (np.sin(1.5 * y @ a.T + phase) - np.sin(phase)) @ b.T
        return np.asarray((strength * waves - 0.6 * (w * s / np.sqrt(1.0 + s * s)) @ d) @ inverse.T)

    def rate(strength: float) -> float:
        y = places @ F
        s = y @ d.T
        cosines = 1.5 * np.cos(1.5 * y @ a.T + phase)
        J = strength * np.einsum("ij,kj,jl->kil", b, cosines, a)
        J -= 0.6 * np.einsum("ji,kj,jl->kil", d, w / (1.0 + s * s) ** 1.5, d)
        J += F.T @ A @ inverse
        return float(-np.linalg.eigvalsh(0.5 * (J + J.swapaxes(1, 2)))[:, -1].max())

    K = F.T @ A @ inverse
    backbone = float(-np.linalg.eigvalsh(0.5 * (K + K.T))[-1])
    low, high = 0.0, 50.0
    for _ in range(50):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if rate(middle) > share * backbone else (low, middle)
    return Truth(A, F @ F.T, lambda x: residual(x, low), rate(low), backbone)


def fit(net: LayeredResidual, data: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], steps: int, seed: int) -> float:
    """Adam on derivative data; the root mean square error on the test points, each component by its spread."""
    x, y = data
    spread, nothing = test[1].std(0), torch.zeros(1, 1, 0, dtype=F64)
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        chosen = torch.randint(len(x), (128,), generator=generator)
        loss = ((net(x[chosen][None], nothing, nothing)[0] - y[chosen]) / spread).square().mean()
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
    with torch.no_grad():
        return float(((net(test[0][None], nothing, nothing)[0] - test[1]) / spread).square().mean().sqrt())


def system(net: ContractingMLP, A: Array) -> Lure:
    """The arrays that the certificate is about."""
    layers = net.layers()
    assert layers.skip is not None
    weights, biases = [w[0] for w in layers.weights], [b[0] for b in layers.biases]
    return Lure(A=A, weights=tuple(weights), biases=tuple(biases), activation=layers.activation, skip=layers.skip[0])


def costs(report: race.Report, setup: race.Settings) -> None:
    """Certificate and check, at the width asked for and one, two and three hidden layers."""
    width, A = (128 if setup.quick else 1024), truth(4, 0, 0.5).A
    for depth in (1, 2, 3):
        net = ContractingMLP(4, hidden=(width,) * depth, vertices=torch.from_numpy(A))
        seen = []
        for _ in range(3):
            started = time.perf_counter()
            metric, multipliers, rate = net.witness()
            this = system(net, A)
            found = certify(this, rate, metric=metric, multipliers=multipliers)
            proved = bool(found) and check(found, this)
            seen.append(time.perf_counter() - started)
            report.wrong |= not proved
        what = f"{depth} × {width}: layers, certificate and check"
        report.figures[f"{what}, s"] = median(seen)
        report.target(f"{what} < {SECONDS:g} s", f"{median(seen):.2f} s (first {seen[0]:.2f})", median(seen) < SECONDS)


def accuracy(report: race.Report, setup: race.Settings) -> None:
    """The table: free and contracting, the same truths, widths, first weights' seed, data, steps."""
    steps, seeds = (600, 1) if setup.quick else (4000, 3)
    rows, ratios = [], []
    for hidden, share in itertools.product([(32,), (32, 32)], [0.5, 0.25]):
        for n in (2, 3, 4):
            found = []
            for seed in range(FIRST_SEED, FIRST_SEED + seeds):
                known = truth(n, seed, share)
                rng = np.random.default_rng(100 + seed)
                x, places = rng.uniform(-2.0, 2.0, (1000, n)), rng.uniform(-2.0, 2.0, (4000, n))
                y = known.residual(x)
                y = y + NOISE * y.std(0) * rng.standard_normal(y.shape)
                data = (torch.from_numpy(x), torch.from_numpy(y))
                test = (torch.from_numpy(places), torch.from_numpy(known.residual(places)))
                first = [torch.Generator().manual_seed(seed) for _ in range(2)]
                vertices, P = torch.from_numpy(known.A), torch.from_numpy(known.P)
                net = ContractingMLP(
                    n, hidden=hidden, vertices=vertices, metric=P, rate=0.5 * known.rate, generator=first[1]
                )
                free = fit(MLP(n, hidden=hidden, generator=first[0]), data, test, steps, seed)
                ours = fit(net, data, test, steps, seed)
                metric, multipliers, rate = net.witness()
                certificate = certify(system(net, known.A), rate, metric=metric, multipliers=multipliers)
                report.wrong |= not (certificate and check(certificate, system(net, known.A)))
                found.append((free, ours, ours / free))
            ratios += [ratio for _, _, ratio in found]
            free, ours, ratio = (median(column) for column in zip(*found, strict=True))
            worst = max(r for _, _, r in found)
            rows.append(
                f"| {n} | {'×'.join(map(str, hidden))} | {share:g} | {free:.4f} | {ours:.4f} | {ratio:.2f} | {worst:.2f} |"
            )
            print(rows[-1], flush=True)
    heading = "| n | hidden | truth's rate ÷ backbone's | free | contracting | ratio | largest ratio |"
    report.notes += [
        f"Test error (root mean square ÷ spread; medians of {seeds} truths) after {steps} steps on 1,000 derivatives with "
        f"{NOISE:.0%} noise. Contracting: the truth's metric, half of its rate; every trained one was certified and checked.\n",
        "\n".join([heading, "|" + "---|" * 7, *rows]) + "\n",
    ]
    middle = median(ratios)
    report.figures["test error, contracting ÷ free"] = middle
    report.target(f"test error at most {RATIO:g} times the free MLP's", f"{middle:.2f} (median)", middle <= RATIO)


def main() -> int:
    """Run the benchmark; the exit code."""
    setup = race.settings("contracting", __doc__)
    report = race.Report("contracting", "Contracting by construction")
    costs(report, setup)
    torch.set_num_threads(1)  # the faster at these sizes
    accuracy(report, setup)
    return setup.finish(report)


if __name__ == "__main__":
    sys.exit(main())
