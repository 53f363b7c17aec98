"""One record of 30,000 samples, two states, MLP(16): `shoot` with its tail as judge, timed, beside single starts run longer.

`python benchmarks/long_record.py` fits once and says seconds, processor seconds, peak memory and the error of the tail, against
what was measured there and against the noiseless truth; `--rivals 10` then fits from so many other first weights with twice the
steps (about forty minutes), and says the ratios to the best of them.
"""

import argparse
import resource
import time

import numpy as np
import torch

from hybrid import HybridModel, Mesh, RungeKutta, Schedule, Signal, States, rollout
from learned import MLP, AdditiveProportional
from physics import LinearBackbone, SharedPopulation
from training import Cohort, Fitted, Looks, Objective, Record, Search, judged_tail, last, shoot

SAMPLES, STEP, NOISE, SHARE = 30_000, 0.1, 0.02, 0.2


def truth(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:  # (T,), (T, 2)
    """A hardening spring whose damping grows with its speed, pushed by a force that is drawn anew every two units of time."""
    u = np.repeat(rng.uniform(-1.0, 1.0, SAMPLES // 20 + 1), 20)[:SAMPLES]
    x = np.zeros((SAMPLES, 2))

    def rate(s: np.ndarray, force: float) -> np.ndarray:
        return np.array([s[1], -s[0] - 0.5 * s[0] ** 3 - 0.1 * s[1] - 0.3 * s[1] * abs(s[1]) + force])

    for k in range(SAMPLES - 1):
        s, v = x[k], u[k]
        a = rate(s, v)
        b = rate(s + 0.5 * STEP * a, v)
        c = rate(s + 0.5 * STEP * b, v)
        x[k + 1] = s + STEP / 6.0 * (a + 2.0 * b + 2.0 * c + rate(s + STEP * c, v))
    return u, x


def model(seed: int) -> HybridModel:
    """A spring and a damper that are linear, and what is learned beside them."""
    return HybridModel(
        LinearBackbone([[-0.01, 1.0], [-1.0, -0.1]], [[0.0], [1.0]], states=("a", "b"), inputs=("u",)),
        SharedPopulation(),
        MLP(2, 1, hidden=(16,), generator=torch.Generator().manual_seed(seed)),
        observation=States([0], ["a"], ["1"]),
        noise=AdditiveProportional([0.05], [0.001], [0.005]),
    )


def main() -> None:
    """Fit once, and then the rivals where they are asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, value in (("rivals", 0), ("steps", 600), ("polish", 80), ("windows", 600), ("every", 50), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--rate", type=float, default=0.03)
    asked = parser.parse_args()
    rng = np.random.default_rng(0)
    u, x = truth(rng)
    y = x[:, :1] + NOISE * rng.standard_normal((SAMPLES, 1))
    times = STEP * np.arange(SAMPLES)
    record = Record("one", Schedule(inputs={"u": Signal(tuple(times), tuple(u), "held")}), times, y, ("a",))
    cohort = Cohort.of([record], model(0), Mesh(step=STEP))
    judged = judged_tail(cohort, SHARE)

    def fitted(seed: int, longer: int = 1) -> Fitted:
        search = Search(steps=longer * asked.steps, rate=asked.rate)
        found = shoot(
            *(model(seed), cohort, Objective(judged=judged), search, Looks(every=asked.every)),
            count=asked.windows,
            polish=longer * asked.polish,
        )
        return last(found)

    def errors(found: Fitted) -> np.ndarray:  # (2,)
        """Of the tail, against what was measured and against the truth."""
        with torch.no_grad():
            mean = rollout(found.model, cohort.conditions, found.personal, RungeKutta("rk4")).mean[0, 0, :, 0].numpy()
        tail = judged[0].numpy()
        return np.array([np.sqrt(np.mean((mean[tail] - wanted[tail, 0]) ** 2)) for wanted in (y, x)])

    began, busy = time.perf_counter(), time.process_time()
    ours = fitted(asked.seed)
    took, busy = time.perf_counter() - began, time.process_time() - busy
    peak, own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2, errors(ours)
    print(f"{took:.0f} s, {busy:.0f} s of processor, peak {peak:.2f} GB")
    print(f"the tail, which spreads by {x[:, 0].std():.3f}: {said(own)}")
    least = float(np.sqrt(np.mean((y - x[:, :1])[judged[0].numpy()] ** 2)))
    print(f"the truth's own error against what was measured there: {least:.4f}; ours beside it {own[0] / least:.3f}", flush=True)
    rivals = []
    for seed in range(asked.seed + 1, asked.seed + asked.rivals + 1):
        rivals.append(errors(fitted(seed, 2)))
        print(f"seed {seed}, {2 * asked.steps} steps and {2 * asked.polish} of polish: {said(rivals[-1])}", flush=True)
    if rivals:
        measured, true = own / np.min(rivals, 0)
        print(f"beside the best of {len(rivals)}: {measured:.3f} against what was measured, {true:.3f} against the truth")


def said(errors: np.ndarray) -> str:
    """Both errors of the tail."""
    return f"error {errors[0]:.4f} against what was measured, {errors[1]:.4f} against the truth"


if __name__ == "__main__":
    main()
