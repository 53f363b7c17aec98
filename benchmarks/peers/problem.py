"""The problems that are timed, as plain numpy arrays: every contestant, ours and the peers, copies the same numbers."""

from dataclasses import dataclass, replace

import numpy as np

HIDDEN = (64, 64)
SHARE = 0.3  # |ε| as a share of |A x|: large enough that leaving the residual out changes every solution visibly


@dataclass(frozen=True)
class Network:
    """ε(x) = W₃ tanh(W₂ tanh(W₁ x + b₁) + b₂), minus its value at the origin. Weights (out, in), biases (out,)."""

    W1: np.ndarray
    b1: np.ndarray
    W2: np.ndarray
    b2: np.ndarray
    W3: np.ndarray

    def __call__(
        self,
        x: np.ndarray,  # (..., n)
    ) -> np.ndarray:  # (..., n)
        def hidden(z: np.ndarray) -> np.ndarray:
            return np.tanh(np.tanh(z @ self.W1.T + self.b1) @ self.W2.T + self.b2)

        return (hidden(x) - hidden(np.zeros(x.shape[-1]))) @ self.W3.T

    def arrays(self) -> dict[str, np.ndarray]:
        """The trainable arrays by name."""
        return dict(vars(self))


@dataclass(frozen=True)
class Problem:
    """N records of dx/dt = A x + ε(x) from their own x0, read at shared times; the loss is the mean of (x − target)².

    `A` (n, n) · `network` · `x0` (N, n) · `times` (T,), the first is the start · `targets` (N, T, n).
    """

    A: np.ndarray
    network: Network
    x0: np.ndarray
    times: np.ndarray
    targets: np.ndarray

    def first(self, records: int) -> "Problem":
        """The problem of the first so many records; beyond those that there are, they come again.

        Repeating costs a solver what new records would, none of the contestants looks for equals, and the reference of
        the distinct records serves every size.
        """
        index = np.arange(records) % len(self.x0)
        return replace(self, x0=self.x0[index], targets=self.targets[index])


@dataclass(frozen=True)
class CohortProblem:
    """N people with their own parameters, doses and times: a gut and a plasma compartment plus ε, all starting empty.

    A(θ) = [[−ka, 0], [ka, −ke]] with `theta` (N, 2) = ka, ke in /h. `times` N × (T_i,) in h · `dose_times` and `doses`
    N × (D_i,), all into the gut · `targets` N × (T_i, 2). The loss is the mean of (x − target)² over all that is
    observed. Amounts are in units of a typical dose.
    """

    network: Network
    theta: np.ndarray
    times: tuple[np.ndarray, ...]
    dose_times: tuple[np.ndarray, ...]
    doses: tuple[np.ndarray, ...]
    targets: tuple[np.ndarray, ...]

    def first(self, people: int) -> "CohortProblem":
        """The problem of the first so many people."""
        return CohortProblem(
            self.network,
            self.theta[:people],
            self.times[:people],
            self.dose_times[:people],
            self.doses[:people],
            self.targets[:people],
        )


def nonstiff(records: int = 256) -> Problem:
    """Four states with rates of .2 to 1.5, coupled by a rotation; 50 output times on [0, 10]."""
    random = np.random.default_rng(1)
    turn = np.triu(np.full((4, 4), 0.4), 1)
    A = -np.diag([0.2, 0.5, 1.0, 1.5]) + turn - turn.T
    x0, times = random.standard_normal((records, 4)), np.linspace(0.0, 10.0, 50)
    network = _scaled(_draw(4, random), _linear(A, x0, times), A)
    return Problem(A, network, x0, times, 0.5 * random.standard_normal((records, len(times), 4)))


def stiff(records: int = 64) -> Problem:
    """Four states with eigenvalues −.05, −.3, −1 and −100 per hour, mixed; 97 output times on [0, 24] h."""
    random = np.random.default_rng(2)
    mix = np.eye(4) + 0.3 * random.standard_normal((4, 4))
    A = mix @ np.diag([-0.05, -0.3, -1.0, -100.0]) @ np.linalg.inv(mix)
    x0, times = random.standard_normal((records, 4)), np.linspace(0.0, 24.0, 97)
    # the fast state is gone by the second output: what |A x| is there, is the slow dynamics
    path = _linear(A, x0, times)[:, 1:]
    network = _scaled(_draw(4, random), path, A)
    return Problem(A, network, x0, times, 0.5 * random.standard_normal((records, len(times), 4)))


def cohort(people: int = 256) -> CohortProblem:
    """1 to 4 doses and 5 to 40 observations for each person in 24 h, at times of their own."""
    random = np.random.default_rng(3)
    theta = np.stack([1.2, 0.15] * np.exp(0.3 * random.standard_normal((people, 2))))
    times, dose_times, doses, targets, states = [], [], [], [], []
    for ka, ke in theta:
        first = random.uniform(0.0, 1.0)
        later = np.sort(random.uniform(first + 1.0, 20.0, random.integers(0, 4)))
        dose_times.append(np.array([first, *later]))
        doses.append(random.uniform(0.5, 1.5, len(later) + 1))
        times.append(np.sort(random.uniform(0.1, 24.0, random.integers(5, 41))))
        targets.append(0.5 * random.random((len(times[-1]), 2)))
        since = np.maximum(times[-1][:, None] - dose_times[-1], 0.0) + np.where(
            times[-1][:, None] < dose_times[-1], np.inf, 0.0
        )
        gut = (doses[-1] * np.exp(-ka * since)).sum(-1)
        plasma = (doses[-1] * ka / (ka - ke) * (np.exp(-ke * since) - np.exp(-ka * since))).sum(-1)
        states.append(np.stack([gut, plasma], -1)[:, None])
    typical = np.array([[-1.2, 0.0], [1.2, -0.15]])
    network = _scaled(_draw(2, random), np.concatenate(states), typical)
    return CohortProblem(network, theta, tuple(times), tuple(dose_times), tuple(doses), tuple(targets))


def _draw(n: int, random: np.random.Generator) -> Network:
    a, b = HIDDEN
    return Network(
        W1=random.standard_normal((a, n)) / np.sqrt(n),
        b1=0.5 * random.standard_normal(a),
        W2=random.standard_normal((b, a)) / np.sqrt(a),
        b2=0.5 * random.standard_normal(b),
        W3=random.standard_normal((n, b)) / np.sqrt(b),
    )


def _scaled(network: Network, path: np.ndarray, A: np.ndarray) -> Network:
    """The network with W₃ scaled so that |ε| is SHARE of |A x| in the root mean square over `path` (N, T, n)."""
    known = np.sqrt(np.mean((path @ A.T) ** 2))
    learned = np.sqrt(np.mean(network(path) ** 2))
    return replace(network, W3=network.W3 * (SHARE * known / learned))


def _linear(A: np.ndarray, x0: np.ndarray, times: np.ndarray) -> np.ndarray:  # (N, T, n)
    """The backbone's own solution, by eigenvectors."""
    values, vectors = np.linalg.eig(A)
    modes = np.linalg.solve(vectors, x0.T.astype(complex))  # (n, N)
    grown = np.exp(np.multiply.outer(times, values))  # (T, n)
    return np.einsum("ij,tj,jk->kti", vectors, grown, modes).real
