"""The tables of a study, and what is noted beside them."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from homeostat.gallery.table import Cell, Table
from homeostat.study.asked import Asked
from homeostat.study.evaluation import Evaluation
from homeostat.wording import behind, density_in, with_unit
from hybrid import Prediction
from training import Cohort
from training.people.records import counted_from
from training.trust.calibration import EVENT_BINS, describe_convention

SHOWN = 24  # measurements in a page's table; the files have all of them


def baseline_notes(cohort: Cohort) -> list[str]:
    """What a reader of scores must know of the values that they leave out; nothing where there are none."""
    count = sum(cohort.unscored)
    if not count:
        return []
    words = "value {} is the baseline and is" if count == 1 else "values {} are the baseline and are"
    return [f"{count} {words.format(f'at or before the {counted_from(cohort.records)}')} not scored."]


def score_rows(
    evaluations: Mapping[str, Evaluation],
    title: str = "People never seen in training",
    *,
    unfinished: Mapping[str, str] | None = None,
) -> Table:
    """The comparison table. `unfinished`: by model, why its training counts as not converged, "" where it has."""
    first = next(iter(evaluations.values()))
    unit = " or ".join(dict.fromkeys(first.prediction.units))
    columns = [
        "model",
        "NLL",
        with_unit("CRPS", unit),
        with_unit("RMSE", unit),
        "in 80 %",
        "in 95 %",
        "event ECE",
        "quantile gap",
    ]
    rows: list[Sequence[Cell]] = []
    whole: list[Sequence[Cell]] = []
    bands = ("event_ece", "quantile_calibration_error")
    for name, e in evaluations.items():
        s = e.scores
        plain = [s[k] for k in ("nll", "crps", "rmse", "coverage_80", "coverage_95")]
        whole.append([name, *plain, *(s[f"{b}{part}"] for b in bands for part in ("", "_null_lower", "_null_upper"))])
        rows.append(
            [
                name,
                s["nll"],
                s["crps"],
                s["rmse"],
                f"{100 * s['coverage_80']:.0f} %",
                f"{100 * s['coverage_95']:.0f} %",
                _with_band(s, "event_ece"),
                _with_band(s, "quantile_calibration_error"),
            ]
        )
    note = (
        f"{int(first.scores['count'])} measurements; the event is one above {first.threshold:g}{behind(unit)}. "
        f"NLL{density_in(unit)}, CRPS, RMSE: lower is better. In 80 %, in 95 %: measurements inside these intervals. "
        "ECE, quantile gap: in brackets where 95 % of perfect forecasters with these predictions would be, each by itself. "
        f"ECE is the {describe_convention(bins=EVENT_BINS)}."
    )
    still = [name for name, why in (unfinished or {}).items() if why]
    if still:
        note += f" Training has not converged of: {', '.join(still)}."
    parts = ("", " of a perfect forecaster, from", " of a perfect forecaster, to")
    names = [*columns[:4], "share in 80 %", "share in 95 %", *(f"{b}{p}" for b in ("event ECE", "quantile gap") for p in parts)]
    return Table(title, columns, rows, note=note, full=Table(title, names, whole))


def uncertainty_rows(evaluations: Mapping[str, Evaluation], unit: str) -> Table:
    """Where the predictive variance comes from."""
    rows: list[Sequence[Cell]] = [
        [name, *(e.scores[k] for k in ("aleatoric_sd", "epistemic_sd", "personal_sd", "sharpness_80"))]
        for name, e in evaluations.items()
    ]
    names = ("noise", "model ignorance", "person not known", "80 % width")
    columns = ["model", *(with_unit(name, unit) for name in names)]
    note = (
        "Roots of mean variances, but the width, which is of whole intervals, not cut at 0. Noise (aleatoric) stays; model "
        "ignorance (epistemic, the spread of the members) falls with more people; the person's part falls with more of that "
        "person's data."
    )
    return Table("What the uncertainty is made of", columns, rows, note=note)


def _with_band(scores: Mapping[str, float], name: str) -> str:
    return f"{scores[name]:.3f} ({scores[f'{name}_null_lower']:.2f}–{scores[f'{name}_null_upper']:.2f})"


def values_table(title: str, prediction: Prediction, y: Tensor, asked: Asked, note: str) -> Table:
    """Every measurement beside what was predicted of it: mean, 80 % interval, and what the standard deviation is made of.

    `prediction` at the measured times, `y` (N, T, p), NaN where nothing was measured or scored.
    """
    prediction, y = prediction.to("cpu"), y.detach().cpu()
    low, high = prediction.interval(0.8)
    found = [prediction.point, low, high, prediction.aleatoric.sqrt(), prediction.personal.sqrt(), prediction.epistemic.sqrt()]
    units = dict.fromkeys(prediction.units)
    one = next(iter(units)) if len(units) == 1 else ""
    named = ("measured", "mean", "80 % from", "80 % to", "SD: noise", "SD: person", "SD: model")
    columns = ["person", with_unit("time", asked.time_unit), "channel", *(with_unit(name, one) for name in named)]
    if len(units) > 1:
        columns.append("unit of the channel")
    rows: list[Sequence[Cell]] = []
    ids = prediction.ids or tuple(str(k + 1) for k in range(len(y)))
    for i, t, c in torch.nonzero(torch.isfinite(y)).tolist():
        row: list[Cell] = [ids[i], float(prediction.times[i, t]), prediction.channels[c], float(y[i, t, c])]
        row += [float(value[i, t, c]) for value in found]
        rows.append([*row, prediction.units[c]] if len(units) > 1 else row)
    said = f"Times since the {asked.since}. SD: standard deviations, their squares add up to the variance; intervals are not cut."
    return Table(title, columns, rows, note=f"{said} {note}".rstrip(), most=SHOWN)
