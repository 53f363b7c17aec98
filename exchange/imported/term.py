"""A stranger's FMU as a known term of dx/dt."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from exchange.imported.described import Described, Variable, described
from exchange.imported.function import Rate, Slopes
from exchange.imported.instance import Instance
from hybrid import BoundTerm, Term
from physics import Backbone, LinearBackbone
from physics.arguments import quote, require_flag, require_kind, require_number, require_path
from physics.units import factor

UNCERTIFIED = (
    "no certificate covers a model with an imported FMU: its rate is machine code that answers at points, and a proof over a "
    "region needs layers or a tape to bound it with"
)
UNKNOWN = "{unknown}"  # UCUM counts what stands in braces as nothing, and joins it with nothing else


class ImportedTerm(Term):
    """k(x, u) = f_FMU(x, u) − A x for the states that an FMU has, 0 for the model's others; `imported_term` makes it.

    Arguments, all plain JSON: `path` of the FMU and its `sha256`, which is asked for again wherever the term is rebuilt ·
    `states`, for each state of the FMU the model's, by position, and the factor from the model's unit to the FMU's ·
    `inputs`, for each of its inputs ("state" or "input", position, factor) or a number that it is held at · `parameters` by
    name · `clock`, the FMU's units of time in one of the model's · `less`, A (n, n), or None.
    Opening runs the code that the FMU holds. Its numbers are read row by row: a call of it costs what its rows cost one by one.
    Its derivatives are its directional derivatives, and central differences where it has none; there are no second ones.
    No certificate covers a model with it (`UNCERTIFIED`).
    """

    def __init__(
        self,
        path: str,
        sha256: str,
        states: Sequence[Sequence[float]],
        inputs: Sequence[Any],
        parameters: Mapping[str, float],
        clock: float = 1.0,
        less: Sequence[Sequence[float]] | None = None,
        size: int = 1,
    ) -> None:
        super().__init__()
        require_path(path, "ImportedTerm: path", "imported_term('model.fmu', backbone)")
        self.instance = Instance(Path(path), parameters)
        if self.instance.described.sha256 != sha256:
            raise ValueError(
                f"{path}: is another file than the FMU that the model was made with (its SHA-256 differs); give that one"
            )
        self.path, self.size, self.clock = str(path), int(size), float(clock)
        self.places = [(int(place), float(ratio)) for place, ratio in states]
        self.driven: list[Any] = [v if isinstance(v, int | float) else (v[0], int(v[1]), float(v[2])) for v in inputs]
        self.less: Tensor | None
        self.register_buffer(
            "less", None if less is None else torch.tensor(less, dtype=torch.float64), persistent=False
        )

    @property
    def described(self) -> Described:
        """What the FMU says of itself."""
        return self.instance.described

    def at(
        self,
        theta: Tensor,  # (M|1, N|1, q)
        c: Tensor,  # (M|1, N|1, r)
    ) -> BoundTerm:
        """The same for everyone: the FMU's parameters are held."""
        return BoundTerm(self._rate, self._slope)

    def config(self) -> dict[str, Any]:
        return {
            "path": self.path,
            "sha256": self.described.sha256,
            "states": [[place, ratio] for place, ratio in self.places],
            "inputs": [v if isinstance(v, float | int) else list(v) for v in self.driven],
            "parameters": dict(self.instance.parameters),
            "clock": self.clock,
            "less": None if self.less is None else self.less.tolist(),
            "size": self.size,
        }

    def _own(self, x: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        """The FMU's states and inputs, in its units, out of the model's."""
        states = torch.stack([x[..., place] * ratio for place, ratio in self.places], -1)
        inputs = [
            x.new_full((1,) * (x.ndim - 1), float(v))
            if not isinstance(v, tuple)
            else (x if v[0] == "state" else u)[..., v[1]] * v[2]
            for v in self.driven
        ]
        if not inputs:
            return states, u[..., :0]
        return states, torch.stack(torch.broadcast_tensors(*inputs), -1)

    def _rate(self, x: Tensor, u: Tensor) -> Tensor:
        found: Tensor = Rate.apply(*self._own(x, u), self.instance)
        columns = {place: found[..., k] * (self.clock / ratio) for k, (place, ratio) in enumerate(self.places)}
        lead = found.shape[:-1]
        nothing = found.new_zeros(lead)
        whole = torch.stack([columns.get(i, nothing) for i in range(x.shape[-1])], -1)
        return whole if self.less is None else whole - (self.less.to(x) @ x[..., None])[..., 0]

    def _slope(self, x: Tensor, u: Tensor) -> Tensor:
        own = Slopes.apply(*self._own(x, u), self.instance)  # (..., n', n' + m')
        n, count = x.shape[-1], len(self.places)
        to = [
            *self.places,
            *((v[1], v[2]) if isinstance(v, tuple) and v[0] == "state" else (None, 0.0) for v in self.driven),
        ]
        whole = own.new_zeros(*own.shape[:-2], n, n)
        for j, (at, scale) in enumerate(to):
            for i in range(count):
                if at is not None:
                    place, ratio = self.places[i]
                    unit = torch.zeros(n, n, dtype=own.dtype, device=own.device)
                    unit[place, at] = self.clock * scale / ratio
                    whole = whole + own[..., i, j, None, None] * unit
        return whole if self.less is None else whole - self.less.to(x)


def imported_term(
    path: str | os.PathLike[str],
    backbone: Backbone,
    *,
    states: Mapping[str, str] | None = None,
    inputs: Mapping[str, str | float] | None = None,
    parameters: Mapping[str, float] | None = None,
    whole: bool = False,
) -> ImportedTerm:
    """A Model Exchange FMU as a known term beside a backbone: dx/dt = A(θ) x + B(θ) u + k(x, u) + ε.

    THIS RUNS THE CODE THAT THE FMU HOLDS.
    Arguments: `states`, for each state of the FMU the backbone's, by name (default: of the same names) · `inputs`, what drives
    each input of the FMU: an input or a state of the backbone by name, or a number that it is held at (default: of the same name,
    else what it starts at) · `parameters`, numbers by name, in the FMU's units · `whole`: the FMU is all of dx/dt of its states,
    so that A x is taken off; the backbone is then constant, as `imported_backbone(path)` gives one.
    Units that both sides state are converted, and refused where they do not join; what the FMU does not state is taken as it
    comes (`described(path).unknown` names it).
    Errors: `ValueError` for names that are not there and units that do not join; what `Instance` refuses.
    Law: the rate is the FMU's own, and its slopes are the FMU's directional derivatives.
    """
    require_kind(backbone, Backbone, "imported_term: backbone", "imported_backbone('model.fmu')")
    require_flag(whole, "imported_term: whole")
    require_path(path, "imported_term: path", "imported_term('model.fmu', backbone)")
    about, what = described(path), "imported_term"
    for name, given in (("states", states), ("inputs", inputs), ("parameters", parameters)):
        require_kind(given, (Mapping, type(None)), f"{what}: {name}", "{…}, by the FMU's own names")
        for one in given or {}:
            about.one(one, (name,), f"{what}: {name} names")
    clock = _factor(backbone.time_unit, about.time_unit, f"{what}: time")
    of = dict(zip(backbone.states, backbone.state_units, strict=True))
    places = [_place(v, (states or {}).get(v.name, v.name), of, what) for v in about.states]
    if len({place for place, _ in places}) < len(places):
        raise ValueError(
            f"{what}: two states of the FMU are given the same state of the backbone; name another for one of them"
        )
    driven = [_driver(v, (inputs or {}).get(v.name), backbone) for v in about.inputs]
    for name, value in (parameters or {}).items():
        require_number(value, f"{what}: parameters: {quote(name, 60)}")
    if whole and not isinstance(backbone, LinearBackbone):
        raise ValueError(
            f"{what}: whole=True takes A x off, which needs a constant A; write imported_backbone({str(path)!r})"
        )
    less = backbone.A.tolist() if whole and isinstance(backbone, LinearBackbone) else None
    numbers = {name: float(value) for name, value in (parameters or {}).items()}
    return ImportedTerm(str(path), about.sha256, places, driven, numbers, clock, less, len(backbone.states))


def imported_backbone(
    path: str | os.PathLike[str],
    rate: float = 1.0,
) -> LinearBackbone:
    """A backbone with an FMU's states and inputs and A = −rate · 1, for `imported_term(path, backbone, whole=True)`, which takes
    it off again: dx/dt is then the FMU's, and A only how an exponential step splits it. What has no unit there is in "{unknown}".

    `rate`: per the FMU's unit of time, about as fast as the FMU decays. Nothing of the FMU is executed.
    """
    require_number(rate, "imported_backbone: rate", above=0.0)
    about = described(path)
    if not about.states:
        raise ValueError(f"{about.path}: has no continuous state")
    n, m = len(about.states), len(about.inputs)
    return LinearBackbone(
        (-float(rate) * torch.eye(n, dtype=torch.float64)).tolist(),
        torch.zeros(n, m, dtype=torch.float64) if m else None,
        states=[v.name for v in about.states],
        inputs=[v.name for v in about.inputs],
        state_units=[v.unit or UNKNOWN for v in about.states],
        input_units=[v.unit or UNKNOWN for v in about.inputs],
        time_unit=about.time_unit or UNKNOWN,
    )


def _factor(ours: str, theirs: str | None, what: str) -> float:
    """From a number in our unit to one in theirs; 1 where either says none."""
    return 1.0 if theirs is None or ours == UNKNOWN else float(factor(ours, theirs, what))


def _place(one: Variable, name: str, states: Mapping[str, str], what: str) -> tuple[int, float]:
    if name not in states:
        raise ValueError(
            f"{what}: the FMU's state {quote(one.name)} is to be the backbone's {quote(name)}, and its states are "
            f"{', '.join(states)}; write states={{{one.name!r}: …}}"
        )
    return list(states).index(name), _factor(states[name], one.unit, f"{what}: the state {one.name}")


def _driver(one: Variable, by: object, backbone: Backbone) -> Any:
    there = {"input": dict(zip(backbone.inputs, backbone.input_units, strict=True))}
    there["state"] = dict(zip(backbone.states, backbone.state_units, strict=True))
    name = one.name if by is None else by
    for kind, units in there.items():
        if isinstance(name, str) and name in units and (by is not None or kind == "input"):
            return (
                kind,
                list(units).index(name),
                _factor(units[name], one.unit, f"imported_term: the input {one.name}"),
            )
    if isinstance(by, str):
        raise ValueError(
            f"imported_term: the FMU's input {quote(one.name)} is to be driven by {quote(by)}, which is no input or state of the "
            f"backbone; there are {', '.join((*backbone.inputs, *backbone.states))}"
        )
    if by is not None:
        require_number(by, f"imported_term: inputs: {quote(one.name, 60)}")
        return float(by)  # type: ignore[arg-type]  # just required to be a number
    return one.start or 0.0
