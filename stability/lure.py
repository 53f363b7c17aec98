"""The system that a certificate speaks about: a stable linear part and a layered residual, as plain float64 arrays."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stability.arguments import choice, listed, shown
from stability.glance import Summary, brief, glance

Array = NDArray[np.float64]

# Slopes of the activations, [lower, upper], over the whole real line; where the ends are irrational they are rounded outward.
SLOPES: dict[str, tuple[float, float]] = {
    "tanh": (0.0, 1.0),  # 1 − tanh²
    "relu": (0.0, 1.0),  # 0 or 1; at the kink any value between, which is what pairs of points see
    "sigmoid": (0.0, 0.25),  # s(1 − s)
    "softplus": (0.0, 1.0),  # the sigmoid
    "silu": (-0.0998394, 1.0998394),  # s + v s(1 − s), extreme where v tanh(v/2) = 2
    "gelu": (-0.1289043, 1.1289043),  # Φ(v) + v Φ'(v), extreme at ±√2
}


@dataclass(frozen=True)
class Loop:
    """The same systems, flattened to one leading axis, as v = W x + N z, z = φ(v), dx/dt = A x + E z (differences only).

    The layers are stacked into one vector z of H units, so N is strictly block lower triangular, W is W_1 on the first
    layer's rows and zero below, and E is W_L on the last layer's columns and zero before.
    """

    A: Array  # (V, n, n)
    E: Array  # (V, n, H)
    W: Array  # (V, H, n)
    N: Array  # (V, H, H)
    lower: Array  # α (V|1, H): the slope of unit j of system v lies in [α, β], and so do its difference quotients
    upper: Array  # β (V|1, H)
    widths: tuple[int, ...]  # h_1 … h_{L-1}, summing to H


def sides(loop: Loop) -> tuple[Array, Array]:
    """J = [−Wᵀα; I − Nᵀα] and R = [−Wᵀβ; I − Nᵀβ], each (V, n + H, H): the sector's two factors, written densely.

    The rows of Jᵀ and Rᵀ take (δx, δz) to δz − αδv and δz − βδv.
    """
    stacked = np.concatenate([-loop.W, -loop.N], axis=2).swapaxes(1, 2)  # (V, n + H, H)
    both = []
    for slope in (loop.lower, loop.upper):
        side = stacked * slope[:, None, :]
        side[:, loop.W.shape[2] :] += np.eye(loop.N.shape[1])
        both.append(side)
    return both[0], both[1]


def _summary(system: Any) -> Summary:
    inputs = 0 if system.B is None else system.B.shape[-1]
    return f"Lure: states {system.states}, inputs {inputs}, hidden units {brief(system.widths)}, {system.activation}", [
        ("systems", system.leading or None),
        ("A", system.A),
        ("B", system.B),
        ("weights", ", ".join(brief(w.shape) for w in system.weights)),
        ("input_weights", system.input_weights),
        ("skip", system.skip),
    ]


@dataclass(frozen=True, kw_only=True, eq=False)
class Lure:
    """dx/dt = (A + S) x + B u + W_L φ(W_{L-1} … φ(W_1 x + W_u u + b_1) … + b_{L-1}) + b_L.

    Arguments, every one with optional leading axes that broadcast (members M|1, records N|1), converted to read-only
    float64 copies; CPU torch tensors are accepted:
        A                (..., n, n), per unit of time
        weights          L arrays (..., out, in); the first has in = n, the last out = n; [] for a linear system
        biases           L arrays (..., out)
        activation       tanh, relu, sigmoid, softplus, silu or gelu
        B                (..., n, m) or None
        input_weights    W_u (..., h_1, m) or None
        skip             S (..., n, n), the learned part's own linear term, or None
    B, W_u and the biases do not enter the inequality (the input is the same on both trajectories) but they are part of
    the system and of its digest.
    A need not be stable: whether the whole contracts is for `certify` to say.
    Errors: ValueError for wrong shapes, values that are not finite, or an unknown activation.
    """

    A: Array
    weights: tuple[Array, ...]
    biases: tuple[Array, ...]
    activation: str = "tanh"
    B: Array | None = None
    input_weights: Array | None = None
    skip: Array | None = None

    if TYPE_CHECKING:  # whatever numpy makes an array of is taken

        def __init__(
            self,
            *,
            A: ArrayLike,
            weights: Sequence[ArrayLike],
            biases: Sequence[ArrayLike],
            activation: str = "tanh",
            B: ArrayLike | None = None,
            input_weights: ArrayLike | None = None,
            skip: ArrayLike | None = None,
        ) -> None: ...

    __repr__, _repr_html_ = glance(_summary)

    def __post_init__(self) -> None:
        put = object.__setattr__  # the one place where a frozen value is filled
        put(self, "A", _array("A", self.A, 2))
        weights = listed(self.weights, "weights", "a list of arrays (..., out, in), [] for a linear system")
        biases = listed(self.biases, "biases", "a list of arrays (..., out), one per layer")
        put(self, "weights", tuple(_array(f"weights[{k}]", w, 2) for k, w in enumerate(weights)))
        put(self, "biases", tuple(_array(f"biases[{k}]", b, 1) for k, b in enumerate(biases)))
        put(self, "B", None if self.B is None else _array("B", self.B, 2))
        if self.input_weights is not None:
            put(self, "input_weights", _array("input_weights", self.input_weights, 2))
        put(self, "skip", None if self.skip is None else _array("skip", self.skip, 2))
        _check_activation(self.activation)
        _check_shapes(self)

    @staticmethod
    def stack(systems: "Sequence[System]") -> "Lure":
        """Systems of one structure as one, on a new first axis.

        Errors: ValueError where there is none, or one that is no system, or of other widths, activation or inputs.
        """
        if not isinstance(systems, Sequence) or not systems:
            raise ValueError(f"a Lure is needed, or a list of some, not {shown(systems)}; write [model.lure(theta)].")
        read = [Lure.of(one) for one in systems]
        kinds = {(s.states, s.widths, s.activation, s.B is None, s.input_weights is None, s.skip is None) for s in read}
        if len(kinds) > 1:
            raise ValueError(
                f"the systems differ in structure (states, widths, activation, and which of B, input_weights and skip they "
                f"have): {sorted(kinds)}; certify them one by one."
            )
        lead = np.broadcast_shapes(*(s.leading for s in read))

        def joined(arrays: Sequence[Array], rank: int) -> Array:
            return np.stack([np.broadcast_to(a, lead + a.shape[a.ndim - rank :]) for a in arrays])

        def optional(arrays: Sequence[Array | None]) -> Array | None:
            return None if arrays[0] is None else joined([a for a in arrays if a is not None], 2)

        return Lure(
            A=joined([s.A for s in read], 2),
            weights=tuple(joined(w, 2) for w in zip(*(s.weights for s in read), strict=True)),
            biases=tuple(joined(b, 1) for b in zip(*(s.biases for s in read), strict=True)),
            activation=read[0].activation,
            B=optional([s.B for s in read]),
            input_weights=optional([s.input_weights for s in read]),
            skip=optional([s.skip for s in read]),
        )

    @staticmethod
    def of(system: object) -> "Lure":
        """A system, in whatever form it is given: a `Lure`, what `to_dict` writes, or the arrays that a model's `lure` returns.

        Errors: ValueError for anything else, and for arrays that are no system.
        """
        if isinstance(system, Lure):
            return system
        names = [f.name for f in fields(Lure)]
        needed = ("A", "weights", "biases")
        if not isinstance(system, Mapping):
            raise ValueError(f"a Lure is needed, not {shown(system)}; write model.lure(theta), or what Lure.to_dict gives.")
        lacks = [name for name in needed if name not in system]
        more = [name for name in system if name not in names]
        if lacks or more:
            wrong = f"lacks {', '.join(lacks)}" if lacks else f"has an entry {shown(more[0])}, which is none of a system's"
            raise ValueError(f"the system {wrong}; write model.lure(theta), or what Lure.to_dict gives.")
        return Lure(**system)

    @property
    def states(self) -> int:
        """n, the number of states."""
        return self.A.shape[-1]

    @property
    def widths(self) -> tuple[int, ...]:
        """h_1 … h_{L-1}, the widths of the hidden layers."""
        return tuple(w.shape[-2] for w in self.weights[:-1])

    @property
    def leading(self) -> tuple[int, ...]:
        """The broadcast shape of all leading axes: members and records."""
        return _leading(self)

    def flatten(self) -> "Lure":
        """The V distinct systems on one leading axis, V = the product of `leading` (1 where there is none).

        Arrays that are shared are repeated: systems are small, and one axis keeps everything that follows simple.
        """
        lead = self.leading
        count = int(np.prod(lead, dtype=int))

        def flat(array: Array, rank: int) -> Array:
            core = array.shape[array.ndim - rank :]
            return np.broadcast_to(array, lead + core).reshape((count, *core))

        return Lure(
            A=flat(self.A, 2),
            weights=tuple(flat(w, 2) for w in self.weights),
            biases=tuple(flat(b, 1) for b in self.biases),
            activation=self.activation,
            B=None if self.B is None else flat(self.B, 2),
            input_weights=None if self.input_weights is None else flat(self.input_weights, 2),
            skip=None if self.skip is None else flat(self.skip, 2),
        )

    def linear(self) -> Array:  # (..., n, n)
        """Everything linear in x: A, the skip, and the weight of a residual without a hidden layer."""
        total = self.A if self.skip is None else self.A + self.skip
        return total + self.weights[0] if len(self.weights) == 1 else total

    def loop(self) -> Loop:
        """The flattened systems in the form v = W x + N z, dx/dt = A x + E z, on which the inequality is written."""
        flat = self.flatten()
        count, n, widths = flat.A.shape[0], flat.states, flat.widths
        starts = np.concatenate([[0], np.cumsum(widths, dtype=int)])
        H = int(starts[-1])
        E, W, N = np.zeros((count, n, H)), np.zeros((count, H, n)), np.zeros((count, H, H))
        if H:
            W[:, : widths[0]] = flat.weights[0]
            E[:, :, starts[-2] :] = flat.weights[-1]
        for k in range(1, len(widths)):
            N[:, starts[k] : starts[k + 1], starts[k - 1] : starts[k]] = flat.weights[k]
        lower, upper = (np.full((1, H), end) for end in SLOPES[self.activation])
        return Loop(A=flat.linear(), E=E, W=W, N=N, lower=lower, upper=upper, widths=widths)

    def jacobian(
        self,
        slopes: Sequence[ArrayLike],  # L − 1 arrays (..., h_l)
    ) -> Array:  # (..., n, n)
        """A + S + W_L D_{L-1} W_{L-1} … D_1 W_1 with D_l = diag(slopes[l]); the leading axes broadcast.

        Errors: ValueError when the number of slope vectors is not the number of hidden layers.
        """
        given = [_array(f"slopes[{k}]", s, 1) for k, s in enumerate(listed(slopes, "slopes", "a list of arrays (..., h_l)"))]
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
        """
        parts = hashlib.sha256(f"lure 1\nactivation {self.activation}\n".encode())
        named: list[tuple[str, Array | None]] = [("A", self.A), ("B", self.B)]
        named += [(f"weights[{k}]", w) for k, w in enumerate(self.weights)]
        named += [(f"biases[{k}]", b) for k, b in enumerate(self.biases)]
        named += [("input_weights", self.input_weights)]
        if self.skip is not None:
            named += [("skip", self.skip)]
        for name, array in named:
            shape = "none" if array is None else ",".join(map(str, array.shape))
            parts.update(f"{name} {shape}\n".encode())
            if array is not None:
                parts.update(np.ascontiguousarray(array, dtype="<f8").tobytes())
        return parts.hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """Lists and numbers for JSON; Python writes the shortest decimal that reads back as the same double."""
        return {
            "A": self.A.tolist(),
            "weights": [w.tolist() for w in self.weights],
            "biases": [b.tolist() for b in self.biases],
            "activation": self.activation,
            "B": None if self.B is None else self.B.tolist(),
            "input_weights": None if self.input_weights is None else self.input_weights.tolist(),
            "skip": None if self.skip is None else self.skip.tolist(),
        }

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> "Lure":
        """The inverse of `to_dict`, exact to the last bit."""
        if not isinstance(data, Mapping):
            raise ValueError(f"a system is read from what Lure.to_dict writes, and this is {shown(data)}.")
        fields = ("A", "weights", "biases", "activation", "B", "input_weights")
        missing = [name for name in fields if name not in data]
        if missing:
            raise ValueError(f"the system lacks {', '.join(missing)}; write it with Lure.to_dict().")
        return Lure(**{name: data[name] for name in fields}, skip=data.get("skip"))  # written before skips were: none


# In the forms in which public calls take one; `Lure.of` reads them.
System = Lure | Mapping[str, Any]


def _array(name: str, value: Any, rank: int) -> Array:
    try:
        if hasattr(value, "detach") and hasattr(value, "cpu"):
            value = value.detach().cpu()
        raw = np.asarray(value)
        if raw.dtype.kind not in "fiu":
            raise TypeError(f"entries of kind {raw.dtype}")
        array = np.array(raw, dtype=np.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        why = str(error)[:100]
        raise ValueError(f"{name} is not an array of real numbers ({why}); give nested lists or an array.") from error
    if array.ndim < rank:
        raise ValueError(f"{name} has shape {array.shape}; it needs at least {rank} axes.")
    if not np.isfinite(array).all():
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise ValueError(f"{name}{list(where)} is {array[where]}; every entry must be finite (diverged training?).")
    array.setflags(write=False)
    return array


def _check_activation(name: object) -> None:
    choice(name, SLOPES, "the activation, whose slope range must be known:")


def _check_shapes(system: Lure) -> None:
    n = system.A.shape[-1]
    if system.A.shape[-2] != n or n == 0:
        raise ValueError(f"A has shape {system.A.shape}; its last two axes must be equal: (..., n, n).")
    if len(system.biases) != len(system.weights):
        raise ValueError(
            f"{len(system.weights)} weights and {len(system.biases)} biases; give one bias per layer, "
            "the output's too (zeros where the layer has none)."
        )
    size = n
    for k, (w, b) in enumerate(zip(system.weights, system.biases, strict=True)):
        if w.shape[-1] != size:
            raise ValueError(f"weights[{k}] has shape {w.shape}; it must take {size} inputs: (..., out, {size}).")
        size = w.shape[-2]
        if b.shape[-1] != size:
            raise ValueError(f"biases[{k}] has shape {b.shape}; weights[{k}] gives {size} outputs: (..., {size}).")
        if size == 0:
            raise ValueError(f"weights[{k}] has shape {w.shape}: a layer without units; leave the layer out.")
    if size != n:
        raise ValueError(
            f"the last weight has shape {system.weights[-1].shape}; it must give {n} outputs, one per state."
        )
    if system.B is not None and system.B.shape[-2] != n:
        raise ValueError(f"B has shape {system.B.shape}; it needs {n} rows: (..., {n}, m).")
    if system.input_weights is not None:
        if not system.weights or system.input_weights.shape[-2] != system.weights[0].shape[-2]:
            raise ValueError(
                f"input_weights has shape {system.input_weights.shape}; it needs one row per unit of the first layer."
            )
        if system.B is not None and system.B.shape[-1] != system.input_weights.shape[-1]:
            raise ValueError(
                f"B takes {system.B.shape[-1]} inputs and input_weights {system.input_weights.shape[-1]}; "
                "both multiply the same u."
            )
    if system.skip is not None and system.skip.shape[-2:] != (n, n):
        raise ValueError(f"skip has shape {system.skip.shape}; it adds to A, so it needs (..., {n}, {n}).")
    try:
        lead = _leading(system)
    except ValueError as error:
        raise ValueError(f"the leading axes of the arrays do not broadcast together: {error}.") from error
    if 0 in lead:
        raise ValueError(f"the leading axes have shape {lead}: no system at all; give at least one.")


def _leading(system: Lure) -> tuple[int, ...]:
    shapes = [system.A.shape[:-2]]
    shapes += [w.shape[:-2] for w in system.weights] + [b.shape[:-1] for b in system.biases]
    shapes += [a.shape[:-2] for a in (system.B, system.input_weights, system.skip) if a is not None]
    return np.broadcast_shapes(*shapes)
