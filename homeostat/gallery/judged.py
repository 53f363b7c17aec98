"""A forecast's uncertainty judged: as it is, and after a recalibration by other people; with its pictures and verdicts."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from homeostat.gallery.figures import written
from homeostat.gallery.table import Cell, Table
from homeostat.pictures import Picture, Rings, horizons_axes, ignorance_axes
from homeostat.pictures.in_words import horizons_in_words, ignorance_in_words
from homeostat.pictures.uncertainty import sample_in_words
from homeostat.study.asked import Asked
from homeostat.wording import density_in, with_unit
from hybrid import HybridModel, Prediction, field_spread, rollout
from physics.arguments import counted
from training import Cohort, Personal
from training.trust import (
    ChannelReport,
    Horizons,
    Outcome,
    UncertaintyReport,
    Verdict,
    mean_scores,
    paired_difference,
    uncertainty_report,
)
from training.trust.controls import DROPPED
from training.trust.recalibration import CrossScaling, Scaling


@dataclass(frozen=True)
class Judged:
    """`before`, the report of the forecast itself; `after`, that of the recalibrated one; `scaling`, what new people get.

    `change`: mean NLL and CRPS after minus before, each with a 95 % interval over people; `after` and `change` are absent
    where there are too few people to recalibrate, or where a bundle's own scaling was applied already.
    """

    before: UncertaintyReport
    after: UncertaintyReport | None
    scaling: Scaling | None
    change: dict[str, tuple[float, float, float]]

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values: what rides in the bundle."""
        return {
            "before": self.before.to_dict(),
            "after": None if self.after is None else self.after.to_dict(),
            "scaling": None if self.scaling is None else self.scaling.to_dict(),
            "change": {name: list(value) for name, value in self.change.items()},
        }


def judge_uncertainty(
    prediction: Prediction,
    y: Tensor,  # (N, T, p)
    people: Sequence[str],
    asked: Asked,
    *,
    resample: str | None = None,
    recalibrate: bool = True,
    calibration: Scaling | None = None,
    seed: int = 3,
) -> Judged:
    """Both reports, on the same horizons. Everyone is recalibrated by the others alone (leave one out, at most ten folds).

    `calibration`: the scaling that the prediction went through already.
    """
    generator = torch.Generator().manual_seed(seed)
    stated = Outcome(prediction.to("cpu"), y, people)  # scores are read as arrays
    prediction = stated.prediction
    scored = replace(prediction, mask=prediction.mask & torch.isfinite(stated.y).any(-1))
    horizons = Horizons.of(scored, count=6)
    thresholds = {asked.channel: asked.threshold}

    def report(of: Outcome, by: Scaling | CrossScaling | None) -> UncertaintyReport:
        return uncertainty_report(
            of,
            generator=generator,
            horizons=horizons,
            thresholds=thresholds,
            levels=(0.8, 0.95),
            calibration=by,
            resample=resample,
            time_unit=asked.time_unit,
        )

    before = report(stated, calibration)
    if not recalibrate or len(set(people)) < 4:
        return Judged(before, None, None, {})
    folds = min(10, len(set(people)))
    cross = CrossScaling.fit(stated, folds=folds, generator=generator)
    mended = replace(stated, prediction=cross.apply(prediction, people))
    first, second = mean_scores(stated), mean_scores(mended)
    change = {}
    for name in ("nll", "crps"):
        found = paired_difference(second[name], first[name], people, generator=generator)
        change[name] = (found.difference, found.lower, found.upper)
    return Judged(before, report(mended, cross), Scaling.fit(stated), change)


def rings_of(model: HybridModel, cohort: Cohort, personal: Personal, seed: int = 5) -> Rings | None:
    """The members' spread of the field on shells around the states that the cohort's people went through.

    None for a model that has no residual to disagree about, one whose field needs inputs or covariates beside the state, and
    people whose states never left 0. A state that stays at 0 for everyone (a gut, where all doses go into the plasma) has no
    spread of its own: its scale is the largest of the others, and the shells hardly leave 0 in it.
    """
    if model.members < 2 or model.residual.covariates or model.backbone.inputs:
        return None
    with torch.no_grad():
        run = rollout(model, cohort.conditions, personal.mode)
        states = run.states[0][cohort.mask.any(-1)].cpu()  # (K, n)
        theta = run.theta.flatten(1, -2).mean(1, keepdim=True).cpu()  # (M, 1, q), every member's mean person
    centre, scale = states.mean(0), states.square().mean(0).sqrt()
    if len(states) < 2 or not float(scale.max()) > 0.0:
        return None
    scale = torch.where(scale > 1e-12 * scale.max(), scale, scale.max())
    root = torch.linalg.cholesky(torch.cov(states.T).reshape(len(scale), -1) + 1e-9 * torch.diag(scale.square()))
    reached = torch.linalg.solve_triangular(root, (states - centre).T, upper=False).norm(dim=0)
    edge = float(reached.quantile(0.95))
    direction = torch.randn(256, len(scale), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    direction = direction / direction.norm(dim=1, keepdim=True)
    radius = torch.linspace(0.25, 3.0 * edge, 12, dtype=torch.float64)
    points = centre + radius[:, None, None] * (direction @ root.T)  # (R, 256, n)
    same = theta.mean(0, keepdim=True).expand(*points.shape[:2], -1)  # the field's ε alone: one θ for all members
    spread = field_spread(copy.deepcopy(model).to("cpu"), points, theta=same) / scale.square()
    return Rings(radius.numpy(), spread.mean((1, 2)).sqrt().numpy(), edge)


def pictures_of(folder: Path, judged: Judged, asked: Asked, rings: Rings | None) -> list[Picture]:
    """Coverage, width, split and PIT by horizon, and where the model knows little: of every channel in pictures of its own."""
    found: list[Picture] = []
    steps = [(judged.before, "horizons", "How far ahead can it be trusted?", "")]
    if judged.after is not None:
        after = "Everyone's forecast is recalibrated by the other people alone. "
        steps.append((judged.after, "horizons_recalibrated", "And after recalibration by the other people?", after))
    for report, name, title, begin in steps:
        for channel, stem, whose, alone in _by_channel(report):
            said = sample_in_words(channel, report.gates, report.band_level, asked.since)
            headed = f"{title}{whose}"
            axes = horizons_axes(channel, time_unit=asked.time_unit, title=headed, subtitle=said)
            caption = (
                f"{alone}{begin}Each dot is a share of measurements inside an interval. Grey, in the first panel and the last, "
                f"is one band that holds all {report.gates} gates of the report for {100 * report.band_level:.0f} of 100 "
                "perfect forecasters of as few people; the bars show which part of the variance more people, or more of this "
                "person's data, would remove. Widths are of whole intervals, not cut at 0."
            )
            alt = horizons_in_words(channel, asked.time_unit)
            found.append(written(axes, folder, f"{name}{stem}", title=headed, caption=caption, alt=alt))
    subtitle = (
        "Noise stays whatever is done; the model's part falls with more people, the person's with more of their data. A path "
        "forgets what its members disagree about, as far as the model contracts: the vector field itself does not."
    )
    for place, (channel, stem, whose, alone) in enumerate(_by_channel(judged.before)):
        headed = f"Where does the model know little?{whose}"
        field = rings if place == 0 else None  # of the states, whatever is measured of them
        axes = ignorance_axes(channel, field, time_unit=asked.time_unit, title=headed, subtitle=subtitle)
        caption = f"{alone}Where forecasts owe most of their width to ignorance, more data help; where to noise, they do not."
        alt = ignorance_in_words(channel, field, asked.time_unit)
        found.append(written(axes, folder, f"ignorance{stem}", title=headed, caption=caption, alt=alt))
    return found


def _by_channel(report: UncertaintyReport) -> list[tuple[ChannelReport, str, str, str]]:
    """Each channel of which anything was measured; what its files, its titles and its captions add where there are several."""
    if len(report.channels) == 1:
        return [(report.channels[0], "", "", "")]
    return [
        (one, f"-channel{k + 1}", f" {one.channel}", f"Of {one.channel} alone. ")
        for k, one in enumerate(report.channels)
        if one.count
    ]


def verdicts_of(judged: Judged) -> list[Verdict]:
    """The page in plain language: all gates together, what stands out, then what recalibration does."""
    found = [_gates(judged.before, f"The {which_uncertainty(judged.before)} uncertainty", "as it is")]
    flagged = {flag.channel for flag in judged.before.flags if flag.name == DROPPED}
    for verdict in judged.before.verdicts:
        if verdict.about[0] == "gates" or (verdict.about[0] == "innovations" and verdict.about[1] in flagged):
            continue  # said above; and the flag says it, and what it means
        found.append(replace(verdict, claim=verdict.claim[:1].upper() + verdict.claim[1:]))
    if judged.after is not None:
        found.append(_gates(judged.after, "Recalibrated by the other people, the uncertainty", "recalibrated"))
        for name, (mean, low, high) in judged.change.items():
            words = "worse" if low > 0.0 else "better" if high < 0.0 else "neither better nor worse, as far as these people tell"
            # of several channels in different units there is no unit; NLL has none
            units = {c.unit for c in judged.before.channels}
            unit = f" {units.pop()}" if name == "crps" and len(units) == 1 else ""
            found.append(
                Verdict(
                    f"Recalibration makes the {name.upper()} {words}",
                    False if low > 0.0 else True if high < 0.0 else None,
                    f"Change {mean:+.3f}{unit}, 95 % interval over people {low:+.3f} to {high:+.3f}{unit}; below 0 is better.",
                    ("recalibration", name),
                )
            )
    if judged.scaling is not None:
        sentences = " ".join(judged.scaling.sentences())
        found.append(Verdict("What new people's forecasts are scaled by", None, sentences, ("scaling",)))
    return found


def scores_table(judged: Judged, asked: Asked) -> Table:
    """NLL, CRPS, shares inside the intervals and the rest per horizon, before recalibration."""
    channel = _channel(judged.before, asked)
    shares = {(r.horizon, r.level): r.share for r in channel.coverage_by_horizon}
    levels = sorted({level for _, level in shares})
    rows, whole = list[list[Cell]](), list[list[Cell]]()
    for r in channel.by_horizon:
        plain: list[Cell] = [r.horizon, r.count, r.records, r.nll, r.crps, r.rmse, r.zms]
        found = [shares.get((r.horizon, level)) for level in levels]
        rows.append([*plain, *(None if one is None else f"{100 * one.observed:.0f} %" for one in found)])
        whole.append([*plain, *(None if one is None else one.observed for one in found)])
    note = (
        f"Times in {asked.time_unit} since the {asked.since}. NLL, CRPS, RMSE: lower is better; NLL"
        f"{density_in(channel.unit)}. Mean z²: squared errors over their stated variance, 1 if right. In 80 % and the like: "
        "measurements inside these intervals. A horizon with few people "
        "says little by itself."
    )
    columns = [
        with_unit("horizon", asked.time_unit),
        "measurements",
        "people",
        "NLL",
        with_unit("CRPS", channel.unit),
        with_unit("RMSE", channel.unit),
        "mean z²",
    ]
    inside = [[*columns, *(f"{what}{100 * level:g} %" for level in levels)] for what in ("in ", "share in ")]
    return Table("By horizon", inside[0], rows, note=note, full=Table("By horizon", inside[1], whole))


def conventions_table(judged: Judged) -> Table:
    """How the page's numbers are defined: some have several definitions in use."""
    rows = [list(pair) for pair in judged.before.conventions]
    return Table("Conventions", ["what", "convention"], rows)


def which_uncertainty(report: UncertaintyReport) -> str:
    """The one word that a page has for what was judged: "stated", as the model states it, or "recalibrated" by people."""
    return "recalibrated" if report.fitted_on else "stated"


def passes_in_words(report: UncertaintyReport, gates: str = "gates") -> tuple[str, bool | None]:
    """Whether it passes those gates that can decide, to stand behind what was judged; neither where none can, or where to pass
    is no news (`UncertaintyReport.tells`).

    A report that passes says how many gates are outside their own band all the same, which is narrower than the one over all.
    """
    able = report.gates - report.undecided
    people = counted(report.people, "person", "people")
    if not able:
        return f"cannot be judged: with {people} none of {report.gates} {gates} can decide", None
    these = f"{gates} that {people} can decide" if report.undecided else gates
    if report.failed:
        return f"fails {report.failed} of {able} {these}", False
    if not report.tells:
        first = f"{report.undecided} of {report.gates} {gates} cannot decide, and " if report.undecided else ""
        which = f"the other {able}" if first else f"{able} {gates}"
        return f"cannot be judged with {people}: {first}to fail none of {which} says little", None
    alone, chance = report.outside_alone, round(0.05 * able)
    if not alone:
        return f"passes all {able} {these}", True
    verb = "is" if chance == 1 else "are"
    by_chance = f"of a perfect forecaster about {chance} {verb}" if chance else "of a perfect forecaster hardly one is"
    outside = f"{alone} of them {'is' if alone == 1 else 'are'} outside {'its' if alone == 1 else 'their'} own band"
    return f"passes all {able} {these} together, though {outside} ({by_chance})", True


def _gates(report: UncertaintyReport, what: str, which: str) -> Verdict:
    words, good = passes_in_words(report)
    cure = ": see why" if report.fitted_on else ": recalibrate, or see why"
    claim = f"{what} {words}{cure if good is False else ''}"
    return Verdict(claim, good, str(report.verdicts[0]), ("gates", which))


def _channel(report: UncertaintyReport, asked: Asked) -> ChannelReport:
    return next(c for c in report.channels if c.channel == asked.channel)
