"""Systems of one structure as one, on a new first axis."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from stability.branches import Branch
from stability.loop import Array
from stability.shapes import RANKS
from stability.tapes import tape_bytes


def stacked(read: Sequence[Any]) -> Any:
    """A `Lure` of several, none of which is under a policy. Errors: ValueError where they differ in structure."""
    kinds = {
        (s.states, _form(s), *map(_form, s.branches), *(f"no {name}" for name in RANKS if getattr(s, name) is None)) for s in read
    }
    if len(kinds) > 1:
        raise ValueError(
            f"the systems differ in structure (states, widths, activation, and which of {', '.join(RANKS)} they have): "
            f"{sorted(kinds, key=str)}; certify them one by one."
        )
    if len({None if s.tape is None else tape_bytes(s.tape) for s in read}) > 1:
        raise ValueError("the systems have different tapes; certify them one by one.")
    lead = np.broadcast_shapes(*(s.leading for s in read))

    def joined(arrays: Sequence[Array], rank: int) -> Array:
        return np.stack([np.broadcast_to(a, lead + a.shape[a.ndim - rank :]) for a in arrays])

    held = [(name, rank) for name, rank in RANKS.items() if getattr(read[0], name) is not None]
    others: dict[str, Any] = {name: joined([getattr(s, name) for s in read], rank) for name, rank in held}
    others["branches"] = tuple(
        Branch(
            weights=tuple(joined(w, 2) for w in zip(*(one.weights for one in same), strict=True)),
            biases=tuple(joined(b, 1) for b in zip(*(one.biases for one in same), strict=True)),
            activation=same[0].activation,
            input_weights=None if same[0].input_weights is None else joined([one.input_weights for one in same], 2),
        )
        for same in zip(*(s.branches for s in read), strict=True)
    )
    return replace(
        read[0],
        weights=tuple(joined(w, 2) for w in zip(*(s.weights for s in read), strict=True)),
        biases=tuple(joined(b, 1) for b in zip(*(s.biases for s in read), strict=True)),
        **others,
    )


def _form(one: Any) -> tuple[object, ...]:
    return one.widths, one.activation, one.input_weights is None
