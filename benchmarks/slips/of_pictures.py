"""Valid calls of `homeostat.pictures` whose arguments a caller makes by hand, tiny; what is drawn is as many artists."""

from collections.abc import Callable
from typing import Any

import matplotlib.figure

from benchmarks.slips.attempt import Call, of
from benchmarks.slips.world import generator, world
from homeostat import pictures
from training.trust import Outcome, uncertainty_report


def rows() -> dict[str, Call]:
    """One a name; a drawing answers with how many artists lie on its axes."""
    w = world()
    channel = uncertainty_report(Outcome.of(w.prediction, w.cohort), generator=generator(), replicates=40).channels[0]
    by_horizon, split = list(channel.coverage_by_horizon), list(channel.split_by_value)
    bands = pictures.Bands.of(w.prediction)
    panels = list(matplotlib.figure.Figure().subplots(1, 2))
    named = {"axes": None, "time_unit": "h"}
    rows: dict[str, Any] = {
        "Bands.of": lambda: (_curves, {"prediction": w.prediction, "channel": 0, "level": 0.8, "nonnegative": ()}),
        "band_axes": lambda: (drawn(pictures.band_axes), {"bands": bands, "person": 0, "axes": None}),
        "coverage_axes": lambda: (drawn(pictures.coverage_axes), {"rows": by_horizon, **named}),
        "sharpness_axes": lambda: (drawn(pictures.sharpness_axes), {"rows": by_horizon, "unit": "mg/L", **named}),
        "split_axes": lambda: (drawn(pictures.split_axes), {"rows": split, "axes": None, "unit": "mg/L", "words": "Group"}),
        "pit_axes": lambda: (drawn(pictures.pit_axes), {"channel": channel, "axes": None}),
        "figure_of": lambda: (pictures.figure_of, {"panels": panels}),
        "member_mean_field": lambda: (_at_a_place, {"model": w.stack, "personal": w.known.mode[:, [0]],
                                                    "covariates": {"WT": 70.0}, "u": None}),
    }  # fmt: skip
    taken = {
        "figure_of": {"panels": {"*": "any axes of one figure"}},
        "split_axes": {"words": {"*": "any text names an axis"}},
    }
    return of("homeostat.pictures", {name: Call(row, taken.get(name, {}), dear=True) for name, row in rows.items()})


def drawn(function: Callable[..., Any]) -> Callable[..., int]:
    """The function, answering with how many artists are on the axes that it returns: figures cannot be compared."""

    def draw(*given: Any, **named: Any) -> int:
        return len(function(*given, **named).get_children())

    return draw


def _curves(prediction: Any, channel: Any, level: Any, nonnegative: Any) -> Any:
    found = pictures.Bands.of(prediction, channel=channel, level=level, nonnegative=nonnegative)
    return found.times, found.median, found.total, found.ignorance


def _at_a_place(model: Any, personal: Any, covariates: Any, u: Any) -> Any:
    return pictures.member_mean_field(model, personal, covariates, u=u)([[100.0, 50.0]])
