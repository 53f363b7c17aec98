"""A policy u = κ(x), by which a system's inputs follow its state: linear, saturating, or any layered network."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from stability.arguments import listed, shown
from stability.branches import Branch, units_of
from stability.glance import glance
from stability.loop import Array
from stability.proof.feedback import Policy as Read
from stability.proof.feedback import closed, read_policy
from stability.proof.reading import Unusable
from stability.proof.tape import read_tape
from stability.proof.units import Activation
from stability.shapes import layers_of, real_array
from stability.stacking import stacked
from stability.tapes import written_tape
from stability.written import layers_written


@dataclass(frozen=True, kw_only=True, eq=False)
class Policy:
    """κ(x) = K_L φ(… φ(K_1 x + c_1) …) + c_L, from the states (n,) to the inputs that it gives (k,); linear where L = 1.

    Arguments: `weights`, L ≥ 1 arrays (out, in); `biases`, L arrays (out,); `activation`, one name for all hidden units or a list
    for each hidden layer. One policy serves all members and people: there are no leading axes.
    `Policy.linear` and `Policy.saturating` write the usual ones. It acts at every instant and sees the true state; one that is
    sampled, delayed, or sees an estimate is another matter, and no claim speaks of it.
    Errors: ValueError for shapes that do not fit together, values that are not finite, or an unknown activation.
    """

    weights: tuple[Array, ...]
    biases: tuple[Array, ...]
    activation: Activation = "relu"

    if TYPE_CHECKING:  # whatever numpy makes an array of is taken

        def __init__(
            self,
            *,
            weights: Sequence[ArrayLike],
            biases: Sequence[ArrayLike],
            activation: str | Sequence[Sequence[str]] = "relu",
        ) -> None: ...

    __repr__, _repr_html_ = glance()

    def __post_init__(self) -> None:
        put = object.__setattr__  # the one place where a frozen value is filled
        forms = "a list of arrays (out, in), at least one", "a list of arrays (out,), one per layer"
        for name, arrays in zip(("weights", "biases"), layers_of(self, *forms), strict=True):
            put(self, name, arrays)
        if not self.weights or any(w.ndim != 2 for w in self.weights):
            raise ValueError("a policy needs one weight at least, each of shape (out, in), without leading axes.")
        put(self, "activation", units_of(self.activation, [len(w) for w in self.weights[:-1]]))
        _read({"inputs": list(range(self.outputs)), **self.to_dict()}, self.states, self.outputs)

    @property
    def states(self) -> int:
        """n, of the state that it sees."""
        return int(self.weights[0].shape[1])

    @property
    def outputs(self) -> int:
        """k, how many inputs it gives."""
        return len(self.weights[-1])

    @staticmethod
    def linear(
        gain: ArrayLike,  # K (k, n)
        offset: ArrayLike | None = None,  # (k,)
    ) -> "Policy":
        """u = K x + offset."""
        K = real_array("gain", gain, 2)
        return Policy(weights=[K], biases=[_offset(offset, len(K))])

    @staticmethod
    def saturating(
        gain: ArrayLike,  # K (k, n)
        offset: ArrayLike | None = None,  # (k,)
        *,
        lower: ArrayLike | None = None,  # (k,)
        upper: ArrayLike | None = None,  # (k,)
    ) -> "Policy":
        """u = K x + offset, between `lower` and `upper`, either of which may be None: a pump gives no less than nothing.

        With relu units: u = lower + relu(v) for v = K x + offset − lower, and with both ends
        u = upper − relu(upper − lower − relu(v)), whose slope stays within [0, K]. The differences of the ends and the offset are
        rounded once, here: the policy is what these numbers say.
        """
        K = real_array("gain", gain, 2)
        c, eye = _offset(offset, len(K)), np.eye(len(K))
        low, high = (None if end is None else _offset(end, len(K), name) for end, name in ((lower, "lower"), (upper, "upper")))
        if low is not None and high is not None:
            if not (low < high).all():
                raise ValueError(f"the policy's lower ends {low.tolist()} are not below the upper ones {high.tolist()}.")
            return Policy(weights=[K, -eye, -eye], biases=[c - low, high - low, high])
        if low is not None:
            return Policy(weights=[K, eye], biases=[c - low, low])
        if high is not None:
            return Policy(weights=[-K, -eye], biases=[high - c, high])
        raise ValueError("a saturating policy needs lower or upper; Policy.linear has neither.")

    def __call__(self, x: ArrayLike) -> Array:  # (..., n) -> (..., k)
        """κ(x), in float64."""
        z = real_array("the state", x, 1)
        read = _read({"inputs": list(range(self.outputs)), **self.to_dict()}, self.states, self.outputs)
        if z.shape[-1] != self.states:
            raise ValueError(f"the state has shape {z.shape}; the policy sees {self.states} states: (..., {self.states}).")
        return read.value(z)

    def to_dict(self) -> dict[str, Any]:
        """Lists and numbers for JSON, exact."""
        return layers_written(self)


@dataclass(frozen=True, eq=False)
class Feedback:
    """What a closed loop was made of: an open loop, a policy, and which inputs it gives. The checker reads these alone."""

    system: Any  # a `Lure`
    policy: Policy
    inputs: tuple[int, ...]

    @property
    def weights(self) -> tuple[Array, ...]:
        """Of the policy."""
        return self.policy.weights

    @property
    def biases(self) -> tuple[Array, ...]:
        """Of the policy."""
        return self.policy.biases

    @property
    def activation(self) -> Activation:
        """Of the policy."""
        return self.policy.activation

    def read(self) -> Read:
        """As the checker reads it. Errors: ValueError where it does not fit the system."""
        return _read(self.to_dict(), self.system.states, self.system.inputs)

    def parts(self) -> dict[str, Any]:
        """What a `Lure` of the closed loop is made of, beside weights and biases, of which it has none but its branches'."""
        opened, policy = self.system, self.read()
        if len(opened.weights) == 1:
            raise ValueError("weights has one layer, which is linear; under a policy give it as skip, or add it to A.")
        networks = [*([opened.network] if opened.weights else []), *(one.network for one in opened.branches)]
        try:
            B, found, tape = closed(opened.B, networks, None if opened.tape is None else read_tape(opened.tape), policy)
        except Unusable as error:
            raise ValueError(f"{error}.") from error
        return {
            **{name: getattr(opened, name) for name in ("A", "skip", "theta", "theta_upper", "scale")},
            "B": B,
            "branches": [Branch(**{f.name: getattr(one, f.name) for f in fields(Branch)}) for one in found],
            "tape": None if tape is None else written_tape(tape),
        }

    def to_dict(self) -> dict[str, Any]:
        """The policy and its inputs, for JSON."""
        return {"inputs": list(self.inputs), **self.policy.to_dict()}

    @staticmethod
    def of(system: Any, data: object) -> "Feedback":
        """The inverse of `to_dict`, for an open loop. Errors: ValueError."""
        if not isinstance(data, Mapping) or not {"inputs", "weights", "biases"} <= data.keys():
            raise ValueError(f"the system's policy is {shown(data)}; it has inputs, weights, biases and an activation.")
        parts = {name: value for name, value in data.items() if name != "inputs"}
        if not parts.keys() <= {"weights", "biases", "activation"}:
            raise ValueError(f"the system's policy has {shown(list(data))}; it has inputs, weights, biases and an activation.")
        inputs = listed(data["inputs"], "the policy's inputs", "a list of positions")
        return Feedback(system, Policy(**parts), tuple(inputs))


def together_of(found: Sequence[Feedback | None]) -> Feedback:
    """Of several systems, those of one policy. Errors: ValueError where policies differ."""
    same = [one for one in found if one is not None]
    if len(same) < len(found) or any(one.to_dict() != same[0].to_dict() for one in same):
        raise ValueError("the systems are under different policies, or some under none; certify them one by one.")
    return replace(same[0], system=stacked([one.system for one in same]))


def _read(data: Mapping[str, Any], n: int, m: int) -> Read:
    try:
        return read_policy(data, n, m)
    except ValueError as error:
        raise ValueError(f"{error}.".replace("..", ".")) from error


def _offset(value: ArrayLike | None, size: int, name: str = "offset") -> Array:
    found = np.zeros(size) if value is None else real_array(name, value, 1)
    if found.shape != (size,):
        raise ValueError(f"{name} has shape {found.shape}; give one number for each of the {size} inputs.")
    return found
