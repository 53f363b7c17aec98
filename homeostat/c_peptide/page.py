"""The words and tables of the C-peptide page: the published figures beside ours, and how far both can be told apart."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from homeostat.c_peptide.agreement import Estimate, Published
from homeostat.c_peptide.figures import KINETICS, LAST, OURS, PROPORTIONAL, Figures
from homeostat.c_peptide.model import STEPS
from homeostat.c_peptide.study import Ensembles
from homeostat.gallery.judged import Judged
from homeostat.gallery.table import Cell, Table
from homeostat.study.evaluation import Evaluation
from hybrid import Prediction
from training.trust import Outcome, UncertaintyReport, mean_scores, paired_difference
from training.trust.verdicts import Verdict

_NAMES = (OURS, PROPORTIONAL, LAST, KINETICS)
_ARTICLE = {
    LAST: "the last value carried forward",
    KINETICS: "the kinetics alone",
    PROPORTIONAL: "a secretion in proportion to the rise of glucose",
}


def published_table(found: Figures, test: int) -> Table:
    """The three published figures beside ours, each with the central 95 % over bootstrap draws of people."""
    published = Published()
    rows: list[list[Cell]] = [
        [
            "squared error of one person, β from all five samples (nmol²/L²)",
            *(str(found.squared_error.get(name, "–")) for name in _NAMES[:1]),
            f"{published.squared_error:.3f}",
            *(str(found.squared_error.get(name, "–")) for name in _NAMES[1:]),
        ],
        [
            f"|Spearman ρ| of β with the clamp's first phase, all {found.order.size} people",
            str(found.rank),
            "{:.2f}–{:.2f}".format(*published.rank),
            *["–"] * 3,
        ],
        ["the same, the test people alone", str(found.rank_test), "–", *["–"] * 3],
        [
            "RMSE at 90 and 120 min, most likely β from 0–60 min, members' mean (nmol/L)",
            str(found.forecast[OURS]),
            f"{published.forecast:.3f}",
            *(str(found.forecast[name]) for name in _NAMES[1:]),
        ],
    ]
    note = (
        f"{test} test people of the published split; in brackets the central 95 % over 2,000 bootstrap draws of people. "
        "Published: de Rooij, O'Donovan & van Riel (2025), refitted from the released weights, the better of its two sets (the "
        "other: .389 and .540); no intervals are published. Secretion ∝ rise of glucose: the same kinetics, production = b·ΔG "
        "with one b per person, no network. Kinetics alone: basal production, so that C-peptide stays what it was."
    )
    title = "Beside the published hybrid"
    columns = ["figure", "ours", "published", "secretion ∝ ΔG", "last value", "kinetics alone"]
    return Table(title, columns, rows, note, full=Table(title, _NUMBERED, _numbers(found)))


_NUMBERED = ("figure", "of", "value", "from", "to")  # 95 % over people; of what is published its range
_RANK = "rank correlation of β with the clamp's first phase"


def _numbers(found: Figures) -> list[list[Cell]]:
    """The same as numbers, one of them a row."""
    published = Published()
    rows: list[list[Cell]] = []

    def put(figure: str, of: Mapping[str, Estimate]) -> None:
        rows.extend([figure, name, one.value, one.low, one.high] for name, one in of.items())

    put("squared error of one person (nmol²/L²)", found.squared_error)
    rows.append(["squared error of one person (nmol²/L²)", "published", published.squared_error, None, None])
    put("RMSE at 90 and 120 min (nmol/L)", found.forecast)
    rows.append(["RMSE at 90 and 120 min (nmol/L)", "published", published.forecast, None, None])
    put(f"{_RANK}, all people", {OURS: found.rank})
    rows.append([f"{_RANK}, all people", "published", None, *published.rank])
    put(f"{_RANK}, test people", {OURS: found.rank_test})
    return rows


def published_verdicts(found: Figures) -> list[Verdict]:
    """Which of the three figures are met, and what the intervals allow to say."""
    published = Published()
    return [
        _beside("The squared error of one person", found.squared_error[OURS], published.squared_error, "nmol²/L²"),
        _beside("The forecast error at 90 and 120 min", found.forecast[OURS], published.forecast, "nmol/L"),
        _rank(found.rank, published.rank),
    ]


def training_verdict(found: Ensembles) -> Verdict:
    """Where the training of the network stopped, whose steps are a number that was chosen, and how its objective still moved."""
    losses = torch.stack([loss[: found.plan.members] for loss in found.losses]).detach().cpu()  # (S, M)
    made = len(losses)
    back = min(made - 1, max(3, made // 10))
    steps = "1 step" if made == 1 else f"{made} steps"
    detail = f"Of the {made} steps the last alone tells nothing." if made == 1 else ""
    if back:
        fall = len(found.cohort.ids) * (losses[-1 - back] - losses[-1])  # (M,)
        middle, falling = float(fall.median()), int((fall > 0.0).sum())
        way = "lower" if middle > 0.0 else "higher"
        detail = (
            f"In the last {back} steps the objective of everyone together still fell in {falling} of {len(fall)} members; their "
            f"median is {abs(middle):.2g} {way} than before."
        )
    if made < STEPS:
        claim = f"Training of the network stopped after {steps}, before the {STEPS} that were chosen"
        return Verdict(claim, False, detail, ("convergence", "network"))
    chosen = f"{STEPS} steps were chosen by cross-validation on the training people, where more forecast no better."
    claim = f"Training of the network stopped after {steps}, and was not waited for until nothing changed"
    return Verdict(claim, None, f"{chosen} {detail}", ("network",))


def rival_verdicts(found: Figures, unseen: dict[str, Estimate]) -> list[Verdict]:
    """What the learned secretion is for: forecasts beside those without it.

    `unseen`: the same differences of the training people, by members that never saw them.
    """
    verdicts = []
    for name in (LAST, KINETICS, PROPORTIONAL):
        one = found.difference[name]
        good = True if one.high < 0.0 else False if one.low > 0.0 else None
        words = {True: "forecasts better than", False: "forecasts worse than", None: "cannot be told apart from"}[good]
        detail = f"RMSE of the test people, hybrid less this: {one} nmol/L; below 0 favours the hybrid."
        if name in unseen:
            detail += (
                f" Of the training people, each by members that never saw them: {unseen[name]} nmol/L (the network and the "
                "weights of β were chosen on these people)."
            )
        verdicts.append(Verdict(f"The hybrid {words} {_ARTICLE[name]}", good, detail, ("comparison", name)))
    return verdicts


def _beside(what: str, ours: Estimate, published: float, unit: str) -> Verdict:
    good = True if ours.high < published else False if ours.low > published else None
    words = "below" if ours.value < published else "above"
    claim = {
        True: f"{what} is below the published one",
        False: f"{what} is above the published one",
        None: f"{what} is {words} the published one, and so few people cannot tell them apart",
    }[good]
    detail = f"Ours {ours} {unit}, published {published:.3f} {unit}; in brackets 95 % over people."
    return Verdict(claim, good, detail, ("published", what))


def _rank(ours: Estimate, published: tuple[float, float]) -> Verdict:
    low, high = published
    inside = low <= ours.value <= high
    good = True if ours.low > high else False if ours.high < low else None
    words = "lies in" if inside else "is above" if ours.value > high else "is below"
    detail = f"Spearman's ρ, without its sign: ours {ours} (95 % over people), published {low:.2f} to {high:.2f}."
    return Verdict(
        f"The rank correlation of β with the clamp {words} the published range", good, detail, ("published", "rank")
    )


def coverage_table(judged: Judged, people: int) -> Table:
    """Shares inside the intervals of the training people, before and after recalibration, each beside its band."""
    reports = _reports(judged)
    rows: list[list[Cell]] = []
    for which, report in reports:
        for row in report.channels[0].coverage_by_horizon:
            band = f"{100 * max(row.share.lower, 0.0):.0f}–{100 * min(row.share.upper, 1.0):.0f} %"
            inside = f"{100 * row.share.observed:.0f} %"
            rows.append([which, row.horizon, f"{100 * row.level:.0f} %", inside, band, row.sharpness])
    note = (
        f"{people} training people, each forecast by members that never saw them; recalibrated: everyone by the others' factors. "
        f"The band holds all gates of the report for 95 of 100 perfect forecasters of as few people; outside it: "
        f"{_outside(reports)}."
    )
    columns = ["forecast", "time (min)", "interval", "inside", "band", "mean width (nmol/L)"]
    return Table("Training people, cross-validated", columns, rows, note)


def _outside(reports: Sequence[tuple[str, UncertaintyReport]]) -> str:
    """How many shares leave their band, before and after."""
    counted = []
    for which, report in reports:
        rows = report.channels[0].coverage_by_horizon
        counted.append(f"{which} {sum(bool(row.share.place) for row in rows) or 'none'} of {len(rows)}")
    return ", ".join(counted)


def recalibration_verdicts(
    stated: Prediction, evaluations: Mapping[str, Evaluation], judged_train: Judged, y: Tensor, ids: Sequence[str]
) -> list[Verdict]:
    """What the factors of the training people are, and what they did to the test people's forecasts; none where there are none.

    `evaluations`: the recalibrated one first, then that `stated`; `y` (N, T, 1), what came true of the people `ids`.
    """
    scaling = judged_train.scaling
    if scaling is None:
        return []
    after, before = (one.scores for one in evaluations.values())
    plain = Outcome(stated.to("cpu"), y, ids)
    first, second = mean_scores(plain), mean_scores(replace(plain, prediction=scaling.apply(plain.prediction, ids)))
    changes = []
    for name, unit in (("nll", ""), ("crps", " nmol/L")):
        one = paired_difference(second[name], first[name], ids, generator=torch.Generator().manual_seed(5))
        changes.append(
            f"{name.upper()} {before[name]:.3f} → {after[name]:.3f}{unit} (change {one.difference:+.3f}, 95 % over people "
            f"{one.lower:+.3f} to {one.upper:+.3f}; below 0 is better)"
        )
    gap = "quantile_calibration_error"
    wide = after["sharpness_80"] > before["sharpness_80"]
    claim = (
        f"Recalibration by the training people makes the test people's 80 % intervals {'wider' if wide else 'narrower'}: they "
        f"hold {100 * after['coverage_80']:.0f} % instead of {100 * before['coverage_80']:.0f} %"
    )
    detail = (
        f"As stated → recalibrated: mean width {before['sharpness_80']:.2f} → {after['sharpness_80']:.2f} nmol/L; "
        f"{'; '.join(changes)}; quantile gap {before[gap]:.3f} → {after[gap]:.3f}. Training people, cross-validated: of the "
        f"shares inside an interval, outside their band are {_outside(_reports(judged_train))}. {' '.join(scaling.sentences())}"
    )
    return [Verdict(claim, None, detail, ("scaling", "test people"))]


def _reports(judged: Judged) -> list[tuple[str, UncertaintyReport]]:
    return [("as it is", judged.before)] + ([("recalibrated", judged.after)] if judged.after is not None else [])
