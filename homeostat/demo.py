"""The main job: twelve real people, from their table to a certified, calibrated, saved twin."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table as RichTable

from exchange import load, save, solver_named
from homeostat import gallery
from homeostat.bundles.exported import export_beside
from homeostat.bundles.uncertified import outside_certificates, outside_in_words
from homeostat.data import THEOPHYLLINE_UNITS, theophylline
from homeostat.gallery import Asked
from homeostat.gallery.judged import judge_uncertainty, rings_of, verdicts_of
from homeostat.gallery.made import Made
from homeostat.gallery.markup import MARKS
from homeostat.gallery.opening import opening_of
from homeostat.gallery.page import DRAWN, Shown, proof_section, sections_of
from homeostat.gallery.report import Section, write_report
from homeostat.gallery.theta import theta_of
from homeostat.one_run import Run
from homeostat.places import require_folder
from homeostat.progress import cut_short
from homeostat.second_process import Answer, SecondProcess
from homeostat.study import (
    Evaluation,
    Settings,
    Trained,
    bundle_of,
    certify_rounded,
    crps_difference,
    dense_unseen,
    dosed_region,
    evaluate,
    gradient_difference,
    judge,
    require_folds,
    train,
)
from homeostat.study.backbones import backbone_named
from homeostat.study.groups import cross_validated, scores_by_group
from homeostat.study.individual import fits_of
from homeostat.study.provenance import provenance
from homeostat.study.recipe import hybrid_recipe, neural_ode_recipe
from homeostat.study.settings import require_settings
from homeostat.terminal import rich_table
from hybrid import Prediction
from stability import Certificate, Refusal, certify, check, decay_in_words
from stability.decay import rounded
from training import Record, read_nonmem
from training.trust.verdicts import Verdict, verdicts_about

NAME = "theophylline"  # of what is exported
THRESHOLD = 5.0  # mg/L, the lower end of the range aimed at in treatment
DOSE_GAP = 24.0  # h: the certificate's region leaves room for anyone's largest dose once a day
GRADIENT_LIMIT = 1e-2  # relative: the mesh is made for 1e-4 of the largest state, and a gradient cancels more
END = 25.0  # h, until when people are drawn
SOURCE = "a clinical study of theophylline (Boeckmann, Sheiner & Beal 1994)"
FORECAST_FROM = 2.5  # h, three or four samples after the dose
STATES = (("gut", "mg"), ("plasma", "mg"))


def run_demo(folder: Path, settings: Settings, console: Console, *, made: Made | None = None) -> dict[str, Any]:
    """Run all of it, writing into `folder`, all together at the end (`Run`); a summary as plain JSON values, "certified" among
    them.

    `made`: what the page says of how it was made, by default this call and now.
    Errors: `SimulationError` naming the person; `KeyboardInterrupt` before anything was trained.
    """
    began = time.perf_counter()
    made = made or Made.now("homeostat.demo.run_demo(…)")
    require_settings(settings)
    records = read_nonmem(theophylline(), units=THEOPHYLLINE_UNITS)
    require_folds(settings.folds, len(records))
    require_folder(folder)
    asked = Asked("concentration", "mg/L", THRESHOLD, settings.forecast_from, "h")

    console.rule("[bold]1 · read[/bold]", align="left")
    count = sum(int(np.isfinite(r.values).sum()) for r in records)
    console.print(f"{len(records)} people, {count} measurements, one oral dose each (Boeckmann, Sheiner & Beal 1994)")

    console.rule("[bold]2, 3 · build and train[/bold]", align="left")
    backbone = backbone_named("OneCompartmentOral")
    console.print(
        f"{settings.members} members, and {settings.folds} folds of {settings.members} that never see their fold's people, "
        "stacked into one computation; from its first step on, Ctrl-C keeps the best so far"
    )
    baselines = [hybrid_recipe(backbone, records, with_residual=False), neural_ode_recipe(backbone, records)]
    # the baselines are trained meanwhile on the second core; a network that must find the physics by itself gets more steps
    longer = replace(settings, steps=5 * settings.steps // 2)
    with SecondProcess("homeostat.study") as second:
        waiting: dict[str, Answer[tuple[Evaluation, str, str]]] = {}
        for baseline in baselines:
            own = settings if baseline.model.backbone.physical else longer
            waiting[baseline.name] = second.ask(judge, baseline, records, own, THRESHOLD)
        console.print(f"meanwhile, in a second process, trained the same way: {', '.join(waiting)}")
        hybrid = train(hybrid_recipe(backbone, records), records, settings, console)
        for one in gallery.fit_verdicts(None, hybrid.convergence, hybrid.ends, hybrid.interrupted):
            console.print(f"{MARKS[one.good]} {one}", markup=False)
        return _after_training(Run(folder), settings, asked, records, hybrid, waiting, console, began, made, second)


def _after_training(
    run: Run,
    settings: Settings,
    asked: Asked,
    records: Sequence[Record],
    hybrid: Trained,
    waiting: Mapping[str, Answer[tuple[Evaluation, str, str]]],
    console: Console,
    began: float,
    made: Made,
    second: SecondProcess,
) -> dict[str, Any]:
    """Forecast, certify, judge, draw, ask, save: everything after the hybrid is trained."""
    console.rule("[bold]4 · forecast people never seen[/bold]", align="left")
    stopped = cut_short({"hybrid": hybrid.interrupted})
    marked = {"interrupted": stopped} if stopped else {}
    bundle = bundle_of(hybrid, None, {}, {**marked, "settings.solver": settings.solver})
    notes = gallery.baseline_notes(hybrid.cohort)
    folder = run.begin()
    save(bundle, folder / "model.twin")  # whatever fails from here on, the trained model is there
    found = evaluate(hybrid, settings, THRESHOLD)
    dense = dense_unseen(hybrid, settings, END)
    (people,) = gallery.people_pictures(
        folder,
        dense,
        records,
        asked,
        title="Twelve people, each forecast by members that were not trained on them",
        subtitle=f"From the samples of the first {FORECAST_FROM:g} hours (filled) to the rest of the day (open)",
    )
    # whoever waits has something to look at, while the proof is searched for
    console.print(f"the first picture, after {time.perf_counter() - began:.0f} s: {people.png}", markup=False)

    console.rule("[bold]5 · certify[/bold]", align="left")
    system = bundle.system()
    region, inputs = dosed_region(records, bundle.model.backbone.states, DOSE_GAP)
    certificate, best = certify_rounded(system, share=0.95, region=region, inputs=inputs)
    if isinstance(certificate, Refusal):
        certificate, best = certify_rounded(system)
    proved = isinstance(certificate, Certificate) and bool(check(certificate, system))
    identity = certify(system, metric=np.eye(2), seconds=10.0)
    _print_certificate(certificate, best, proved, identity, console)

    console.rule("[bold]6 · judge[/bold]", align="left")
    evaluations: dict[str, Evaluation] = {"hybrid": found}
    unfinished: dict[str, str] = {}
    where: dict[str, str] = {}
    left_out: list[str] = []
    for name, answer in waiting.items():
        if stopped and not answer.ready():
            left_out.append(name)
            console.print(f"[yellow]{name}: left out, since training was interrupted[/yellow]")
            continue
        with console.status(f"waiting for the {name}"):
            evaluations[name], unfinished[name], where[name] = answer.get()
    for table in (gallery.score_rows(evaluations, unfinished=unfinished), gallery.uncertainty_rows(evaluations, "mg/L")):
        console.print(rich_table(table))
    judged = judge_uncertainty(found.prediction, found.y, [r.id for r in records], asked, resample="bootstrap")
    for verdict in verdicts_about(verdicts_of(judged), "gates"):
        console.print(verdict.claim)
    distance = gradient_difference(hybrid, settings)
    console.print(f"the training gradient is within {distance:.1e} of torchdiffeq's (dopri5; relative, in the largest component)")

    console.rule("[bold]7 · what if?[/bold]", align="left")
    bundle = bundle_of(
        hybrid,
        certificate,
        {
            "protocol": f"cross-validation by person, forecast from the samples up to {FORECAST_FROM:g} h since the dose",
            "whom": cross_validated(len(records), "hybrid"),
            "event": asked.event,
            "scores": {name: dict(e.scores) for name, e in evaluations.items()},
            "groups": scores_by_group("hybrid", found, records),
            "uncertainty": judged.to_dict(),
        },
        {**marked, **provenance(settings, theophylline(), records, THEOPHYLLINE_UNITS)},
    )
    given = bundle.people[0].schedule
    schedules = {
        "as given": given,
        "dose doubled": given.scaled("gut", 2.0),
        "split in two": given.split("gut", 2, 12.0),
    }
    what_if, answers = gallery.what_if_picture(folder, bundle, 0, schedules, asked, 36.0, measured=records[0])
    peaks = {name: _peak(p, bundle.nonnegative) for name, p in answers.items()}
    for name, (peak, low, high) in peaks.items():
        console.print(f"person 1, {name:<13} peak {peak:5.2f} mg/L (80 % interval {low:.2f} to {high:.2f} mg/L)")
    beyond = gallery.beyond_training(bundle, 0, schedules, 36.0)
    for name, one in beyond.items():
        if one:
            console.print(f"{name}: {one.sentence()}", markup=False)
    uncertified = outside_certificates(bundle, 0, schedules)
    for name, outside in uncertified.items():
        if outside:
            console.print(f"{name}: {outside_in_words(outside)}", markup=False)

    console.rule("[bold]8 · save and load, and the page[/bold]", align="left")
    path = save(bundle, folder / "model.twin")
    # beside the drawing, unless the second process still trains what nobody waits for
    exporting = None if left_out else second.ask(export_beside, path, NAME)
    again = load(path)
    times = np.linspace(0.0, 36.0, 145).tolist()
    difference = gallery.largest_difference(
        *([one.forecast(records[0].id, schedule, times) for schedule in schedules.values()] for one in (bundle, again))
    )
    identical = difference == 0.0
    console.print(
        f"{path.name}: {path.stat().st_size / 1024:.0f} kB; {gallery.saved_words(difference, 'mg/L')}", markup=False
    )

    comparisons = {
        name: crps_difference(evaluations["hybrid"], evaluations[name]) for name in evaluations if name in waiting
    }
    verdicts = [
        *gallery.interrupted_verdicts(stopped, left_out, " ".join(hybrid.convergence.sentences())),
        gallery.claim_verdict(certificate, "h", STATES, best=best, proved=proved),
        *gallery.outside_verdicts(bundle.outside(), len(records)),
        *gallery.fit_verdicts(hybrid.recipe.start, hybrid.convergence, hybrid.ends, hybrid.interrupted),
        *verdicts_of(judged),
        *(
            gallery.comparison_verdict(name, value, "mg/L", unfinished=unfinished[name], where=where[name])
            for name, value in comparisons.items()
        ),
        Verdict(
            f"The gradient that trains is {'' if distance < GRADIENT_LIMIT else 'not '}torchdiffeq's",
            distance < GRADIENT_LIMIT,
            f"At the trained weights the relative difference is {distance:.1e} (solver {settings.solver} against dopri5 of "
            "torchdiffeq to 1e-8, largest component over largest component).",
            ("gradient",),
        ),
        gallery.saved_verdict(difference, "mg/L"),
    ]
    shown = Shown(
        bundle,
        evaluations,
        records,
        hybrid.cohort,
        asked,
        dense,
        judged,
        rings_of(hybrid.model, hybrid.cohort, hybrid.personal),
        theta_of(hybrid.model, hybrid.cohort, hybrid.personal),
        fits_of(hybrid.model, hybrid.cohort, hybrid.personal, END, most=DRAWN, solver=solver_named(settings.solver)),
        unfinished=unfinished,
    )
    phase = gallery.phase_of(bundle, 0, 24.0)
    proof = proof_section(folder, phase, records[0].id)
    asking = Section(
        "What if?",
        "One person under other doses, with what lies beyond what was trained marked.",
        ["Of a person whom the model was trained on."],
        pictures=[what_if],
    )
    summary = {
        "certified": proved,
        "rate": certificate.rate if isinstance(certificate, Certificate) else None,
        "best_rate": best,
        "refusal": None if isinstance(certificate, Certificate) else certificate.message,
        "identity_metric_refused": isinstance(identity, Refusal),
        "scores": bundle.calibration["scores"],
        "uncertainty": judged.to_dict(),
        **gallery.fit_summary(hybrid),
        "crps_difference": {name: list(value) for name, value in comparisons.items()},
        "not_converged": {name: why for name, why in unfinished.items() if why},
        "peaks": {name: list(value) for name, value in peaks.items()},
        "beyond_training": {name: one.to_dict() for name, one in beyond.items()},
        "outside_certificates": uncertified,
        "unit": asked.unit,
        "time_unit": asked.time_unit,
        "identical_after_load": identical,
        "gradient_difference": distance,
        "solver": settings.solver,
        "interrupted": bool(stopped),
        "cut_short": stopped,
        "notes": notes,
    }
    beside = export_beside(path, NAME) if exporting is None else exporting.get()
    report = write_report(
        folder / "report.html",
        title="Theophylline: a hybrid twin of twelve people",
        opening=opening_of(hybrid.model, records, judged, asked, verdicts, source=SOURCE, unseen=True),
        made=made,
        picture=gallery.hero_picture(folder, dense, records, gallery.reliability_numbers(found, asked), phase, asked),
        verdicts=verdicts,
        notes=[_about(), *notes],
        sections=sections_of(folder, shown, [people], proof, asking),
        provenance=gallery.made_from(bundle.provenance, asked.time_unit),
        values=summary,
        files=beside.links,
    )
    path, report = run.finished(path, report, cut_short=bool(stopped))
    beside = beside.in_folder(path.parent)
    seconds = time.perf_counter() - began
    console.rule(align="left")
    console.print(f"bundle: {path}\nreport: {report}   ({seconds:.0f} s in all)", markup=False)
    for sentence in beside.sentences:
        console.print(sentence, markup=False)
    if stopped:
        console.print(f"training was cut short ({stopped}), and the bundle and the report say so", markup=False)
    if apart := run.kept_apart():
        console.print(apart, markup=False)
    return {**summary, "bundle": str(path), "report": str(report), "exported": beside.to_dict(), "seconds": seconds}


def _about() -> str:
    return (
        "Twelve people took one oral dose of theophylline. The model knows how a drug is absorbed and eliminated (a linear "
        "compartment model, stable for all parameters in its box), and learns from the people what that misses (a small neural "
        "residual). Forecasts and their scores concern people whom the forecasting members had not been trained on: each "
        f"person's first samples are shown to the model, and the rest of the day is asked of it. {gallery.WHAT_EVERYONE_SAID} "
        "The vector field and the question of other doses are of a person whom the model was trained on."
    )


def _peak(prediction: Prediction, nonnegative: Sequence[str]) -> tuple[float, float, float]:
    """Mean peak and the 80 % interval of a measurement at the time of it, cut at 0 where a channel is never below."""
    at = int(prediction.point[0, :, 0].argmax())
    low, high = prediction.interval(0.8)
    least = 0.0 if prediction.channels[0] in nonnegative else -float("inf")
    return float(prediction.point[0, at, 0]), max(float(low[0, at, 0]), least), max(float(high[0, at, 0]), least)


def _print_certificate(
    certificate: Certificate | Refusal,
    best: float | None,
    proved: bool,
    identity: Certificate | Refusal,
    console: Console,
) -> None:
    if isinstance(certificate, Refusal):
        console.print(f"[bold red]REFUSED[/bold red] ({certificate.reason}): {certificate.message}")
        return
    cap, own = certificate.metric_cap, certificate.inequality_cap
    rows = {
        "certified contraction rate": f"{rounded(certificate.rate, 4, 'down')} /h with condition number "
        f"{rounded(certificate.condition, 3, 'up')}",
        "so the distance in P": decay_in_words(certificate.rate, "h"),
        "where": certificate.where_in_words(STATES, "h"),
        "best rate certified": f"{rounded(best, 4, 'down')} /h" if best is not None else "–",
        "this inequality can reach, in metrics so round": "– (proved cell by cell)"
        if own is None
        else f"{rounded(own, 4, 'up')} /h",
        "no constant metric can exceed (sampled states)": f"{rounded(cap, 4, 'up')} /h" if cap is not None else "–",
        "identity metric": f"refused, the best rate in it is {identity.best_rate:.3f} /h"
        if isinstance(identity, Refusal)
        else "accepted",
        "independent proof, outward rounding": "proved" if proved else "NOT PROVED",
    }
    table = RichTable(box=None, show_header=False, pad_edge=False)
    for name, value in rows.items():
        table.add_row(name, value)
    console.print(table)
