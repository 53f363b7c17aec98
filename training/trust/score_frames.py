"""Tables of scores: what they hold by name, what a notebook shows of them, and the same as a pandas DataFrame."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, final

from hybrid.frames import frame_of
from physics.glance import Summary, glance

if TYPE_CHECKING:
    from hybrid.frames import DataFrame

_IN_UNIT = ("crps", "rmse", "sharpness", "aleatoric_sd", "epistemic_sd", "personal_sd")


def _summary(table: Any) -> Summary:
    measured = {name: value for name, value in table.items() if name.startswith(_IN_UNIT)}
    return f"ScoreTable of {table.get('count', 0):g} measurements", [
        (table.unit, ", ".join(f"{name} {value:.4g}" for name, value in measured.items())),
        ("numbers", ", ".join(f"{name} {value:.4g}" for name, value in table.items() if name not in measured)),
    ]


@final
class ScoreTable(dict[str, float]):
    """Scores by name, as `score_table` makes them; `unit`: what those are in that have one, a UCUM code.

    −log densities (nll) are of densities per unit: in another unit they differ by a constant.
    """

    def __init__(self, scores: Mapping[str, float] | Iterable[tuple[str, float]] = (), unit: str = "1") -> None:
        super().__init__(scores)
        self.unit = unit

    __repr__, _repr_html_ = glance(_summary)

    def to_frame(self) -> "DataFrame":
        """One row for each score, as a pandas DataFrame: score, value, unit."""
        units = [self.unit if name.startswith(_IN_UNIT) else "1" for name in self]
        return frame_of({"score": list(self), "value": list(self.values()), "unit": units}, "ScoreTable.to_frame")
