"""The second demo: what a hybrid is for, on 117 people's C-peptide after a glucose drink."""

import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from exchange import Bundle, load, save
from homeostat import gallery
from homeostat.bundles.exported import export_beside
from homeostat.bundles.units_needed import how_to_forecast
from homeostat.c_peptide.agreement import Estimate, Published
from homeostat.c_peptide.beta import SOLVER, fit_beta
from homeostat.c_peptide.figures import LAST, OURS, PROPORTIONAL, Figures, figures_of, unseen_differences
from homeostat.c_peptide.model import FORECAST_FROM, RATE, STEPS, drinking, people
from homeostat.c_peptide.page import (
    coverage_table,
    published_table,
    published_verdicts,
    recalibration_verdicts,
    rival_verdicts,
    training_verdict,
)
from homeostat.c_peptide.pictures import hero_picture, narrow_pictures, rank_picture, secretion_picture
from homeostat.c_peptide.proof import certify_open, holds_for
from homeostat.c_peptide.secretion import Secretion, turned
from homeostat.c_peptide.study import Ensembles, forecast_unseen, forecasts, train_ensembles, trained
from homeostat.data import OHASHI_CREDIT, ohashi
from homeostat.gallery.judged import Judged, judge_uncertainty, verdicts_of
from homeostat.gallery.latents import latent_of
from homeostat.gallery.made import Made
from homeostat.gallery.markup import MARKS
from homeostat.gallery.opening import how_far, what_is_proved
from homeostat.gallery.page import DRAWN, Shown, sections_of
from homeostat.gallery.report import Section, write_report
from homeostat.gallery.theta import theta_of
from homeostat.one_run import Run
from homeostat.places import require_folder
from homeostat.progress import cut_short
from homeostat.second_process import SecondProcess
from homeostat.study import Evaluation, Settings, asked_of, bundle_of, dense_of, marked, require_folds, score
from homeostat.study.groups import cross_validated, scores_by_group
from homeostat.study.individual import fits_of
from homeostat.study.provenance import provenance
from homeostat.study.settings import require_settings
from hybrid import Prediction
from stability import Certificate, check
from training.people import Ohashi, read_ohashi
from training.trust.verdicts import Verdict, verdicts_about

NAME = "c_peptide"  # of what is exported
SETTINGS = Settings(8, 5, STEPS, rate=RATE, forecast_from=FORECAST_FROM)
END = 120.0  # min, until when people are drawn
STATES = (("plasma", "nmol/L"), ("second", "nmol/L"))
UNITS = {"O-PG": "mg/dL", "O-CPR": "ng/mL", "age": "a"}
SOURCE = "the published split of Ohashi et al. (2018), CC BY 4.0"
ABOUT = (
    "117 people drank glucose; glucose and C-peptide were measured five times in two hours. C-peptide is what the pancreas "
    "releases beside insulin. How it spreads and is cleared is known (Van Cauter's two compartments, with rates from age and "
    "diabetes status); how much is secreted for a given rise of glucose is not, and is learned by a small network that everyone "
    "shares, with one number β per person. The network reads glucose and β, and no state: what is "
    "proved is of the kinetics, whatever it learned. Trained on the 82 training people of the published split; the figures "
    "and pictures "
    "are of the 35 test people, whom no member was trained on and for whom nothing was chosen, unless they say otherwise. Not "
    "strictly untouched: test figures of earlier versions of this model were known to its authors. The figures beside the "
    "published ones take everyone's most likely β; scores and intervals take draws of it, which moves an error in its third "
    "digit. Individual fits are as the model states them, not recalibrated. At the shell, "
    "simulate --do with another glucose leaves the inputs slope and area as they were: set all three."
)

KINETICS_GIVEN = (
    "The rates k0, k1 and k2 (/min) of clearance and exchange were not estimated here: Van Cauter and others (Diabetes 41 (1992) "
    "368) give them from a person's age in years and whether they have type 2 diabetes (type2 = 1, else 0). What was estimated "
    "of each person is β, and nothing else."
)
BETA = (
    "β, without unit, is the one number of a person that the network reads beside the drink's glucose. Under each member the "
    "people it was trained on have mean 0 and standard deviation 1; the network decides what it means, and a larger β, turned as "
    "here, means more secretion above basal for the same glucose 30 min after the drink."
)


def run_c_peptide(folder: Path, settings: Settings, console: Console, *, made: Made) -> dict[str, Any]:
    """Train, certify, judge, draw and save, into `folder`, all together at the end (`Run`); a summary as plain JSON values,
    "certified" among them.

    `settings`: its rate, `forecast_from` and solver are the study's own (`SETTINGS`).
    Errors: `ValueError` for more folds than people; `SimulationError` naming the person; `KeyboardInterrupt` before anything was
    trained.
    """
    began = time.perf_counter()
    require_settings(settings)
    data = read_ohashi(ohashi())
    require_folds(settings.folds, len(data.train))
    require_folder(folder)
    with SecondProcess("homeostat.c_peptide.study") as second:
        return _run(folder, settings, data, console, began, second, made)


def _run(
    folder: Path, settings: Settings, data: Ohashi, console: Console, began: float, second: SecondProcess, made: Made
) -> dict[str, Any]:
    console.rule("[bold]1 · read[/bold]", align="left")
    console.print(f"{len(data.train)} training and {len(data.test)} test people of the published split")
    console.print(OHASHI_CREDIT, markup=False)

    console.rule("[bold]2 · train[/bold]", align="left")
    console.print(
        f"{settings.members} members, and {settings.folds} folds of {settings.members} that never see their fold's people, "
        "stacked; from the first step on, Ctrl-C keeps the best so far"
    )
    apart = torch.device(settings.device).type == "cpu"  # a GPU takes all members at once
    if apart:
        console.print("half of them in a second process, so that the loss is of the other half")
    generator = torch.Generator().manual_seed(settings.seed)
    found = train_ensembles(
        data.train,
        members=settings.members,
        folds=settings.folds,
        steps=settings.steps,
        generator=generator,
        device=settings.device,
        console=console,
        second=second if apart else None,
    )
    return _after_training(Run(folder), settings, data, found, generator, console, began, second, made)


def _after_training(
    run: Run,
    settings: Settings,
    data: Ohashi,
    found: Ensembles,
    generator: torch.Generator,
    console: Console,
    began: float,
    second: SecondProcess,
    made: Made,
) -> dict[str, Any]:
    """Everything after training: save what there is, then certify, judge, draw, and save it with all that was found."""
    hybrid = trained(found)
    stopped = cut_short({"hybrid": found.interrupted})
    said = {**marked(stopped), "settings.solver": settings.solver}
    steps = training_verdict(found)
    if steps.good is False and not stopped:  # that it was cut short is said, and is why
        said["not_converged"] = f"{steps.claim}."
        console.print(f"{MARKS[steps.good]} {steps.claim}", markup=False)
    folder = run.begin()
    path = save(bundle_of(hybrid, None, {}, said), folder / "model.twin")  # whatever fails from here on, it is there

    train = [drinking(r) for r in data.train]
    asked = asked_of(train, "nmol/L", None, FORECAST_FROM)
    unseen = forecast_unseen(found, settings.draws, generator).to("cpu")
    later = found.cohort.after(FORECAST_FROM).y.cpu()
    # meanwhile, in the second process
    waiting = second.ask(partial(judge_uncertainty, resample="bootstrap"), unseen, later, found.cohort.ids, asked)

    console.rule("[bold]3 · certify[/bold]", align="left")
    test = people(data.test, hybrid.model)
    whole = fit_beta(hybrid.model, test, None, END)  # test people described by all of their data, no forecast
    certificate, best, system = certify_open(hybrid.model, hybrid.cohort, hybrid.personal.mode)
    proved = isinstance(certificate, Certificate) and bool(check(certificate, system))
    claim = gallery.claim_verdict(certificate, "min", STATES, best=best, proved=proved)
    console.print(f"{MARKS[claim.good]} {claim.claim}", markup=False)
    certified = [claim]
    if isinstance(certificate, Certificate) and proved:
        certified.append(_for_the_test_people(holds_for(certificate, hybrid.model, test, whole.mode), len(data.test)))

    console.rule("[bold]4 · forecast people never seen, and judge[/bold]", align="left")
    figures = figures_of(hybrid.model, found.cohort, data, settings.seed)
    differences = unseen_differences(unseen.point[..., 0], found.plan, data, settings.seed)
    compared = [*rival_verdicts(figures, differences), *published_verdicts(figures)]
    for one in compared:
        console.print(f"{MARKS[one.good]} {one}", markup=False)
    judged_train = waiting.get()
    grid = dense_of(test, hybrid.model, END)
    stated, dense = forecasts(hybrid.model, test, (test, grid), settings.draws, generator)
    scaling, dense = judged_train.scaling, dense.to("cpu")
    if scaling is not None:
        dense = scaling.apply(dense, test.ids)
    records = [drinking(r) for r in data.test]
    drawing = second.ask(
        partial(
            gallery.people_pictures,
            title="The test people, each forecast from their first hour",
            subtitle="Samples up to 60 min were known (filled); those at 90 and 120 min were not (open)",
        ),
        folder,
        dense,
        records,
        asked,
    )
    evaluations, judged = _judged(stated, judged_train, test.after(FORECAST_FROM).y, test.ids, asked)
    for verdict in verdicts_about(verdicts_of(judged), "gates"):
        console.print(verdict.claim)

    console.rule("[bold]5 · draw, save and load[/bold]", align="left")
    bundle = bundle_of(
        hybrid,
        certificate,
        {
            "protocol": f"trained on {len(data.train)} people, {len(data.test)} others forecast from the samples up to "
            f"{FORECAST_FROM:g} min; the scaling is from the {len(data.train)}, cross-validated by person",
            "whom": {
                "scores": f"{len(data.test)} people of no training, forecast by the members in this file",
                "groups": f"{len(data.test)} people of no training, forecast by the members in this file",
                "uncertainty": cross_validated(len(data.train))["uncertainty"],
            },
            "event": asked.event,
            "scores": {name: dict(e.scores) for name, e in evaluations.items()},
            "groups": scores_by_group(next(iter(evaluations)), next(iter(evaluations.values())), records),
            "uncertainty": judged_train.to_dict(),
            "published": figures.to_dict(),
        },
        {
            **said,
            **provenance(settings, ohashi() / "ohashi_OGTT.csv", train, UNITS),
            "credit": OHASHI_CREDIT,
        },
    )
    save(bundle, path)
    exporting = second.ask(export_beside, path, NAME)
    difference = _largest_difference(bundle, load(path))
    console.print(
        f"{path.name}: {path.stat().st_size / 1024:.0f} kB; {gallery.saved_words(difference, 'nmol/L')}", markup=False
    )
    secretion = Secretion.of(hybrid.model, found.cohort, hybrid.personal.mode)
    hero = hero_picture(folder, dense, records, secretion, figures, FORECAST_FROM)
    narrow_pictures(folder, dense, records, secretion, figures, FORECAST_FROM)  # the README's
    verdicts = [
        *gallery.interrupted_verdicts(
            stopped, unfinished=" ".join([f"{steps.claim}.", steps.detail, *hybrid.convergence.sentences()])
        ),
        *compared,
        *certified,
        *([] if stopped else [steps]),
        *gallery.fit_verdicts(None, hybrid.convergence, hybrid.ends, hybrid.interrupted),
        *verdicts_of(judged),
        *recalibration_verdicts(stated, evaluations, judged_train, test.after(FORECAST_FROM).y.cpu(), test.ids),
        solver_verdict(figures),
        gallery.saved_verdict(difference, "nmol/L"),
    ]
    shown = Shown(
        bundle,
        evaluations,
        records,
        test,
        asked,
        dense,
        judged,
        None,
        theta_of(hybrid.model, test, whole),
        fits_of(hybrid.model, test, whole, END, most=DRAWN, solver=SOLVER),
        heading="Test people, never seen in training",
        latent=latent_of(hybrid.model, test.ids, whole, name="β", meaning=BETA, turn=turned(hybrid.model, test, whole.mode)),
        about_theta=[KINETICS_GIVEN],
    )
    learned = Section(
        "What was learned, and beside what is published",
        "The secretion, the three published figures beside ours, and β beside another experiment.",
        pictures=[secretion_picture(folder, secretion), rank_picture(folder, figures)],
        tables=[published_table(figures, len(data.test))],
        open=True,
    )
    others = Section(
        "The training people, cross-validated",
        "Where the factors come from that the test people's forecasts were recalibrated by.",
        [str(v) for v in verdicts_about(verdicts_of(judged_train), "gates", "scaling", "recalibration")],
        tables=[coverage_table(judged_train, len(data.train))],
    )
    summary: dict[str, Any] = {
        "demo": "c-peptide",
        "certified": proved,
        "rate": getattr(certificate, "rate", None),
        "best_rate": best,
        "refusal": None if isinstance(certificate, Certificate) else certificate.message,
        "figures": figures.to_dict(),
        "unseen_training_difference": {name: one.to_list() for name, one in differences.items()},
        "scores": bundle.calibration["scores"],
        "uncertainty": judged.to_dict(),
        "uncertainty_of_the_training_people": judged_train.to_dict(),
        **gallery.fit_summary(hybrid),
        "unit": asked.unit,
        "time_unit": asked.time_unit,
        "identical_after_load": difference == 0.0,
        "solver": settings.solver,
        "interrupted": bool(stopped),
        "cut_short": stopped,
        "notes": gallery.baseline_notes(test),
    }
    page_of_the_people, beside = drawing.get(), exporting.get()
    report = write_report(
        folder / "report.html",
        title="C-peptide: a learned secretion on known kinetics",
        opening=[
            _what_it_is(figures, len(data.train), len(data.test)),
            what_is_proved(verdicts),
            how_far(judged, asked, verdicts, True),
        ],
        made=made,
        picture=hero,
        verdicts=verdicts,
        notes=[ABOUT, *summary["notes"], how_to_forecast(bundle)],
        sections=[learned, *sections_of(folder, shown, page_of_the_people, others)],
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


def _judged(
    stated: Prediction, judged_train: Judged, y: torch.Tensor, ids: tuple[str, ...], asked: gallery.Asked
) -> tuple[dict[str, Evaluation], Judged]:
    """The test people's scores, recalibrated by the training people and as stated, and the report of the former."""
    scaling, generator = judged_train.scaling, torch.Generator().manual_seed(1)
    plain = {"as stated": score(stated, y, asked.threshold, generator)}
    if scaling is None:
        return plain, judge_uncertainty(stated, y, ids, asked, resample="bootstrap", recalibrate=False)
    mended = scaling.apply(stated.to("cpu"), ids)
    judged = judge_uncertainty(mended, y, ids, asked, resample="bootstrap", recalibrate=False, calibration=scaling)
    return {"recalibrated by the training people": score(mended, y, asked.threshold, generator), **plain}, judged


def _largest_difference(bundle: Bundle, again: Bundle) -> float:
    """Of the first people's forecasts under their own inputs, between the bundle and the same loaded."""
    times = [0.0, 15.0, 45.0, 90.0, END]
    return gallery.largest_difference(
        *([one.forecast(p.id, p.schedule, times) for p in bundle.people[:3]] for one in (bundle, again))
    )


def _for_the_test_people(holds: bool, count: int) -> Verdict:
    words = f"proved for the {count} test people" if holds else f"not proved for the {count} test people"
    detail = "The same rate in the same metric, for every member with every one of them; the bundle keeps the training people's."
    return Verdict(f"The same is {words}", holds, detail, ("certificate", "test people"))


def solver_verdict(figures: Figures) -> Verdict:
    """Whether the steps of training change less than a tenth of the standard deviation of the noise."""
    fine = figures.apart < 0.1 * figures.noise
    detail = (
        f"C-peptide of the test people by these steps is {figures.apart:.1e} nmol/L or less from that by dopri5 to 1e-8; the "
        f"noise that the model states of these people, before any recalibration, has a standard deviation of {figures.noise:.2g} "
        "nmol/L (root of the mean variance)."
    )
    return Verdict(f"The steps of training are {'fine enough' if fine else 'too coarse'}", fine, detail, ("solver",))


def _what_it_is(figures: Figures, train: int, test: int) -> str:
    def of(one: Estimate) -> str:
        return f"{one.value:.2f} ({one.low:.2f} to {one.high:.2f})"

    ahead = figures.forecast
    return (
        f"A secretion learned from {train} people on kinetics that are known: from the first hour of {test} people never seen it "
        f"forecasts C-peptide at 90 and 120 min with a root mean square error (of the members' mean at everyone's most likely β) "
        f"of {of(ahead[OURS])} nmol/L, where the last value carried forward has {of(ahead[LAST])}, a secretion in proportion to "
        f"glucose {of(ahead[PROPORTIONAL])}, and the published hybrid {Published().forecast:.2f}; in brackets 95 % over people."
    )
