"""What a file says of itself, held against its own graph and against what its claims are about: nobody and nothing is left out.

A file from a stranger chooses its own words. Whom the graph is tried for, under which members and in which units, must be what
the certified system and the graph themselves have.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from exchange.files.json_parts import listed, mapping
from exchange.onnx.read import Read, axes_of
from physics.arguments import quote
from stability import Lure

if TYPE_CHECKING:
    import onnx

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Asked:
    """For whom a graph is asked: its `members`, as the certified systems count them, and θ (M|1, N|1, q) and c (M|1, N|1, r) of
    the `people` N that the claims are about.
    """

    members: tuple[int, ...]
    theta: Array
    c: Array

    @property
    def people(self) -> int:
        """N."""
        return max(self.theta.shape[1], self.c.shape[1])

    def own(self, member: int, person: int) -> dict[str, Array]:
        """θ (q,) and c (r,) of one of them under one member."""

        def of(value: Array) -> Array:
            return np.asarray(value[min(member, len(value) - 1), min(person, value.shape[1] - 1)])

        return {"theta": of(self.theta), "c": of(self.c)}


def asked_of(found: Read, graph: "onnx.GraphProto", systems: list[Lure]) -> Asked:
    """All the members of the graph, and all the people of the systems.

    Errors: `ValueError`, one clause, where the file names fewer or others than its graph and its systems have.
    """
    people, axes = mapping(found.people, "people"), _axes(found, graph)
    members = _whole_numbers(people["members"])
    count = axes["x"][0] if len(axes["x"]) == 3 else 1
    of = _whole_numbers([found.model["of"]])[0]
    if members != _whole_numbers(found.model["members"]) or len(members) != count:
        raise ValueError(
            f"its people are under the members {quote(list(members))}, it says that it holds {quote(found.model['members'])}, "
            f"and its graph has {count}"
        )
    if len(set(members)) < len(members) or not all(member < of for member in members) or count not in (1, of):
        raise ValueError(f"it holds the members {quote(list(members))} of {of}, and a file of ours holds one or all")
    theta, c = (np.array(people[name], dtype=np.float64) for name in ("theta", "c"))
    asked = Asked(members, theta, c) if theta.ndim == c.ndim == 3 else None
    if asked is None or any(len(v) not in (1, of) or v.shape[1] not in (1, asked.people) for v in (theta, c)):
        raise ValueError(f"theta and c of its people have the shapes {theta.shape} and {c.shape}, and {of} members")
    for system in systems:
        M, N = (1, 1, *system.leading)[-2:]
        if len(system.leading) > 2 or M not in (1, of) or N not in (1, asked.people):
            raise ValueError(
                f"its claims are about {M} members and {N} people, and it names {of} and {asked.people}: each has to be tried"
            )
    return asked


def _axes(found: Read, graph: "onnx.GraphProto") -> dict[str, list[Any]]:
    """The axes of the inputs, which the graph itself has. Errors: `ValueError` where it has others than the file says."""

    def own(values: Any) -> dict[str, list[Any]]:
        return {one.name: [d.dim_param or d.dim_value for d in one.type.tensor_type.shape.dim] for one in values}

    for said, known in ((found.model["inputs"], graph.input), (found.model["outputs"], graph.output)):
        if axes_of(said) != own(known):
            raise ValueError(f"it says that its graph has {quote(axes_of(said))}, and it has {quote(own(known))}")
    axes, rate = own(graph.input), own(graph.output)
    if axes.get("x") != rate.get("rate") or len(rate) > 1:
        raise ValueError("the rates of a field have the axes of its states, and nothing stands beside them")
    return axes


def units_apart(units: Mapping[str, Any], model: Mapping[str, Any]) -> str | None:
    """Where the units in which a claim was made are not those of the graph, a sentence; None where they are, or it says none.

    Those of the graph are its unit of time, and of its states and inputs, by name; a claim does not say their order.
    """
    ends, time = {**model["outputs"], **model["inputs"]}, model["time"]
    rates = [f"{unit}/{time}" for unit in ends["x"]["units"]]
    for name in ("rate", "infused"):
        if ends[name]["units"] != rates or ends[name]["names"] != ends["x"]["names"]:
            return f"the graph's states and {name} do not have units that belong together"
    here = {
        "time": time,
        "states": _of_columns(ends["x"]),
        "inputs": _of_columns(ends["u"]) if "u" in ends else {},
    }
    for kind, its in units.items():
        if kind in here and its != here[kind]:
            return f"it was made in {kind} {quote(its)}, and the graph says {quote(here[kind])}"
    return None


def _of_columns(given: Mapping[str, Any]) -> dict[str, str]:
    found = dict(zip(given["names"], given["units"], strict=True))
    if len(found) < len(given["names"]):
        raise ValueError(f"two of {quote(given['names'])} have one name")
    return found


def _whole_numbers(value: Any) -> tuple[int, ...]:
    found = tuple(listed(value, "members"))
    if not found or not all(type(one) is int and one >= 0 for one in found):
        raise ValueError(f"{quote(value)} are no members, which are counted from 0 on")
    return found
