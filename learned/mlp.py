"""A small multilayer perceptron as the residual."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from learned.joints import Joint, by_name, inputs_of, name_or_place, places, require_joined, waits, with_sizes
from learned.of_theta import of_model, requested, require_same, resolved, waiting
from learned.residual import ACTIVATIONS, Activation, LayeredResidual, Layers
from learned.sizes import (
    flag_of,
    generator_of,
    listed_of,
    named_numbers,
    scale_of,
    shown,
    sizes_of,
    tensor_of,
    widths_of,
)


class MLP(LayeredResidual):
    """ε_i = ρ s_i · net_i(x/s, u/r, c), minus its value at (0, 0, c) with `vanishes_at_origin`.

    Arguments
    - `states` n, `inputs` m, `covariates` r: sizes of x, u, c. All three left out: the model's own, filled in when the
      `HybridModel` is built; with `states` alone, no inputs and no covariates. `hidden`: widths of the hidden layers.
    - `activation`: tanh, relu, sigmoid, softplus, silu or gelu.
    - `vanishes_at_origin`: nothing is made from nothing.
    - `separable`: ε_i sees x_i alone (and u, c). With `vanishes_at_origin` and no inputs, ε_i is then 0 on the face
      x_i = 0, so amounts that start ≥ 0 stay ≥ 0 under a compartmental backbone. Hidden units are dealt out in turn.
    - `acts_on`: the states that ε may change, all by default; `sees_states`: those that it is a function of, all by default
      (True), or none (False: a function of u and c alone); `sees_inputs`: the inputs that it is a function of, all by default
      (an input may drive B(θ)u alone). Each on its own, by name, acts_on=("plasma",), or by position.
    - `sees_theta`: the θ that ε is a function of, standardised by their boxes (`SeenTheta`); none by default, True for all, or
      some by name or position; without a model each is written out, [{"name": "V", "at": 2, "low": 5.0, "high": 200.0}].
    - `state_scale` s (n,), `input_scale` r (m,): typical sizes in the units of x and u, one for all, in order, or by name;
      `rate_scale` ρ in 1/time. Each is rounded to a power of two, so that folding it into the weights is exact.
    - `generator`: draws the first weights (normal, variance 1/fan-in; the last layer a tenth of that, so that training
      starts near the backbone).
    Trainable: weights (M, out, in), biases (M, out), M = 1 until stacked. Names and sizes that were left out are resolved,
    and the weights drawn, when a `HybridModel` is built with it; until then it computes nothing.
    Errors: `ValueError` for sizes that do not fit, names that the model does not have.
    Law: `Layers`, evaluated plainly, is `forward`; `forward(0, 0, c)` = 0 exactly where declared.
    """

    def __init__(
        self,
        states: int | None = None,
        inputs: int | None = None,
        covariates: int | None = None,
        hidden: Sequence[int] = (16,),
        activation: Activation = "tanh",
        *,
        vanishes_at_origin: bool = True,
        separable: bool = False,
        sees_states: bool | Sequence[int | str] = True,
        sees_inputs: Sequence[int | str] | None = None,
        acts_on: Sequence[int | str] | None = None,
        sees_theta: bool | Sequence[int | str] | Sequence[Mapping[str, Any]] = False,
        state_scale: Mapping[str, float] | Sequence[float] | float = 1.0,
        input_scale: Mapping[str, float] | Sequence[float] | float = 1.0,
        rate_scale: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        hidden = widths_of(hidden, "MLP: hidden")
        if not isinstance(activation, str) or activation not in ACTIVATIONS:
            raise ValueError(f"MLP: unknown activation {shown(activation)}; choose one of {sorted(ACTIVATIONS)}")
        flags = {"vanishes_at_origin": vanishes_at_origin, "separable": separable}
        for what, flag in flags.items():
            flag_of(flag, f"MLP: {what}")
        if generator is not None:
            generator_of(generator, "MLP: generator")
        sizes = {"states": states, "inputs": inputs, "covariates": covariates}
        sizes_of({what: size for what, size in sizes.items() if size is not None}, "MLP")
        if not isinstance(sees_states, bool):
            sees_states = listed_of(sees_states, "MLP: sees_states, True, False or some,")
        sees_theta = requested(sees_theta, "MLP: sees_theta, True, False or some,")
        sees_inputs = None if sees_inputs is None else listed_of(sees_inputs, "MLP: sees_inputs")
        acts_on = None if acts_on is None else listed_of(acts_on, "MLP: acts_on")
        for what, scale in (("state_scale", state_scale), ("input_scale", input_scale)):
            if isinstance(scale, Mapping):
                named_numbers(scale, f"MLP: {what}")
        self._waiting: dict[str, Any] | None = None  # the arguments, where some of them only a model can resolve
        self._said: dict[str, list[str]] = {}  # options that were names, for `config`
        named = (sees_inputs, acts_on, None if isinstance(sees_states, bool) else sees_states)
        if waits((states, inputs, covariates), (state_scale, input_scale), *named, where="MLP") or waiting(sees_theta):
            self._waiting = {
                "states": states,
                "inputs": inputs,
                "covariates": covariates,
                "hidden": hidden,
                "activation": activation,
                "vanishes_at_origin": vanishes_at_origin,
                "separable": separable,
                "sees_states": sees_states,
                "sees_inputs": sees_inputs,
                "acts_on": acts_on,
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
        if states < 1 or inputs < 0 or covariates < 0 or len(hidden) == 0 or min(hidden) < 1:
            raise ValueError(f"MLP: needs states ≥ 1 and hidden widths ≥ 1, got {states=}, hidden={shown(hidden)}")
        if separable and (min(hidden) < states or sees_states is False):
            raise ValueError("MLP: separable needs sees_states and at least one hidden unit per state in every layer")
        if not isinstance(sees_states, bool):
            sees_states = tuple(int(name_or_place(i, "MLP: sees_states")) for i in sees_states)
            if not sees_states or not set(sees_states) <= set(range(states)):
                raise ValueError(f"MLP: sees_states names states 0…{states - 1}, got {shown(sees_states)}; False for none")
        # positions by now: names wait for the model, above
        self.acts_on = tuple(range(states)) if acts_on is None else tuple(int(name_or_place(i, "MLP: acts_on")) for i in acts_on)
        if not self.acts_on or not set(self.acts_on) <= set(range(states)):
            raise ValueError(f"MLP: acts_on names states 0…{states - 1}, got {shown(self.acts_on)}")
        self.sees_inputs = inputs_of(sees_inputs, inputs, "MLP")
        self.states, self.inputs, self.covariates = states, inputs, covariates
        self.hidden, self.activation = tuple(int(h) for h in hidden), activation
        self.vanishes_at_origin, self.separable, self.sees_states = vanishes_at_origin, separable, sees_states
        self.seen_theta = resolved(sees_theta, "MLP: sees_theta")
        self.sees_theta = self.seen_theta is not None
        given = covariates + (0 if self.seen_theta is None else self.seen_theta.count)
        self.state_scale = scale_of(state_scale, states, "MLP: state_scale")
        self.input_scale = scale_of(input_scale, inputs, "MLP: input_scale")
        (self.rate_scale,) = scale_of(rate_scale, 1, "MLP: rate_scale")

        widths = [states, *self.hidden, states]
        self.weights = nn.ParameterList(
            [nn.Parameter(torch.zeros(1, o, i, dtype=torch.float64)) for i, o in itertools.pairwise(widths)]
        )
        # where ε vanishes at the origin an output bias would cancel, so there is none to train
        biased = widths[1:-1] if vanishes_at_origin else widths[1:]
        self.biases = nn.ParameterList([nn.Parameter(torch.zeros(1, o, dtype=torch.float64)) for o in biased])
        self.input_weights = nn.Parameter(torch.zeros(1, widths[1], inputs, dtype=torch.float64))
        self.covariate_weights = nn.Parameter(torch.zeros(1, widths[1], given, dtype=torch.float64))
        # which weights exist times the scale that folds into them
        for k, (i, o) in enumerate(itertools.pairwise(widths)):
            self.register_buffer(f"fold{k}", self._mask(o, i, k), persistent=False)
        folds = [1.0 / r if i in self.sees_inputs else 0.0 for i, r in enumerate(self.input_scale)]
        self.input_fold: Tensor
        self.register_buffer("input_fold", torch.tensor(folds, dtype=torch.float64), persistent=False)
        self.reset(generator if generator is not None else torch.Generator().manual_seed(0))

    def joined(self, joint: Joint) -> "MLP":
        """This network for a model: with the model's sizes where none were given, and its positions for the names."""
        given = self._waiting
        if not isinstance(joint, Joint):
            raise ValueError(f"MLP.joined: joint is a Joint, which a HybridModel makes of its names, and got {shown(joint)}")
        if given is None:
            for option, names in self._said.items():
                there = joint.inputs if option == "sees_inputs" else joint.states
                if places(names, there, f"MLP: {option}") != getattr(self, option):  # resolved in another model before
                    raise ValueError(f"MLP: {option} {names} was resolved for a model with another order; build it anew")
            require_same(self.seen_theta, joint.boxes, "MLP: sees_theta")
            return self
        made, said = with_sizes(given, joint, "MLP"), dict[str, list[str]]()
        if waiting(given["sees_theta"]):
            made["sees_theta"] = of_model(given["sees_theta"], joint.boxes, "MLP: sees_theta")
        for option, there in (("acts_on", joint.states), ("sees_states", joint.states), ("sees_inputs", joint.inputs)):
            if given[option] is not None and not isinstance(given[option], bool):
                made[option] = places(given[option], there, f"MLP: {option}")
                said |= {option: [there[i] for i in made[option]]} if by_name(given[option]) else {}
        found = MLP(**made)
        found._said = said
        require_same(found.seen_theta, joint.boxes, "MLP: sees_theta")
        return found

    def _require_joined(self) -> None:
        require_joined(self._waiting, "MLP", "states, inputs, covariates and positions")

    def _mask(self, out: int, into: int, layer: int) -> Tensor:
        mask = torch.ones(out, into, dtype=torch.float64)
        if self.separable:  # unit j belongs to state j mod n in every layer
            same = torch.arange(out)[:, None] % self.states == torch.arange(into)[None, :] % self.states
            mask = mask * same
        if layer == 0:
            mask = mask / torch.tensor(self.state_scale, dtype=torch.float64)
            if not isinstance(self.sees_states, bool):
                mask = mask * torch.tensor([float(i in self.sees_states) for i in range(self.states)], dtype=torch.float64)
            elif not self.sees_states:
                mask = torch.zeros_like(mask)
        if layer == len(self.hidden):
            active = torch.tensor([float(i in self.acts_on) for i in range(self.states)], dtype=torch.float64)
            rate = self.rate_scale * torch.tensor(self.state_scale, dtype=torch.float64) * active
            mask = mask * rate[:, None]
        return mask

    def reset(self, generator: torch.Generator) -> None:
        self._require_joined()
        generator_of(generator, "MLP.reset: generator")
        with torch.no_grad():
            last = len(self.weights) - 1
            for k, weight in enumerate(self.weights):
                fan = weight.shape[2] + (self.inputs + self.covariate_weights.shape[2] if k == 0 else 0)
                gain = (0.1 if k == last else 1.0) / math.sqrt(fan)
                weight.copy_(gain * torch.randn(weight.shape, generator=generator, dtype=torch.float64))
            for k, bias in enumerate(self.biases):
                # hidden units are centred over the typical range of x; the output starts at 0
                draw = torch.randn(bias.shape, generator=generator, dtype=torch.float64)
                bias.copy_(draw * (0.0 if k == last else 0.5))
            for extra in (self.input_weights, self.covariate_weights):
                fan = self.states + self.inputs + self.covariate_weights.shape[2]
                draw = torch.randn(extra.shape, generator=generator, dtype=torch.float64)
                extra.copy_(draw / math.sqrt(fan))

    def layers(self) -> Layers:
        self._require_joined()
        last = len(self.weights) - 1
        # the output bias is scaled like the output weights: the largest entry of a row of the fold is that scale
        scale = self.get_buffer(f"fold{last}").amax(1)
        output = self.weights[last].new_zeros(1, self.states)
        if not self.vanishes_at_origin:
            output = self.biases[last] * scale
        # one by one: a slice is a list of new parameters, whose gradients nobody gets under torch.func.functional_call
        return Layers(
            weights=tuple(w * self.get_buffer(f"fold{k}") for k, w in enumerate(self.weights)),
            biases=(*(self.biases[k] for k in range(last)), output),
            input_weights=self.input_weights * self.input_fold,
            covariate_weights=self.covariate_weights,
            activation=self.activation,
            vanishes_at_origin=self.vanishes_at_origin,
        )

    def forward(self, x: Tensor, u: Tensor, c: Tensor) -> Tensor:
        self._require_joined()
        tensor_of(x, "MLP: x", "M", "N", self.states)
        return self.layers().at(c)(x, u)

    def held(self) -> dict[str, Any]:
        """What no trainable tensor carries, in one form for equal ones."""
        places_of = {"sees_states": self.sees_states, "sees_inputs": self.sees_inputs, "acts_on": self.acts_on}
        return {**self.config(), **{what: one if isinstance(one, bool) else list(one) for what, one in places_of.items()}}

    def config(self) -> dict[str, Any]:
        self._require_joined()
        kept = self.sees_states if isinstance(self.sees_states, bool) else list(self.sees_states)
        # only where there is one: the others are described as they were before
        theta = {} if self.seen_theta is None else {"sees_theta": self.seen_theta.config()}
        return {
            "states": self.states,
            "inputs": self.inputs,
            "covariates": self.covariates,
            "hidden": list(self.hidden),
            "activation": self.activation,
            "vanishes_at_origin": self.vanishes_at_origin,
            "separable": self.separable,
            "sees_states": self._said.get("sees_states", kept),
            "sees_inputs": self._said.get("sees_inputs", list(self.sees_inputs)),
            "acts_on": self._said.get("acts_on", list(self.acts_on)),
            "state_scale": list(self.state_scale),
            "input_scale": list(self.input_scale),
            "rate_scale": self.rate_scale,
            **theta,
        }
