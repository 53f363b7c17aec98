"""A population whose people differ in nothing physical."""

from collections.abc import Iterable, Mapping, Sequence, Sized
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from physics.arguments import quote, require_number, require_shape
from physics.backbone import Backbone
from physics.coordinates import Coordinates
from physics.effects import Scale
from physics.mechanism import Mechanism
from physics.parameter import Parameter
from physics.population import Population, by_parameter, parameters_of


class SharedPopulation(Population):
    """θ is the same vector for everyone: the empty one for a backbone without parameters, numbers, or learned ones.

    Arguments: `parameters`, a backbone's or a sequence, and `values` (q,) by their names, as in
    SharedPopulation(backbone, values={"k0": 0.06, "k1": 0.05, "k2": 0.05}), by default, where some are learned, the typical
    ones; or the values alone, in the order of the backbone's parameters, which a model accepts where each lies in the box of its
    place. `learned`, the names of those that every fit moves, from these values and within the parameters' boxes, or True for all
    of them; the others stay. There is no η.
    Errors: `ValueError` for values in order beside parameters, for other names than theirs, and for a value to be learned that
    lies outside of its box, or has no parameter.
    Law: before anything is learned θ is `values` (but for parameters that are kept in order).
    """

    dimension = 0

    def __init__(
        self,
        parameters: Backbone | Mechanism | Sequence[Parameter] | Sequence[float] | None = None,
        values: Mapping[str, float] | Sequence[float] | None = None,
        learned: Sequence[str] | bool = (),
    ) -> None:
        super().__init__()
        self.physical: tuple[Parameter, ...] | None = None
        for what, given in (("parameters", parameters), ("values", values)):
            listed = isinstance(given, Backbone | Mechanism | Mapping | None)
            listed = listed or (isinstance(given, Sized) and isinstance(given, Iterable))
            if isinstance(given, str | bytes) or not listed:
                raise ValueError(
                    f"SharedPopulation: {what} is {quote(given)}; write SharedPopulation(backbone, values={{…}}), one number for "
                    "each of its parameters by name, or a list of numbers in their order"
                )
        if isinstance(parameters, Backbone | Mechanism) or (
            parameters is not None and len(parameters) and isinstance(next(iter(parameters)), Parameter | Mapping)
        ):
            self.physical = parameters_of(parameters)  # type: ignore[arg-type]  # just found to be parameters
            names = [p.name for p in self.physical]
            if values is None and learned:
                values = {p.name: p.typical for p in self.physical}
            if not isinstance(values, Mapping):
                shown = ", ".join(f'"{n}": …' for n in names)
                raise ValueError(
                    "SharedPopulation: values in order can be taken for another parameter's; write "
                    f"SharedPopulation(backbone, values={{{shown}}})"
                )
            self.gives = tuple((p.name, p.unit) for p in self.physical)
            numbers = by_parameter(values, names, "SharedPopulation: values")
        elif isinstance(values, Mapping):
            raise ValueError("SharedPopulation: values by name need their parameters: SharedPopulation(backbone, values={…})")
        else:
            if parameters is not None and values is not None:
                raise ValueError("SharedPopulation: numbers came twice; write SharedPopulation(backbone, values={…})")
            numbers = []
            column: Any = values if parameters is None else parameters
            for one in () if column is None else column:
                require_number(one, "SharedPopulation: each value")
                numbers.append(float(one))
        self.values: Tensor
        self.register_buffer("values", torch.tensor(numbers, dtype=torch.float64))

        self._learn(learned)

    def _learn(self, learned: Sequence[str] | bool) -> None:
        """`coordinates`, and the trainable `shift` (M, k) of what is learned, on the logarithm where the box is positive."""
        if isinstance(learned, str) or not isinstance(learned, bool | Sequence):
            raise ValueError(f'SharedPopulation: learned is {quote(learned)}; write learned=("ka",), or learned=True for all')
        self.coordinates: Coordinates | None = None
        self.learned: tuple[str, ...] = ()
        if not learned:
            return
        if self.physical is None:
            raise ValueError(
                "SharedPopulation: what is learned needs its box; write SharedPopulation(backbone, values={…}, learned=True)"
            )
        names = [p.name for p in self.physical]
        self.learned = tuple(names) if learned is True else tuple(learned)
        unknown = [n for n in self.learned if n not in names]
        if unknown:
            raise ValueError(f"SharedPopulation: learned names {quote(unknown[0])}, which is not among {names}")
        self.learned = tuple(n for n in names if n in self.learned)
        values = tuple(self.values.tolist())
        for parameter, value in zip(self.physical, values, strict=True):
            if parameter.name in self.learned and not parameter.low < value < parameter.high:
                raise ValueError(
                    f"SharedPopulation: {parameter.name} is learned within its box, {parameter.low:g} to {parameter.high:g} "
                    f"{parameter.unit}, and starts at {value:g}; start it inside, or widen the box"
                )
        held = tuple(None if n in self.learned else v for n, v in zip(names, values, strict=True))
        scales: tuple[Scale, ...] = tuple("log" if p.positive else "linear" for p in self.physical)
        self.coordinates = Coordinates(self.physical, scales, held, values)
        self.orders = self.coordinates.orders
        self.shift = nn.Parameter(torch.zeros(1, len(self.learned), dtype=torch.float64))  # (M, k)

    def theta(self, eta: Tensor, covariates: dict[str, Tensor]) -> Tensor:
        require_shape(eta, "SharedPopulation: eta", ..., 0, write="torch.zeros(M, N, 0), for there is no η")
        if self.coordinates is None:
            return self.values.expand(*eta.shape[:-1], self.values.shape[0])
        theta = self._everyones  # (M, q)
        if eta.ndim != 3 or (1 not in (len(eta), len(theta)) and len(eta) != len(theta)):
            raise ValueError(
                f"SharedPopulation: eta is of shape {tuple(eta.shape)} and the population of {len(theta)} members; write "
                "torch.zeros(M, N, 0)"
            )
        return theta[:, None, :].expand(max(len(theta), len(eta)), eta.shape[1], theta.shape[-1])

    @property
    def _everyones(self) -> Tensor:  # (M, q)
        assert self.physical is not None
        assert self.coordinates is not None  # what is learned has both
        zero = torch.zeros_like(self.shift[:, :1])
        places = {name: k for k, name in enumerate(self.learned)}
        parts = [self.shift[:, places[p.name]][:, None] if p.name in places else zero for p in self.physical]
        theta: Tensor = self.coordinates(self.coordinates.start + torch.cat(parts, -1))
        return theta

    def estimates(self) -> dict[str, tuple[str, Tensor]]:
        """What is learned: by name the scale on which an interval is taken ("log" or "linear") and the value (M,)."""
        if self.coordinates is None or self.physical is None:
            return {}
        theta = self._everyones
        return {
            p.name: ("log" if p.positive else "linear", theta[:, j])
            for j, p in enumerate(self.physical)
            if p.name in self.learned
        }

    def log_prior(self, eta: Tensor) -> Tensor:
        require_shape(eta, "SharedPopulation: eta", ..., 0, write="torch.zeros(M, N, 0), for there is no η")
        return eta.new_zeros(eta.shape[:-1])

    @property
    def box(self) -> Tensor:
        return torch.stack([self.values, self.values], -1) if self.coordinates is None else self.coordinates.box

    def config(self) -> dict[str, Any]:
        if self.physical is None:
            return {"values": self.values.tolist()}
        values = dict(zip([p.name for p in self.physical], self.values.tolist(), strict=True))
        # the names only where there are any: a population without is described as it was before
        learned = {"learned": list(self.learned)} if self.learned else {}
        return {"parameters": [asdict(p) for p in self.physical], "values": values, **learned}
