"""A mechanism as a backbone: its slopes at one point that is held, whatever θ."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from physics.arguments import quote, require_kind, require_number, require_shape, require_together
from physics.backbone import Backbone
from physics.equilibria import equilibrium
from physics.linearised import is_linear, linearise, split
from physics.mechanism import Mechanism, TapedMechanism, require_mechanism, require_own_time


class LinearisedBackbone(Backbone):
    """A(θ) = ∂f/∂x and B(θ) = ∂f/∂u of a mechanism f(x, u, θ) at one point (x, u), the same for everyone.

    What the mechanism has beside A x + B u, its remainder, is a term of the model: `HybridModel(mechanism, …)` puts both in.
    Arguments
    - `mechanism`, or what its `to_dict` wrote.
    - `x`, `u`: the point by the names of states and inputs, in their units. By default `u` is the mechanism's `typical_inputs`,
      0 for those left out, and `x` the equilibrium there at the typical θ; 0 where there are several, of which 0 is one, and the
      mechanism `starts_empty`.
    `initial` starts from an equilibrium at `u`, or empty where the mechanism `starts_empty`; a measured baseline then sets the
    states that the mechanism's `starts` name. A model starts everyone from the equilibrium at their own inputs: `start`.
    Errors: `ValueError` where there is no equilibrium, or none that is one place; where A at the point and the typical θ has an
    eigenvalue that is not negative, with the eigenvector in the states' names.
    Laws: A is Hurwitz at the typical θ. At another θ of the box it need not be: the split is the solver's business, its sum with
    the remainder is the mechanism wherever the point lies, and a certificate speaks of that sum.
    """

    def __init__(
        self,
        mechanism: Mechanism | Mapping[str, Any],
        x: Mapping[str, float] | None = None,
        u: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(mechanism, TapedMechanism):
            if not isinstance(mechanism, Mapping):
                require_mechanism(mechanism)
                require_own_time(mechanism)
                mechanism = mechanism.to_dict()
            mechanism = TapedMechanism(
                mechanism
            )  # the tape, not the Python, is the mechanism: what is saved is what ran
        self.mechanism, name = mechanism, f"LinearisedBackbone of {mechanism.name}"
        self.states, self.state_units = tuple(mechanism.states), tuple(mechanism.states.values())
        self.inputs, self.input_units = tuple(mechanism.inputs), tuple(mechanism.inputs.values())
        self.physical, self.time_unit = tuple(mechanism.physical), mechanism.time_unit
        self.starts, self.defaults = tuple(mechanism.starts), mechanism.defaults
        self.linear = is_linear(mechanism.tape)
        given = {} if u is None else _named(u, self.inputs, f"{name}: u")
        level = {one: given.get(one, float(mechanism.typical_inputs.get(one, 0.0))) for one in self.inputs}
        typical = torch.tensor([p.typical for p in self.physical], dtype=torch.float64)
        held = torch.tensor(list(level.values()), dtype=torch.float64)
        if x is None:
            rest = equilibrium(mechanism, held, typical)
            there, nowhere = rest.x, torch.zeros_like(rest.x)
            if not bool(rest.found):
                if not (mechanism.starts_empty and bool((mechanism.tape.at(typical).rate(nowhere, held) == 0.0).all())):
                    each = ", ".join(f"{state!r}: …" for state in self.states)
                    raise ValueError(
                        f"{name}: {rest.message}, or give the point, LinearisedBackbone({mechanism.name}(), x={{{each}}}), in "
                        "the mechanism's place"
                    )
                there = nowhere  # nothing moves where everyone starts, whatever rests elsewhere
            x = dict(zip(self.states, there.tolist(), strict=True))
        point = _named(x, self.states, f"{name}: x")
        if lacks := [one for one in self.states if one not in point]:
            raise ValueError(f"{name}: x lacks {', '.join(lacks)}; give every state")
        self.x: Tensor
        self.u: Tensor
        self.register_buffer("x", torch.tensor([point[one] for one in self.states], dtype=torch.float64))
        self.register_buffer("u", held)
        linearise(mechanism, self.x, self.u, typical)  # refuses a point that does not decay

    def matrices(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        self._require(theta)
        found = split(self.mechanism, self.x.to(theta), self.u.to(theta), theta)
        return found.A, found.B

    def hull(self, lower: Tensor, upper: Tensor) -> Tensor:
        raise ValueError(
            f"{self.mechanism.name}: there is no hull of the slopes of a mechanism, which bounds A for one point alone; a "
            "certificate bounds the mechanism itself over a region: stability.certify(model.lure(theta), region=…)"
        )

    def initial(self, theta: Tensor, baseline: Tensor) -> Tensor:
        self._require(theta)
        return self.start(theta, baseline, self.u.to(theta))

    def start(
        self,
        theta: Tensor,  # (..., q)
        baseline: Tensor,  # (..., p) what was measured at or before the start, NaN where nothing was
        u: Tensor,  # (..., m)
    ) -> Tensor:  # (..., n)
        """The state that a person with these θ and inputs starts from: empty, or their equilibrium, and what was measured.

        Errors: `ValueError` for someone who has no equilibrium, or several.
        """
        name = self.mechanism.name
        self._require(theta)
        require_shape(
            baseline, f"{name}: baseline", ..., "p", write="conditions.baseline, NaN where nothing was", like=theta
        )
        require_shape(u, f"{name}: u", ..., len(self.inputs), write="conditions.segments.u0[:, 0]", like=theta)
        require_together(theta, baseline, f"{name}: theta and baseline")
        require_together(theta, u, f"{name}: theta and u")
        starts = self.mechanism.starts
        if baseline.shape[-1] < len(starts):
            of = ", ".join(state for state, _ in starts)
            raise ValueError(
                f"{name}: baseline has {baseline.shape[-1]} columns, and it starts from {of}; give one each, or NaN"
            )
        lead = torch.broadcast_shapes(theta.shape[:-1], baseline.shape[:-1], u.shape[:-1])
        if self.mechanism.starts_empty:
            x = theta.new_zeros(*lead, len(self.states))
        else:
            rest = equilibrium(self.mechanism, u, theta)
            if rest.message:
                raise ValueError(rest.message)
            x = rest.x.expand(*lead, -1)
        columns, names = list(x.unbind(-1)), [p.name for p in self.physical]
        for k, (state, by) in enumerate(starts):
            measured, i = baseline[..., k], self.states.index(state)
            absent = torch.isnan(measured)
            there = torch.where(absent, 0.0, measured)  # the gradient of what is not taken is 0 times it: not NaN
            there = there if by is None else there * theta[..., names.index(by)]
            columns[i] = torch.where(absent, columns[i], there)
        return torch.stack(columns, -1)

    def _require(self, theta: object) -> None:
        what = f"{self.mechanism.name}: theta"
        require_shape(theta, what, ..., len(self.physical), write="model.theta(personal, covariates)")

    def config(self) -> dict[str, Any]:
        return {
            "mechanism": self.mechanism.to_dict(),
            "x": dict(zip(self.states, self.x.tolist(), strict=True)),
            "u": dict(zip(self.inputs, self.u.tolist(), strict=True)),
        }


def _named(values: object, names: tuple[str, ...], what: str) -> dict[str, float]:
    """Numbers by some of these names. Errors: `ValueError` for others, and for what are no numbers."""
    require_kind(values, Mapping, what, f"{{{names[0]!r}: 1.0}}" if names else "{}")
    given: Mapping[str, Any] = values  # type: ignore[assignment]  # just found to be one
    if more := [one for one in given if one not in names]:
        raise ValueError(
            f"{what} names {quote(more[0])}, which there is none of; there are {', '.join(names) or 'none'}"
        )
    for name, value in given.items():
        require_number(value, f"{what}: {name}")
    return {name: float(value) for name, value in given.items()}
