"""The table of a fit's estimates as plain values: what a page shows, a bundle carries, and JSON holds."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from hybrid import HybridModel, SimulationError, Solver
from physics.arguments import counted
from physics.glance import glance
from training import Cohort, Fitted
from training.inference import Approximation, ParameterRow, ParameterTable, parameter_table
from training.inference.estimates import trained

MOST = 30_000  # models of a person that the curvature is asked of: a minute or two on one processor
MOST_ASKED = 300_000  # … where a fit by this very likelihood was asked for, which takes as long
_ARRIVED = 0.1  # of −2 log L: beyond it no interval lies around the optimum
_NEAR = 1.0  # … and beyond it the optimum is more than a standard error away
_NUMBER = re.compile(r"[+\-−]?\d[\d.,]*(?:e[+\-]?\d+)?")


@dataclass(frozen=True)
class Estimate:
    """One number of one `member`: as `ParameterRow`, and None for a standard error or an interval that there is not."""

    name: str
    unit: str
    estimate: float
    se: float | None
    rse: float | None
    low: float | None
    high: float | None
    scale: str
    shrinkage: float | None
    member: int


@dataclass(frozen=True)
class Estimated:
    """Every estimate of a fit, and what its likelihood is worth.

    `rows`, member after member · `level` of the intervals · `approximation` of the likelihood, in words · of each member `ofv`,
    −2 log L without n log 2π, `away`, by how much −2 log L would still fall, and `condition`, the condition number, None where
    there is none · `criteria`, AIC and BIC by name, with n log 2π, of one member whose every number has a name · the `people` and
    `measurements` that they are of, and how many more were known `between` limits · `sentences`, what a reader must know.
    """

    rows: tuple[Estimate, ...]
    level: float
    approximation: str
    ofv: tuple[float | None, ...]
    away: tuple[float | None, ...]
    condition: tuple[float | None, ...]
    criteria: Mapping[str, float]
    people: int
    measurements: int
    between: int
    sentences: tuple[str, ...]

    __repr__, _repr_html_ = glance()

    @property
    def members(self) -> int:
        """How many."""
        return len(self.ofv)

    @property
    def without_interval(self) -> bool:
        """Is there an estimate of which no interval is given?"""
        return any(row.low is None for row in self.rows)

    @staticmethod
    def of(table: ParameterTable) -> "Estimated":
        """The same numbers, without errors that are not finite and intervals that do not lie around an optimum."""
        objective, away = table.objective, table.errors.away.tolist()
        criteria = {
            "AIC": objective.aic,
            "BIC, n the people": objective.bic("people"),
            f"BIC, n the measurements{' and limits' if objective.between else ''}": objective.bic("measurements"),
        }
        # with a network beside them no criterion here counts what was fitted
        whole = len(away) == 1 and not objective.held
        return Estimated(
            tuple(_told(row, away[row.member]) for row in table.rows),
            table.level,
            objective.described,
            tuple(map(_finite, objective.ofv.tolist())),
            tuple(map(_finite, away)),
            tuple(map(_finite, table.errors.condition.tolist())),
            {name: float(value[0]) for name, value in criteria.items()} if whole else {},
            objective.people,
            objective.measurements,
            objective.between,
            # a page has no code between backticks
            tuple(f"{s.rstrip('.').replace('`', '')}." for s in together(table.sentences(), len(away))),
        )

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @staticmethod
    def read(given: object) -> "Estimated | None":
        """What `to_dict` gave, of a bundle that anybody may have written; None where it is not that."""
        try:
            values = dict(given)  # type: ignore[call-overload]
            found = Estimated(
                tuple(map(_row_of, values["rows"])),
                float(values["level"]),
                str(values["approximation"]),
                tuple(map(_read, values["ofv"])),
                tuple(map(_read, values["away"])),
                tuple(map(_read, values["condition"])),
                {str(k): float(v) for k, v in dict(values["criteria"]).items()},
                int(values["people"]),
                int(values["measurements"]),
                int(values["between"]),
                tuple(map(str, values["sentences"])),
            )
        except (TypeError, ValueError, KeyError, AttributeError, OverflowError):
            return None
        each = [len(found.away), len(found.condition)] == [found.members] * 2
        good = all(0 <= row.member < found.members for row in found.rows) and 0.0 < found.level < 1.0
        return found if each and found.rows and good else None


def estimated(
    model: HybridModel,
    cohort: Cohort,
    mode: Tensor,  # (M, N, d)
    *,
    approximation: Approximation = "focei",
    weights: Tensor | None = None,  # (M, N)
    solver: Solver | None = None,
    most: int = MOST,
) -> tuple[Estimated | None, str]:
    """The table of `training.inference.parameter_table`, or None and why there is none, in a sentence.

    Arguments: the model and people of the fit, everyone's `mode` under it, and `weights`, how often each member counted each
    person; `most`, how many models of a person the curvature may be asked of: beyond that it is left out.
    """
    try:
        trial, names, _ = trained(model, "parameter_table")
        numbers = sum(trial.get_parameter(name)[0].numel() for name in names)
        models = model.members * cohort.conditions.size * (2 * numbers + 1)
        if models > most:
            return None, (
                f"No standard errors were computed: for {counted(model.members, 'member', 'members')}, "
                f"{counted(cohort.conditions.size, 'person', 'people')} and "
                f"{counted(numbers, 'estimated number', 'estimated numbers')} that takes {models:,} models of a person, "
                f"more than the {most:,} that are computed unasked; "
                "write parameter_table(Fitted(model, personal.mode), cohort), from training.inference."
            )
        fitted = Fitted(model, mode)
        table = parameter_table(fitted, cohort, approximation=approximation, weights=weights, solver=solver)
    except (ValueError, SimulationError) as error:
        return None, f"No standard errors were computed: {error}"
    return Estimated.of(table), ""


def together(sentences: Sequence[str], members: int) -> list[str]:
    """Sentences of several members that differ in their numbers alone, as one: the first, and of how many members it holds."""
    if members == 1:
        return list(sentences)
    kinds: dict[str, list[str]] = {}
    for sentence in sentences:
        said, told, _ = sentence.rpartition(" (member ")
        kinds.setdefault(_NUMBER.sub("#", said) if told else sentence, []).append(sentence)
    found = []
    for same in kinds.values():
        said, told, _ = same[0].rpartition(" (member ")
        if not told:
            found.append(same[0])
            continue
        ends = f"In {len(same)} of {members} members" if len(same) > 1 else "In one member"
        found.append(f"{ends}{', of the first' if len(same) > 1 else ''}: {said.rstrip('.')}.")
    return found


def _told(row: ParameterRow, away: float) -> Estimate:
    near = row.se > 0.0 and math.isfinite(row.se) and away <= _NEAR  # a NaN is not
    there = near and away <= _ARRIVED
    return Estimate(
        row.name,
        row.unit,
        row.estimate,
        row.se if near else None,
        _finite(row.rse) if near else None,
        row.low if there else None,
        row.high if there else None,
        row.scale,
        None if row.shrinkage is None else _finite(row.shrinkage),
        row.member,
    )


def _row_of(one: Mapping[str, Any]) -> Estimate:
    return Estimate(
        str(one["name"]),
        str(one["unit"]),
        float(one["estimate"]),
        _read(one["se"]),
        _read(one["rse"]),
        _read(one["low"]),
        _read(one["high"]),
        str(one["scale"]),
        _read(one["shrinkage"]),
        int(one["member"]),
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _read(value: object) -> float | None:
    return None if value is None else float(value)  # type: ignore[arg-type]
