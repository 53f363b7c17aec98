"""What the commands do, as functions that a script can call too."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from exchange import Bundle, describe, load, lure_of, save
from homeostat import gallery
from homeostat.gallery import Asked
from homeostat.judged import (
    Judged,
    conventions_table,
    judge_uncertainty,
    pictures_of,
    rings_of,
    scores_table,
    verdicts_of,
)
from homeostat.pictures.uncertainty import Rings
from homeostat.provenance import provenance
from homeostat.recipe import backbone_named, hybrid_recipe
from homeostat.report import write_report
from homeostat.study import (
    Evaluation,
    Settings,
    bundle_of,
    certify_rounded,
    dense_of,
    dense_unseen,
    evaluate,
    paired_difference,
    predict_person,
    score,
    solver,
    split,
    train,
)
from homeostat.terminal import rich_table
from hybrid.schedule_text import format_schedule, parse_schedule, schedule_units
from stability import Certificate, Refusal, certify, check
from stability.proof import prove
from stability.region import Inputs, Region, claimed, region_and_inputs
from training import Checkpoint, Cohort, Record, at_ends, convergence, forecast, read_nonmem
from training.scaling import Scaling


def fit_table(
    table: Path,
    records: Sequence[Record],
    units: Mapping[str, str],
    *,
    folder: Path,
    backbone: tuple[str, Mapping[str, Any]],
    hidden: Sequence[int],
    settings: Settings,
    threshold: float | None,
    console: Console,
    resume: bool | None = None,
    log: bool = False,
) -> dict[str, Any]:
    """Train, certify, judge beside the backbone alone, draw, and save `model.twin` and `report.html` in `folder`.

    While it trains, checkpoints are in `folder`; they go when all is done, and stay when training was interrupted.
    `resume`: go on from them where they are there (True), begin anew (False), or refuse to choose (None); `log`: curves for
    TensorBoard in `folder/log`.
    Errors: `ValueError` for input that cannot be used, `SimulationError` naming the person.
    """
    physics = backbone_named(*backbone)
    recipe = hybrid_recipe(physics, records, hidden=hidden or (1,), with_residual=bool(hidden))
    asked = asked_of(records, recipe.model.observation.units[0], threshold, settings.forecast_from)
    settings = replace(settings, forecast_from=asked.forecast_from)
    folder.mkdir(parents=True, exist_ok=True)  # a place that cannot be written is better known before than after training
    checkpoints = {name: Checkpoint(folder / f"{name}.checkpoint", every=10) for name in ("hybrid", "backbone")}
    if resume is None and any(c.path.exists() for c in checkpoints.values()):
        raise ValueError(f"{folder} holds training that did not end: --resume goes on with it, --anew begins anew")
    if resume is False:
        for checkpoint in checkpoints.values():
            checkpoint.remove()
    curves = folder / "log" if log else None
    trained = train(recipe, records, settings, console, checkpoint=checkpoints["hybrid"], log=curves and curves / "hybrid")
    bundle = bundle_of(trained, None, {}, {})
    # the trained model is saved before anything else can fail
    path = save(bundle, folder / "model.twin")
    system = bundle.system()
    certificate, best = certify_rounded(system)
    proved = isinstance(certificate, Certificate) and check(certificate, system)
    evaluations = {recipe.name: evaluate(trained, settings, asked.threshold)}
    comparisons = {}
    interrupted = trained.interrupted
    if hidden:
        other = hybrid_recipe(physics, records, with_residual=False)
        alone = train(
            other, records, settings, console, checkpoint=checkpoints["backbone"], log=curves and curves / "backbone"
        )
        evaluations[other.name] = evaluate(alone, settings, asked.threshold)
        interrupted = interrupted or alone.interrupted
        comparisons[other.name] = paired_difference(evaluations[recipe.name], evaluations[other.name])
    judged = judge_uncertainty(
        evaluations[recipe.name].prediction,
        evaluations[recipe.name].y,
        [r.id for r in records],
        asked,
        resample="bootstrap",
    )
    calibration = {
        "uncertainty": judged.to_dict(),
        "protocol": f"cross-validation by person, forecast from the samples up to {asked.forecast_from:g}",
        "event": asked.event,
        "scores": {name: dict(e.scores) for name, e in evaluations.items()},
    }
    bundle = bundle_of(trained, certificate, calibration, provenance(settings, table, records, units))
    save(bundle, path)
    dense = dense_unseen(trained, settings, max(float(r.times[-1]) for r in records))
    about_fit = gallery.fit_verdicts(trained.recipe.start, trained.convergence, trained.ends)
    page = _page(
        folder,
        bundle,
        evaluations,
        records,
        asked,
        dense=dense,
        title=f"{table.name}: a hybrid twin of {len(records)} people",
        lead="Forecasts below concern people whom the forecasting members had never seen.",
        judged=judged,
        rings=rings_of(trained.model, trained.cohort, trained.personal),
        verdicts=[
            gallery.certificate_verdict(certificate, best, asked.time_unit),
            *about_fit,
            *verdicts_of(judged),
            *(gallery.comparison_verdict(name, value, asked.unit) for name, value in comparisons.items()),
        ],
    )
    for shown in (gallery.score_rows(evaluations), gallery.uncertainty_rows(evaluations, asked.unit)):
        console.print(rich_table(shown))
    claim, _, detail = gallery.certificate_verdict(certificate, best, asked.time_unit)
    console.print(f"{claim}. {detail}")
    for claim, good, detail in about_fit:
        console.print(f"{'✓' if good else '✗' if good is False else '–'} {claim}. {detail}", markup=False)
    console.print(f"bundle: {path}\nreport: {page}")
    if interrupted:
        console.print("training was interrupted; the same command with --resume goes on with it")
    else:
        for checkpoint in checkpoints.values():
            checkpoint.remove()
    return {
        "certified": bool(proved),
        "rate": certificate.rate if isinstance(certificate, Certificate) else None,
        "refusal": certificate.message if isinstance(certificate, Refusal) else None,
        "scores": calibration["scores"],
        **gallery.fit_summary(trained),
        "interrupted": interrupted,
        "bundle": str(path),
        "report": str(page),
    }


def asked_of(records: Sequence[Record], unit: str, threshold: float | None, forecast_from: float | None) -> Asked:
    """What is asked where the caller does not say: the median measurement, and forecasts from a tenth of the record.

    Errors: `ValueError` where nothing is measured after `forecast_from`, or nothing before it.
    """
    scored = np.concatenate([r.values[r.scored] for r in records])
    if threshold is None:
        threshold = float(f"{np.nanmedian(scored):.2g}")
    if not np.isfinite(threshold):
        raise ValueError(f"the threshold of the event is {threshold:g}; give a finite number, in the unit of the measurements")
    if forecast_from is None:
        forecast_from = float(np.median([r.first_dose + 0.1 * (r.times[-1] - r.first_dose) for r in records]))
    before = [r.id for r in records if not np.isfinite(r.values[r.times <= forecast_from]).any()]
    after = [r.id for r in records if not np.isfinite(r.values[r.scored & (r.times > forecast_from)]).any()]
    if len(before) == len(records) or len(after) == len(records):
        raise ValueError(
            f"forecasts from {forecast_from:g} leave nothing to {'forecast' if len(after) == len(records) else 'learn from'}; "
            f"the records run to {max(float(r.times[-1]) for r in records):g}: choose another --forecast-from"
        )
    return Asked(records[0].channels[0], unit, threshold, forecast_from, records[0].units.get("time", "1"))


def certify_bundle(
    path: Path, rate: float | None, seconds: float, write: bool, region: Path | None = None
) -> tuple[Certificate | Refusal, str]:
    """A fresh certificate for a bundle, in the region of a JSON file where one is named, put into it with `write`.

    Returns the value and a text. Errors: `ValueError` for a file that is no bundle or no region.
    """
    bundle = load(path)
    system = bundle.system()
    if region is not None:
        where, inputs = _region_in(region)
        result, best = certify(system, rate, region=where, inputs=inputs, seconds=seconds), None
    elif rate is None:
        result, best = certify_rounded(system, seconds)
    else:
        result, best = certify(system, rate=rate, seconds=seconds), None
    if write:
        save(replace(bundle, certificate=result), path)
    claim, _, detail = gallery_verdict(result, best, bundle)
    return result, f"{claim}\n{detail}"


def _region_in(file: Path) -> tuple[Region, Inputs | None]:
    try:
        return region_and_inputs(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise ValueError(f"{file} cannot be used as a region: {error}") from error


def gallery_verdict(result: Certificate | Refusal, best: float | None, bundle: Bundle) -> gallery.Verdict:
    """The verdict in the bundle's own time unit."""
    return gallery.certificate_verdict(result, best, bundle.model.backbone.time_unit)


def check_bundle(path: Path) -> tuple[bool, str]:
    """Is the bundle's certificate proved for the arrays that the bundle's own weights give?

    Errors: `ValueError` for a file that is no bundle, or has no certificate to check.
    """
    bundle = load(path)
    if bundle.certificate is None:
        raise ValueError(f"{path}: there is no certificate inside; make one with `homeostat certify {path} --write`")
    if isinstance(bundle.certificate, Refusal):
        return False, f"the bundle holds a refusal, not a certificate: {bundle.certificate.message}"
    verdict = prove(bundle.certificate, bundle.system())
    return verdict.proved, verdict.reason


def report_on(
    path: Path,
    data: Path,
    *,
    folder: Path | None,
    units: Mapping[str, str],
    compartments: Mapping[int, str],
    channels: Mapping[int, str],
    threshold: float | None,
    forecast_from: float | None,
) -> dict[str, Any]:
    """Personalise the people of a table with the network frozen, forecast the rest of their records, score and draw.

    Errors: `ValueError` for a bundle or table that cannot be used.
    """
    bundle = load(path)
    units = units or bundle.provenance.get("units", {})
    records = read_nonmem(data, units=units, compartments=compartments, channels=channels)
    asked = asked_of(records, bundle.model.observation.units[0], threshold, forecast_from)
    cohort = Cohort.of(records, bundle.model, bundle.mesh)
    known, later = split(cohort, asked.forecast_from)
    generator = torch.Generator().manual_seed(1)
    prediction, personal = forecast(bundle.model, known, later, generator=generator, solver=solver())
    scaling, withheld = _scaling_in(bundle, cohort.ids, later.y)
    if scaling is not None:
        prediction = scaling.apply(prediction, cohort.ids)
    evaluation = score(prediction, later.y, asked.threshold, generator)
    judged = judge_uncertainty(
        prediction, later.y, cohort.ids, asked, resample="bootstrap", recalibrate=False, calibration=scaling
    )
    end = max(float(r.times[-1]) for r in records)
    asked_dense = dense_of(cohort, bundle.model, bundle.mesh, end)
    dense, _ = forecast(bundle.model, known, asked_dense, generator=generator, solver=solver())
    if scaling is not None:
        dense = scaling.apply(dense, cohort.ids)
    seen = sorted({p.id for p in bundle.people} & set(cohort.ids))
    same = bundle.provenance.get("table_sha256") == provenance(Settings(), data, records, units)["table_sha256"]
    folder = folder or path.parent / "report"
    verdicts: list[gallery.Verdict] = []
    if same or seen:
        verdicts.append(
            (
                f"{len(seen)} of {len(records)} people have ids that the model was trained on",
                None,
                "If they are the same people, this page flatters the model: the bundle's own calibration, below, was made on "
                "people never seen.",
            )
        )
    if bundle.certificate is not None:
        verdicts.append(gallery_verdict(bundle.certificate, None, bundle))
    if isinstance(bundle.certificate, Certificate):
        verdicts.append(_these_people_too(bundle, bundle.certificate, personal.mode, cohort))
    if scaling is not None:
        verdicts.append(("The forecasts are recalibrated by the people of the bundle", None, " ".join(scaling.sentences())))
    if withheld:
        detail = f"{withheld} On them it would look better than it is."
        verdicts.append(("The bundle's recalibration is not applied to these people", None, detail))
    # the typical values are not this table's to move: only its people's own search can be unfinished
    search = convergence(bundle.model, personal, cohort.ids)
    search = replace(search, names=(), away=search.away[:, :0], moves=search.moves[:, :0])
    ends = tuple(e for e in at_ends(bundle.model, cohort, personal.mode) if e.what == "people")
    if not search.converged:
        verdicts.append(("Not everyone's own parameters were found", False, " ".join(search.sentences())))
    verdicts += gallery.ends_verdicts(ends)
    verdicts += verdicts_of(judged)
    evaluations = {"this table": evaluation}
    page = _page(
        folder,
        bundle,
        evaluations,
        records,
        asked,
        dense=dense,
        title=f"{data.name}: forecasts of {len(records)} people",
        lead=f"Each person was learned from what was measured up to {asked.forecast_from:g} {asked.time_unit}, with the trained "
        "network frozen; the rest of their record was then asked of the model.",
        verdicts=verdicts,
        heading="This table",
        judged=judged,
        rings=rings_of(bundle.model, cohort, personal),
    )
    summary: dict[str, Any] = {
        "scores": dict(evaluation.scores),
        "verdicts": [{"claim": c, "good": g, "detail": d} for c, g, d in verdicts],
        "uncertainty": judged.to_dict(),
        "people_seen_in_training": seen,
        "converged": bool(personal.converged.all()),
        "people_not_converged": list(search.unfinished),
        "ends": [e.to_dict() for e in ends],
        "report": str(page),
    }
    (folder / "report.json").write_text(json.dumps(summary, indent=1, ensure_ascii=False))
    lines = [f"{'✓' if g else '✗' if g is False else '–'} {c}. {d}" for c, g, d in verdicts]
    summary["text"] = "\n".join([*lines, f"report: {page}"])
    return summary


def _scaling_in(bundle: Bundle, people: Sequence[str], y: torch.Tensor) -> tuple[Scaling | None, str]:
    """The bundle's own recalibration for people and observations that it was not fitted on; else None, and why if it has one."""
    data = bundle.calibration.get("uncertainty", {}).get("scaling")
    if data is None:
        return None, ""
    try:
        scaling = Scaling.from_dict(data)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"the bundle's recalibration cannot be read ({error!r}); save the bundle again") from error
    again = sorted(set(scaling.people) & set(people))
    if again:
        return None, f"It was fitted on people of the same ids ({', '.join(again[:5])}{' …' if len(again) > 5 else ''})."
    try:
        scaling.refuse(people, y.cpu().numpy())
    except ValueError:
        return None, "It was fitted on these very observations, under other ids."
    return scaling, ""


def _these_people_too(
    bundle: Bundle,
    certificate: Certificate,
    mode: torch.Tensor,  # (M, N, d)
    cohort: Cohort,
) -> gallery.Verdict:
    """The bundle's certificate is about the people whom it was fitted on: does its metric serve these ones too?"""
    region, inputs = (None, None) if isinstance(certificate.region, str) else claimed(certificate.region)
    system = lure_of(bundle.model, mode, cohort.conditions.covariates)
    found = certify(system, None, region, inputs, 20.0, metric=certificate.metric)
    unit = bundle.model.backbone.time_unit
    if isinstance(found, Certificate):
        return (
            "The same metric serves the people of this table",
            True,
            f"With their fitted parameters every member contracts in it, at {found.rate:.4g} per {unit} or faster (proved).",
        )
    return ("The certificate does not extend to everyone in this table", False, found.message)


def _page(
    folder: Path,
    bundle: Bundle,
    evaluations: Mapping[str, Evaluation],
    records: Sequence[Record],
    asked: Asked,
    *,
    dense: Any,
    title: str,
    lead: str,
    verdicts: Sequence[gallery.Verdict],
    judged: Judged,
    rings: Rings | None,
    heading: str = "People never seen in training",
) -> Path:
    """Pictures, tables and the HTML page of one evaluation."""
    folder.mkdir(parents=True, exist_ok=True)
    first = next(iter(evaluations.values()))
    pictures = [
        gallery.people_picture(
            folder,
            dense,
            records,
            asked,
            title="Everyone's data, and what was forecast",
            subtitle=f"From the measurements up to {asked.forecast_from:g} {asked.time_unit} (filled) to the rest (open)",
        ),
        gallery.reliability_picture(folder, gallery.reliability_numbers(first, asked)),
        *pictures_of(folder, judged, asked, rings),
    ]
    if len(bundle.model.backbone.states) == 2 and not bundle.model.backbone.inputs:
        end = max(float(r.times[-1]) for r in records)
        phase = gallery.phase_of(bundle, 0, end)
        pictures.append(gallery.phase_picture(folder, phase, bundle.people[0].id))
    return write_report(
        folder / "report.html",
        title=title,
        lead=lead,
        verdicts=verdicts,
        tables=[
            gallery.score_rows(evaluations, heading),
            gallery.uncertainty_rows(evaluations, asked.unit),
            scores_table(judged, asked),
            conventions_table(judged),
        ],
        pictures=pictures,
        provenance={str(k): str(v) for k, v in bundle.provenance.items()},
    )


def simulate_person(
    path: Path,
    text: str,
    *,
    person: str | None,
    until: float | None,
    points: int,
    level: float,
    picture: Path | None,
) -> tuple[dict[str, Any], str]:
    """One fitted person under a changed schedule: plain JSON values, and a table as text.

    Errors: `ValueError` for an unknown person or a text that is no schedule.
    """
    bundle = load(path)
    if not bundle.people:
        raise ValueError(f"{path}: the bundle holds no person to simulate")
    index = 0 if person is None else bundle.person(person)
    who, backbone = bundle.people[index], bundle.model.backbone
    units = schedule_units(backbone)
    schedule = parse_schedule(text, states=backbone.states, inputs=backbone.inputs, base=who.schedule, units=units)
    start = who.schedule.start
    end = start + 24.0 if until is None else until
    if not start < end < np.inf:
        raise ValueError(f"--until {end:g} is no time after the record's start at {start:g} {backbone.time_unit}")
    times = np.linspace(start, end, points).tolist()
    (prediction,) = predict_person(bundle, index, [schedule], times)
    low, high = prediction.interval(level)
    channels, channel_units = bundle.model.observation.channels, bundle.model.observation.units
    answer: dict[str, Any] = {
        "person": who.id,
        "schedule": format_schedule(schedule, units=units),
        "time": times,
        "time_unit": backbone.time_unit,
        "level": level,
        "channels": {
            name: {
                "unit": channel_units[j],
                "mean": prediction.point[0, :, j].tolist(),
                "lower": low[0, :, j].tolist(),
                "upper": high[0, :, j].tolist(),
                "aleatoric_sd": prediction.aleatoric[0, :, j].sqrt().tolist(),
                "epistemic_sd": prediction.epistemic[0, :, j].sqrt().tolist(),
                "personal_sd": prediction.personal[0, :, j].sqrt().tolist(),
            }
            for j, name in enumerate(channels)
        },
    }
    lines = [f"person {who.id}: {answer['schedule'] or 'nothing given'}"]
    for name, values in answer["channels"].items():
        unit = values["unit"]
        time, value, band = f"time [{backbone.time_unit}]", f"{name} [{unit}]", f"{100 * level:g} % interval"
        lines.append(
            f"{time:>12}  {value:>22}  {band:>18}  {'noise':>8} {'model':>8} {'person':>8}  (standard deviations)"
        )
        keys = ("mean", "lower", "upper", "aleatoric_sd", "epistemic_sd", "personal_sd")
        for t, m, a, b, noise, model, own in zip(times, *(values[k] for k in keys), strict=True):
            lines.append(f"{t:12.2f}  {m:22.3f}  {f'{a:.3f} to {b:.3f}':>18}  {noise:8.3f} {model:8.3f} {own:8.3f}")
    if picture is not None:
        fine = np.linspace(start, end, 145).tolist()
        schedules = {"as given": who.schedule, "what if": schedule}
        found = predict_person(bundle, index, list(schedules.values()), fine)
        from homeostat.pictures import draw_what_if

        drawn = draw_what_if(
            dict(zip(schedules, found, strict=True)),
            picture,
            title=f"What if, for person {who.id}: {text or 'nothing changed'}",
            schedules=schedules,
            time_unit=backbone.time_unit,
        )
        lines.append(f"picture: {drawn}")
    return answer, "\n".join(lines)


def inspect_bundle(path: Path) -> tuple[dict[str, Any], str]:
    """What is in a bundle: plain JSON values, and a text."""
    bundle = load(path)
    model, certificate = bundle.model, bundle.certificate
    backbone = model.backbone
    about: dict[str, Any] = {
        "structure": describe(model),
        "members": model.members,
        "people": [p.id for p in bundle.people],
        "mesh": vars(bundle.mesh),
        "certificate": None if certificate is None else certificate.to_dict(),
        "calibration": dict(bundle.calibration),
        "provenance": dict(bundle.provenance),
    }
    states = ", ".join(f"{s} [{u}]" for s, u in zip(backbone.states, backbone.state_units, strict=True))
    measured = ", ".join(f"{c} [{u}]" for c, u in zip(model.observation.channels, model.observation.units, strict=True))
    weights = sum(p.numel() for p in model.parameters()) // model.members
    lines = [
        f"model      {type(backbone).__name__} + {type(model.residual).__name__}, {model.members} members of {weights} numbers",
        f"states     {states}; time in {backbone.time_unit}",
        f"measured   {measured}",
        f"people     {len(bundle.people)}: {', '.join(p.id for p in bundle.people)}",
    ]
    if certificate is None:
        lines.append("certificate none; make one with `homeostat certify BUNDLE --write`")
    else:
        claim, _, _ = gallery_verdict(certificate, None, bundle)
        lines.append(f"certified  {claim}")
    for name, scores in bundle.calibration.get("scores", {}).items():
        if not {"crps", "nll", "coverage_80"} <= scores.keys():
            continue  # a script may keep other scores; --json shows them
        lines.append(
            f"unseen     {name}: CRPS {scores['crps']:.3f}, NLL {scores['nll']:.3f}, the 80 % interval covers "
            f"{100 * scores['coverage_80']:.0f} %"
        )
    lines += [f"{k:<26} {v}" for k, v in bundle.provenance.items()]
    return about, "\n".join(lines)
