"""A population whose people differ in nothing physical."""

from collections.abc import Iterable, Mapping, Sequence, Sized
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from physics.arguments import quote, require_number, require_shape
from physics.backbone import Backbone
from physics.mechanism import Mechanism
from physics.parameter import Parameter
from physics.population import Population, by_parameter, parameters_of


class SharedPopulation(Population):
    """θ is the same vector for everyone: the empty one for a backbone without parameters, or fixed numbers.

    Arguments: `parameters`, a backbone's or a sequence, and `values` (q,) by their names, as in
    SharedPopulation(backbone, values={"k0": 0.06, "k1": 0.05, "k2": 0.05}); or the values alone, in the order of the
    backbone's parameters, which a model accepts where each lies in the box of its place. There is no η.
    Errors: `ValueError` for values in order beside parameters, or for other names than theirs.
    """

    dimension = 0

    def __init__(
        self,
        parameters: Backbone | Mechanism | Sequence[Parameter] | Sequence[float] | None = None,
        values: Mapping[str, float] | Sequence[float] | None = None,
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

    def theta(self, eta: Tensor, covariates: dict[str, Tensor]) -> Tensor:
        require_shape(eta, "SharedPopulation: eta", ..., 0, write="torch.zeros(M, N, 0), for there is no η")
        return self.values.expand(*eta.shape[:-1], self.values.shape[0])

    def log_prior(self, eta: Tensor) -> Tensor:
        require_shape(eta, "SharedPopulation: eta", ..., 0, write="torch.zeros(M, N, 0), for there is no η")
        return eta.new_zeros(eta.shape[:-1])

    @property
    def box(self) -> Tensor:
        return torch.stack([self.values, self.values], -1)

    def config(self) -> dict[str, Any]:
        if self.physical is None:
            return {"values": self.values.tolist()}
        values = dict(zip([p.name for p in self.physical], self.values.tolist(), strict=True))
        return {"parameters": [asdict(p) for p in self.physical], "values": values}
