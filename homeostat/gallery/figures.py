"""Every picture of a study, made from its numbers, with its caption."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from exchange import Bundle
from homeostat.bundles.reach import CRITERION, Beyond, Reach
from homeostat.gallery.claims import speaks_of
from homeostat.gallery.theta import Theta
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
from homeostat.pictures.people import MOST
from homeostat.pictures.picture import Picture, picture_at
from homeostat.pictures.style import GREY, LINE, SECOND, label, new_figure, save, tidy
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


def people_picture(
    folder: Path,
    dense: Prediction,
    records: Sequence[Record],
    asked: Asked,
    title: str,
    subtitle: str,
    beyond: Sequence[str] = (),
    name: str = "people",
) -> Picture:
    """Each person's data under the prediction's two uncertainties; `beyond`, who goes beyond what was trained."""
    path = draw_people(
        dense,
        records,
        folder / f"{name}.png",
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
    if asked.forecast_from is None:
        caption = f"Every measurement was known: these are fits, not forecasts. {caption}"
    values = np.concatenate([r.values[np.isfinite(r.values)] for r in records])
    span = f"from {values.min():.3g} to {values.max():.3g}{behind(asked.unit)}" if len(values) else "none"
    alt = f"{title}: {asked.channel} of {len(records)} people over time, {len(values)} measurements {span}, with their bands."
    return picture_at(path, title=title, caption=f"{caption} {cut_note(never_negative(records))}".rstrip(), alt=alt)


def people_pictures(
    folder: Path,
    dense: Prediction,
    records: Sequence[Record],
    asked: Asked,
    *,
    name: str,
    title: str,
    subtitle: str,
    beyond: Sequence[str] = (),
) -> list[Picture]:
    """The same, page by page: so many people in a picture as can be read."""
    if len(records) <= MOST:
        return [people_picture(folder, dense, records, asked, title, subtitle, beyond, name)]
    found = []
    for begin in range(0, len(records), MOST):
        some = records[begin : begin + MOST]
        whose = f"people {begin + 1} to {begin + len(some)}"
        page = dense.people(range(begin, begin + len(some)))
        one = people_picture(
            folder, page, some, asked, f"{title}: {whose}", subtitle, beyond, name=f"{name}-{begin // MOST + 1}"
        )
        found.append(replace(one, caption=f"{whose[:1].upper()}{whose[1:]}. {one.caption}"))
    return found


def theta_picture(folder: Path, theta: Theta) -> Picture:
    """Everyone's θ in its box."""
    q = len(theta.names)
    figure = new_figure(11.0, 0.9 + 0.75 * q)
    rows = figure.subplots(q, 1, squeeze=False)[:, 0]
    for j, axes in enumerate(rows):
        values = theta.values[:, :, j].mean(0)
        axes.plot(values, np.zeros(len(values)), "|", color=LINE, markersize=14)
        axes.plot([theta.typical[:, j].mean()], [0.0], "o", color=SECOND, markersize=6)
        axes.set_xscale("log")
        axes.set_xlim(theta.box[j, 0], theta.box[j, 1])
        axes.set_yticks([])
        axes.set_xlabel(label(theta.names[j], theta.units[j]), parse_math=False)
        tidy(axes, grid=False)
        axes.spines["left"].set_visible(False)
    figure.set_layout_engine("constrained")
    said = "; ".join(
        f"{name} {theta.values[:, :, j].mean(0).min():.3g} to {theta.values[:, :, j].mean(0).max():.3g}{behind(unit)}"
        for j, (name, unit) in enumerate(zip(theta.names, theta.units, strict=True))
    )
    return picture_at(
        save(figure, folder / "theta.png"),
        title="Everyone's θ in its box",
        caption="Each tick is one person, the mean over the members; the dot is the typical value; the axis is the whole box, in "
        "logarithms.",
        alt=f"{len(theta.ids)} people: {said}.",
    )


def observed_picture(
    folder: Path, forecast: Prediction, later: Tensor, fit: Prediction, y: Tensor, asked: Asked
) -> Picture:
    """What was measured against what was predicted of it: forecasts, and individual fits."""
    figure = new_figure(10.0, 4.8)
    pairs = [("Forecast", forecast, later), ("Individual fit", fit, y)]
    for axes, (title, prediction, values) in zip(figure.subplots(1, 2), pairs, strict=True):
        there = torch.isfinite(values[..., 0].cpu())
        seen, said = values[..., 0].cpu()[there], prediction.point[..., 0].cpu()[there]
        ends = [float(torch.cat([seen, said]).min()), float(torch.cat([seen, said]).max())] if len(seen) else [0.0, 1.0]
        axes.plot(ends, ends, color=GREY, linewidth=1.0)
        axes.plot(said, seen, "o", color=LINE, markersize=3.5)
        axes.set_title(title, parse_math=False)
        axes.set_xlabel(label("predicted", asked.unit), parse_math=False)
        axes.set_ylabel(label("measured", asked.unit), parse_math=False)
        tidy(axes)
    figure.set_layout_engine("constrained")
    errors = [float((p.point[..., 0].cpu() - v[..., 0].cpu()).square().nanmean().sqrt()) for _, p, v in pairs]
    return picture_at(
        save(figure, folder / "observed.png"),
        title="Observed against predicted",
        caption="Each dot is one measurement. On the line it is as predicted; on the right it was known to the fit.",
        alt=f"Root mean square distance from the line: {errors[0]:.3g}{behind(asked.unit)} for forecasts, {errors[1]:.3g}"
        f"{behind(asked.unit)} for individual fits.",
    )


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
    caption = (
        "When the model said 70 %, did it happen 70 % of the time? Grey shows, for each point by itself, where a perfectly "
        "calibrated forecaster would land 95 times of 100 with this few observations: of so many points some are outside by "
        "chance, and each panel says how many. Not more than that is no evidence against the model, and little for it."
    )
    alt = f"Stated probabilities that the value is {numbers.event} beside how often it was, and quantiles beside their levels."
    return picture_at(path, title="Stated probabilities and what happened", caption=caption, alt=alt)


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
        caption = "Trajectories of one person under the members' average field, without a proof of how they go on."
        return picture_at(path, title=title, caption=caption, alt=f"{field}.")
    kept = "stays there" if phase.kept else "DOES NOT stay there, which a proof rules out"
    title = f"Person {shortened(person)}: two starts, and what is proved of them"
    path = draw_phase(
        phase,
        folder / "phase.png",
        title=title,
        subtitle=f"{field}, without inputs and further doses. The certificate's ellipse must hold the second trajectory of the "
        f"first pair at every time: as computed it {kept}.",
    )
    caption = (
        "The proof beside what is computed: the distance between two trajectories, measured in the certified metric, under the "
        "promised exponential. The proof is not read off the picture: it holds for every pair that it speaks of."
    )
    return picture_at(path, title=title, caption=caption, alt=f"{field}; as computed the second trajectory {kept}.")


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
    title = f"Person {shortened(bundle.people[person].id)} under other doses"
    alt = f"{asked.channel} over time under {len(schedules)} schedules: {', '.join(schedules)}."
    return picture_at(path, title=title, caption=" ".join(filter(None, caption)), alt=alt), found


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
    title = "Forecast with both uncertainties · checked on people never seen"
    title += " · proved to contract" if phase.rate is not None else ""
    path = draw_hero(
        dense,
        records,
        numbers,
        phase,
        folder / "hero.png",
        forecast_from=asked.forecast_from,
        people=(0, min(4, len(records) - 1)),
        title=title,
    )
    caption = (
        "Two people's forecasts with both uncertainties, stated probabilities beside what happened, and two trajectories of one "
        "person in the certified metric."
    )
    return picture_at(path, title=title, caption=caption, alt=caption)
