"""Further networks beside a system's first: what a branch holds, how it is read, and its bytes in the digest."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from numpy.typing import ArrayLike

from stability.arguments import choice, listed, shown
from stability.glance import glance
from stability.loop import Array
from stability.proof.reading import Unusable
from stability.proof.units import UNITS, Activation, Network, beside, read_activation
from stability.shapes import check_layers, layers_of, real_array
from stability.written import layers_written


@dataclass(frozen=True, kw_only=True, eq=False)
class Branch:
    """W_L φ(W_{L-1} … φ(W_1 x + W_u u + b_1) … + b_{L-1}) + b_L, beside other networks of a `Lure`.

    Arguments, with leading axes that broadcast with those of the system:
        weights          L ≥ 2 arrays (..., out, in); the first has in = n, the last out = n
        biases           L arrays (..., out); of all networks of a system only one may have an output bias b_L for a state
        activation       one name for all units, or a list for each hidden layer of names, one for each unit
        input_weights    W_u (..., h_1, m) or None
    Errors: ValueError for wrong shapes, values that are not finite, or an unknown activation.
    """

    weights: tuple[Array, ...]
    biases: tuple[Array, ...]
    activation: Activation = "tanh"
    input_weights: Array | None = None

    if TYPE_CHECKING:  # whatever numpy makes an array of is taken

        def __init__(
            self,
            *,
            weights: Sequence[ArrayLike],
            biases: Sequence[ArrayLike],
            activation: str | Sequence[Sequence[str]] = "tanh",
            input_weights: ArrayLike | None = None,
        ) -> None: ...

    __repr__, _repr_html_ = glance()

    def __post_init__(self) -> None:
        put = object.__setattr__  # the one place where a frozen value is filled
        forms = "a list of arrays (..., out, in), at least two", "a list of arrays (..., out), one per layer"
        for name, arrays in zip(("weights", "biases"), layers_of(self, *forms), strict=True):
            put(self, name, arrays)
        if self.input_weights is not None:
            put(self, "input_weights", real_array("input_weights", self.input_weights, 2))
        if len(self.weights) < 2:
            raise ValueError(f"a branch has {len(self.weights)} weights; without a hidden layer it is linear: add it to A.")
        check_layers(self, self.weights[0].shape[-1])
        put(self, "activation", units_of(self.activation, self.widths))

    @property
    def widths(self) -> tuple[int, ...]:
        """h_1 … h_{L-1}."""
        return tuple(w.shape[-2] for w in self.weights[:-1])

    @property
    def network(self) -> Network:
        """The same, for the arithmetic that checker and search share."""
        return Network(self.weights, self.biases, self.activation, self.input_weights)

    def to_dict(self) -> dict[str, Any]:
        """Lists and numbers for JSON, exact."""
        return {**layers_written(self), "input_weights": None if self.input_weights is None else self.input_weights.tolist()}


def branches_of(value: object, n: int) -> tuple[Branch, ...]:
    """Branches, or mappings of their parts, of a system with n states. Errors: ValueError."""
    if value is None:
        return ()
    found = []
    for k, one in enumerate(listed(value, "branches", "a list of Branch(weights=…, biases=…)")):
        names = [f.name for f in fields(Branch)]
        if isinstance(one, Mapping):
            if not {"weights", "biases"} <= one.keys() <= set(names):
                raise ValueError(f"branches[{k}] has the entries {shown(list(one))}; it needs weights and biases, of {names}.")
            one = Branch(**one)
        if not isinstance(one, Branch):
            raise ValueError(f"branches[{k}] is {shown(one)}; give a Branch(weights=…, biases=…), or a mapping of its parts.")
        if one.weights[0].shape[-1] != n:
            raise ValueError(f"branches[{k}] takes {one.weights[0].shape[-1]} states and the system has {n}.")
        found.append(one)
    return tuple(found)


def each_of(one: Branch, change: Callable[[Array, int], Array]) -> Branch:
    """The same with every array changed; `change` is told how many axes are its own."""
    felt = None if one.input_weights is None else change(one.input_weights, 2)
    weights, biases = tuple(change(w, 2) for w in one.weights), tuple(change(b, 1) for b in one.biases)
    return replace(one, weights=weights, biases=biases, input_weights=felt)


def one_network(networks: Sequence[Network]) -> Network:
    """Networks beside each other as one. Errors: ValueError."""
    try:
        return beside(networks)
    except Unusable as error:
        raise ValueError(f"{error}.") from error


def units_of(value: object, widths: Sequence[int]) -> Activation:
    """An activation, one for all or unit by unit. Errors: ValueError."""
    if not isinstance(value, list | tuple):
        choice(value, UNITS, "the activation, whose slope range must be known:")
    try:
        return read_activation(value, widths)
    except Unusable as error:
        raise ValueError(f"{error}.") from error
