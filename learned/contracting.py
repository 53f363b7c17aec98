"""A residual that contracts together with its backbone for every value of its weights."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from learned.bent import Bent
from learned.joints import Joint, by_name, inputs_of, places, require_joined, waits, with_sizes
from learned.of_theta import of_model, requested, require_same, resolved, waiting
from learned.residual import Activation, LayeredResidual, Layers
from learned.sizes import (
    flag_of,
    generator_of,
    listed_of,
    matrix_of,
    named_numbers,
    number_of,
    scale_of,
    shown,
    sizes_of,
    tensor_of,
    widths_of,
)
from learned.vertices import default_metric, log_norms, matrices_of, positive

F64 = torch.float64
_UPPER = {"tanh": 1.0, "relu": 1.0, "softplus": 1.0, "sigmoid": 0.25}  # β: slopes in [0, β]
# Room above the claim, because float64 proves strict inequalities only: the linear part is made for the rate λ(1 + 1e-3),
# the loop's term is counted 1 + 1e-4 times. Both scale with what they stand beside, so fast and slow states keep theirs.
# The last is for huge weights: what S, then as large as T, loses by being stored.
_RATE_ROOM, _LOOP_ROOM, _ROUNDING = 1e-3, 1e-4, 1e-9
_BEND = 0.5  # τ over λ: where S begins to give way
# What an optimiser with one step size for all should move faster: along the boundary of the set the weights have to wait for
# these. Chosen on a few two-layer fits, where each alone moved the error after the same steps by −5 to +14 %.
_PSI_GAIN, _LINEAR_GAIN = 4.0, 3.0
_PSI_REACH, _Y_REACH = 5.0, 4.0
_GUARD = 1e-12  # against 0/0 at units that do nothing, in squares of rates


class _Built(NamedTuple):
    """What the free tensors stand for, in coordinates x̃ = Fᵀx in which the metric is the identity."""

    first: Tensor  # W_1 (M, h_1, n), in x
    middle: tuple[Tensor, ...]  # W_2 … (M, h_k, h_{k-1})
    last: Tensor  # W_L (M, n, h), in x
    skip: Tensor  # S (M, n, n), in x
    psi: tuple[Tensor, ...]  # ψ_k (M, h_k): the multipliers are ψ²
    frame: Tensor  # F (M|1, n, n), P = F Fᵀ
    beyond: Tensor  # X (M, n, n), in x̃


class ContractingMLP(LayeredResidual):
    """ε = S x + W_L φ(W_{L−1} … φ(W_1 x + U u + C c + b_1) …) + b_L, with A + ε contracting for every A in a polytope.

    Every value of the trainable tensors is certified: with one metric P, for each vertex A_v (hence each A in their convex
    hull), any input and any c,  d/dt √(δxᵀPδx) ≤ −λ √(δxᵀPδx),  λ = `rate`. Training is unconstrained.

    How (slopes in [0, β], Λ_k = Ψ_k² the multipliers of layer k, G_k one (h_k, n) block per hidden layer). The certificate's
    inequality (`stability/README.md`) needs the z block R ≻ 0 and, by its Schur complement in x,
        A_vᵀP + PA_v + 2λP + PS + SᵀP + T ≺ 0,   T = q R⁻¹ qᵀ,   q = P E + β WᵀΛ.
    1. R is made positive: scaled by Ψ⁻¹ on both sides it is 2I − N̂ − N̂ᵀ, N̂ below the diagonal. With free Y_k and the Cholesky
       factor C_kC_kᵀ = I + Y_kY_kᵀ (C_1 = I), the weights W_k = (2/β) Ψ_k⁻¹ C_k⁻¹ Y_k C_{k−1}⁻ᵀ Ψ_{k−1} make it 2FFᵀ, F being
       block lower bidiagonal with C_k⁻¹ on and −C_k⁻¹Y_k below the diagonal (C_k⁻¹C_k⁻ᵀ + C_k⁻¹Y_kY_kᵀC_k⁻ᵀ = I).
    2. T follows by forward substitution, without an inverse: T = ½ Σ G_kᵀG_k, G_1 = βΨ_1W_1, G_k = Y_kG_{k−1}, and
       C Ψ⁻¹W_LᵀP added in the last hidden layer. W_1, W_L and Ψ are free.
    3. S absorbs it: PS + SᵀP = −R_A − T − X, X ≻ 0, plus a free skew part; R_A ⪰ A_vᵀP + PA_v + 2λP for every v. A free Z says
       what S should be: X = f(−R_A − T − PZ − ZᵀP), f(k) = ½(k + √(k² + 4τ²)) on eigenvalues (in coordinates with P = I). So
       S = Z inside the set, as in a residual without a certificate, and S gives way where Z would leave it.
    f is a bijection onto the positive definite matrices, so with one vertex all that satisfies the inequality strictly in P is
    in reach, but for the bounds that float64 needs (ψ within e^±5 of a balanced one, typical singular values of Y below 4;
    0.1 % of λ and 1e-4 of T as room). With several vertices, R_A is a common upper bound of theirs, and the difference is lost.
    R_A need not be negative: where the backbone does not contract in P at this rate, S must do that work even for zero
    weights. What X adds beyond λ is a member's own, learned rate; `witness` says it.

    Arguments
    - `states` n, `inputs`, `covariates`, `hidden`, `activation` (tanh, relu, sigmoid, softplus), `vanishes_at_origin`,
      `state_scale`, `input_scale`, `rate_scale`, `generator`: as in `MLP`, the initial weights too, and so what is left out
      or given by name: it waits for the model.
    - `sees_inputs`, `sees_theta`: as in `MLP` too: they are the same on two trajectories that are compared, so nothing that is
      proved changes. Every state may change and is seen: S, which makes the room, is of all of them.
    - `vertices` (V, n, n): the backbone's A at the corners of what θ can be, in 1/time; one (n, n) serves as V = 1.
    - `metric` P (n, n), the same for all members: `stability.common_metric(vertices)` gives one. By default the solution of
      (A + κI)ᵀP + P(A + κI) = −diag(1/s²) for the mean vertex A, κ the smaller of λ and 0.9 of its slowest rate.
    - `rate` λ in 1/time; by default half of what the vertices reach in the metric.
    - `learn_metric`: the metric is trainable, from `metric` on, one for each member: it then takes M = 1 to have one P.
    Trainable: weights, biases, input and covariate weights as in `MLP`, and `multipliers` (log ψ), `linear` Z, and with
    `learn_metric` `stretch`, with the member axis first.
    Errors: `ValueError` for sizes that do not fit, an activation with negative slopes, vertices or a metric that cannot be used.
    Law: `stability.certify(Lure.of(model.lure(theta, c)), rate, metric=..., multipliers=...)` proves `witness()`, whatever the
    weights.
    Source: the factorisation of a block tridiagonal R by sandwich layers is Wang & Manchester's (ICML 2023), who take Cayley
    transforms; S from the rest as in Revay, Wang & Manchester (IEEE TAC 2023). With Cholesky factors the last and the first
    layer stay free, and the set is the same; derived above.
    """

    def __init__(
        self,
        states: int | None = None,
        inputs: int | None = None,
        covariates: int | None = None,
        hidden: Sequence[int] = (16,),
        activation: Activation = "tanh",
        *,
        vertices: Tensor | Sequence[Sequence[Sequence[float]]] | Sequence[Sequence[float]],
        metric: Tensor | Sequence[Sequence[float]] | None = None,
        rate: float | None = None,
        learn_metric: bool = False,
        vanishes_at_origin: bool = True,
        sees_inputs: Sequence[int | str] | None = None,
        sees_theta: bool | Sequence[int | str] | Sequence[Mapping[str, Any]] = False,
        state_scale: Mapping[str, float] | Sequence[float] | float = 1.0,
        input_scale: Mapping[str, float] | Sequence[float] | float = 1.0,
        rate_scale: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        hidden = widths_of(hidden, "ContractingMLP: hidden")
        for what, flag in (("learn_metric", learn_metric), ("vanishes_at_origin", vanishes_at_origin)):
            flag_of(flag, f"ContractingMLP: {what}")
        if generator is not None:
            generator_of(generator, "ContractingMLP: generator")
        if rate is not None:
            number_of(rate, "ContractingMLP: the rate, in 1/time,", above=0.0)
        sizes = {"states": states, "inputs": inputs, "covariates": covariates}
        sizes_of({what: size for what, size in sizes.items() if size is not None}, "ContractingMLP")
        for what, by in (("state_scale", state_scale), ("input_scale", input_scale)):
            if isinstance(by, Mapping):
                named_numbers(by, f"ContractingMLP: {what}")
        sees_theta = requested(sees_theta, "ContractingMLP: sees_theta, True, False or some,")
        sees_inputs = None if sees_inputs is None else listed_of(sees_inputs, "ContractingMLP: sees_inputs")
        self._waiting: dict[str, Any] | None = None  # the arguments, where some of them only a model can resolve
        self._said: list[str] = []  # inputs that were named, for `config`
        scales = (state_scale, input_scale)
        if waits((states, inputs, covariates), scales, sees_inputs, where="ContractingMLP") or waiting(sees_theta):
            self._waiting = {
                "states": states,
                "inputs": inputs,
                "covariates": covariates,
                "hidden": hidden,
                "activation": activation,
                "vertices": vertices,
                "metric": metric,
                "rate": rate,
                "learn_metric": learn_metric,
                "vanishes_at_origin": vanishes_at_origin,
                "sees_inputs": sees_inputs,
                "sees_theta": sees_theta,
                "state_scale": state_scale,
                "input_scale": input_scale,
                "rate_scale": rate_scale,
                "generator": generator,
            }
            self.states, self.inputs, self.covariates = states or 0, inputs or 0, covariates or 0
            self.vanishes_at_origin = vanishes_at_origin
            return
        states, inputs, covariates = (0 if size is None else int(size) for size in (states, inputs, covariates))
        if not isinstance(activation, str) or activation not in _UPPER:
            raise ValueError(
                f"ContractingMLP: slopes in [0, β] are needed, which {', '.join(_UPPER)} have; got {shown(activation)}. "
                "Use one of these, or MLP with a stability penalty"
            )
        if states < 1 or inputs < 0 or covariates < 0 or len(hidden) == 0 or min(hidden) < 1:
            raise ValueError(f"ContractingMLP: needs states ≥ 1 and hidden widths ≥ 1, got {states=}, hidden={tuple(hidden)}")
        self.states, self.inputs, self.covariates = states, inputs, covariates
        self.hidden, self.activation = tuple(int(h) for h in hidden), activation
        self.vanishes_at_origin, self.learn_metric = vanishes_at_origin, learn_metric
        self.acts_on = tuple(range(states))
        self.sees_inputs = inputs_of(sees_inputs, inputs, "ContractingMLP")
        self.seen_theta = resolved(sees_theta, "ContractingMLP: sees_theta")
        self.sees_theta = self.seen_theta is not None
        self.state_scale = scale_of(state_scale, states, "ContractingMLP: state_scale")
        self.input_scale = scale_of(input_scale, inputs, "ContractingMLP: input_scale")
        (self.rate_scale,) = scale_of(rate_scale, 1, "ContractingMLP: rate_scale")
        # No buffers: what is proved is about these float64 numbers, also after the model was float32 for a while.
        self._A = matrices_of(vertices, states)
        scale = torch.tensor(self.state_scale, dtype=F64)
        given = None if metric is None else matrix_of(metric, "ContractingMLP: metric")
        P = default_metric(self._A.mean(0), rate, scale) if given is None else given
        self._P = positive(P, states)
        self._F = torch.linalg.cholesky(self._P)
        reached = float(-0.5 * torch.linalg.eigvalsh(log_norms(self._A, self._F)).max())
        if rate is None and not reached > 0:
            raise ValueError(
                f"ContractingMLP: in this metric the vertices reach the rate {reached:.3g}; give a metric in which they "
                "contract (stability.common_metric), or the rate that S is to add"
            )
        self.rate = 0.5 * reached if rate is None else float(rate)
        if not (math.isfinite(self.rate) and self.rate > 0):
            raise ValueError(f"ContractingMLP: the rate needs to be positive and finite, in 1/time, got {rate!r}")

        widths = [states, *self.hidden, states]
        biased = widths[1:-1] if vanishes_at_origin else widths[1:]

        def zeros(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.zeros(1, *shape, dtype=F64))

        self.weights = nn.ParameterList([zeros(o, i) for i, o in itertools.pairwise(widths)])
        self.biases = nn.ParameterList([zeros(o) for o in biased])
        held = covariates + (0 if self.seen_theta is None else self.seen_theta.count)
        self.input_weights, self.covariate_weights = zeros(widths[1], inputs), zeros(widths[1], held)
        self.multipliers = nn.ParameterList([zeros(h) for h in self.hidden])
        self.linear = zeros(states, states)
        if learn_metric:
            self.stretch = zeros(states, states)
        self.reset(generator if generator is not None else torch.Generator().manual_seed(0))

    def joined(self, joint: Joint) -> "ContractingMLP":
        """This network for a model: with the model's sizes where none were given, and its order of what was given by name."""
        given = self._waiting
        if not isinstance(joint, Joint):
            raise ValueError(f"ContractingMLP.joined: joint is a Joint, which a HybridModel makes, and got {shown(joint)}")
        if given is None:
            if self._said and places(self._said, joint.inputs, "ContractingMLP: sees_inputs") != self.sees_inputs:
                raise ValueError(f"ContractingMLP: sees_inputs {self._said} was resolved for another order; build it anew")
            require_same(self.seen_theta, joint.boxes, "ContractingMLP: sees_theta")
            return self
        made = with_sizes(given, joint, "ContractingMLP")
        if given["sees_inputs"] is not None:
            made["sees_inputs"] = places(given["sees_inputs"], joint.inputs, "ContractingMLP: sees_inputs")
        if waiting(given["sees_theta"]):
            made["sees_theta"] = of_model(given["sees_theta"], joint.boxes, "ContractingMLP: sees_theta")
        found = ContractingMLP(**made)
        found._said = [joint.inputs[i] for i in made["sees_inputs"]] if by_name(given["sees_inputs"]) else []
        require_same(found.seen_theta, joint.boxes, "ContractingMLP: sees_theta")
        return found

    def _require_joined(self) -> None:
        require_joined(self._waiting, "ContractingMLP", "states, inputs and covariates")

    def reset(self, generator: torch.Generator) -> None:
        self._require_joined()
        generator_of(generator, "ContractingMLP.reset: generator")

        def draw(tensor: Tensor, size: float) -> None:
            tensor.copy_(size * torch.randn(tensor.shape, generator=generator, dtype=F64))

        with torch.no_grad():
            last, fan = len(self.weights) - 1, self.states + self.inputs + self.covariate_weights.shape[2]
            for k, weight in enumerate(self.weights):
                draw(weight, (0.1 if k == last else 1.0) / math.sqrt(weight.shape[2] if k else fan))
            for k, bias in enumerate(self.biases):
                draw(bias, 0.0 if k == last else 0.5)
            for extra in (self.input_weights, self.covariate_weights):
                draw(extra, 1.0 / math.sqrt(fan))
            for quiet in (*self.multipliers, self.linear, *([self.stretch] if self.learn_metric else [])):
                quiet.zero_()

    def layers(self) -> Layers:
        self._require_joined()
        built, kind = self._build(), self.linear.dtype
        n, last = self.states, len(self.weights) - 1
        folds = [1.0 / r if i in self.sees_inputs else 0.0 for i, r in enumerate(self.input_scale)]
        scale = self.linear.new_tensor([self.rate_scale * s for s in self.state_scale])
        output = self.linear.new_zeros(1, n) if self.vanishes_at_origin else self.biases[last] * scale
        # one by one: a slice is a list of new parameters, whose gradients nobody gets under torch.func.functional_call
        return Layers(
            weights=tuple(w.to(kind) for w in (built.first, *built.middle, built.last)),
            biases=(*(self.biases[k] for k in range(last)), output),
            input_weights=self.input_weights * self.linear.new_tensor(folds),
            covariate_weights=self.covariate_weights,
            activation=self.activation,
            vanishes_at_origin=self.vanishes_at_origin,
            skip=built.skip.to(kind),
        )

    def forward(self, x: Tensor, u: Tensor, c: Tensor) -> Tensor:
        self._require_joined()
        tensor_of(x, "ContractingMLP: x", "M", "N", self.states)
        return self.layers().at(c)(x, u)

    def witness(self) -> tuple[Tensor, Tensor, float]:
        """The metric P (n, n), the multipliers (M, H) of all hidden units, and the rate that all members are made for, float64.

        The rate is `rate` and what X adds: λ + ½ λmin(XᵀX), the least over the members.
        Errors: `ValueError` for a learned metric with several members, who then have no P in common.
        """
        self._require_joined()
        with torch.no_grad():
            built = self._build()
            if self.learn_metric and len(self.linear) > 1:
                raise ValueError(
                    f"ContractingMLP: each of the {len(self.linear)} members has learned a metric of its own, and a certificate "
                    "needs one P; take them one by one with select, or train with learn_metric=False"
                )
            P = built.frame[0] @ built.frame[0].mT if self.learn_metric else self._P.to(built.frame)
            # a ratio of a hair below 1: P S is formed with rounding, and the claim is the members' minimum
            beyond = 0.5 * torch.linalg.eigvalsh(built.beyond)[..., 0].min()
            return P, torch.cat(built.psi, -1).square(), self.rate + float(beyond) * (1.0 - 1e-6)

    def held(self) -> dict[str, Any]:
        """What no trainable tensor carries, in one form for equal ones."""
        return {**self.config(), "sees_inputs": list(self.sees_inputs)}

    def config(self) -> dict[str, Any]:
        self._require_joined()
        return {
            "states": self.states,
            "inputs": self.inputs,
            "covariates": self.covariates,
            "hidden": list(self.hidden),
            "activation": self.activation,
            "vertices": self._A.tolist(),
            "metric": self._P.tolist(),
            "rate": self.rate,
            "learn_metric": self.learn_metric,
            "vanishes_at_origin": self.vanishes_at_origin,
            "state_scale": list(self.state_scale),
            "input_scale": list(self.input_scale),
            "rate_scale": self.rate_scale,
            # only where there are any: the others are described as they were before
            **({} if self.sees_inputs == tuple(range(self.inputs)) else {"sees_inputs": self._said or list(self.sees_inputs)}),
            **({} if self.seen_theta is None else {"sees_theta": self.seen_theta.config()}),
        }

    def _frame(self) -> Tensor:  # (M|1, n, n)
        F = self._F.to(self.linear.device)[None]
        if not self.learn_metric:
            return F
        free = self.stretch.to(F64)
        return F @ (torch.tril(free, -1) + torch.diag_embed(torch.exp(torch.diagonal(free, dim1=1, dim2=2))))

    def _build(self) -> _Built:
        """The arrays from the free tensors, in float64 whatever the model's type: S is a difference of larger terms."""
        beta, device = _UPPER[self.activation], self.linear.device
        s = torch.tensor(self.state_scale, dtype=F64, device=device)
        first, *Y, last = (w.to(F64) for w in self.weights)
        first, last = first / s, last * (self.rate_scale * s)[:, None]
        Y = [_within(y) for y in Y]
        F = self._frame()
        W = beta * torch.linalg.solve_triangular(F, first.mT, upper=False).mT  # β W_1 F⁻ᵀ, in x̃
        E = last.mT @ F  # (Fᵀ W_L)ᵀ, (M, h, n)
        C = [torch.linalg.cholesky(_eye(y.shape[1], y) + y @ y.mT) for y in Y]
        balance = torch.sqrt(_balance(W, E, Y, C))
        reach = _PSI_REACH  # ψ stays within e^±reach of the balance, so that weights of any size leave numbers to compute with
        psi = [torch.exp(reach * torch.tanh(m.to(F64) * (_PSI_GAIN / reach))) * balance for m in self.multipliers]
        G = [psi[0][..., None] * W]
        for y in Y:
            G.append(y @ G[-1])
        end = E / psi[-1][..., None]
        G[-1] = G[-1] + (C[-1] @ end if C else end)
        T = 0.5 * sum((g.mT @ g for g in G[1:]), G[0].mT @ G[0])
        middle, before = [], None
        for y, c, above_psi, below in zip(Y, C, psi[1:], psi[:-1], strict=True):
            inner = y if before is None else torch.linalg.solve_triangular(before, y.mT, upper=False).mT  # Y C⁻ᵀ
            inner = torch.linalg.solve_triangular(c, inner, upper=False)
            middle.append((2.0 / beta) * inner * below[:, None, :] / above_psi[..., None])
            before = c
        lost = _ROUNDING * torch.diagonal(T, dim1=1, dim2=2).sum(-1)[:, None, None]
        used = self._above(F) + (1.0 + _LOOP_ROOM) * T + lost * _eye(self.states, F)
        free = _LINEAR_GAIN * self.rate_scale * self.linear.to(F64)  # Z
        # S̃ + S̃ᵀ = −used − X with X = f(−used − Z − Zᵀ)
        beyond: Tensor = Bent.apply(-used - free - free.mT, _BEND * self.rate)[0]
        skip = 0.5 * (free - free.mT - used - beyond)
        skip = torch.linalg.solve_triangular(F.mT, skip @ F.mT, upper=True)  # F⁻ᵀ S̃ Fᵀ
        return _Built(first, tuple(middle), last, skip, tuple(psi), F, beyond)

    def _above(self, F: Tensor) -> Tensor:  # (M|1, n, n)
        """R_A in x̃: above FᵀA_vF⁻ᵀ + its transpose + 2λI for every v."""
        sides = log_norms(self._A.to(F.device), F[:, None])  # (M|1, V, n, n)
        rate = 2.0 * self.rate * (1.0 + _RATE_ROOM) * _eye(self.states, F)
        if sides.shape[1] == 1:
            return sides[:, 0] + rate
        if self.learn_metric:  # a bound with a gradient: eigenvectors of differences have none where two vertices agree
            mean = sides.mean(1)
            beyond = torch.linalg.eigvalsh(sides - mean[:, None])[..., -1].amax(1)
            return mean + rate + beyond[:, None, None] * _eye(self.states, F)
        upper = sides[:, 0]
        for side in sides.unbind(1)[1:]:  # (B + C + |B − C|)/2 is above B and C, and closest to both
            values, vectors = torch.linalg.eigh(side - upper)
            upper = upper + (vectors * values.clamp(min=0.0)[..., None, :]) @ vectors.mT
        return upper + rate


def _eye(n: int, like: Tensor) -> Tensor:
    return torch.eye(n, dtype=F64, device=like.device)


def _within(Y: Tensor) -> Tensor:  # (M, h, i)
    """Y, its typical singular value kept below a bound: beyond, R is near singular and float64 cannot prove it."""
    square = Y.square().sum((-2, -1), keepdim=True) / min(Y.shape[-2:])
    return Y / torch.sqrt(1.0 + square / _Y_REACH**2)


def _balance(W: Tensor, E: Tensor, Y: list[Tensor], C: list[Tensor]) -> Tensor:  # (M, h|1)
    """t with which Λ = tI makes the trace of T least: t Σ|Y … Y W|² + |C E|²/t + what does not depend on t.

    With one hidden layer units do not meet, and each has its own t, the least there is. So ψ = 1 is a fair start at any
    scale of the weights and in any units of x.
    """
    squares, up = W.new_zeros(()), W
    for y in Y:
        squares, up = squares + up.square().sum((-2, -1), keepdim=True), y @ up
    over = (-2, -1) if C else (-1,)
    end = C[-1] @ E if C else E
    squares = squares + up.square().sum(over, keepdim=True)
    return torch.sqrt((end.square().sum(over, keepdim=True) + _GUARD) / (squares + _GUARD))[..., 0]
