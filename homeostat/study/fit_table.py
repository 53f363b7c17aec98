"""The study of one table: train, certify, judge beside the backbone alone, draw, save."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from exchange import save, solver_named
from exchange.files.names import require_names
from homeostat import gallery
from homeostat.bundles.said import bundle_verdict
from homeostat.gallery.diagnostics import population_verdicts
from homeostat.gallery.estimates import estimate_tables
from homeostat.gallery.judged import judge_uncertainty, rings_of, verdicts_of
from homeostat.gallery.made import Made
from homeostat.gallery.markup import MARKS
from homeostat.gallery.opening import between_limits, opening_of
from homeostat.gallery.page import DRAWN, Shown, write_page
from homeostat.gallery.theta import theta_of
from homeostat.one_run import Run
from homeostat.places import require_folder
from homeostat.plain_text import shown
from homeostat.progress import cut_short
from homeostat.study.alone import Alone
from homeostat.study.asked import asked_of, require_two_forecasts
from homeostat.study.backbones import start_notes
from homeostat.study.bundled import bundle_of, marked
from homeostat.study.by_likelihood import train_alone
from homeostat.study.dense import dense_unseen
from homeostat.study.diagnosed import diagnosed
from homeostat.study.estimated import MOST, MOST_ASKED, estimated
from homeostat.study.evaluation import crps_difference, evaluate
from homeostat.study.groups import cross_validated, scores_by_group
from homeostat.study.individual import fits_of
from homeostat.study.known_claims import certify_known
from homeostat.study.provenance import provenance
from homeostat.study.recipe import hybrid_recipe
from homeostat.study.rounded import certify_rounded
from homeostat.study.settings import Settings, require_settings
from homeostat.study.suited import notes_of, require_one_unit, require_room, unstated
from homeostat.study.training import require_folds, train, why_not_converged
from homeostat.terminal import rich_table
from physics import Backbone
from physics.arguments import counted
from stability import Certificate, Refusal, check
from training import (
    Checkpoint,
    Record,
)
from training.people.conversion import converted
from training.trust.verdicts import Verdict
from training.watched.log import require_tensorboard


def fit_table(
    table: Path,
    records: Sequence[Record],
    units: Mapping[str, str],
    *,
    folder: Path,
    backbone: Backbone,
    hidden: Sequence[int],
    settings: Settings,
    threshold: float | None,
    console: Console,
    resume: bool | None = None,
    log: bool = False,
    made: Made | None = None,
    alone: Alone | None = None,
) -> dict[str, Any]:
    """Train, certify, judge beside the backbone alone, draw, and save `model.twin` and `report.html` in `folder`, all together
    at the end (`Run`).

    Times of the answer are since everyone's first dose (or start), as `settings.forecast_from` is.
    While it trains, checkpoints are in `folder`; they go when all is done, and stay when training was interrupted.
    `resume`: go on from them where they are there (True), begin anew (False), or refuse to choose (None); `log`: curves for
    TensorBoard in `folder/log`; `made`, what the page says of how it was made, by default this call and now. `alone`: one model
    without a learned part instead, by its marginal likelihood (`hidden` is empty, and `settings.members` has no say).
    Errors: `ValueError` for input that cannot be used, `SimulationError` naming the person.
    """
    require_settings(settings)  # better known before anything is read or written
    if log:
        require_tensorboard()
    require_names((r.id for r in records), "a person's ID")  # a bundle would refuse them, after training
    require_names({name for r in records for name in (*r.covariates, *r.channels)}, "the name of a column or channel")
    records = [r.on_own_clock() for r in records]
    if alone is not None:
        if hidden or log:
            raise ValueError("fit_table: a population alone has no hidden layers and no log; write hidden=[], and leave log out")
        settings = replace(settings, members=1)
    recipe = hybrid_recipe(backbone, records, hidden=hidden or (1,), with_residual=bool(hidden), alone=alone)
    assumed = unstated(records, recipe.model)
    records = [converted(record, recipe.model) for record in records]  # what is asked and drawn is in the model's units
    require_one_unit(recipe.model)
    about_table = notes_of(records, recipe.model)
    require_folds(settings.folds, len(records))
    require_room(records, recipe.mesh, settings.members * (min(settings.folds, len(records)) + 1), len(backbone.states))
    asked = asked_of(records, recipe.model.observation.units[0], threshold, settings.forecast_from)
    require_two_forecasts(records, asked)
    settings = replace(settings, forecast_from=asked.forecast_from)
    require_folder(folder)  # a place that cannot be written is better known before than after training
    checkpoints = {name: Checkpoint(folder / f"{name}.checkpoint", every=10) for name in ("hybrid", "backbone")}
    if resume is None and any(c.path.exists() for c in checkpoints.values()):
        raise ValueError(f"{folder} holds training that did not end: --resume goes on with it, --anew begins anew")
    if resume is False:
        for checkpoint in checkpoints.values():
            checkpoint.remove()
    curves = folder / "log" if log else None
    if alone is None:
        of_folds = list[str]()
        trained = train(
            recipe, records, settings, console, checkpoint=checkpoints["hybrid"], log=curves and curves / "hybrid"
        )
    else:
        trained, of_folds = train_alone(recipe, records, alone, settings, console, checkpoint=checkpoints["hybrid"])
    interrupted = {recipe.name: trained.interrupted}
    bundle = bundle_of(trained, None, {}, {**marked(cut_short(interrupted)), "settings.solver": settings.solver})
    # the trained model is saved before anything else can fail
    run = Run(folder)
    path = save(bundle, run.begin() / "model.twin")
    system = bundle.system()
    on_region = None
    if system.tape is None:
        certificate, best = certify_rounded(system)
    else:
        last = max(float(r.times[-1]) for r in records)
        (certificate, on_region), best = certify_known(bundle, last), None
    proved = isinstance(certificate, Certificate) and check(certificate, system)
    evaluations = {recipe.name: evaluate(trained, settings, asked.threshold)}
    comparisons, left_out, unfinished, where = {}, [], dict[str, str](), dict[str, str]()
    other = hybrid_recipe(backbone, records, with_residual=False) if hidden else recipe
    if hidden and trained.interrupted is not None:
        left_out = [other.name]  # whoever stops a training does not ask for the next one
        console.print(f"{other.name}: left out, since training was interrupted")
    elif hidden:
        baseline = train(
            other, records, settings, console, checkpoint=checkpoints["backbone"], log=curves and curves / "backbone"
        )
        evaluations[other.name] = evaluate(baseline, settings, asked.threshold)
        interrupted[other.name] = baseline.interrupted
        unfinished[other.name] = why_not_converged(baseline.convergence, baseline.interrupted)
        where[other.name] = baseline.convergence.where
        comparisons[other.name] = crps_difference(evaluations[recipe.name], evaluations[other.name])
    judged = judge_uncertainty(
        evaluations[recipe.name].prediction,
        evaluations[recipe.name].y,
        [r.id for r in records],
        asked,
        resample="bootstrap",
    )
    solver = solver_named(settings.solver)
    table_of, why_none = (None, "")
    if trained.model.personal:
        table_of, why_none = estimated(
            trained.model,
            trained.cohort,
            trained.personal.mode,
            approximation="focei" if alone is None else alone.approximation,
            weights=trained.plan.weights[: trained.plan.members].to(trained.cohort.y.device),
            solver=solver,
            most=MOST if alone is None else MOST_ASKED,
        )
    calibration = {
        "uncertainty": judged.to_dict(),
        "protocol": "cross-validation by person, forecast from the samples up to "
        f"{asked.forecast_from:g} {asked.time_unit} since the {asked.since}",
        "whom": cross_validated(len(records), recipe.name),
        "event": asked.event,
        "scores": {name: dict(e.scores) for name, e in evaluations.items()},
        "groups": scores_by_group(recipe.name, evaluations[recipe.name], records),
        "estimates": None if table_of is None else table_of.to_dict(),
    }
    stopped = cut_short(interrupted)
    about = {**marked(stopped), **provenance(settings, table, records, units), **({} if alone is None else alone.provenance())}
    bundle = bundle_of(trained, certificate, calibration, about, beside=on_region)
    save(bundle, path)
    end = max(float(r.times[-1]) for r in records)
    dense = dense_unseen(trained, settings, end, DRAWN)
    notes = [
        *filter(None, [asked.note]),
        *about_table,
        *start_notes(trained.model.backbone),
        *gallery.baseline_notes(trained.cohort),
        *([] if alone is None else alone.notes()),
        *of_folds,
    ]
    seen = diagnosed(trained.model, trained.cohort, trained.personal, solver=solver)
    if seen is not None:
        seen = replace(seen, estimates=table_of, missing=(*seen.missing, *filter(None, [why_none])))
    about_fit = gallery.fit_verdicts(trained.recipe.start, trained.convergence, trained.ends, trained.interrupted)
    # where the backbone alone was interrupted the hybrid is judged as it is
    about_hybrid = [] if trained.interrupted is None else trained.convergence.sentences()
    said = bundle_verdict(certificate, best, bundle, proved=bool(proved))
    verdicts = [
        *gallery.interrupted_verdicts(stopped, left_out, " ".join(about_hybrid)),
        *(Verdict(sentence, None, about=("units",)) for sentence in assumed),
        said,
        *([] if on_region is None else [bundle_verdict(on_region, None, bundle)]),
        *about_fit,
        *population_verdicts(seen),
        *verdicts_of(judged),
        *(
            gallery.comparison_verdict(name, value, asked.unit, unfinished=unfinished[name], where=where[name])
            for name, value in comparisons.items()
        ),
    ]
    shown_on_page = Shown(
        bundle,
        evaluations,
        records,
        trained.cohort,
        asked,
        dense,
        judged,
        rings_of(trained.model, trained.cohort, trained.personal),
        theta_of(trained.model, trained.cohort, trained.personal),
        fits_of(trained.model, trained.cohort, trained.personal, end, most=DRAWN, solver=solver),
        unfinished=unfinished,
        diagnosed=seen,
        fitted_on=True,
        estimated_here=True,
    )
    summary = {
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
        "diagnostics": None if seen is None else seen.to_dict(),
    }
    page = write_page(
        run.place,
        shown_on_page,
        title=f"{table.name}: a {'hybrid ' if hidden else ''}twin of {counted(len(records), 'person', 'people')}",
        opening=opening_of(trained.model, records, judged, asked, verdicts, source=table.name, unseen=True),
        notes=[
            f"Forecasts below concern people whom the forecasting members had not been trained on. {gallery.WHAT_EVERYONE_SAID}",
            *notes,
        ],
        verdicts=verdicts,
        made=made or Made.now("homeostat.study.fit_table.fit_table(…)"),
        values=summary,
    )
    path, page = run.finished(path, page, cut_short=bool(stopped))
    printed = [gallery.score_rows(evaluations, unfinished=unfinished), gallery.uncertainty_rows(evaluations, asked.unit)]
    if alone is not None and table_of is not None:
        printed = [*estimate_tables(table_of), *printed]
        for sentence in table_of.sentences:  # why a number has no standard error stands above the table that shows none
            console.print(shown(sentence), markup=False)
    for rows in printed:
        console.print(rich_table(rows))
    if limits := between_limits(records):
        console.print(f"Beside what was measured {limits}", markup=False)
    for sentence in assumed:
        console.print(shown(sentence), markup=False)
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
        if apart := run.kept_apart():
            console.print(apart, markup=False)
    else:
        for checkpoint in checkpoints.values():
            checkpoint.remove()
    return {**summary, "bundle": str(path), "report": str(page)}
