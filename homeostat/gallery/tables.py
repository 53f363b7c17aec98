"""The tables of a study, and what is noted beside them."""

from collections.abc import Mapping, Sequence

from homeostat.gallery.report import Cell, Table
from homeostat.study.evaluation import Evaluation
from homeostat.wording import behind, density_in, with_unit
from training import Cohort
from training.people.records import counted_from
from training.trust.calibration import EVENT_BINS, describe_convention


def baseline_notes(cohort: Cohort) -> list[str]:
    """What a reader of scores must know of the values that they leave out; nothing where there are none."""
    count = sum(cohort.unscored)
    if not count:
        return []
    words = "value {} is the baseline and is" if count == 1 else "values {} are the baseline and are"
    return [f"{count} {words.format(f'at or before the {counted_from(cohort.records)}')} not scored."]


def score_rows(evaluations: Mapping[str, Evaluation], title: str = "People never seen in training") -> Table:
    """The comparison table."""
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
    for name, e in evaluations.items():
        s = e.scores
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
        "ECE, quantile gap: in brackets where 95 % of perfect forecasters with these predictions would be. "
        f"ECE is the {describe_convention(bins=EVENT_BINS)}."
    )
    return Table(title, columns, rows, note=note)


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
