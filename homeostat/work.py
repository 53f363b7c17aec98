"""What the commands do, as functions that a script can call too."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import nn

from exchange import BUILTIN, Bundle, Outside, describe, load, lure_of, save
from exchange.bundle import certified_system, units_of
from exchange.coverage import outside, strangers, subjects_of
from exchange.names import require_names
from exchange.plain_json import plain_json
from exchange.whole_file import whole_file
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
from homeostat.plain_text import shown
from homeostat.progress import cut_short
from homeostat.provenance import provenance
from homeostat.reach import CRITERION, Beyond, Reach
from homeostat.recipe import backbone_named, hybrid_recipe
from homeostat.report import MARKS, write_report
from homeostat.solvers import solver_named
from homeostat.study import (
    Evaluation,
    Settings,
    bundle_of,
    certify_rounded,
    dense_of,
    dense_unseen,
    evaluate,
    most_steps,
    paired_difference,
    predict_person,
    require_folds,
    score,
    solver_of,
    split,
    train,
)
from homeostat.terminal import rich_table
from hybrid import HybridModel, Mesh, Schedule
from hybrid.dose import as_float
from hybrid.schedule import SAME
from hybrid.schedule_text import format_schedule, parse_schedule, schedule_units
from physics.arguments import shortened
from stability import Certificate, Refusal, certify, check
from stability.proof.contraction import Verdict as ProofVerdict
from stability.proof.contraction import prove
from stability.region import Inputs, Region, claimed, region_and_inputs
from stability.threads import few_threads
from training import Checkpoint, Cohort, Record, at_ends, convergence, far_covariates, forecast
from training.people.clock import at_or_before, counts_from, origin_of, since
from training.people.conversion import converted
from training.people.records import counted_from, never_negative
from training.people.tables.file_order import Order
from training.people.tables.nonmem import read_table
from training.trust.recalibration.scaling import Scaling
from training.trust.verdicts import Verdict


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

    Times of the answer are since everyone's first dose (or start), as `settings.forecast_from` is.
    While it trains, checkpoints are in `folder`; they go when all is done, and stay when training was interrupted.
    `resume`: go on from them where they are there (True), begin anew (False), or refuse to choose (None); `log`: curves for
    TensorBoard in `folder/log`.
    Errors: `ValueError` for input that cannot be used, `SimulationError` naming the person.
    """
    solver_named(settings.solver)  # an unknown name is better known before anything is read or written
    physics = backbone_named(*backbone)
    require_names((r.id for r in records), "a person's ID")  # a bundle would refuse them, after training
    require_names({name for r in records for name in (*r.covariates, *r.channels)}, "the name of a column or channel")
    records = [r.on_own_clock() for r in records]
    recipe = hybrid_recipe(physics, records, hidden=hidden or (1,), with_residual=bool(hidden))
    assumed = unstated(records, recipe.model)
    records = [converted(record, recipe.model) for record in records]  # what is asked and drawn is in the model's units
    _require_one_unit(recipe.model)
    far = [one.sentence() for one in far_covariates(records, recipe.model)]
    require_folds(settings.folds, len(records))
    _require_room(records, recipe.mesh, settings.members * (min(settings.folds, len(records)) + 1), len(physics.states))
    asked = asked_of(records, recipe.model.observation.units[0], threshold, settings.forecast_from)
    _require_two_forecasts(records, asked)
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
    interrupted = {recipe.name: trained.interrupted}
    bundle = bundle_of(trained, None, {}, {**_marked(cut_short(interrupted)), "settings.solver": settings.solver})
    # the trained model is saved before anything else can fail
    path = save(bundle, folder / "model.twin")
    system = bundle.system()
    certificate, best = certify_rounded(system)
    proved = isinstance(certificate, Certificate) and check(certificate, system)
    evaluations = {recipe.name: evaluate(trained, settings, asked.threshold)}
    comparisons = {}
    if hidden:
        other = hybrid_recipe(physics, records, with_residual=False)
        alone = train(
            other, records, settings, console, checkpoint=checkpoints["backbone"], log=curves and curves / "backbone"
        )
        evaluations[other.name] = evaluate(alone, settings, asked.threshold)
        interrupted[other.name] = alone.interrupted
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
        "protocol": "cross-validation by person, forecast from the samples up to "
        f"{asked.forecast_from:g} {asked.time_unit} since the {asked.since}",
        "event": asked.event,
        "scores": {name: dict(e.scores) for name, e in evaluations.items()},
    }
    stopped = cut_short(interrupted)
    bundle = bundle_of(trained, certificate, calibration, {**_marked(stopped), **provenance(settings, table, records, units)})
    save(bundle, path)
    dense = dense_unseen(trained, settings, max(float(r.times[-1]) for r in records))
    notes = [
        *filter(None, [asked.note]),
        *_channel_notes(records),
        *far,
        *unused(records, trained.model),
        *gallery.baseline_notes(trained.cohort),
    ]
    about_fit = gallery.fit_verdicts(trained.recipe.start, trained.convergence, trained.ends)
    page = _page(
        folder,
        bundle,
        evaluations,
        records,
        asked,
        dense=dense,
        title=f"{table.name}: a hybrid twin of {len(records)} people",
        lead="\n\n".join(
            [
                "Forecasts below concern people whom the forecasting members had not been trained on. "
                f"{gallery.WHAT_EVERYONE_SAID}",
                *notes,
            ]
        ),
        judged=judged,
        rings=rings_of(trained.model, trained.cohort, trained.personal),
        verdicts=[
            *gallery.interrupted_verdicts(stopped),
            *(Verdict(sentence, None, about=("units",)) for sentence in assumed),
            gallery_verdict(certificate, best, bundle),
            *about_fit,
            *verdicts_of(judged),
            *(gallery.comparison_verdict(name, value, asked.unit) for name, value in comparisons.items()),
        ],
    )
    for rows in (gallery.score_rows(evaluations), gallery.uncertainty_rows(evaluations, asked.unit)):
        console.print(rich_table(rows))
    for sentence in assumed:
        console.print(shown(sentence), markup=False)
    said = gallery_verdict(certificate, best, bundle)
    console.print(shown(str(said)), markup=False)
    for one in about_fit:
        console.print(shown(f"{MARKS[one.good]} {one}"), markup=False)
    console.print(f"bundle: {path}\nreport: {page}", markup=False)
    if stopped:
        console.print(
            f"training was cut short ({stopped}), and the bundle and the report say so; the same command with --resume goes on "
            "with it",
            markup=False,
        )
    else:
        for checkpoint in checkpoints.values():
            checkpoint.remove()
    return {
        "certified": bool(proved),
        "rate": certificate.rate if isinstance(certificate, Certificate) else None,
        "refusal": certificate.message if isinstance(certificate, Refusal) else None,
        "scores": calibration["scores"],
        **gallery.fit_summary(trained),
        "interrupted": bool(stopped),
        "cut_short": stopped,
        "forecast_from": asked.forecast_from,
        "time_unit": asked.time_unit,
        "time_since": asked.since,
        "unit": asked.unit,
        "cut_at_zero": list(bundle.nonnegative),
        "notes": notes,
        "bundle": str(path),
        "report": str(page),
    }


def _marked(stopped: str) -> dict[str, Any]:
    """The mark of a training that was cut short, among the first things that a bundle says of where it came from."""
    return {"interrupted": stopped} if stopped else {}


def _cut_short(bundle: Bundle) -> str:
    """What a bundle says of a training that was cut short; "" where it says nothing."""
    return shown(str(bundle.provenance.get("interrupted", ""))[:300], lines=False)  # a stranger's words, in one line


def _require_two_forecasts(records: Sequence[Record], asked: Asked) -> None:
    """Each one's recalibration is by what came true of the others."""
    begin = float(asked.forecast_from or 0.0)
    later = [r.id for r in records if np.isfinite(r.values[r.scored & ~at_or_before(r.times, begin)]).any()]
    if len(later) < 2 <= len(records):  # of one person alone nobody is left to learn from, which is said where that is planned
        raise ValueError(
            f"after {begin:g} {asked.time_unit} since the {asked.since} only person {', '.join(later)} is measured "
            "again, and forecasts are judged on two people or more: choose an earlier --forecast-from, or give people with more "
            "measurements"
        )


def _channel_notes(records: Sequence[Record]) -> list[str]:
    """What of the page is about one channel of several."""
    if len(records[0].channels) < 2:
        return []
    return [
        f"The pictures of people and the table by horizon are of {records[0].channels[0]} alone; the other tables and the event "
        "are of all channels together."
    ]


def _require_one_unit(model: HybridModel) -> None:
    """Scores are of all channels together."""
    units = dict(zip(model.observation.channels, model.observation.units, strict=True))
    if len(set(units.values())) > 1:
        said = ", ".join(f"{name} in {unit}" for name, unit in list(units.items())[:5])
        raise ValueError(
            f"the channels are in different units ({said}), and their scores are taken together; give the model its states in "
            "one unit (state_units of --backbone-config), or leave channels out of --channels"
        )


def unstated(records: Sequence[Record], model: HybridModel) -> list[str]:
    """A sentence for each covariate that the model reads in a unit and the table states none of: it is taken to be in that."""
    return [
        f"{name} is taken to be in {unit}, since the table states no unit for it; state it: --units …,{name}={unit}"
        for name, unit in model.uses.items()
        if unit not in (None, "1") and any(name in r.covariates and name not in r.units for r in records)
    ]


def unused(records: Sequence[Record], model: HybridModel) -> list[str]:
    """A sentence for each covariate that was read and that no part of the model uses: whoever meant it must know."""
    names = dict.fromkeys(name for r in records for name in r.covariates if name not in model.uses)
    return [f"column {name} was read as a covariate and changes nothing: no part of the model uses it." for name in names]


def asked_of(records: Sequence[Record], unit: str, threshold: float | None, forecast_from: float | None) -> Asked:
    """What is asked where the caller does not say: the median measurement, and forecasts from the first time at which everybody
    has a value and somebody still has a later one.

    A value is one after the first dose (or start): what was measured before is where a person starts from. Where there is no such
    time, forecasts are from the last of people's first values that somebody has a later one than: some people are then forecast
    from nothing, and `note` says how many.

    `records`, `threshold` and `forecast_from` are in the model's units; `forecast_from` counts from everyone's own first dose
    (or start), wherever the table's clock has its zero.
    Errors: `ValueError` where nothing is measured after `forecast_from`, or nothing before it, or nothing after any dose.
    """
    records = [r.on_own_clock() for r in records]
    scored = np.concatenate([r.values[r.scored] for r in records])
    if not np.isfinite(scored).any():
        raise ValueError(
            f"nobody was measured after the {counted_from(records)}, so that nothing can be forecast; check TIME, EVID and MDV"
        )
    if threshold is None:
        threshold = float(f"{np.nanmedian(scored):.2g}")
    if not np.isfinite(threshold):
        raise ValueError(f"the threshold of the event is {threshold:g}; give a finite number, in the unit of the measurements")
    note = ""
    if forecast_from is None:
        forecast_from, nothing = _first_known(records)
        if nothing:
            at = f"{forecast_from:.4g} {records[0].units.get('time', '')}".strip()
            note = (
                f"There is no time since the {counted_from(records)} by which everybody was measured and after which somebody "
                f"is again: forecasts are from {at}, when nothing is known yet of {nothing} of {len(records)} people; "
                "--forecast-from chooses another time."
            )
    known = [at_or_before(r.times, forecast_from) for r in records]
    before = [r.id for r, k in zip(records, known, strict=True) if not np.isfinite(r.values[k]).any()]
    after = [r.id for r, k in zip(records, known, strict=True) if not np.isfinite(r.values[r.scored & ~k]).any()]
    if len(before) == len(records) or len(after) == len(records):
        unit = records[0].units.get("time", "")
        raise ValueError(
            f"forecasts from {f'{forecast_from:g} {unit}'.strip()} since the {counted_from(records)} leave nothing to "
            f"{'forecast' if len(after) == len(records) else 'learn from'}; the records run to "
            f"{f'{max(float(r.times[-1]) for r in records):g} {unit}'.strip()} since then: choose another --forecast-from"
        )
    return Asked(
        records[0].channels[0],
        unit,
        threshold,
        forecast_from,
        records[0].units.get("time", "1"),
        counted_from(records),
        note,
    )


def _first_known(records: Sequence[Record]) -> tuple[float, int]:
    """The last of people's first values after their first dose (or start) that somebody has a later value than, on everybody's
    own clock, and of how many people nothing is known by then.

    Errors: `ValueError` where nobody has a value later than somebody's first.
    """
    measured = [r.times[r.scored & np.isfinite(r.values).any(1)] for r in records]
    for time in sorted({float(times[0]) for times in measured if len(times)}, reverse=True):
        if any(not at_or_before(times, time).all() for times in measured if len(times)):
            # a value right after a dose at once stands a rounding behind it
            time = 0.0 if time <= SAME * max(times[-1] for times in measured if len(times)) else time
            return time, sum(not (len(times) and at_or_before(times, time)[0]) for times in measured)
    raise ValueError(
        f"everyone's only value after the {counted_from(records)} is of one time, so that nothing is left to forecast: that "
        "takes a value to forecast from and a later one"
    )


def certify_bundle(
    path: Path,
    rate: float | None,
    seconds: float,
    write: bool,
    region: Path | None = None,
    structures: Mapping[str, type[nn.Module]] = BUILTIN,
) -> tuple[Certificate | Refusal, str, dict[str, Any]]:
    """A fresh certificate for a bundle, in the region of a JSON file where one is named, put into it with `write`.

    A refusal does not take the place of a certificate: it is about the rate, region and time that were asked for. Doses of the
    file are covered, or it is a refusal.
    Returns the value, a text, and as plain JSON values what it does not cover of the bundle's own people.
    Errors: `ValueError` for a file that is no bundle or no region.
    """
    if rate is not None and not 0.0 < rate < np.inf:
        raise ValueError(f"--rate {rate:g} is no rate; write a positive one, or leave it out for the best")
    bundle = load(path, structures)
    system = bundle.system()
    if region is not None:
        where, inputs = _region_in(region)
        result, best = certify(system, rate, region=where, inputs=inputs, seconds=seconds), None
    elif rate is None:
        result, best = certify_rounded(system, seconds)
    else:
        result, best = certify(system, rate=rate, seconds=seconds), None
    new = replace(bundle, certificate=result, certified_in=None)
    verdict = gallery_verdict(result, best, new)
    beyond, notes = new.outside(), _notes_of(new)
    told = gallery.outside_verdicts(beyond, len(bundle.people))
    text = "\n".join([verdict.claim, verdict.detail, *map(str, told), *notes])
    if write and isinstance(bundle.certificate, Certificate) and not result:
        # a rate or a region that is refused, or a search that ran out of time, says nothing against what is proved
        text += "\nThe bundle keeps the certificate that it has."
    elif write:
        save(new, path)
    return result, text, {"outside": [asdict(one) for one in beyond], "notes": notes}


_REGION = 2**20  # bytes: a box of thousands of states takes less


def _region_in(file: Path) -> tuple[Region, Inputs | None]:
    try:
        with open(file, "rb") as opened:
            return region_and_inputs(plain_json(opened.read(_REGION + 1), _REGION))
    except (OSError, ValueError) as error:
        raise ValueError(f"{file} cannot be used as a region: {error}") from error


def gallery_verdict(result: Certificate | Refusal, best: float | None, bundle: Bundle) -> Verdict:
    """The verdict in the time unit in which the certificate was made."""
    backbone = bundle.model.backbone
    states = [*zip(backbone.states, backbone.state_units, strict=True)]
    return gallery.certificate_verdict(result, best, _time_unit(bundle), states)


def _time_unit(bundle: Bundle) -> str:
    return str((bundle.certified_in or {}).get("time", bundle.model.backbone.time_unit))


def _notes_of(bundle: Bundle) -> list[str]:
    """What a reader of the bundle's certificate must know beside it."""
    notes = []
    if _cut_short(bundle):
        notes.append(f"The bundle's training was cut short ({_cut_short(bundle)}).")
    if isinstance(bundle.certificate, Certificate) and "time" not in (bundle.certified_in or {}):
        notes.append(
            "The bundle is of an earlier version and does not say in which units its certificate was made; they are taken to be "
            "the model's. `homeostat certify BUNDLE --write` makes one that does."
        )
    return notes


@dataclass(frozen=True)
class Checked:
    """What `homeostat check` finds of a bundle.

    `proved`: whether the certificate is proved for what the bundle's own weights and people give · `reason` · `outside`: what it
    does not cover of what these people do · `people`, how many they are · `notes`, sentences that a reader must know.
    """

    proved: bool
    reason: str
    outside: tuple[Outside, ...]
    people: int
    notes: tuple[str, ...]

    @property
    def good(self) -> bool:
        """Is it proved, and does it cover everyone?"""
        return self.proved and not self.outside

    @property
    def text(self) -> str:
        """All of it in words."""
        undecided = self.reason.startswith("not decided")  # neither proved nor refused within the checker's budget
        lines = [f"{'proved: ' if self.proved else '' if undecided else 'REFUSED: '}{self.reason}"]
        beyond = [f"  {one}" for one in self.outside]
        if beyond and self.proved:
            who = gallery.whom(self.outside, self.people)
            lines = [f"NOT COVERED: the certificate is proved, and does not cover {who}:", *beyond, f"what is {lines[0]}"]
        elif beyond:
            lines = [*lines, *beyond]
        return "\n".join([*lines, *self.notes])

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "proved": self.proved,
            "reason": self.reason,
            "covered": self.good,
            "outside": [asdict(one) for one in self.outside],
            "notes": list(self.notes),
        }


def examine_bundle(path: Path, structures: Mapping[str, type[nn.Module]] = BUILTIN) -> Checked:
    """Is the bundle's certificate proved for the arrays that its own weights give, and does it cover what its people do?

    Errors: `ValueError` for a file that is no bundle, or has no certificate to check.
    """
    bundle = load(path, structures)
    people, notes = len(bundle.people), tuple(_notes_of(bundle))
    if bundle.certificate is None:
        raise ValueError(f"{path}: there is no certificate inside; make one with `homeostat certify {path} --write`")
    if isinstance(bundle.certificate, Refusal):
        reason = f"the bundle holds a refusal, not a certificate: {bundle.certificate.message}"
        return Checked(False, reason, (), people, notes)
    verdict = _proved_in(bundle)
    if verdict.proved:
        return Checked(True, verdict.reason, tuple(bundle.outside()), people, notes)
    # what the certificate was made for may stand beside it: then it can be said whose systems are others
    certified, found = certified_system(path), []
    if certified is not None and certified.digest() == bundle.certificate.digest != bundle.system().digest():
        found = strangers(certified, bundle.system(), [p.id for p in bundle.people])
    return Checked(False, verdict.reason, tuple(found), people, notes)


def _proved_in(bundle: Bundle) -> ProofVerdict:
    """What the checker says of a bundle's certificate and the arrays that its own weights give."""
    system = bundle.system()
    with few_threads(system.states + sum(system.widths)):
        return prove(bundle.certificate, system)


def report_on(
    path: Path,
    data: Path,
    *,
    folder: Path | None,
    units: Mapping[str, str],
    compartments: Mapping[int | str, str],
    channels: Mapping[int | str, str],
    covariates: Sequence[str] | None = None,
    order: Order | None = None,
    signed: Sequence[str] = (),
    ignore: Sequence[str] = (),
    threshold: float | None,
    forecast_from: float | None,
    structures: Mapping[str, type[nn.Module]] = BUILTIN,
) -> dict[str, Any]:
    """Personalise the people of a table with the network frozen, forecast the rest of their records, score and draw.

    Errors: `ValueError` for a bundle or table that cannot be used.
    """
    bundle = load(path, structures)
    units = units or _stated_in(bundle, path)
    table = read_table(
        data,
        units=units,
        compartments=compartments,
        channels=channels,
        covariates=covariates,
        order=order,
        signed=signed,
        ignore=ignore,
    )
    assumed = unstated(table.records, bundle.model)
    # what is asked and drawn is in the model's units, on everybody's own clock
    records = [converted(record, bundle.model).on_own_clock() for record in table.records]
    # a channel that was signed where the model was trained is, whatever this table holds
    records = [replace(r, nonnegative=tuple(c for c in r.nonnegative if c in bundle.nonnegative)) for r in records]
    asked = asked_of(records, bundle.model.observation.units[0], threshold, forecast_from)
    _require_room(records, bundle.mesh, 16 * bundle.model.members, len(bundle.model.backbone.states))
    cohort = Cohort.of(records, bundle.model, bundle.mesh)
    known, later = split(cohort, asked.forecast_from)
    generator = torch.Generator().manual_seed(1)
    prediction, personal = forecast(bundle.model, known, later, generator=generator, solver=solver_of(bundle))
    scaling, withheld = _scaling_in(bundle, cohort.ids, later.y)
    if scaling is not None:
        prediction = scaling.apply(prediction, cohort.ids)
    evaluation = score(prediction, later.y, asked.threshold, generator)
    judged = judge_uncertainty(
        prediction, later.y, cohort.ids, asked, resample="bootstrap", recalibrate=False, calibration=scaling
    )
    end = max(float(r.times[-1]) for r in records)
    asked_dense = dense_of(cohort, bundle.model, end)
    dense, _ = forecast(bundle.model, known, asked_dense, generator=generator, solver=solver_of(bundle))
    if scaling is not None:
        dense = scaling.apply(dense, cohort.ids)
    seen = sorted({p.id for p in bundle.people} & set(cohort.ids))
    same = bundle.provenance.get("table_sha256") == provenance(Settings(), data, records, units)["table_sha256"]
    folder = folder or path.parent / "report"
    verdicts = gallery.interrupted_verdicts(_cut_short(bundle))
    verdicts += [Verdict(sentence, None, about=("units",)) for sentence in assumed]
    if same or seen:
        verdicts.append(
            Verdict(
                f"{len(seen)} of {len(records)} people have ids that the model was trained on",
                None,
                "If they are the same people, this page flatters the model: the bundle's own calibration, below, was made on "
                "people never seen.",
                ("people seen",),
            )
        )
    beyond = _beyond_training(bundle, cohort, personal.mode)
    if beyond:
        some = "; ".join(f"{shortened(name, 40)}: {one.reasons()[0]}" for name, one in [*beyond.items()][:3])
        verdicts.append(
            Verdict(
                f"{len(beyond)} of {len(records)} people {'goes' if len(beyond) == 1 else 'go'} beyond what the model was "
                "trained on",
                None,
                f"{some}{' …' if len(beyond) > 3 else '.'} For them the learned part extrapolates, and the intervals show only "
                f"what the members disagree about. {CRITERION}",
                ("beyond training",),
            )
        )
    verdicts += _certificate_verdicts(bundle, personal.mode, cohort)
    if scaling is not None:
        sentences = " ".join(scaling.sentences())
        verdicts.append(Verdict("The forecasts are recalibrated by the people of the bundle", None, sentences, ("scaling",)))
    if withheld:
        detail = f"{withheld} On them it would look better than it is."
        verdicts.append(Verdict("The bundle's recalibration is not applied to these people", None, detail, ("scaling",)))
    # the typical values are not this table's to move: only its people's own search can be unfinished
    search = convergence(bundle.model, personal, cohort.ids)
    search = replace(search, names=(), away=search.away[:, :0], moves=search.moves[:, :0])
    ends = tuple(e for e in at_ends(bundle.model, cohort, personal.mode) if e.what == "people")
    if not search.converged:
        found = " ".join(search.sentences())
        verdicts.append(Verdict("Not everyone's own parameters were found", False, found, ("convergence",)))
    verdicts += gallery.ends_verdicts(ends)
    verdicts += verdicts_of(judged)
    evaluations, notes = {"this table": evaluation}, [*filter(None, [asked.note]), *map(str, table.left_out)]
    far = (one.sentence() for one in far_covariates(records, bundle.model))
    notes += [*_channel_notes(records), *far, *unused(records, bundle.model), *gallery.baseline_notes(cohort)]
    rings = rings_of(bundle.model, cohort, personal)
    page = _page(
        folder,
        bundle,
        evaluations,
        records,
        asked,
        dense=dense,
        title=f"{data.name}: forecasts of {len(records)} people",
        lead="\n\n".join(
            [
                f"Each person was learned from what was measured up to {asked.forecast_from:g} {asked.time_unit} since the "
                f"{asked.since}, with the trained network frozen; the rest of their record was then asked of the model.",
                *notes,
            ]
        ),
        verdicts=verdicts,
        heading="This table",
        judged=judged,
        rings=rings and replace(rings, whose="these people"),
        beyond=list(beyond),
    )
    summary: dict[str, Any] = {
        "scores": dict(evaluation.scores),
        "verdicts": [v.to_dict() for v in verdicts],
        "uncertainty": judged.to_dict(),
        "people_seen_in_training": seen,
        "converged": bool(personal.converged.all()),
        "forecast_from": asked.forecast_from,
        "time_unit": asked.time_unit,
        "time_since": asked.since,
        "unit": asked.unit,
        "people_beyond_training": {name: one.to_dict() for name, one in beyond.items()},
        "cut_at_zero": list(never_negative(records)),
        "notes": notes,
        "cut_short": _cut_short(bundle),
        "people_not_converged": list(search.unfinished),
        "ends": [e.to_dict() for e in ends],
        "report": str(page),
    }
    with whole_file(folder / "report.json") as partial:
        partial.write_text(json.dumps(summary, indent=1, ensure_ascii=False), encoding="utf-8")
    lines = [f"{MARKS[v.good]} {v}" for v in verdicts]
    summary["text"] = "\n".join([*lines, f"report: {page}"])
    return summary


def _stated_in(bundle: Bundle, path: Path) -> Mapping[str, str]:
    """The units of the table that the bundle was made from, as it says."""
    units = bundle.provenance.get("units", {})
    if not isinstance(units, Mapping) or not all(isinstance(unit, str) for unit in units.values()):
        raise ValueError(f"{path}: its provenance does not say the units of a table; state them: --units TIME=h,AMT=mg,DV=mg/L")
    return units


def _beyond_training(
    bundle: Bundle,
    cohort: Cohort,
    mode: torch.Tensor,  # (M, N, d)
) -> dict[str, Beyond]:
    """Whose own schedule and state leave what the bundle was trained on, and how, by id."""
    if not bundle.people:
        return {}
    given = cohort.conditions
    found = Reach.of(bundle, max(float(r.times[-1]) for r in cohort.records)).beyond(
        bundle,
        [r.schedule for r in cohort.records],
        [float(r.times[-1]) for r in cohort.records],
        mode,
        covariates={name: value.tolist() for name, value in given.covariates.items()},
        baseline=given.baseline,
    )
    return {name: one for name, one in zip(cohort.ids, found, strict=True) if one}


def _scaling_in(bundle: Bundle, people: Sequence[str], y: torch.Tensor) -> tuple[Scaling | None, str]:
    """The bundle's own recalibration for people and observations that it was not fitted on; else None, and why if it has one."""
    uncertainty = bundle.calibration.get("uncertainty", {})
    data = uncertainty.get("scaling") if isinstance(uncertainty, Mapping) else None
    if data is None:
        return None, ""
    try:
        scaling = Scaling.from_dict(data)
    # whatever rubbish raises: an entry of the calibration is not looked at when the bundle is loaded
    except (KeyError, IndexError, TypeError, AttributeError, ValueError, OverflowError, RuntimeError) as error:
        raise ValueError(f"the bundle's recalibration cannot be read ({error!r:.200}); save the bundle again") from error
    again = sorted(set(scaling.people) & set(people))
    if again:
        some = ", ".join(shortened(name, 40) for name in again[:5]) + (" …" if len(again) > 5 else "")
        return None, f"It was fitted on people of the same ids ({some})."
    try:
        scaling.refuse(people, y.cpu().numpy())
    except ValueError:
        return None, "It was fitted on these very observations, under other ids."
    return scaling, ""


def _certificate_verdicts(
    bundle: Bundle,
    mode: torch.Tensor,  # (M, N, d)
    cohort: Cohort,
) -> list[Verdict]:
    """What the bundle's certificate says, once it is proved again: of the bundle's own people, and of these ones."""
    certificate = bundle.certificate
    if certificate is None:
        return []
    if isinstance(certificate, Refusal):
        return [gallery_verdict(certificate, None, bundle)]
    proof = _proved_in(bundle)
    if not proof.proved:
        claim = "The bundle holds a certificate that is not proved for its own weights and people"
        return [Verdict(claim, False, f"{proof.reason}.", ("certificate",))]
    found = [gallery_verdict(certificate, None, bundle)]
    found += gallery.outside_verdicts(bundle.outside(), len(bundle.people))
    return [*found, *_these_people_too(bundle, certificate, mode, cohort)]


def _these_people_too(
    bundle: Bundle,
    certificate: Certificate,
    mode: torch.Tensor,  # (M, N, d)
    cohort: Cohort,
) -> list[Verdict]:
    """The bundle's certificate is about the people whom it was fitted on: does its metric serve these ones too?"""
    region, inputs = (None, None) if isinstance(certificate.region, str) else claimed(certificate.region)
    if inputs is not None and isinstance(certificate.region, Mapping) and not certificate.region["stays"]["doses"]:
        inputs = replace(inputs, doses=None, gap=None)  # they were asked for, and are not what it covers
    system = lure_of(bundle.model, mode, cohort.conditions.covariates)
    found = certify(system, None, region, inputs, 20.0, metric=certificate.metric)
    unit, given = bundle.model.backbone.time_unit, cohort.conditions
    if isinstance(found, Certificate):
        detail = f"Proved, with the parameters that were found for them: {gallery.certificate_claim(found, unit)}."
        subjects = subjects_of(
            bundle.model, cohort.ids, [r.schedule for r in cohort.records], mode, given.covariates, given.baseline
        )
        new = gallery.outside_verdicts(outside(found, bundle.model, subjects), len(cohort.ids))
        new = [replace(one, claim=f"{one.claim} in this table", about=("certificate", "these people")) for one in new]
        good = Verdict("The same metric serves the people of this table", True, detail, ("certificate", "these people"))
        return [good, *new]
    claim = "The certificate does not extend to everyone in this table"
    return [Verdict(claim, False, found.message, ("certificate", "these people"))]


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
    verdicts: Sequence[Verdict],
    judged: Judged,
    rings: Rings | None,
    heading: str = "People never seen in training",
    beyond: Sequence[str] = (),
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
            subtitle=f"From the measurements up to {asked.forecast_from:g} {asked.time_unit} since the {asked.since} (filled) to "
            "the rest (open)",
            beyond=beyond,
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
        provenance=gallery.made_from(bundle.provenance, bundle.model.backbone.time_unit),
    )


_MOST_STRETCHES = 5_000  # between doses and printed times, of one person: half of the steps that a solver tries


def _require_short(bundle: Bundle, schedule: Schedule, start: float, end: float, points: int) -> None:
    """Refuse what would take minutes or all memory, before anything is made of it."""
    step, unit = bundle.mesh.step, bundle.model.backbone.time_unit
    most = most_steps(bundle)
    if step is not None and (end - start) / step > most:
        raise ValueError(
            f"--until {end:g} {unit} is {(end - start) / step:.3g} steps of the model's {step:.3g} {unit}, more than "
            f"{most:,}, which is a slip of the end or of the unit of time; write an earlier one"
        )
    given = [d for d in schedule.doses if as_float(d.arrival) < end]
    bends = sum(start < t < end for signal in schedule.inputs.values() for t in signal.times)
    count = points + len(given) + sum(not d.bolus for d in given) + bends
    if count > _MOST_STRETCHES:
        raise ValueError(
            f"{len(given)} doses, {points} times and {bends} points of inputs cut the time to {end:g} {unit} more than "
            f"{_MOST_STRETCHES:,} times; ask for fewer --points, fewer doses or an earlier --until"
        )


def _require_room(records: Sequence[Record], mesh: Mesh, networks: int, states: int) -> None:
    """Refuse a computation that would take days or gigabytes for each array, before it is begun: a table in minutes that is said
    to be in hours is sixty times as long.
    """
    longest = max(float(r.times[-1]) - r.schedule.start for r in records)
    steps = 0.0 if mesh.step is None else longest / mesh.step
    if steps > _MOST_IN_TURN or steps * len(records) * networks * states > _MOST_NUMBERS:
        unit = records[0].units.get("time", "")
        raise ValueError(
            f"a record of {longest:g} {unit} is {steps:.3g} steps of the model's {mesh.step:.3g} {unit}, and with {len(records)} "
            f"people and {networks} networks more than a machine gets through; is TIME in another unit than --units says? If it "
            "is right, ask for fewer members and folds, or split the table by people"
        )


_MOST_IN_TURN = 200_000  # steps of one record, one after the other: ten years in steps of half an hour
_MOST_NUMBERS = 3e8  # of one array of states, 2.4 GB


def simulate_person(
    path: Path,
    text: str,
    *,
    person: str | None,
    until: float | None,
    points: int,
    level: float,
    picture: Path | None,
    structures: Mapping[str, type[nn.Module]] = BUILTIN,
) -> tuple[dict[str, Any], str]:
    """One fitted person under a changed schedule: plain JSON values, and a table as text.

    Times, those of `text` and `until` too, are since the person's first dose as it was given (or their start).
    Errors: `ValueError` for an unknown person or a text that is no schedule.
    """
    bundle = load(path, structures)
    if not bundle.people:
        raise ValueError(f"{path}: the bundle holds no person to simulate")
    if person is not None and not person.strip():
        raise ValueError("--person names nobody; write an id, as `homeostat inspect` lists them, or leave it out for the first")
    index = 0 if person is None else bundle.person(person)
    who, backbone = bundle.people[index], bundle.model.backbone
    units = schedule_units(backbone)
    # a script may have kept the table's clock
    given, _ = since(who.schedule, np.array([who.schedule.start]), origin_of(who.schedule))
    schedule = parse_schedule(text, states=backbone.states, inputs=backbone.inputs, base=given, units=units)
    start, began = given.start, counts_from(given)
    end = 24.0 if until is None else until
    if not start < end < np.inf:
        raise ValueError(
            f"--until {end:g} {backbone.time_unit} is no time after the record's start, which is at {start:g} "
            f"{backbone.time_unit} since the {began}"
        )
    _require_short(bundle, schedule, start, end, points)
    times = np.linspace(start, end, points).tolist()
    (prediction,) = predict_person(bundle, index, [schedule], times)
    low, high = prediction.interval(level)
    for j, name in enumerate(bundle.model.observation.channels):
        if name in bundle.nonnegative:  # the quantiles of max(y, 0)
            low[..., j], high[..., j] = low[..., j].clamp_min(0.0), high[..., j].clamp_min(0.0)
    channels, channel_units = bundle.model.observation.channels, bundle.model.observation.units
    schedules = {"as given": given, "what if": schedule}
    beyond = gallery.beyond_training(bundle, index, schedules, end)
    answer: dict[str, Any] = {
        "person": who.id,
        "schedule": format_schedule(schedule, units=units),
        "time": times,
        "time_unit": backbone.time_unit,
        "time_since": began,
        "cut_short": _cut_short(bundle),
        "level": level,
        "beyond_training": beyond["what if"].to_dict(),
        "channels": {
            name: {
                "unit": channel_units[j],
                "mean": prediction.point[0, :, j].tolist(),
                "lower": low[0, :, j].tolist(),
                "upper": high[0, :, j].tolist(),
                "aleatoric_sd": prediction.aleatoric[0, :, j].sqrt().tolist(),
                "epistemic_sd": prediction.epistemic[0, :, j].sqrt().tolist(),
                "personal_sd": prediction.personal[0, :, j].sqrt().tolist(),
                "cut_at_zero": name in bundle.nonnegative,
            }
            for j, name in enumerate(channels)
        },
    }
    lines = [
        f"person {shortened(who.id)}: {shortened(answer['schedule'], 400) or 'nothing given'}",
        f"times in {backbone.time_unit} since the {began}{' as it was given' if given.doses else ''}",
    ]
    if beyond["what if"]:
        lines.append(beyond["what if"].sentence())
        if beyond["what if"].spans:
            lines.append("The times at which the state is there are marked with *.")
    if _cut_short(bundle):
        lines.append(f"this model's training was cut short ({_cut_short(bundle)})")
    if {as_float(d.arrival) for d in schedule.doses} & set(times):
        lines.append("At the time of a dose stands the value before it.")
    for name, values in answer["channels"].items():
        unit = values["unit"]
        time, value, band = f"time [{backbone.time_unit}]", f"mean {name} [{unit}]", f"{100 * level:g} % interval"
        lines.append(
            f"{time:>12}  {value:>22}  {band:>18}  {'noise':>8} {'model':>8} {'person':>8}  (standard deviations)"
            f"{'' if unit in ('', '1') else f', all in {unit}'}"
        )
        keys = ("mean", "lower", "upper", "aleatoric_sd", "epistemic_sd", "personal_sd")
        for t, m, a, b, noise, model, own in zip(times, *(values[k] for k in keys), strict=True):
            mark = "  *" if beyond["what if"].at(t) else ""
            lines.append(f"{t:12.2f}  {m:22.3f}  {f'{a:.3f} to {b:.3f}':>18}  {noise:8.3f} {model:8.3f} {own:8.3f}{mark}")
    if bundle.nonnegative:
        lines.append(gallery.cut_note(bundle.nonnegative))
    if picture is not None:
        fine = np.linspace(start, end, 145).tolist()
        found = predict_person(bundle, index, list(schedules.values()), fine)
        from homeostat.pictures import draw_what_if

        drawn = draw_what_if(
            dict(zip(schedules, found, strict=True)),
            picture,
            title=f"What if, for person {shortened(who.id)}: {shortened(text) or 'nothing changed'}",
            schedules=schedules,
            time_unit=backbone.time_unit,
            since=began,
            nonnegative=bundle.nonnegative,
            beyond={name: one.spans for name, one in beyond.items() if one},
        )
        lines.append(f"picture: {drawn}")
    return answer, "\n".join(lines)


def inspect_bundle(path: Path, structures: Mapping[str, type[nn.Module]] = BUILTIN) -> tuple[dict[str, Any], str]:
    """What is in a bundle: plain JSON values, and a text, in which what the bundle says of itself begins no line."""
    bundle = load(path, structures)
    model, certificate = bundle.model, bundle.certificate
    backbone = model.backbone
    about: dict[str, Any] = {
        "structure": describe(model),
        "units": units_of(model),
        "nonnegative": list(bundle.nonnegative),
        "members": model.members,
        "people": [p.id for p in bundle.people],
        "mesh": vars(bundle.mesh),
        "certificate": None if certificate is None else certificate.to_dict(),
        "calibration": dict(bundle.calibration),
        "provenance": dict(bundle.provenance),
        "cut_short": _cut_short(bundle),
    }
    states = ", ".join(f"{s} [{u}]" for s, u in zip(backbone.states, backbone.state_units, strict=True))
    measured = ", ".join(
        f"{c} [{u}]{', never below 0' if c in bundle.nonnegative else ''}"
        for c, u in zip(model.observation.channels, model.observation.units, strict=True)
    )
    weights = sum(p.numel() for p in model.parameters()) // model.members
    lines = [
        f"model      {type(backbone).__name__} + {type(model.residual).__name__}, {model.members} members of {weights} numbers",
        f"states     {states}; time in {backbone.time_unit}",
        f"measured   {measured}",
        f"people     {len(bundle.people)}: {', '.join(shortened(p.id, 60) for p in bundle.people)}",
    ]
    if _cut_short(bundle):
        lines.append(f"training   was cut short ({_cut_short(bundle)})")
    if certificate is None:
        lines.append("certificate none; make one with `homeostat certify BUNDLE --write`")
    else:
        lines.append(f"certified  {shown(_claimed_in(bundle), lines=False)}")
    kept = bundle.calibration.get("scores", {})
    for name, scores in kept.items() if isinstance(kept, Mapping) else ():
        told = [scores.get(k) for k in ("crps", "nll", "coverage_80")] if isinstance(scores, Mapping) else []
        numbers = [float(v) for v in told if isinstance(v, int | float)]
        if len(numbers) < 3:
            continue  # a script may keep other scores; --json shows them
        crps, nll, covered = numbers
        name, unit = shown(name[:60], lines=False), model.observation.units[0]
        lines.append(
            f"unseen     {name}: CRPS {crps:.3f}{'' if unit == '1' else f' {unit}'}, NLL {nll:.3f}, the 80 % interval covers "
            f"{100 * covered:.0f} %"
        )
    lines += [f"{shown(str(k)[:200], lines=False):<26} {shown(str(v)[:2000], lines=False)}" for k, v in bundle.provenance.items()]
    return about, "\n".join(lines)


def _claimed_in(bundle: Bundle) -> str:
    """The certificate's claim, or the refusal, in words; whether it is true is for `check` to say."""
    certificate = bundle.certificate
    if not isinstance(certificate, Certificate):
        return str(gallery_verdict(certificate, None, bundle).claim) if certificate is not None else "nothing"
    try:
        return f"{gallery.certificate_claim(certificate, _time_unit(bundle))}; `homeostat check` proves it anew"
    except (ValueError, TypeError, KeyError, AttributeError, ArithmeticError):  # it was never proved, and may be anything
        return "something that cannot be put into words; `homeostat check` says what is wrong with it"
