"""The split of a mechanism: f(x, u, θ) = A(θ) x + B(θ) u + remainder(x, u, θ), exactly, at a point that is held."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from physics.arguments import require_shape, require_together
from physics.capture import capturing
from physics.glance import Summary, glance
from physics.mechanism import Mechanism, require_mechanism
from physics.tape import LEAVES, BoundTape, Tape


def _summary(one: Any) -> Summary:
    return f"Linearised: f(x, u, θ) = A x + B u + remainder, {one.A.shape[-1]} states", [
        ("A", one.A),
        ("B", one.B),
        ("at x", one.x),
        ("at u", one.u),
    ]


@dataclass(frozen=True)
class Linearised:
    """f = A x + B u + remainder for people whose θ is held.

    `A` (..., n, n) = ∂f/∂x and `B` (..., n, m) = ∂f/∂u at the point `x` (..., n), `u` (..., m), in 1/time and state units per
    time and input unit · `tape`: f itself.
    Law: A x + B u + remainder(x, u) = f(x, u, θ) to rounding, at every x and u.
    """

    A: Tensor
    B: Tensor
    x: Tensor
    u: Tensor
    tape: BoundTape

    __repr__, _repr_html_ = glance(_summary)

    def remainder(
        self,
        x: Tensor,  # (..., n)
        u: Tensor,  # (..., m)
    ) -> Tensor:  # (..., n)
        """f(x, u, θ) − A x − B u, in state units per time: it does not vanish at the point unless f does and both are 0."""
        self.tape.require_point(x, u, "Linearised.remainder")
        rate = self.tape.rate(x, u) - (self.A @ x[..., None])[..., 0]
        return rate - (self.B @ u[..., None])[..., 0] if u.shape[-1] else rate

    def slope(
        self,
        x: Tensor,  # (..., n)
        u: Tensor,  # (..., m)
    ) -> Tensor:  # (..., n, n)
        """∂remainder/∂x."""
        self.tape.require_point(x, u, "Linearised.slope")
        return self.tape.jacobian(x, u) - self.A


def linearise(
    mechanism: Mechanism,
    x: Tensor,  # (..., n)
    u: Tensor,  # (..., m)
    theta: Tensor,  # (..., q)
) -> Linearised:
    """A(θ), B(θ) and what they leave of the mechanism, at one point x, u, or at everyone's own.

    Errors: `ValueError` for shapes that do not fit, a slope that is not finite at the point, and a point at which A has an
    eigenvalue that is not negative, with its eigenvector in the states' names: what grows there, and by which states together.
    Law: A x + B u + remainder = f.
    """
    found = split(mechanism, x, u, theta)
    _require_decays(mechanism, found)
    return found


def split(
    mechanism: Mechanism,
    x: Tensor,  # (..., n)
    u: Tensor,  # (..., m)
    theta: Tensor,  # (..., q)
) -> Linearised:
    """The same wherever the point lies: what a solver steps need not be stable."""
    require_mechanism(mechanism)
    name = f"linearise {mechanism.name}"
    require_shape(theta, f"{name}: theta", ..., len(mechanism.physical), write="model.theta(personal, covariates)")
    require_shape(x, f"{name}: x", ..., len(mechanism.states), write="equilibrium(mechanism, u, theta).x", like=theta)
    require_shape(u, f"{name}: u", ..., len(mechanism.inputs), write="torch.tensor([…])", like=theta)
    require_together(x, theta, f"{name}: x and theta")
    require_together(u, theta, f"{name}: u and theta")
    bound = mechanism.tape.at(theta)
    return Linearised(bound.jacobian(x, u), bound.jacobian(x, u, by_inputs=True), x, u, bound)


def is_linear(tape: Tape) -> bool:
    """Is f(x, u, θ) = A(θ) x + B(θ) u, so that the split leaves nothing? Read off the tape's operations: sums, and products
    and quotients by what neither x nor u enters. A constant beside them is no part of it.
    """
    return not any(bends(tape))


def bends(tape: Tape) -> tuple[bool, ...]:
    """For each state: is its rate other than linear in x and u, as `is_linear` reads it?"""
    kinds = list[str]()  # of each line: "held", "linear" or "other"
    for i, (operation, arguments, _) in enumerate(tape.code):
        if operation in LEAVES or not tape.moves[i]:
            kinds.append("linear" if tape.moves[i] else "held")
            continue
        of = [kinds[j] for j in arguments]
        sums = operation in ("add", "subtract", "negate") and set(of) == {"linear"}
        scaled = (operation, *of) in (
            ("multiply", "held", "linear"),
            ("multiply", "linear", "held"),
            ("divide", "linear", "held"),
        )
        kinds.append("linear" if sums or scaled else "other")
    zero = {i for i, line in enumerate(tape.code) if line.operation == "constant" and line.number == 0.0}
    return tuple(kinds[i] != "linear" and i not in zero for i in tape.rate)


def _require_decays(mechanism: Mechanism, found: Linearised) -> None:
    """Raise `ValueError` unless every A is finite and Hurwitz. Under `torch.func.vmap`, and in a capture, nobody looks."""
    A = found.A.detach()
    if capturing() or not A.numel():
        return
    try:
        finite = bool(torch.isfinite(A).all() and torch.isfinite(found.B.detach()).all())
    except RuntimeError:  # a batch of vmap has no one value
        return
    at = f"linearise {mechanism.name}"
    if not finite:
        bad = (~torch.isfinite(A)).reshape(-1, *A.shape[-2:]).any(0).nonzero().tolist()
        states = list(mechanism.states)
        of = f" of the rate of {states[bad[0][0]]} by {states[bad[0][1]]}" if bad else " by an input"
        raise ValueError(
            f"{at}: the slope{of} is not finite at this point; give a point inside of where the mechanism is smooth (a square "
            "root or a logarithm needs what it is taken of above 0): for a model LinearisedBackbone(mechanism, x={…})"
        )
    flat = A.reshape(-1, *A.shape[-2:])
    values, vectors = torch.linalg.eig(flat.double())
    worst = int(values.real.amax(-1).argmax())
    k = int(values[worst].real.argmax())
    value, vector = values[worst, k], vectors[worst, :, k]
    if float(value.real) < -1e-13 * float(values[worst].abs().max()):  # what rounding left of 0 does not decay
        return
    sizes = torch.tensor([float(mechanism.scale[s]) for s in mechanism.states], dtype=torch.float64)
    vector = vector / vector[int((vector.abs() / sizes.to(vector.device)).argmax())]
    parts = zip(mechanism.states, vector.tolist(), strict=True)
    along = ", ".join(f"{state} {_complex(v)}" for state, v in parts if abs(v) > 1e-9)
    at_x = found.x.detach().expand(A.shape[:-1]).reshape(len(flat), -1)[worst].tolist()
    where = ", ".join(f"{name} {v:.4g} {unit}" for (name, unit), v in zip(mechanism.states.items(), at_x, strict=True))
    raise ValueError(
        f"{at}: at {where} A is not Hurwitz, it has the eigenvalue {_complex(complex(value.item()))} per {mechanism.time_unit} "
        f"(needed: a negative real part), with the eigenvector ({along}), in their units: what moves so does not come back. Give "
        "another point or θ at which everything decays, or remove a state that nothing leaves"
    )


def _complex(value: complex) -> str:
    real = f"{value.real:.4g}"
    return real if abs(value.imag) <= 1e-9 * abs(value) else f"{real}{value.imag:+.4g}i"
