"""A state that breaks a claim, and the worst of those that were sampled."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stability.glance import glance
from stability.lure import Array, Lure
from stability.search.states.jacobians import abscissa
from stability.search.states.routh import LARGEST, decays
from stability.search.states.sampling import Samples


@dataclass(frozen=True, eq=False)
class Counterexample:
    """A state (and input) whose Jacobian has an eigenvalue that forbids the rate in every constant metric."""

    index: tuple[int, ...]  # of the system among the leading axes
    state: Array  # (n,)
    input: Array | None  # (m,) where the layers see an input
    slopes: tuple[Array, ...]  # per hidden layer (h,)
    jacobian: Array  # (n, n), 1/time
    eigenvalue: complex  # the one with the largest real part

    __repr__, _repr_html_ = glance()

    @property
    def eigenvector(self) -> NDArray[np.complex128]:  # (n,)
        """The direction that belongs to the eigenvalue, of length one, its largest component positive."""
        values, vectors = np.linalg.eig(self.jacobian)
        v = vectors[:, np.abs(values - self.eigenvalue).argmin()]
        v = v / v[np.abs(v).argmax()]
        return np.asarray(v / np.linalg.norm(v), dtype=np.complex128)

    def to_dict(self) -> dict[str, Any]:
        """Plain lists and numbers for JSON."""
        return {
            "index": list(self.index),
            "state": self.state.tolist(),
            "input": None if self.input is None else self.input.tolist(),
            "slopes": [layer.tolist() for layer in self.slopes],
            "jacobian": self.jacobian.tolist(),
            "eigenvalue": [float(self.eigenvalue.real), float(self.eigenvalue.imag)],
            "eigenvector": [self.eigenvector.real.tolist(), self.eigenvector.imag.tolist()],
        }


def worst(system: Lure, samples: Samples, goal: float) -> Counterexample | None:
    """The worst attained Jacobian as a counterexample to the rate `goal`; None where it does not break it clearly.

    A linear system of a few states is decided in rationals, so that an integrator is one; see `_decided`.
    """
    found = abscissa(samples.attained)
    if not found.size:
        return None
    index, point = (int(i) for i in np.unravel_index(int(found.argmax()), found.shape))
    if not system.widths and system.tape is None and system.states <= LARGEST:
        decided = _decided(system, found, goal)
        if decided is None:
            return None
        index, point = decided
    # Eigenvalues of a matrix near a defective one move by √(rounding); below that nothing is claimed.
    elif found[index, point] <= -goal + _margin(samples.attained[index, point]):
        return None
    J = samples.attained[index, point]
    eigenvalues = np.linalg.eigvals(J)
    value = complex(eigenvalues[eigenvalues.real.argmax()])
    if not goal and value.real < 0:  # decided: it is not, whatever rounding says
        value = complex(0.0, value.imag)
    return Counterexample(
        index=tuple(int(i) for i in np.unravel_index(index, system.leading)),
        state=samples.states[index, point],
        input=None if samples.inputs is None else samples.inputs[index, point],
        slopes=tuple(layer[index, point] for layer in samples.slopes),
        jacobian=J,
        eigenvalue=value,
    )


def _margin(jacobian: Array) -> float:
    return 1e-7 * float(np.abs(jacobian).max())


def _decided(system: Lure, found: Array, goal: float) -> tuple[int, int] | None:
    """The worst of the linear systems that do not decay at the rate, in rationals; None where all of them do.

    An eigenvalue on the axis forbids every positive rate; one at −goal does not forbid that goal, and counts from a margin on.
    """
    flat = system.flatten()
    linear, parts = flat.linear(), [flat.A] + ([] if flat.skip is None else [flat.skip]) + list(flat.weights)
    for v in np.argsort(-found[:, 0]).tolist():
        # What lies so far to the left by float64 is not looked at; None claims nothing.
        if found[v, 0] < -goal - 1e-3 * float(np.abs(linear[v]).max()):
            return None
        if not decays([part[v] for part in parts], max(goal - _margin(linear[v]), 0.0)):
            return v, 0
    return None
