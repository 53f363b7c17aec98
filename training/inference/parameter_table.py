"""The table that a modeller looks at first: every estimate with its error, its interval, and what is to be known of it."""

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from hybrid import HybridModel, Solver
from hybrid.frames import frame_of
from physics.arguments import quote
from physics.glance import Summary, glance
from training.fitted import Fitted
from training.inference.approximations import Approximation
from training.inference.objective_value import ObjectiveValue, objective_value
from training.inference.shrinkage import Shrinkage, shrinkage
from training.inference.standard_errors import StandardErrors, standard_errors
from training.people.cohort import Cohort
from training.people.mode import personalise

if TYPE_CHECKING:
    from hybrid.frames import DataFrame


@dataclass(frozen=True)
class ParameterRow:
    """One estimate under one member.

    `name`; `unit`, a UCUM code; `estimate`; `se`, in the same unit; `rse`, se/estimate as a fraction; `low` and `high`, the ends
    of its interval, taken on `scale` and brought back; `shrinkage` of η where the row is a spread, of ε where it is a channel's
    noise, else None; `member`.
    """

    name: str
    unit: str
    estimate: float
    se: float
    rse: float
    low: float
    high: float
    scale: str
    shrinkage: float | None
    member: int

    __repr__, _repr_html_ = glance()


def _summary(table: Any) -> Summary:
    rows = [
        (row.name, f"{row.estimate:.4g}{_behind(row.unit)}, RSE {row.rse:.1%}, {row.low:.4g} to {row.high:.4g}")
        for row in table.rows[:5]
    ]
    return (
        f"ParameterTable of {len(table.rows)} rows, OFV {float(table.objective.ofv[0]):.3f} by {table.objective.described}",
        [
            *rows,
            ("said", table.sentences()[:1]),
        ],
    )


@dataclass(frozen=True)
class ParameterTable:
    """`rows`, member after member · `level` of the intervals · `errors`, `objective` and `shrinkage`, from which they are."""

    rows: tuple[ParameterRow, ...]
    level: float
    errors: StandardErrors
    objective: ObjectiveValue
    shrinkage: Shrinkage

    __repr__, _repr_html_ = glance(_summary)

    def to_frame(self) -> "DataFrame":
        """One row for each estimate, as a pandas DataFrame: the fields of `ParameterRow`."""
        columns = list(ParameterRow.__dataclass_fields__)
        return frame_of(
            {name: [getattr(row, name) for row in self.rows] for name in columns}, "ParameterTable.to_frame"
        )

    def sentences(self) -> list[str]:
        """What a reader must know beside the numbers; nothing where all is well."""
        return [*self.errors.sentences(), *self.shrinkage.sentences()]

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values; None for what has no number."""
        rows = [{k: _number(v) for k, v in asdict(row).items()} for row in self.rows]
        return {
            "rows": rows,
            "level": self.level,
            "approximation": self.objective.described,
            "ofv": [_number(v) for v in self.objective.ofv.tolist()],
            "condition": [_number(v) for v in self.errors.condition.tolist()],
            "sentences": self.sentences(),
        }


def parameter_table(
    fitted: Fitted,
    cohort: Cohort,
    *,
    level: float = 0.95,
    approximation: Approximation = "focei",
    covariance: Literal["observed", "sandwich"] = "observed",
    nodes: int = 13,
    weights: Tensor | None = None,  # (M, N)
    solver: Solver | None = None,
) -> ParameterTable:
    """Every estimate of a fitted population with standard error, relative standard error, interval and shrinkage.

    Arguments: `fitted`, what `last(fit_population(…))` or `last(polish(…))` gave; `cohort`, the people of the fit; `level` of the
    intervals; `approximation`, that of the fit, and `weights`, how often each member counted each person there; the rest as in
    `standard_errors`. Shrinkage is of everybody once.
    Returns a `ParameterTable`: `.rows`, `.to_frame()` for pandas, `.sentences()`.
    Errors: `ValueError` for what is no `Fitted`, and as `standard_errors`.
    """
    if not isinstance(fitted, Fitted):
        raise ValueError(
            f"parameter_table: fitted is what a fit leaves, and is {quote(fitted)}; write last(fit_population(model, cohort))"
        )
    model, start = fitted.model, fitted.personal
    errors = standard_errors(
        model,
        cohort,
        approximation=approximation,
        covariance=covariance,
        nodes=nodes,
        weights=weights,
        start=start,
        solver=solver,
    )
    ends = errors.interval(level)
    objective = objective_value(
        model, cohort, approximation=approximation, nodes=nodes, weights=weights, start=start, solver=solver
    )
    shrunk = shrinkage(model, cohort, personalise(model, cohort, start=start, solver=solver), solver=solver)
    units, se, rse = units_of(model), errors.se, errors.rse
    rows = []
    for m in range(len(errors.value)):
        for j, name in enumerate(errors.names):
            numbers = (errors.value[m, j], se[m, j], rse[m, j], ends[m, j, 0], ends[m, j, 1])
            estimate, error, relative, low, high = (float(v) for v in numbers)
            rows.append(
                ParameterRow(
                    name,
                    units.get(name, "1"),
                    estimate,
                    error,
                    relative,
                    low,
                    high,
                    errors.scales[j],
                    _shrunk(shrunk, name, m),
                    m,
                )
            )
    return ParameterTable(tuple(rows), float(level), errors, objective, shrunk)


def units_of(model: HybridModel) -> dict[str, str]:
    """The unit of every estimate that has one: typical values and linear spreads in the parameter's, noise in its channel's."""
    units = {p.name: p.unit for p in model.backbone.physical}
    scales = (
        dict(zip(units, model.population.scales, strict=True)) if len(model.population.scales) == len(units) else {}
    )
    linear = [name for name, scale in scales.items() if scale == "linear"]
    units |= {f"{kind}({name})": units[name] for name in linear for kind in ("omega", "iov")}
    for channel, unit in zip(model.observation.channels, model.observation.units, strict=True):
        units |= {f"{kind}({channel})": unit for kind in ("additive", "sd")}
    return units


def _shrunk(found: Shrinkage, name: str, m: int) -> float | None:
    kind, _, inside = name.rstrip(")").partition("(")
    if kind == "omega" and inside in found.effects:
        return float(found.eta[m, found.effects.index(inside)])
    if kind in ("additive", "proportional", "sd", "exponential") and inside in found.channels:
        return float(found.epsilon[m, found.channels.index(inside)])
    return None


def _behind(unit: str) -> str:
    return "" if unit == "1" else f" {unit}"


def _number(value: Any) -> Any:
    return None if isinstance(value, float) and not torch.isfinite(torch.tensor(value)) else value
