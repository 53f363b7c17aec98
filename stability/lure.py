"""The system that a certificate speaks about: a linear part, a layered residual and a tape, as plain float64 arrays and JSON."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import ArrayLike

from stability.arguments import kind, listed, number, shown
from stability.branches import Branch, branches_of, each_of, one_network, units_of
from stability.digest import digest_of
from stability.glance import Summary, brief, glance
from stability.loop import Array, Loop, sides
from stability.policy import Feedback, together_of
from stability.proof.units import Activation, Layer, Network, layers, slope_ends, slope_hull
from stability.shapes import RANKS, check_shapes, layers_of, leading_of, real_array, theta_of
from stability.stacking import stacked
from stability.tapes import plain_tape
from stability.written import written

__all__ = ["SLOPES", "Array", "Loop", "Lure", "System", "one_activation", "sides", "without_tape"]

# Slopes of the activations, [lower, upper], over the whole real line; where the ends are irrational they are rounded outward.
SLOPES: dict[str, tuple[float, float]] = {
    "tanh": (0.0, 1.0),  # 1 − tanh²
    "relu": (0.0, 1.0),  # 0 or 1; at the kink any value between, which is what pairs of points see
    "sigmoid": (0.0, 0.25),  # s(1 − s)
    "softplus": (0.0, 1.0),  # the sigmoid
    "silu": (-0.0998394, 1.0998394),  # s + v s(1 − s), extreme where v tanh(v/2) = 2
    "gelu": (-0.1289043, 1.1289043),  # Φ(v) + v Φ'(v), extreme at ±√2
}


def _summary(system: Any) -> Summary:
    return f"Lure: states {system.states}, inputs {system.inputs}, hidden units {brief(system.widths)}, {_name(system)}", [
        ("systems", system.leading or None),
        ("A", system.A),
        ("B", system.B),
        ("weights", ", ".join(brief(w.shape) for w in system.weights)),
        ("input_weights", system.input_weights),
        ("skip", system.skip),
        ("under", None if system.feedback is None else f"a policy for input {', '.join(map(str, system.feedback.inputs))}"),
        *((f"branches[{k}]", ", ".join(brief(w.shape) for w in one.weights)) for k, one in enumerate(system.branches)),
        *(() if system.tape is None else (("tape", f"{len(system.tape['code'])} lines"), ("theta", system.theta))),
        *(() if system.theta_upper is None else (("theta up to", system.theta_upper),)),
    ]


def _name(system: Any) -> str:
    return system.activation if isinstance(system.activation, str) else "units of their own"


@dataclass(frozen=True, kw_only=True, eq=False)
class Lure:
    """dx/dt = (A + S) x + B u + W_L φ(W_{L-1} … φ(W_1 x + W_u u + b_1) … + b_{L-1}) + b_L + Σ_b branch_b(x, u) + f(x, u, θ).

    Arguments, every one with optional leading axes that broadcast (members M|1, records N|1), converted to read-only
    float64 copies; CPU torch tensors are accepted:
        A                (..., n, n), per unit of time
        weights          L arrays (..., out, in); the first has in = n, the last out = n; [] for a linear system
        biases           L arrays (..., out)
        activation       tanh, relu, sigmoid, softplus, silu, gelu or identity; or a list for each hidden layer, unit by unit
        B                (..., n, m) or None
        input_weights    W_u (..., h_1, m) or None
        skip             S (..., n, n), the learned part's own linear term, or None
        branches         further networks beside the first, `Branch`es or mappings of their parts
        tape             f as a list of operations, what a tape's `to_dict` writes, or None
        theta            θ (..., q), the tape's parameters in its order: each system's own
        theta_upper      (..., q): the claim is about every θ from `theta` to this one, or None
        scale            (n,), a typical size of each state: how round a metric is, is judged in these units; not in the digest
    B, W_u and the biases do not enter the inequality (the input is the same on both trajectories) but they are part of
    the system and of its digest.
    A need not be stable: whether the whole contracts is for `certify` to say.
    Errors: ValueError for wrong shapes, values that are not finite, an unknown activation, or what is no tape.
    """

    A: Array
    weights: tuple[Array, ...]
    biases: tuple[Array, ...]
    activation: Activation = "tanh"
    B: Array | None = None
    input_weights: Array | None = None
    skip: Array | None = None
    branches: tuple[Branch, ...] = ()
    tape: Mapping[str, Any] | None = None
    theta: Array | None = None
    theta_upper: Array | None = None
    scale: Array | None = None
    feedback: Feedback | None = field(default=None, init=False)  # of a closed loop: what it was made of

    if TYPE_CHECKING:  # whatever numpy makes an array of is taken

        def __init__(
            self,
            *,
            A: ArrayLike,
            weights: Sequence[ArrayLike],
            biases: Sequence[ArrayLike],
            activation: str | Sequence[Sequence[str]] = "tanh",
            B: ArrayLike | None = None,
            input_weights: ArrayLike | None = None,
            skip: ArrayLike | None = None,
            branches: Sequence[object] = (),
            tape: object = None,
            theta: ArrayLike | None = None,
            theta_upper: ArrayLike | None = None,
            scale: ArrayLike | None = None,
        ) -> None: ...

    __repr__, _repr_html_ = glance(_summary)

    def __post_init__(self) -> None:
        put = object.__setattr__  # the one place where a frozen value is filled
        put(self, "A", real_array("A", self.A, 2))
        forms = "a list of arrays (..., out, in), [] for a linear system", "a list of arrays (..., out), one per layer"
        for name, arrays in zip(("weights", "biases"), layers_of(self, *forms), strict=True):
            put(self, name, arrays)
        put(self, "B", None if self.B is None else real_array("B", self.B, 2))
        if self.input_weights is not None:
            put(self, "input_weights", real_array("input_weights", self.input_weights, 2))
        put(self, "skip", None if self.skip is None else real_array("skip", self.skip, 2))
        put(self, "tape", None if self.tape is None else plain_tape(self.tape))
        put(self, "branches", branches_of(self.branches, self.states))
        for name, value in theta_of(self).items():
            put(self, name, value)
        put(self, "activation", units_of(self.activation, [w.shape[-2] for w in self.weights[:-1]]))
        check_shapes(self)
        self.together()

    @staticmethod
    def stack(systems: "Sequence[System]") -> "Lure":
        """Systems of one structure as one, on a new first axis.

        Errors: ValueError where there is none, or one that is no system, or of other widths, activation or inputs.
        """
        if not isinstance(systems, Sequence) or not systems:
            raise ValueError(f"a Lure is needed, or a list of some, not {shown(systems)}; write [model.lure(theta)].")
        read = [Lure.of(one) for one in systems]
        if all(one.feedback is None for one in read):
            return cast("Lure", stacked(read))
        return Lure.closed(together_of([one.feedback for one in read]))

    @staticmethod
    def closed(feedback: Feedback) -> "Lure":
        """The closed loop of an open one and a policy, which it keeps; `close_loop` is the door to it."""
        kind(feedback, Feedback, "the feedback", "close_loop(system, policy), which makes one")
        system = Lure(weights=[], biases=[], **feedback.parts())
        object.__setattr__(system, "feedback", feedback)
        return system

    @staticmethod
    def of(system: object) -> "Lure":
        """A system, in whatever form it is given: a `Lure`, what `to_dict` writes, or the arrays that a model's `lure` returns.

        Errors: ValueError for anything else, and for arrays that are no system.
        """
        if isinstance(system, Lure):
            return system
        names = [*(f.name for f in fields(Lure) if f.init), "policy"]
        needed = ("A", "weights", "biases")
        if not isinstance(system, Mapping):
            raise ValueError(f"a Lure is needed, not {shown(system)}; write model.lure(theta), or what Lure.to_dict gives.")
        lacks = [name for name in needed if name not in system]
        more = [name for name in system if name not in names]
        if lacks or more:
            wrong = f"lacks {', '.join(lacks)}" if lacks else f"has an entry {shown(more[0])}, which is none of a system's"
            raise ValueError(f"the system {wrong}; write model.lure(theta), or what Lure.to_dict gives.")
        return Lure.from_dict({"B": None, "input_weights": None, "activation": "tanh", **system})

    @property
    def states(self) -> int:
        """n, the number of states."""
        return self.A.shape[-1]

    @property
    def widths(self) -> tuple[int, ...]:
        """h_1 … h_{L-1}, the widths of the hidden layers; with branches those of all networks together (`together`)."""
        own = tuple(w.shape[-2] for w in self.weights[:-1])
        if not self.branches:
            return own
        every = [widths for widths in (own, *(one.widths for one in self.branches)) if widths]
        depth = max(map(len, every))
        return tuple(sum((*widths, *[widths[-1]] * depth)[k] for widths in every) for k in range(depth))

    @property
    def units(self) -> tuple[Layer, ...]:
        """The activation of each hidden layer: a name, or one for each unit."""
        whole = self.together()
        return layers(whole.activation, len(whole.widths))

    @property
    def slope_range(self) -> tuple[float, float]:
        """The least and the largest slope of any unit."""
        return slope_hull(self.together().activation)

    def together(self) -> "Lure":
        """The same with its branches in one network: block by block, padded with units φ(v) = v where depths differ.

        The differential equation is the same to the last bit; the digest is not.
        """
        if not self.branches:
            return self
        whole = one_network([*([self.network] if self.weights else []), *(one.network for one in self.branches)])
        parts: dict[str, Any] = {"weights": whole.weights, "biases": whole.biases, "input_weights": whole.input_weights}
        return replace(self, branches=(), activation=whole.activation, **parts)

    def merged(self) -> "Lure":
        """The V distinct systems on one leading axis, each with all its layers in one network: what a search works on."""
        return self.together().flatten()

    @property
    def leading(self) -> tuple[int, ...]:
        """The broadcast shape of all leading axes: members and records."""
        return leading_of(self)

    @property
    def inputs(self) -> int:
        """m, the number of inputs."""
        felt = [self.input_weights, *(one.input_weights for one in self.branches)]
        known = [] if self.tape is None else [len(self.tape["inputs"])]
        return max([*known, *(a.shape[-1] for a in (self.B, *felt) if a is not None)], default=0)

    @property
    def under(self) -> str:
        """How a claim names the policy under which the system is; empty where it is under none."""
        return "" if self.feedback is None else self.feedback.read().words

    @property
    def network(self) -> Network:
        """The first network, for the arithmetic that checker and search share."""
        return Network(self.weights, self.biases, self.activation, self.input_weights)

    def flatten(self) -> "Lure":
        """The V distinct systems on one leading axis, V = the product of `leading` (1 where there is none).

        Arrays that are shared are repeated: systems are small, and one axis keeps everything that follows simple.
        """
        lead = self.leading
        count = int(np.prod(lead, dtype=int))

        def flat(array: Array, rank: int) -> Array:
            core = array.shape[array.ndim - rank :]
            return np.broadcast_to(array, lead + core).reshape((count, *core))

        return self._each(flat)

    def one(self, index: int) -> "Lure":
        """One of the V systems on its own, in the order of `flatten`, without leading axes.

        Errors: ValueError for an index beyond them.
        """
        lead = self.leading
        count = int(np.prod(lead, dtype=int))
        number(index, "the index of a system", f"a whole number from 0 to {count - 1}", least=0, most=count - 1, whole=True)
        where = np.unravel_index(int(index), lead)
        return self._each(lambda array, rank: np.broadcast_to(array, lead + array.shape[array.ndim - rank :])[where])

    def _held(self) -> dict[str, int]:
        """The arrays that there are beside weights and biases, and how many axes each has of its own."""
        return {name: rank for name, rank in RANKS.items() if getattr(self, name) is not None}

    def _each(self, change: Callable[[Array, int], Array]) -> "Lure":
        """The same with every array changed; `change` is told how many axes are its own."""
        if self.feedback is not None:
            return Lure.closed(replace(self.feedback, system=self.feedback.system._each(change)))
        others: dict[str, Any] = {name: change(getattr(self, name), rank) for name, rank in self._held().items()}
        return replace(
            self,
            branches=tuple(each_of(one, change) for one in self.branches),
            weights=tuple(change(w, 2) for w in self.weights),
            biases=tuple(change(b, 1) for b in self.biases),
            **others,
        )

    def linear(self) -> Array:  # (..., n, n)
        """What is linear in x beside the tape: A, the skip, and the weight of a residual without a hidden layer."""
        total = self.A if self.skip is None else self.A + self.skip
        return total + self.weights[0] if len(self.weights) == 1 else total

    def loop(self) -> Loop:
        """The flattened systems in the form v = W x + N z, dx/dt = A x + E z, on which the inequality is written.

        Errors: ValueError for a system with a tape, whose units depend on a region (`search.known.loop_in`).
        """
        if self.tape is not None:
            raise ValueError("the system has a tape: its loop is that of a region; ask regional_rate(system, region) for a rate.")
        flat = self.merged()
        count, n, widths = flat.A.shape[0], flat.states, flat.widths
        starts = np.concatenate([[0], np.cumsum(widths, dtype=int)])
        H = int(starts[-1])
        E, W, N = np.zeros((count, n, H)), np.zeros((count, H, n)), np.zeros((count, H, H))
        if H:
            W[:, : widths[0]] = flat.weights[0]
            E[:, :, starts[-2] :] = flat.weights[-1]
        for k in range(1, len(widths)):
            N[:, starts[k] : starts[k + 1], starts[k - 1] : starts[k]] = flat.weights[k]
        lower, upper = (end[None] for end in slope_ends(flat.activation, widths))
        return Loop(A=flat.linear(), E=E, W=W, N=N, lower=lower, upper=upper, widths=widths)

    def jacobian(
        self,
        slopes: Sequence[ArrayLike],  # L − 1 arrays (..., h_l)
        known: ArrayLike | None = None,  # (..., n, n)
    ) -> Array:  # (..., n, n)
        """A + S + W_L D_{L-1} W_{L-1} … D_1 W_1 with D_l = diag(slopes[l]), and `known`; the leading axes broadcast.

        `known`: the Jacobian ∂f/∂x of the tape at the state, which a system with a tape needs.
        Errors: ValueError when the number of slope vectors is not the number of hidden layers, and for a tape without `known`.
        """
        if (known is None) != (self.tape is None):
            have = "no tape" if self.tape is None else "a tape"
            raise ValueError(f"the system has {have}: give `known`, the tape's Jacobian (..., n, n), where it has one, else not.")
        if known is not None:
            bare = replace(self, tape=None, theta=None, theta_upper=None)
            return bare.jacobian(slopes) + real_array("the tape's Jacobian", known, 2)
        given = [real_array(f"slopes[{k}]", s, 1) for k, s in enumerate(listed(slopes, "slopes", "a list of arrays (..., h_l)"))]
        if len(given) != len(self.widths):
            raise ValueError(f"{len(given)} slope vectors for {len(self.widths)} hidden layers; give one per layer.")
        for k, (s, h) in enumerate(zip(given, self.widths, strict=True)):
            try:
                fits = s.shape[-1] == h and bool(np.broadcast_shapes(s.shape[:-1], self.leading) is not None)
            except ValueError:
                fits = False
            if not fits:
                raise ValueError(f"slopes[{k}] has shape {s.shape}; give (..., {h}), leading axes that go with {self.leading}.")
        if not self.widths:
            return self.linear()
        if self.branches:
            return self.together().jacobian(slopes)
        # From the left: the running product has n rows, so a wide layer never meets a wide layer as a full product.
        product = self.weights[-1]
        for weight, slope in zip(self.weights[-2::-1], given[::-1], strict=True):
            product = (product * slope[..., None, :]) @ weight
        return self.linear() + product

    def digest(self) -> str:
        """SHA-256 (hexadecimal) of the system, defined so that anyone can compute it again.

        The bytes hashed are, in this order: the line `lure 1`; the line `activation NAME`; then for each of A, B,
        weights[0] …, biases[0] …, input_weights a line `NAME SHAPE` with the axes' lengths separated by commas, followed
        by the entries as little-endian IEEE double precision in C order; where B or input_weights is absent its line is
        `NAME none` and no entries follow; where skip is present the same follows for it. Lines end in \\n and are ASCII.
        Where there is a tape there follow: the line `tape`; for states, inputs and parameters a line `NAME COUNT` and for each
        name a line with its length in bytes, a space, and the name in UTF-8; the line `code COUNT` and for each line of the code
        a line of its operation and what it reads, separated by spaces, and behind a constant, a power and a Hill function the
        number as a little-endian double; the line `rate LINES`, separated by commas; and theta and theta_upper as B is written.
        Where there are branches there follow: the line `branches COUNT`, and for each of them the line of its activation and its
        arrays weights[0] …, biases[0] … and input_weights, as above.
        Of a closed loop these are the bytes of the open one; there follow the line `policy POSITIONS`, the inputs that the policy
        gives, separated by commas; the line of its activation; and its weights[0] …, biases[0] …, as above.
        Where units have activations of their own the line of the activation is `activation units`, followed by a line for each
        hidden layer of the units' names, separated by spaces. `scale` is no part of it.
        """
        return digest_of(self)

    def to_dict(self) -> dict[str, Any]:
        """Lists and numbers for JSON; Python writes the shortest decimal that reads back as the same double."""
        if self.feedback is not None:
            return {**self.feedback.system.to_dict(), "policy": self.feedback.to_dict()}
        return written(self)

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> "Lure":
        """The inverse of `to_dict`, exact to the last bit."""
        if not isinstance(data, Mapping):
            raise ValueError(f"a system is read from what Lure.to_dict writes, and this is {shown(data)}.")
        fields = ("A", "weights", "biases", "activation", "B", "input_weights")
        missing = [name for name in fields if name not in data]
        if missing:
            raise ValueError(f"the system lacks {', '.join(missing)}; write it with Lure.to_dict().")
        found: dict[str, Any] = {name: data[name] for name in fields}
        found |= {name: data.get(name) for name in ("skip", "tape", "theta", "theta_upper", "scale")}  # earlier files lack these
        found["branches"] = data.get("branches") or ()
        system = Lure(**found)
        return system if data.get("policy") is None else Lure.closed(Feedback.of(system, data["policy"]))


# In the forms in which public calls take one; `Lure.of` reads them.
System = Lure | Mapping[str, Any]


def one_activation(system: object, asked: str) -> Lure:
    """A system for a search that sees units of one kind, no tape and no policy. Errors: ValueError for another."""
    found = without_tape(system, asked)
    if found.feedback is not None:
        raise ValueError(f"the system is under a policy, for which there is no {asked}; ask certify or regional_rate of it.")
    if not isinstance(found.together().activation, str):
        raise ValueError(f"the system has units of different activations, for which there is no {asked}; ask certify of it.")
    return found


def without_tape(system: object, asked: str) -> Lure:
    """A system, in whatever form, for a search that sees no tape. Errors: ValueError for one that has a tape."""
    found = Lure.of(system)
    if found.tape is not None:
        raise ValueError(f"the system has a tape, for which there is no {asked}; ask certify or regional_rate of it.")
    return found
