"""Every picture of a study, made from its numbers, with its caption."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes

from exchange import Bundle
from homeostat.bundles.reach import CRITERION, Beyond, Reach
from homeostat.bundles.uncertified import outside_certificates, outside_in_words
from homeostat.gallery.claims import speaks_of
from homeostat.pictures import (
    Phase,
    Picture,
    Reliability,
    figure_of,
    hero_axes,
    member_mean_field,
    nearby,
    people_axes,
    phase_axes,
    reliability_axes,
    what_if_axes,
    write_picture,
)
from homeostat.pictures.in_words import people_in_words, phase_in_words, reliability_in_words, what_if_in_words
from homeostat.pictures.people import pages
from homeostat.pictures.reliability import counts_in_words, strays_in_words
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


def people_pictures(
    folder: Path,
    dense: Prediction,
    records: Sequence[Record],
    asked: Asked,
    title: str,
    subtitle: str,
    beyond: Sequence[str] = (),
    *,
    name: str = "people",
) -> list[Picture]:
    """Each person's data under the prediction's two uncertainties, at most 24 to a picture and every channel in its own;
    `beyond`, who goes beyond what was trained; `name`, the stem of the files.
    """
    caption = (
        "Each panel is one person. The inner band is what more data would narrow: the members disagree, and the person is not "
        "yet known well. The outer band adds measurement noise, which no data will take away."
    )
    if asked.forecast_from is None:
        caption = f"Every measurement was known: these are fits, not forecasts. {caption}"
    caption = f"{caption} {cut_note(never_negative(records))}".rstrip()
    found: list[Picture] = []
    several = len(dense.channels) > 1
    for channel, quantity in enumerate(dense.channels):
        begun = f"{title}: {quantity}" if several else title
        shared = pages(f"{name}-channel{channel + 1}" if channel else name, len(records))
        for place, (stem, which, words) in enumerate(shared, 1):
            chosen, whose = dense.people(which), [records[i] for i in which]
            whole = f"{begun}{words}"
            axes = people_axes(
                chosen,
                whose,
                channel=channel,
                forecast_from=asked.forecast_from,
                title=whole,
                subtitle=subtitle,
                time_unit=asked.time_unit,
                beyond=beyond,
            )
            alt = people_in_words(
                chosen, whose, channel=channel, forecast_from=asked.forecast_from, time_unit=asked.time_unit
            )
            said = f"{quantity[:1].upper()}{quantity[1:]}. " if several else ""  # two captions are never the same
            if words:  # the title says which places of the list these are
                ends = f"person {shortened(whose[0].id, 40)} first and {shortened(whose[-1].id, 40)} last"
                said += f"Picture {place} of {len(shared)}, with {ends}. "
            said = f"{said}{caption}"
            found.append(written(axes, folder, stem, title=whole, caption=said, alt=alt))
    return found


def written(axes: Sequence[Axes], folder: Path, name: str, *, title: str, caption: str, alt: str) -> Picture:
    """The figure of these axes as a picture of the study's folder."""
    return write_picture(figure_of(axes), folder, name, title=title, caption=caption, alt=alt)


def reliability_numbers(evaluation: Evaluation, asked: Asked, channel: int | None = None) -> Reliability:
    """The numbers of the calibration picture, with bands from whole predictive paths; of one `channel`, by default of all."""
    there = torch.isfinite(evaluation.y)
    which = np.ones(int(there.sum()), dtype=bool)
    quantity = ""
    if channel is not None:
        which, quantity = torch.nonzero(there)[:, 2].numpy() == channel, f"{evaluation.prediction.channels[channel]} "
    return Reliability.of(
        evaluation.probability[which],
        evaluation.outcome[which],
        evaluation.pit[which],
        event=f"{quantity}above {asked.threshold:g}{behind(asked.unit)}",
        bins=EVENT_BINS,
        joint_outcome=evaluation.joint_outcome[:, which],
        joint_pit=evaluation.joint_pit[:, which],
    )


def reliability_pictures(folder: Path, evaluation: Evaluation, asked: Asked) -> list[Picture]:
    """Event reliability and quantile calibration, of every channel of which anything was measured in a picture of its own."""
    channels = evaluation.prediction.channels
    if len(channels) == 1:
        return [reliability_picture(folder, reliability_numbers(evaluation, asked))]
    seen = torch.isfinite(evaluation.y).flatten(0, 1).any(0).tolist()
    return [
        reliability_picture(folder, reliability_numbers(evaluation, asked, k), name=f"reliability-channel{k + 1}", quantity=name)
        for k, name in enumerate(channels)
        if seen[k]
    ]


def reliability_picture(
    folder: Path, numbers: Reliability, *, name: str = "reliability", quantity: str = ""
) -> Picture:
    """Event reliability and quantile calibration; `name`, the stem of the files; `quantity`, of what, where there are several."""
    title = "Is the forecast as sure as it should be?"
    title, begin = (f"{title} {quantity}", f"Of {quantity} alone. ") if quantity else (title, "")
    caption = (
        f"{begin}When the model said 70 %, did it happen 70 % of the time? Grey shows, for each point by itself, where a "
        "perfectly calibrated forecaster would land 95 times of 100 with this few observations: of so many points some are "
        f"outside by chance, and each panel says how many. {strays_in_words(numbers)}"
    )
    axes = reliability_axes(numbers, title=title, subtitle=counts_in_words(numbers))
    return written(axes, folder, name, title=title, caption=caption, alt=reliability_in_words(numbers))


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
        title, subtitle = f"Person {shortened(person)}: two pairs of starts", f"{field}. No certificate speaks of them."
        caption = "Trajectories of one person under the members' average field, without a proof of how they go on."
    else:
        kept = "stays there" if phase.kept else "DOES NOT stay there, which a proof rules out"
        title = f"Person {shortened(person)}: two starts, and what is proved of them"
        subtitle = (
            f"{field}, without inputs and further doses. The certificate's ellipse must hold the second trajectory of the "
            f"first pair at every time: as computed it {kept}."
        )
        caption = (
            "The proof beside what is computed: the distance between two trajectories, measured in the certified metric, under "
            "the promised exponential. The proof is not read off the picture: it holds for every pair that it speaks of."
        )
    axes = phase_axes(phase, title=title, subtitle=subtitle)
    return written(axes, folder, "phase", title=title, caption=caption, alt=phase_in_words(phase))


def what_if_picture(
    folder: Path,
    bundle: Bundle,
    person: int,
    schedules: Mapping[str, Schedule],
    asked: Asked,
    end: float,
    *,
    measured: Record | None = None,
) -> tuple[Picture, dict[str, Prediction]]:
    """One fitted person under several schedules, with the same draws of their parameters; `measured`, what was seen of them."""
    times = np.linspace(bundle.people[person].schedule.start, end, 145).tolist()
    found = {name: bundle.forecast(bundle.people[person].id, one, times) for name, one in schedules.items()}
    beyond = beyond_training(bundle, person, schedules, end)
    uncertified = {name: said for name, said in outside_certificates(bundle, person, schedules).items() if said}
    title = f"What if person {shortened(bundle.people[person].id)} were dosed otherwise?"
    until = bundle.people[person].until
    axes = what_if_axes(
        found,
        threshold=asked.threshold,
        title=title,
        schedules=schedules,
        time_unit=asked.time_unit,
        since=asked.since,
        nonnegative=bundle.nonnegative,
        beyond={name: one.spans for name, one in beyond.items() if one},
        uncertified=uncertified,
        largest=largest_doses(beyond),
        until=until if until is not None and until < end else None,
        measured=measured,
    )
    caption = [
        "A person whom these members were trained on, the same draws of their parameters and the same members: only the named "
        "doses change.",
        "Open dots were measured under what was given, not under these doses." if measured is not None else "",
        "Triangles stand at limits beyond which a value is known to lie." if _limited(measured) else "",
        *(f"{name[:1].upper()}{name[1:]}: {one.sentence()}" for name, one in beyond.items() if one),
        CRITERION if any(beyond.values()) else "",
        *(f"{name[:1].upper()}{name[1:]}: {outside_in_words(said)}" for name, said in uncertified.items()),
        cut_note(bundle.nonnegative),
    ]
    said = " ".join(filter(None, caption))
    alt = what_if_in_words(
        found,
        threshold=asked.threshold,
        time_unit=asked.time_unit,
        beyond={name: one.spans for name, one in beyond.items() if one},
        uncertified=uncertified,
    )
    return written(axes, folder, "what_if", title=title, caption=said, alt=alt), found


def _limited(measured: Record | None) -> bool:
    return measured is not None and bool(measured.censored[:, 0].any())


def largest_doses(beyond: Mapping[str, Beyond]) -> dict[str, float]:
    """The largest dose of training into each compartment into which some schedule puts a larger one."""
    return {state: trained for one in beyond.values() for state, (_, trained) in one.doses.items()}


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
) -> Picture:
    """The wide picture at the top of the README and the report."""
    title = "Forecast with both uncertainties · checked on people never seen" + (
        " · proved to contract" if phase.rate is not None else ""
    )
    people = sorted({0, min(4, len(records) - 1)})
    axes = hero_axes(
        dense,
        records,
        numbers,
        phase,
        forecast_from=asked.forecast_from,
        people=people,
        title=title,
    )
    caption = (
        "Left two people and their forecasts, in the middle whether stated probabilities are met, on the right trajectories."
    )
    seen = people_in_words(
        dense.people(people), [records[i] for i in people], forecast_from=asked.forecast_from, time_unit=asked.time_unit
    )
    alt = f"{seen} {reliability_in_words(numbers)} {phase_in_words(phase)}"
    return written(axes, folder, "hero", title=title, caption=caption, alt=alt)
