"""Noise that depends on the state in a way that nobody has written down."""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence, Sized
from typing import Any

import torch
from torch import Tensor, nn

from learned.joints import Joint, in_order, require_joined
from learned.noise import NoiseHead, PerChannel, channel_order, per_channel, require_seen
from learned.sizes import broadcast, generator_of, named_numbers, scale_of, shown, sizes_of, tensor_of, widths_of

_ONE = math.log(math.e - 1.0)  # softplus of this is 1


class NeuralNoise(NoiseHead):
    """σ_j² = floor_j² + (s_j · softplus(net_j(y/r, x/q, u/v)))², net a small tanh perceptron, per channel.

    The last layer starts small around softplus⁻¹(1), so that learning starts near the constant s. It needs data: where a
    formula (`AdditiveProportional`) says how the noise grows, the formula is the better head; and a mean that is as
    flexible as this can hide its misfit in the noise: `training.beta_nll` lets it less.

    Arguments
    - `sd` s and `floor` (p,) in the channel's unit, in the channels' order or both by their names; `states` n and `inputs` m
      of the model, which fills them in where they are left out.
    - `hidden`: widths of the hidden layers.
    - `channel_scale` r, `state_scale` q, `input_scale` v: typical sizes of y, x and u, one number, one each, or by name.
    - `generator`: draws the first weights (normal, variance 1/fan-in; the last layer a tenth of that).
    Trainable: weights (M, out, in), biases (M, out), M = 1 until stacked.
    Errors: `ValueError` for numbers that are not positive and finite, and sizes that do not fit.
    Source: Nix & Weigend (1994) for a network that says its own variance.
    """

    def __init__(
        self,
        sd: PerChannel,
        floor: PerChannel,
        states: int | None = None,
        inputs: int | None = None,
        hidden: Sequence[int] = (8,),
        *,
        channel_scale: PerChannel | float = 1.0,
        state_scale: PerChannel | float = 1.0,
        input_scale: PerChannel | float = 1.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        names, (sd, floor) = per_channel({"sd": sd, "floor": floor}, "NeuralNoise")
        hidden = widths_of(hidden, "NeuralNoise: hidden")
        if generator is not None:
            generator_of(generator, "NeuralNoise: generator")
        for scale in (channel_scale, state_scale, input_scale):
            if isinstance(scale, Mapping):
                named_numbers(scale, "NeuralNoise: a scale")
            elif isinstance(scale, Iterable) and not isinstance(scale, Sized):
                raise ValueError(f"NeuralNoise: a scale is one number or a list of them, and got {shown(scale)}; write [1.0]")
        sizes_of({"states": 1 if states is None else states, "inputs": 0 if inputs is None else inputs}, "NeuralNoise")
        self._waiting: dict[str, Any] | None = None  # the arguments, where some of them only a model can resolve
        if states is None or names is not None or any(
            isinstance(scale, Mapping) for scale in (channel_scale, state_scale, input_scale)
        ):
            self._waiting = {
                "sd": sd,
                "floor": floor,
                "states": states,
                "inputs": inputs,
                "hidden": hidden,
                "channel_scale": channel_scale,
                "state_scale": state_scale,
                "input_scale": input_scale,
                "generator": generator,
            }
            self.names, self.channels = names, len(sd)
            return
        inputs = inputs or 0
        if len(sd) != len(floor) or len(sd) == 0 or not all(0.0 < v < math.inf for v in (*sd, *floor)):
            raise ValueError(
                f"NeuralNoise: needs positive finite sd and floor, one per channel, got {shown(sd)}, {shown(floor)}"
            )
        sizes_of({"states": states, "inputs": inputs}, "NeuralNoise")
        if states < 1 or inputs < 0 or len(hidden) == 0 or min(hidden) < 1:
            raise ValueError(f"NeuralNoise: needs states ≥ 1 and hidden widths ≥ 1, got {states=}, hidden={tuple(hidden)}")
        self.channels, self.states, self.inputs = len(sd), int(states), int(inputs)
        self.hidden = tuple(int(h) for h in hidden)
        self.start = [float(s) for s in sd]
        self.scales = (
            _scale(channel_scale, self.channels, "channel_scale"),
            _scale(state_scale, self.states, "state_scale"),
            _scale(input_scale, self.inputs, "input_scale"),
        )
        self.register_buffer("floor", torch.tensor([float(f) for f in floor], dtype=torch.float64))
        self.sd: Tensor
        self.size: Tensor
        self.register_buffer("sd", torch.tensor(self.start, dtype=torch.float64), persistent=False)
        flat = [s for scale in self.scales for s in scale]
        self.register_buffer("size", torch.tensor(flat, dtype=torch.float64), persistent=False)
        widths = [len(flat), *self.hidden, self.channels]
        self.weights = nn.ParameterList(
            [nn.Parameter(torch.zeros(1, o, i, dtype=torch.float64)) for i, o in itertools.pairwise(widths)]
        )
        self.biases = nn.ParameterList([nn.Parameter(torch.zeros(1, o, dtype=torch.float64)) for o in widths[1:]])
        self.reset(generator if generator is not None else torch.Generator().manual_seed(0))

    def joined(self, joint: Joint) -> "NeuralNoise":
        """This head for a model: with the model's sizes where none were given, and its order of what was given by name."""
        if self._waiting is None:
            return self
        made = dict(self._waiting)
        order = channel_order(self.names, joint, "NeuralNoise")
        if order is not None:
            made |= {key: [made[key][i] for i in order] for key in ("sd", "floor")}
        if made["states"] is None:
            made |= {"states": len(joint.states), "inputs": len(joint.inputs)}
        named = {"channel_scale": joint.channels, "state_scale": joint.states, "input_scale": joint.inputs}
        for option, there in named.items():
            if isinstance(made[option], Mapping):
                made[option] = in_order(made[option], there, f"NeuralNoise: {option}")
        return NeuralNoise(**made)

    def _require_joined(self) -> None:
        require_joined(self._waiting, "NeuralNoise", "states, inputs and numbers in order")

    def reset(self, generator: torch.Generator) -> None:
        self._require_joined()
        generator_of(generator, "NeuralNoise.reset: generator")
        last = len(self.weights) - 1
        with torch.no_grad():
            for k, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
                gain = (0.1 if k == last else 1.0) / math.sqrt(weight.shape[2])
                weight.copy_(gain * torch.randn(weight.shape, generator=generator, dtype=torch.float64))
                # hidden units are centred over the typical range of what they see
                draw = torch.randn(bias.shape, generator=generator, dtype=torch.float64)
                bias.copy_(torch.full_like(draw, _ONE) if k == last else 0.5 * draw)

    def variance(self, y: Tensor, x: Tensor, u: Tensor) -> Tensor:
        self._require_joined()
        require_seen(self, y, self.weights[0].shape[0])
        tensor_of(x, "NeuralNoise: x", ..., self.states, like=y)
        tensor_of(u, "NeuralNoise: u", ..., self.inputs or "m", like=y)
        broadcast("NeuralNoise: y, x and u", y, x, u)
        lead = torch.broadcast_shapes(y.shape[:-1], x.shape[:-1], u.shape[:-1])
        # an input that no head was told of (inputs = 0) is not seen
        parts = (y, x, u[..., : self.inputs])
        v = torch.cat([part.expand(*lead, part.shape[-1]) for part in parts], -1) / self.size  # (M, N, T, p+n+m)
        for k, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            v = (torch.tanh(v) if k else v) @ weight[:, None].mT + bias[:, None, None, :]
        return self.floor.square() + (self.sd * nn.functional.softplus(v)).square()

    def config(self) -> dict[str, Any]:
        self._require_joined()
        return {
            "sd": self.start,
            "floor": self.floor.tolist(),
            "states": self.states,
            "inputs": self.inputs,
            "hidden": list(self.hidden),
            "channel_scale": list(self.scales[0]),
            "state_scale": list(self.scales[1]),
            "input_scale": list(self.scales[2]),
        }


def _scale(scale: PerChannel | float, size: int, name: str) -> tuple[float, ...]:
    if isinstance(scale, Mapping):  # waits for the model, and never comes here
        raise ValueError(f"NeuralNoise: {name} by name is resolved when a HybridModel is built")
    scale_of(scale, size, f"NeuralNoise: {name}")
    one = hasattr(scale, "__float__") and not getattr(scale, "ndim", 0)
    return (float(scale),) * size if one else tuple(float(s) for s in scale)  # type: ignore[arg-type, union-attr]
