"""Every picture, table and verdict of a study, made from its numbers: the demo, `fit` and `report` all show these."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from exchange import Bundle, Outside
from homeostat.pictures import (
    Phase,
    Reliability,
    draw_hero,
    draw_people,
    draw_phase,
    draw_reliability_of,
    draw_what_if,
    member_mean_field,
    nearby,
)
from homeostat.reach import CRITERION, Beyond, Reach
from homeostat.report import Cell, Table
from homeostat.study import Evaluation, Trained, predict_person
from hybrid import Prediction, Schedule
from hybrid.dose import as_float
from physics.arguments import shortened
from stability import Box, Certificate, Refusal, decay_in_words
from stability.certificate import no_metric_exceeds
from stability.decay import rounded
from stability.region import claimed
from training import AtEnd, Cohort, Convergence, Record, Start
from training.people.records import counted_from, never_negative
from training.trust.calibration import EVENT_BINS, describe_convention
from training.trust.verdicts import Verdict

Picture = tuple[Path, str]
# `hybrid_recipe` reads these off all records: that nobody unseen has a say would be untrue
WHAT_EVERYONE_SAID = "Where the fit starts and in which scales it works was read off everyone's data."
_SHOWN = 6  # sentences about what a certificate does not cover, on a page; `homeostat check` has all of them


@dataclass(frozen=True)
class Asked:
    """What was asked of a model: the event's `channel`, `unit` and `threshold`, and the time that forecasts start from.

    Times are in `time_unit`, counted from everybody's own `since`. `note`: what a reader must know of how they were chosen.
    """

    channel: str
    unit: str
    threshold: float
    forecast_from: float | None
    time_unit: str
    since: str = "first dose"
    note: str = ""

    @property
    def event(self) -> str:
        """The event in words."""
        return f"{self.channel} above {self.threshold:g}{_unit(self.unit)}"


def with_unit(name: str, unit: str) -> str:
    """A column's name with its unit; a dimensionless one (UCUM "1") has none to show."""
    return name if unit in ("", "1") else f"{name} ({unit})"


def made_from(provenance: Mapping[str, Any], time_unit: str) -> dict[str, str]:
    """Where a model came from, as a page shows it: a time has its unit."""
    found = {str(k): str(v) for k, v in provenance.items()}
    if provenance.get("settings.forecast_from") is not None and time_unit not in ("", "1"):
        found["settings.forecast_from"] += f" {time_unit}"
    return found


def density_in(unit: str) -> str:
    """What is said of an NLL, whose value depends on the unit of what is measured."""
    return "" if unit in ("", "1") else f" (of a density per {unit})"


def cut_note(channels: Sequence[str]) -> str:
    """What is said where intervals are cut; "" where none are."""
    if not channels:
        return ""
    names = " and ".join(channels)
    return f"Intervals of {names} are cut at 0, below which it is declared never to be; scores are of the whole distribution."


def baseline_notes(cohort: Cohort) -> list[str]:
    """What a reader of scores must know of the values that they leave out; nothing where there are none."""
    count = sum(cohort.unscored)
    if not count:
        return []
    words = "value {} is the baseline and is" if count == 1 else "values {} are the baseline and are"
    return [f"{count} {words.format(f'at or before the {counted_from(cohort.records)}')} not scored."]


def people_picture(
    folder: Path,
    dense: Prediction,
    records: Sequence[Record],
    asked: Asked,
    title: str,
    subtitle: str,
    beyond: Sequence[str] = (),
) -> Picture:
    """Each person's data under the prediction's two uncertainties; `beyond`, who goes beyond what was trained."""
    path = draw_people(
        dense,
        records,
        folder / "people.png",
        forecast_from=asked.forecast_from,
        title=title,
        subtitle=subtitle,
        time_unit=asked.time_unit,
        beyond=beyond,
    )
    caption = (
        "Each panel is one person. The amber band is what more data would narrow: the members disagree, and the person is not "
        "yet known well. The pale band adds measurement noise, which no data will take away."
    )
    return path, f"{caption} {cut_note(never_negative(records))}".rstrip()


def reliability_numbers(evaluation: Evaluation, asked: Asked) -> Reliability:
    """The numbers of the calibration picture, with bands from whole predictive paths."""
    return Reliability.of(
        evaluation.probability,
        evaluation.outcome,
        evaluation.pit,
        event=f"above {asked.threshold:g}{_unit(asked.unit)}",
        bins=EVENT_BINS,
        joint_outcome=evaluation.joint_outcome,
        joint_pit=evaluation.joint_pit,
    )


def reliability_picture(folder: Path, numbers: Reliability) -> Picture:
    """Event reliability and quantile calibration."""
    path = draw_reliability_of(numbers, folder / "reliability.png")
    return path, (
        "When the model said 70 %, did it happen 70 % of the time? Grey shows, for each point by itself, where a perfectly "
        "calibrated forecaster would land 95 times of 100 with this few observations: of so many points some are outside by "
        "chance, and each panel says how many. Not more than that is no evidence against the model, and little for it."
    )


def phase_of(bundle: Bundle, person: int, hours: float) -> Phase:
    """The certificate seen: pairs of trajectories of one person under the average of the members' vector fields."""
    backbone = bundle.model.backbone
    who = bundle.people[person]
    field = member_mean_field(bundle.model, bundle.personal.mode[:, [person]], who.covariates)
    amount = max((as_float(d.amount) for d in who.schedule.doses), default=1.0)
    certificate = bundle.certificate if isinstance(bundle.certificate, Certificate) else None
    metric = np.eye(2) if certificate is None else np.asarray(certificate.metric)
    starts = [
        nearby((amount, 0.0), metric, 0.2 * amount * float(np.sqrt(np.linalg.eigvalsh(metric)[0]))),
        np.array([[0.2 * amount, 0.75 * amount], [0.35 * amount, 0.75 * amount]]),
    ]
    if certificate is not None and not speaks_of(certificate, np.stack(starts)):
        certificate = None
    return Phase.of(
        field,
        np.stack(starts),
        np.linspace(0.0, hours, 241),
        metric=None if certificate is None else metric,
        rate=None if certificate is None else certificate.rate,
        states=backbone.states,
        units=backbone.state_units,
        time_unit=backbone.time_unit,
        lowest=(0.0, 0.0),
    )


def phase_picture(folder: Path, phase: Phase, person: str) -> Picture:
    """The vector field and the certified metric's ellipse; without a certificate that speaks of these starts, no promise."""
    field = "Vector field of the members' average, and two pairs of trajectories"
    if phase.rate is None:
        title = f"Person {shortened(person)}: two pairs of starts"
        path = draw_phase(phase, folder / "phase.png", title=title, subtitle=f"{field}. No certificate speaks of them.")
        return path, "Trajectories of one person under the members' average field, without a proof of how they go on."
    kept = "stays there" if phase.kept else "DOES NOT stay there, which a proof rules out"
    path = draw_phase(
        phase,
        folder / "phase.png",
        title=f"Person {shortened(person)}: two starts, and what is proved of them",
        subtitle=f"{field}, without inputs and further doses. The certificate's ellipse must hold the second trajectory of the "
        f"first pair at every time: as computed it {kept}.",
    )
    return path, (
        "The proof beside what is computed: the distance between two trajectories, measured in the certified metric, under the "
        "promised exponential. The proof is not read off the picture: it holds for every pair that it speaks of."
    )


def speaks_of(
    certificate: Certificate,
    starts: np.ndarray,  # (..., n)
) -> bool:
    """Does the certificate say anything of trajectories from these states: are they in the set that is kept?"""
    if isinstance(certificate.region, str):
        return True
    stays = certificate.region["stays"]
    if stays["set"] == "box":
        box, _ = claimed(certificate.region)
        return isinstance(box, Box) and bool(((starts >= box.lower) & (starts <= box.upper)).all())
    away = np.asarray(starts, dtype=np.float64) - np.asarray(stays["centre"])
    metric = np.asarray(certificate.metric)
    return bool((np.sqrt(np.einsum("...i,ij,...j->...", away, metric, away)) <= stays["start"]).all())


def what_if_picture(
    folder: Path, bundle: Bundle, person: int, schedules: Mapping[str, Schedule], asked: Asked, end: float
) -> tuple[Picture, dict[str, Prediction]]:
    """One fitted person under several schedules, with the same draws of their parameters."""
    times = np.linspace(bundle.people[person].schedule.start, end, 145).tolist()
    found = dict(zip(schedules, predict_person(bundle, person, list(schedules.values()), times), strict=True))
    beyond = beyond_training(bundle, person, schedules, end)
    path = draw_what_if(
        found,
        folder / "what_if.png",
        threshold=asked.threshold,
        title=f"What if person {shortened(bundle.people[person].id)} were dosed otherwise?",
        schedules=schedules,
        time_unit=asked.time_unit,
        since=asked.since,
        nonnegative=bundle.nonnegative,
        beyond={name: one.spans for name, one in beyond.items() if one},
    )
    caption = [
        "A person whom these members were trained on, the same draws of their parameters and the same members: only the named "
        "doses change.",
        *(f"{name[:1].upper()}{name[1:]}: {one.sentence()}" for name, one in beyond.items() if one),
        CRITERION if any(beyond.values()) else "",
        cut_note(bundle.nonnegative),
    ]
    return (path, " ".join(filter(None, caption))), found


def beyond_training(bundle: Bundle, person: int, schedules: Mapping[str, Schedule], end: float) -> dict[str, Beyond]:
    """Where one of the bundle's people would leave what it was trained on, under each of these schedules."""
    who, count = bundle.people[person], len(schedules)
    found = Reach.of(bundle, end).beyond(
        bundle,
        list(schedules.values()),
        [end] * count,
        bundle.personal.mode[:, [person]].expand(-1, count, -1),
        covariates={name: [value] * count for name, value in who.covariates.items()},
        baseline=torch.tensor([who.baseline] * count, dtype=torch.float64),
    )
    return dict(zip(schedules, found, strict=True))


def hero_picture(
    folder: Path, dense: Prediction, records: Sequence[Record], numbers: Reliability, phase: Phase, asked: Asked
) -> Path:
    """The wide picture at the top of the README and the report."""
    return draw_hero(
        dense,
        records,
        numbers,
        phase,
        folder / "hero.png",
        forecast_from=asked.forecast_from,
        people=(0, min(4, len(records) - 1)),
        title="Forecast with both uncertainties · checked on people never seen"
        + (" · proved to contract" if phase.rate is not None else ""),
    )


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
        f"{int(first.scores['count'])} measurements; the event is one above {first.threshold:g}{_unit(unit)}. "
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


def certificate_verdict(
    certificate: Certificate | Refusal,
    best: float | None,
    time_unit: str,
    states: Sequence[tuple[str, str]] = (),  # names and units
) -> Verdict:
    """The certificate, which is taken to be proved, or its refusal, in plain language."""
    if isinstance(certificate, Refusal):
        detail = f"Refused ({certificate.reason}): {certificate.message}"
        return Verdict("Contraction is not certified", False, detail, ("certificate",))
    per = "unit of time" if time_unit in ("", "1") else time_unit
    parts = [
        f"One metric P, of condition number {rounded(certificate.condition, 3, 'up')}, serves every member and every fitted "
        "person, with the parameters that were found for them; the distance is √(δxᵀPδx), and it falls like "
        f"e^(−λt) or faster, λ = {rounded(certificate.rate, 4, 'down')} per {per}."
    ]
    if best is not None and best > certificate.rate:
        given, most = 100 * (1.0 - certificate.rate / best), rounded(best, 4, "down")
        parts.append(f"The best rate certified is {most} per {per}; {given:.0f} % of it were given for a rounder metric.")
    parts.extend(caps_in_words(certificate, per))
    if certificate.identity_refused is not None:
        accepted = "The Euclidean distance, P = I, would serve too, as far as the search says."
        grows = "In the Euclidean distance, P = I, it does not contract: at a state that was sampled that distance grows."
        parts.append(grows if certificate.identity_refused else accepted)
    parts.append("Not covered: " + "; ".join(certificate.not_covered) + ".")
    if not isinstance(certificate.region, str):
        where = where_in_words(certificate, states, time_unit)
        parts.insert(0, f"It holds for {where}; the exact sentence is in the certificate.")
    return Verdict(f"Proved: {certificate_claim(certificate, time_unit)}", True, " ".join(parts), ("certificate",))


def certificate_claim(certificate: Certificate, time_unit: str) -> str:
    """What the certificate says, in one sentence."""
    whose, under = "any two trajectories of one person and member", "under the same inputs and doses"
    if not isinstance(certificate.region, str):
        whose += " from the stated region"
        under = "under the same inputs" + (" and doses as stated" if certificate.region["stays"]["doses"] else ", without doses")
    return f"{under}, the distance in P between {whose} {decay_in_words(certificate.rate, time_unit)}"


def caps_in_words(certificate: Certificate, unit: str) -> list[str]:
    """What limits the rate, one sentence each: this inequality, and any constant metric whatever."""
    found = []
    if certificate.inequality_cap is not None:
        cap = certificate.inequality_cap
        most = f"{rounded(cap, 4, 'up')} per {unit}"
        found.append(f"In metrics as round as those searched this inequality can reach at most {most}; others may go beyond.")
    known = [cap for cap in (certificate.metric_cap, certificate.spectral_cap) if cap is not None]
    if known:
        where = "of real states" if isinstance(certificate.region, str) else "of states in the region"
        found.append(no_metric_exceeds(min(known), certificate.sampled, unit, where))
    return found


def where_in_words(certificate: Certificate, states: Sequence[tuple[str, str]] = (), time_unit: str = "") -> str:
    """The certified states, briefly; the claim has every digit. `states`: names and units, where they are to be said."""
    if isinstance(certificate.region, str):
        return "all states"
    region, inputs = claimed(certificate.region)
    if isinstance(region, Box):
        lists = region.lower.tolist(), region.upper.tolist()
        ends = [f"{rounded(a, 4, 'up')} to {rounded(b, 4, 'down')}" for a, b in zip(*lists, strict=True)]
        if states:
            ends = [f"{name} {end}{_unit(unit)}" for (name, unit), end in zip(states, ends, strict=True)]
        words = f"states in the box {', '.join(ends)}"
    else:
        words = f"states within {rounded(region.radius, 4, 'down')} of {np.round(region.centre, 4).tolist()} in P"
    stays = certificate.region["stays"]
    if stays["set"] != "box":
        words += f" that start within {rounded(stays['start'], 4, 'down')} of {np.round(stays['centre'], 4).tolist()} in P"
    if inputs is not None and inputs.doses is not None and stays["doses"]:
        largest, gap = rounded(float(inputs.doses.max()), 4, "down"), rounded(float(inputs.gap or 0.0), 4, "up")
        units = {unit for _, unit in states}
        largest += _unit(units.pop()) if len(units) == 1 else ""
        words += f", and are kept there under doses of up to {largest}, at least {gap}{_unit(time_unit)} apart"
    else:
        words += ", without doses"
    return words


def _unit(unit: str) -> str:
    return "" if unit in ("", "1") else f" {unit}"


def interrupted_verdicts(cut_short: str, left_out: Sequence[str] = ()) -> list[Verdict]:
    """That training was cut short, as `progress.cut_short` says it; none where it was not.

    `left_out`: the models that nobody waited for then.
    """
    if not cut_short:
        return []
    detail = (
        "What was kept is each member at its best look until then (before the first look: after its last step), in the "
        "cross-validation too: the scores, the certificate and the pictures are of that."
    )
    if left_out:
        detail += f" Not waited for, and so left out: {', '.join(left_out)}."
    return [Verdict(f"Training was cut short ({cut_short})", False, detail, ("interrupted",))]


def outside_verdicts(outside: Sequence[Outside], people: int) -> list[Verdict]:
    """What the certificate does not cover of so many people whom it is shown beside; none where it covers all of it."""
    if not outside:
        return []
    detail = " ".join(f"{one}." for one in outside[:_SHOWN])
    if len(outside) > _SHOWN:
        detail += f" And {len(outside) - _SHOWN} more."
    return [Verdict(f"The certificate does not cover {whom(outside, people)}", False, detail, ("certificate", "outside"))]


def whom(outside: Sequence[Outside], people: int) -> str:
    """"2 of 12 people", or all of them where something is outside that is everyone's."""
    if any(one.person is None for one in outside):
        return "these people at all"
    return f"{len({one.person for one in outside})} of {people} people"


def fit_verdicts(start: Start | None, convergence: Convergence, ends: Sequence[AtEnd]) -> list[Verdict]:
    """Where a fit started, whether it has arrived, and what it left at an end of its range."""
    found: list[Verdict] = []
    if start is not None and start.values:
        found.append(Verdict("Where the fit started", None, start.sentence, ("start",)))
    said = " ".join(convergence.sentences())
    if convergence.converged:
        claim = "The fit has converged" if len(convergence.names) else "The search for everyone's own parameters has converged"
        arrived = said or "Nothing in it would move by more than its own uncertainty."
        found.append(Verdict(claim, True, arrived, ("convergence",)))
    else:
        found.append(Verdict("The fit has not converged", False, said, ("convergence",)))
    return found + ends_verdicts(ends)


def fit_summary(trained: Trained) -> dict[str, Any]:
    """Where the fit started, whether it has arrived, and what it left at an end of its range, as plain JSON values."""
    start = trained.recipe.start
    return {
        "start": None if start is None else start.to_dict(),
        "convergence": trained.convergence.to_dict(),
        "ends": [e.to_dict() for e in trained.ends],
    }


def ends_verdicts(ends: Sequence[AtEnd]) -> list[Verdict]:
    """One verdict for all that lies at an end of its range, none where nothing does."""
    if not ends:
        return []
    return [Verdict("Parameters lie at an end of their range", False, " ".join(e.sentence() for e in ends), ("ends",))]


def comparison_verdict(name: str, difference: tuple[float, float, float], unit: str) -> Verdict:
    """The hybrid against one baseline, by CRPS paired over people."""
    mean, low, high = difference
    good = True if high < 0 else False if low > 0 else None
    claim = {
        True: f"On people never seen the hybrid forecasts better than the {name}",
        False: f"On people never seen the hybrid forecasts worse than the {name}",
        None: f"On people never seen the hybrid and the {name} cannot be told apart",
    }[good]
    interval = f"95 % interval over people {low:+.3f} to {high:+.3f}{_unit(unit)}"
    detail = f"CRPS difference {mean:+.3f}{_unit(unit)}, {interval}; negative favours the hybrid."
    return Verdict(claim, good, detail, ("comparison", name))


def largest_difference(a: Sequence[Prediction], b: Sequence[Prediction]) -> float:
    """How far two sets of predictions are apart, in the channel's unit: 0 exactly when they agree to the last bit."""
    gaps = [(x.mean - y.mean).abs().max() for x, y in zip(a, b, strict=True)]
    gaps += [(x.variance - y.variance).abs().max() for x, y in zip(a, b, strict=True)]
    return float(torch.stack(gaps).max())
