"""The people of a table forecast by a bundle, scored and drawn."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from exchange import BUILTIN, Bundle, load
from homeostat import gallery
from homeostat.bundles.alike import shift_values, shift_verdicts, update_of, update_verdicts
from homeostat.bundles.reach import CRITERION
from homeostat.bundles.said import cut_short_in, not_converged_in
from homeostat.bundles.seen import asked_as_in, horizons_verdicts, seen_verdict, some_of
from homeostat.bundles.these_people import beyond_in, certificate_verdicts, scaling_in
from homeostat.bundles.units_needed import units_for
from homeostat.gallery.diagnostics import population_verdicts
from homeostat.gallery.judged import judge_uncertainty, rings_of, verdicts_of
from homeostat.gallery.latents import latent_of
from homeostat.gallery.made import Made
from homeostat.gallery.markup import MARKS
from homeostat.gallery.opening import opening_of
from homeostat.gallery.page import DRAWN, Shown, write_page
from homeostat.gallery.theta import theta_of
from homeostat.one_run import Run
from homeostat.places import require_folder
from homeostat.study.backbones import start_notes
from homeostat.study.dense import dense_of, split
from homeostat.study.diagnosed import diagnosed
from homeostat.study.estimated import Estimated
from homeostat.study.evaluation import score
from homeostat.study.individual import fits_of
from homeostat.study.provenance import provenance
from homeostat.study.settings import Settings
from homeostat.study.suited import notes_of, require_room, unstated
from homeostat.wording import behind
from physics.arguments import counted, shortened
from training import (
    Cohort,
    at_ends,
    convergence,
    forecast,
    personalise,
)
from training.people.conversion import converted
from training.people.records import never_negative
from training.people.tables.driven import driven
from training.people.tables.file_order import Order
from training.people.tables.nonmem import read_table
from training.people.tables.of_model import channels_shown, compartments_of
from training.shift import compared
from training.trust.verdicts import Verdict

_NO_ESTIMATES = (
    "There is no table of estimates with their standard errors: they are of the people whom a model was fitted on, and this "
    "bundle does not bring it; `homeostat fit` writes it, and in Python parameter_table(fitted, cohort) of training.inference "
    "gives it."
)


def report_on(
    path: Path,
    data: Path,
    *,
    folder: Path | None,
    units: Mapping[str, str],
    compartments: Mapping[int | str, str] | None = None,
    channels: Mapping[int | str, str] | None = None,
    covariates: Sequence[str] | None = None,
    order: Order | None = None,
    signed: Sequence[str] = (),
    ignore: Sequence[str] = (),
    threshold: float | None,
    forecast_from: float | None,
    structures: Mapping[str, type[nn.Module]] = BUILTIN,
    made: Made | None = None,
) -> dict[str, Any]:
    """Personalise the people of a table with the network frozen, forecast the rest of their records, score and draw.

    `compartments` and `channels` of the table are by default those of the bundle's model; `made`, what the page says of how
    it was made, by default this call and now.
    Errors: `ValueError` for a bundle or table that cannot be used.
    """
    bundle = load(path, structures)
    inputs = _inputs_of(bundle, path)
    units = units_for(bundle, path, units)
    shown = channels_shown(bundle.model) if channels is None else channels
    shown = {**shown, **{name: name for name in inputs if name not in shown.values()}}
    table = read_table(
        data,
        units=units,
        compartments=compartments_of(bundle.model.backbone) if compartments is None else compartments,
        channels=shown,
        covariates=covariates,
        order=order,
        signed=[*dict.fromkeys((*signed, *inputs))] if inputs else signed,
        ignore=ignore,
    )
    given = [driven(record, inputs) for record in table.records] if inputs else table.records
    assumed = unstated(given, bundle.model)
    # what is asked and drawn is in the model's units, on everybody's own clock
    records = [converted(record, bundle.model).on_own_clock() for record in given]
    # a channel that was signed where the model was trained is, whatever this table holds
    records = [replace(r, nonnegative=tuple(c for c in r.nonnegative if c in bundle.nonnegative)) for r in records]
    asked = asked_as_in(bundle, records, threshold, forecast_from)
    folder = folder or path.parent / "report"
    require_folder(folder)
    require_room(records, bundle.mesh, 16 * bundle.model.members, len(bundle.model.backbone.states))
    cohort = Cohort.of(records, bundle.model, bundle.mesh)
    known, later = split(cohort, asked.forecast_from)
    generator = torch.Generator().manual_seed(1)
    prediction, personal = forecast(bundle.model, known, later, generator=generator, solver=bundle.solver)
    prediction = compared(prediction, bundle.reference, bundle.model, known, later, personal=personal, solver=bundle.solver)
    scaling, withheld = scaling_in(bundle, cohort.ids, later.y)
    if scaling is not None:
        prediction = scaling.apply(prediction, cohort.ids)
    evaluation = score(prediction, later.y, asked.threshold, generator)
    judged = judge_uncertainty(
        prediction, later.y, cohort.ids, asked, resample="bootstrap", recalibrate=False, calibration=scaling
    )
    end = max(float(r.times[-1]) for r in records)
    first = torch.arange(min(DRAWN, len(records)))
    asked_dense = dense_of(cohort.people(first), bundle.model, end)
    dense, _ = forecast(bundle.model, known.people(first), asked_dense, generator=generator, solver=bundle.solver)
    if scaling is not None:
        dense = scaling.apply(dense, cohort.ids[:DRAWN])
    whole = personalise(bundle.model, cohort, solver=bundle.solver)
    seen = sorted({p.id for p in bundle.people} & set(cohort.ids))
    same = bundle.provenance.get("table_sha256") == provenance(Settings(), data, records, units)["table_sha256"]
    verdicts = gallery.interrupted_verdicts(cut_short_in(bundle), unfinished=not_converged_in(bundle))
    if not_converged_in(bundle) and not verdicts:  # one cause is one line
        claim = "The fit of this model had not converged"
        verdicts.append(Verdict(claim, False, not_converged_in(bundle), ("convergence", "training")))
    verdicts += [Verdict(sentence, None, about=("units",)) for sentence in assumed]
    verdicts.append(seen_verdict(bundle, len(seen), len(records), same=same))
    verdicts += shift_verdicts(prediction)
    beyond = beyond_in(bundle, cohort, personal.mode)
    if beyond:
        some = "; ".join(f"{shortened(name, 40)}: {one.reasons()[0]}" for name, one in [*beyond.items()][:3])
        who = f"{some_of(len(beyond), len(records))} {'goes' if len(beyond) == 1 else 'go'}"
        verdicts.append(
            Verdict(
                f"{who} beyond what the model was trained on",
                None,
                f"{some}{' …' if len(beyond) > 3 else '.'} {next(iter(beyond.values())).why()}. {CRITERION}",
                ("beyond training",),
            )
        )
    verdicts += certificate_verdicts(bundle, personal.mode, cohort)
    if scaling is not None:
        sentences = " ".join(scaling.sentences())
        verdicts.append(Verdict("The forecasts are recalibrated by the people of the bundle", None, sentences, ("scaling",)))
        verdicts += horizons_verdicts(bundle, asked)
    if withheld:
        detail = f"{withheld} On them it would look better than it is."
        verdicts.append(Verdict("The bundle's recalibration is not applied to these people", None, detail, ("scaling",)))
    updated = update_of(prediction, later.y, cohort, seen=bool(seen) or same)
    verdicts += update_verdicts(updated)
    # the typical values are not this table's to move: only its people's own search can be unfinished
    search = convergence(bundle.model, personal, cohort.ids)
    search = replace(search, names=(), away=search.away[:, :0], moves=search.moves[:, :0])
    ends = tuple(e for e in at_ends(bundle.model, cohort, personal.mode) if e.what == "people")
    if not search.converged:
        found = " ".join(search.sentences())
        verdicts.append(Verdict("Not everyone's own parameters were found", False, found, ("convergence",)))
    verdicts += gallery.ends_verdicts(ends)
    described = diagnosed(bundle.model, cohort, whole, solver=bundle.solver)
    if described is not None:
        table_of = Estimated.read(bundle.calibration.get("estimates"))
        lacking = () if table_of is not None else (_NO_ESTIMATES,)
        described = replace(described, estimates=table_of, missing=(*described.missing, *lacking))
    verdicts += population_verdicts(described)
    verdicts += verdicts_of(judged)
    evaluations, notes = {"this table": evaluation}, [*filter(None, [asked.note]), *map(str, table.left_out), *table.notes]
    notes += [*notes_of(records, bundle.model), *start_notes(bundle.model.backbone), *gallery.baseline_notes(cohort)]
    rings = rings_of(bundle.model, cohort, personal)
    verdicts += _missing(bundle)
    summary: dict[str, Any] = {
        "scores": dict(evaluation.scores),
        "uncertainty": judged.to_dict(),
        "people_seen_in_training": seen,
        "converged": bool(personal.converged.all()),
        "forecast_from": asked.forecast_from,
        "time_unit": asked.time_unit,
        "time_since": asked.since,
        "unit": asked.unit,
        "people_beyond_training": {name: one.to_dict() for name, one in beyond.items()},
        "shift": shift_values(prediction),
        "update": None if updated is None else updated.to_dict(),
        "cut_at_zero": list(never_negative(records)),
        "notes": notes,
        "cut_short": cut_short_in(bundle),
        "people_not_converged": list(search.unfinished),
        "ends": [e.to_dict() for e in ends],
        "diagnostics": None if described is None else described.to_dict(),
    }
    run = Run(folder)
    page = write_page(
        run.begin(),
        Shown(
            bundle,
            evaluations,
            records,
            cohort,
            asked,
            dense,
            judged,
            rings and replace(rings, whose="these people"),
            theta_of(bundle.model, cohort, whole),
            fits_of(bundle.model, cohort, whole, end, most=DRAWN, solver=bundle.solver),
            beyond=list(beyond),
            heading="This table",
            latent=latent_of(bundle.model, cohort.ids, whole),
            diagnosed=described,
            fitted_on=bool(seen),
        ),
        title=f"{data.name}: forecasts of {counted(len(records), 'person', 'people')}",
        opening=opening_of(bundle.model, records, judged, asked, verdicts, source=data.name, unseen=False),
        notes=[
            f"Each person was learned from what was measured up to {asked.forecast_from:g}{behind(asked.time_unit)} since the "
            f"{asked.since}, with the trained network frozen; the rest of their record was then asked of the model.",
            *notes,
        ],
        verdicts=verdicts,
        made=made or Made.now("homeostat.bundles.reported.report_on(…)"),
        values=summary,
    )
    (page,) = run.finished(page)
    summary |= {"verdicts": [v.to_dict() for v in verdicts], "report": str(page)}
    lines = [f"{MARKS[v.good]} {v}" for v in verdicts]
    summary["text"] = "\n".join([*lines, f"report: {page}"])
    return summary


def _inputs_of(bundle: Bundle, path: Path) -> dict[str, Literal["linear", "held"]]:
    """The model's inputs by name, and how those of the bundle's own people go between their points."""
    names = bundle.model.backbone.inputs
    if not names:
        return {}
    if not bundle.people:
        raise ValueError(
            f"{path}: its model needs inputs ({', '.join(names)}), and without people the bundle does not say whether they go in "
            "lines between their points or are held; forecast in Python, with a schedule.do(inputs={name: Signal(times, values), "
            "…}) for everyone"
        )
    twice = sorted(set(names) & set(bundle.model.observation.channels))
    if twice:
        raise ValueError(
            f"{path}: {twice[0]} is an input of its model and a channel too, which a row of a table cannot tell apart; forecast "
            "in Python, with a schedule.do(inputs={name: Signal(times, values), …}) for everyone"
        )
    return {name: bundle.people[0].schedule.inputs[name].kind for name in names}


def _missing(bundle: Bundle) -> list[Verdict]:
    """What a reader might look for on the page, and the bundle does not bring."""
    found = []
    if not bundle.claims:
        detail = "`homeostat certify BUNDLE --write` looks for a certificate."
        claim = "Nothing is proved of this model: the bundle holds no certificate"
        found.append(Verdict(claim, None, detail, ("missing", "claims")))
    if not bundle.people:
        detail = "Nobody can say whether the people of this table go beyond what it was trained on."
        found.append(Verdict("The bundle holds none of the people it was trained on", None, detail, ("missing", "people")))
    if not bundle.calibration:
        detail = "How well it forecasts is judged by the people of this table alone."
        found.append(Verdict("The bundle brings no scores of its own", None, detail, ("missing", "calibration")))
    return found
