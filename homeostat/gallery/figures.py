"""Every picture of a study, made from its numbers, with its caption."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from exchange import Bundle
from homeostat.bundles.reach import CRITERION, Beyond, Reach
from homeostat.gallery.claims import speaks_of
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
from homeostat.study.asked import Asked
from homeostat.study.evaluation import Evaluation
from homeostat.wording import behind, cut_note
from hybrid import (
    Prediction,
    Schedule,
)
from hybrid.schedules.dose import as_float
from physics.arguments import shortened
from stability import Certificate
from training import Record
from training.people.records import never_negative
from training.trust.calibration import EVENT_BINS

Picture = tuple[Path, str]


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
        event=f"above {asked.threshold:g}{behind(asked.unit)}",
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


def what_if_picture(
    folder: Path, bundle: Bundle, person: int, schedules: Mapping[str, Schedule], asked: Asked, end: float
) -> tuple[Picture, dict[str, Prediction]]:
    """One fitted person under several schedules, with the same draws of their parameters."""
    times = np.linspace(bundle.people[person].schedule.start, end, 145).tolist()
    found = {name: bundle.forecast(bundle.people[person].id, one, times) for name, one in schedules.items()}
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
