"""What a value shows of itself: whoever prints one, or ends a notebook's cell with it, sees ten lines at most."""

import inspect
from collections.abc import Iterator
from dataclasses import is_dataclass, replace
from enum import Enum
from html.parser import HTMLParser
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import benchmarks.slips.world as slips
import exchange
import homeostat.pictures as pictures
import hybrid
import hybrid.filters as filters
import learned
import physics
import stability
import training
import training.diagnostics as diagnostics
import training.identify as identify
import training.inference as inference
import training.shift as shift
import training.trust as trust
import training.trust.recalibration as recalibration
import twin.log as log
from hybrid import Dose, Mesh, RungeKutta, Schedule, Signal
from learned import Ensemble
from physics.glance import as_text, brief
from tests.builders import (
    BACKBONE_BUILDERS,
    MESH,
    NOISE_BUILDERS,
    OBSERVATION_BUILDERS,
    POPULATION_BUILDERS,
    PROCESS_BUILDERS,
    RESIDUAL_BUILDERS,
    SOLVER_KINDS,
    oral_model,
    oral_of,
    oral_people,
)
from training import Cohort, prior
from training.people import Ohashi

PACKAGES = (
    "hybrid.filters",
    *("physics", "learned", "hybrid", "stability", "training", "training.people", "training.trust"),
    *("training.trust.recalibration", "training.diagnostics", "training.inference", "training.identify", "training.shift"),
    *("exchange", "twin", "twin.log"),
    "homeostat.pictures",
)
LINES, COLUMNS, CHARACTERS = 10, 120, 1200
D = torch.float64


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def families() -> Iterator[Any]:
    for builders in (BACKBONE_BUILDERS, POPULATION_BUILDERS, RESIDUAL_BUILDERS, NOISE_BUILDERS, PROCESS_BUILDERS):
        yield from (build() for build in builders.values())
    yield from (build() for build in OBSERVATION_BUILDERS.values())
    yield from (kind.fixed() if kind.fixed else kind.adaptive(1e-6) for kind in SOLVER_KINDS if kind.fixed or kind.adaptive)
    yield learned.MLP(hidden=(8,))  # waits for its model
    yield learned.SumOfResiduals([learned.MLP(hidden=(8,)), learned.MLP(hidden=(4,), acts_on=("plasma",))])
    yield from (physics.LogNormal(0.3), physics.LogitNormal(0.5), physics.Normal(2.0), physics.Shared(), physics.Fixed())
    yield from (physics.PowerOf("WT", 70.0, 0.75, "kg"), physics.ExponentialOf("AGE", 40.0, -0.01), physics.LinearOf("AGE", 40.0))
    yield from (physics.CategoryOf("SEX", {0: 0.0, 1: -0.2}), physics.Occasions({"CL": 0.15}, 3))
    yield physics.Administered(physics.OneCompartmentOral(), lag={"gut": physics.Parameter("Tlag", "h", 0.5, 0.01, 4.0)})
    yield from (physics.OneCompartmentOral().defaults, physics.Observed("plasma", "V"), physics.OneCompartmentOral().physical[0])
    yield from (Ensemble(8), learned.Joint(("gut", "plasma"), ("u",), ("concentration",), 1))
    for mechanism in (kind() for kind in physics.MECHANISMS):
        backbone, tape = physics.LinearisedBackbone(mechanism), mechanism.tape
        typical = torch.tensor([p.typical for p in mechanism.physical], dtype=D).expand(8, 40, -1)
        yield from (mechanism, physics.TapedMechanism(mechanism.to_dict()), backbone, tape)
        yield from (physics.linearise(mechanism, backbone.x, backbone.u, typical), tape.at(typical))
        yield physics.equilibrium(mechanism, backbone.u, typical)


def of_many() -> Iterator[Any]:
    """Forty people under eight members, and what is made of them: sizes of every day, at which an array fills pages."""
    model = Ensemble(8).stack(oral_model(), generator())
    cohort = Cohort.of(oral_people(40, times=np.linspace(0.25, 24.0, 30)), model, MESH)
    given, known = cohort.conditions, prior(model, 40)
    run = hybrid.rollout(model, given, known.mode, RungeKutta("rk4"))
    theta, c = run.theta.detach(), run.context.detach()
    right, field = model.at(theta, c), model.bind(given.segments, theta, c)
    point = torch.ones(8, 40, 2, dtype=D), torch.zeros(1, 40, 0, dtype=D)
    drug = Schedule(tuple(Dose("gut", 12.0 * k, 100.0) for k in range(300)), {"u": Signal(range(500), range(500), "held")})
    loss, personal = torch.rand(8, dtype=D), known.mode
    fitted = training.Fitted(model, personal)
    plan = training.Plan.of(40, 8, 4, generator())
    draws = known.draws(4, generator())
    prediction = hybrid.predict(model, cohort, draws, solver=RungeKutta("rk4"))
    outcome = trust.Outcome.of(prediction, cohort)
    yield from (model, cohort, cohort.records[0], given, given.segments, given.mesh, known, run, right, field, fitted, plan)
    yield from (right.parts(*point), right.learned, model.residual.layers(), model.residual.layers().at(c), prediction, outcome)
    yield from (drug, drug.doses[0], drug.inputs["u"], hybrid.Interval.of(torch.ones(40), 2), hybrid.Solution(run.states))
    yield hybrid.Steady("gut", 0.0, 100.0, 12.0)
    yield hybrid.Paths(run.states[:, None], run.mean[:, None], run.mean[:, None])
    yield training.Step(3, 200, loss, loss, 0.05, fitted)
    yield training.ShootingStep(3, 200, "shooting", loss, loss, 0.05, fitted, loss)
    yield training.PopulationStep(3, 200, loss, loss, loss > 0, loss, fitted, ("",) * 8)
    yield training.Best(fitted, 1, "objective", loss, loss, loss < loss[1], 0.1, "Of 8 members 1 is the best.")
    yield training.StartEncoder()
    yield training.InnovationStep(3, 100, loss, loss, loss > 0, loss, fitted, ("",) * 8)
    yield replace(fitted, step=training.Step(3, 200, loss, loss, 0.05, fitted))
    yield training.Anchor({"w": torch.ones(8, 40, 40)}, {"w": 1.0}, personal, run.mean.detach())
    yield training.Objective(weights=plan.weights, held_out=plan.held_out)
    yield from (training.Search(), training.Looks(), training.Stability(torch.eye(2, dtype=D), 0.05))
    yield training.windows(given.segments, 2)
    yield training.Table(list(cohort.records), ())
    yield training.Marginal(known.objective, known.mode, known.converged, {})
    yield training.Convergence(("ka", "ke", "V"), torch.ones(8, 3), torch.ones(8, 3), loss, 40, cohort.ids)
    yield training.Start(model.backbone, {"ka": 1.0}, 40, "The fit starts from the data.")
    yield from (training.Checkpoint("a.checkpoint"), training.Shard())
    report = trust.uncertainty_report(outcome, generator=generator(), replicates=40)
    yield from (report, report.channels[0], report.verdicts[0], report.channels[0].zms, trust.Horizons.of(prediction))
    yield from report.flags or (trust.Flag("few people", "Forty people are forty people."),)
    scores = trust.scores_by_horizon(outcome)
    yield from (scores, scores[0], trust.score_table(outcome))
    yield trust.PersonNull.draw(outcome, generator=generator(), replicates=20)
    yield trust.simultaneous_band(torch.rand(40, 300, dtype=D).numpy(), torch.rand(300, dtype=D).numpy())
    yield training.AtEnd("people", "ka", "/h", "low", 0.05, 0.05, 3, 8, cohort.ids)
    yield training.FarCovariate("WT", "kg", cohort.ids, 7000.0, 70.0, ("V",))
    yield Ohashi(cohort.records, cohort.records, dict.fromkeys(cohort.ids, 1.0))
    yield from (hybrid.Failure(0, 1.0, hybrid.Cause.NOT_FINITE), exchange.Outside("P1", "doses", "A dose is larger."))
    bundle = exchange.Bundle.of(model, cohort, known, provenance={"table": "people.csv", "seed": 7})
    yield from (bundle, bundle.people[0], recalibration.FittedOn.of(cohort.ids, cohort.y))
    yield from (form() for form in exchange.EXPORTS)
    yield from (exchange.Selection(), exchange.selected(bundle, exchange.Selection()), exchange.Written(Path("a.h"), ("Words.",)))
    yield from (exchange.Rebuilt(64, 2e-16, -0.03), exchange.Checked((), None, "# Card", ("not certified",)))


def of_filters() -> Iterator[Any]:
    """Forty people who are followed by two members."""
    model = Ensemble(2).stack(oral_of(process=learned.DiagonalDiffusion([1.0, 1.0])), generator())
    cohort = Cohort.of(oral_people(40, times=(0.5, 2.0)), model, Mesh(1.0))
    people = filters.Followed.of(model, 40, covariates=cohort.conditions.covariates)
    with torch.no_grad():
        track = filters.follow(filters.UKF(people), cohort.conditions, cohort.y, keep="all")
    yield from (people, track, track.last, track.innovation, track.backward)
    yield from (filters.UKF(people), filters.EKF(people), filters.EnKF(people, particles=64))


def of_log() -> Iterator[Any]:
    """With names as long as they may be."""
    name, day = "x" * 200, 86_400_000_000
    event = log.Event(name, name, name, 2**63 - 1, "dose", 0, name, 0.1 + 0.2, name, 1, day)
    offset = log.Event("P1", "lab", "c1", 1, "offset", 0, value=-90.0, unit="min")
    (timed,) = log.canonical([event])
    receipt = log.Receipt("new", "A sentence of some length. " * 12, timed.key, day)
    yield from (event, offset, timed, receipt, log.Receipt("duplicate"), log.SqliteLog())


def of_few() -> Iterator[Any]:
    """What is dear to make of many."""
    w = slips.world()
    outcome = trust.Outcome.of(w.prediction, w.cohort)
    plain = [np.asarray(v) for v in w.system.weights]
    adaptive = recalibration.AdaptiveConformal.fit(outcome)
    chance = torch.rand(4, 3, generator=generator(), dtype=D).numpy()
    yield from (w.system, w.certificate, stability.tube(w.certificate, w.system), stability.weighted_l1(w.system))
    yield from (stability.lipschitz_bound(plain, seconds=1.0), stability.certify_step(w.certificate, w.system, 0.1, seconds=2.0))
    yield from (stability.Box([0.0] * 12, [1.0] * 12), stability.Ellipsoid([0.0] * 12, 1.0), stability.Inputs([0.0], [1.0]))
    yield from (stability.certify(stability.Lure(A=[[1.0]], weights=[], biases=[])), stability.Budget())
    yield stability.Branch(weights=[np.ones((30, 12)), np.ones((12, 30))], biases=[np.zeros(30), np.zeros(12)])
    yield stability.Policy.saturating(np.ones((1, 12)), lower=[0.0])
    tape = physics.MichaelisMenten().tape.to_dict()
    taped = stability.Lure(A=np.zeros((2, 2)), weights=[], biases=[], tape=tape, theta=[1.0] * 4)
    yield stability.regional_rate(taped, stability.Box([0.0, 0.0], [9.0, 9.0]))
    yield from (stability.prove(w.certificate, w.system), stability.falsify(w.system, rate=9.0, seconds=1.0))
    fitted = training.Fitted(w.model, w.known.mode)
    table = inference.parameter_table(fitted, w.cohort)
    yield from (table, table.rows[0], table.errors, table.objective, table.shrinkage)
    smaller = replace(table.objective, ofv=table.objective.ofv + 3.0, estimated=table.objective.estimated[1:], held=0)
    yield inference.likelihood_ratio(smaller, replace(table.objective, held=0))
    yield next(inference.polish(w.model, w.cohort, steps=1))
    yield inference.bootstrap(w.model, w.cohort, 3, generator(), steps=2)
    slow = identify.Arm(Schedule((Dose("gut", 0.0, 100.0),)), (1.0, 4.0, 8.0), covariates={"WT": 70.0})
    yield from (slow, identify.sensitivities(w.model, slow), identify.person_information(w.model, slow))
    yield identify.compare_designs(w.model, {"one": slow}, of="theta")
    yield identify.other_optima(w.model, slow, ("ka", "ke"), starts=2)
    drawn = diagnostics.simulated_cohorts(w.model, w.cohort, 20, generator())
    yield from (drawn, diagnostics.npde(drawn, generator()), diagnostics.predictive_check(drawn))
    yield from (diagnostics.residuals(w.model, w.cohort, w.known), diagnostics.fitted_curves(w.model, w.cohort, w.known))
    yield from (shift.Reference.of(w.model, w.cohort, w.known), hybrid.Shift())
    yield hybrid.ShiftReason("given", "twice", "gut", 2.0, 1.0)
    yield shift.update(outcome, generator=generator(), repeats=1)
    yield diagnostics.eta_against_covariates(w.model, w.cohort, w.known, generator=generator(), permutations=9)
    yield from (recalibration.Scaling.fit(outcome), recalibration.CrossScaling.fit(outcome, folds=2, generator=generator()))
    yield from (adaptive, recalibration.SplitConformal.fit(outcome, horizons=None))
    yield recalibration.IsotonicEvents.fit(chance, (chance > 0.5).astype(float), list(w.cohort.ids))
    yield recalibration.Followed(*(np.zeros((40, 30, 1)) for _ in range(3)), np.zeros((40, 1)))
    yield trust.NullBand(1.0, 0.5, 1.5, 1.2, 0.9, 200)
    yield trust.PairedDifference(0.1, -0.2, 0.3, 0.95, 40)


def of_pictures() -> Iterator[Any]:
    many = np.zeros((40, 300))
    band = trust.NullBand(1.0, 0.5, 1.5, 1.2, 0.9, 200)
    yield pictures.Bands(many, many, np.stack([many, many]), np.stack([many, many]), 0.8)
    yield pictures.Rings(many, many, 3.0)
    yield pictures.Exceedance(1.0, 9.0, 0.5, 2.0)
    yield pictures.Phase(lambda x: -x, many[0], np.zeros((3, 2, 300, 2)), np.eye(2), 0.1, ("gut", "plasma"), ("mg", "mg"), "h")
    curve = trust.reliability_curve(np.linspace(0, 1, 300), np.arange(300) % 2.0)
    yield pictures.Reliability("above 5 mg/L", curve, band, many[0], many[0], np.stack([many[0]] * 2), band, 300, band)
    yield curve
    yield pictures.Observed(many[0], many[0], many[0], many[0], 0.8, "concentration", "mg/L")
    names, ids, values = ("ka", "ke", "V"), tuple(f"P{k}" for k in range(40)), np.ones((8, 40, 3))
    yield pictures.Theta(names, ("/h", "/h", "L"), values[0, :3, :2], values[:, 0], None, False, ids, values, many[:, 0] == 0)
    yield pictures.Picture("people", "People", "Words. " * 40, "Words. " * 90, Path("people.svg"), Path("people.png"))


def of_a_twin() -> Iterator[Any]:
    import twin
    from tests.twin.builders import NOW, dosed, measured, oral_bundle

    followed = twin.Twin(oral_bundle(8))
    told = [dosed(f"P{k}", 0, 300.0, "d") for k in range(20)]
    yield from followed.arrive([*told, measured("P1", 0.2, 1.0, "m"), measured("P1", 0.1, 1.0, "l")], now=NOW)
    late = followed.arrive(measured("P1", 0.15, 1.0, "k"), now=NOW)[0]
    estimate = followed.estimate("P1")
    yield from (followed, late, estimate, estimate.last, *estimate.channels.values(), *late.moved.values())
    yield twin.Patient(covariates={"WT": 70.0}, mean=[[0.0] * 3] * 8, covariance=[[[1.0, 0.0, 0.0]] * 3] * 8)


EXAMPLES = {
    **{"the families": families, "many people": of_many, "filters": of_filters, "few": of_few, "a twin": of_a_twin},
    **{"the log": of_log, "pictures": of_pictures},
}


@pytest.fixture(scope="module")
def shown() -> dict[type, list[Any]]:
    """Built examples by their class."""
    found: dict[type, list[Any]] = {}
    for make in EXAMPLES.values():
        for one in make():
            found.setdefault(type(one), []).append(one)
    return found


def classes() -> dict[str, type]:
    """Every public class that has values of its own: no interface, no protocol, no name of a few words."""
    found = {}
    for package in PACKAGES:
        there = import_module(package)
        for name in there.__all__:
            thing = getattr(there, name)
            if not inspect.isclass(thing) or inspect.isabstract(thing) or issubclass(thing, Enum | Exception):
                continue
            if issubclass(thing, physics.Mechanism) and not hasattr(thing, "states"):  # for its heirs
                continue
            if not getattr(thing, "_is_protocol", False):
                found[f"{package}.{name}"] = thing
    return found


def test_every_public_value_fits_a_screen(shown: dict[type, list[Any]]) -> None:
    assert [name for name, kind in classes().items() if kind not in shown] == []  # a new class needs an example here
    wrong = {type(value).__name__: repr(value) for values in shown.values() for value in values if _too_much(repr(value))}
    assert wrong == {}


def test_what_a_study_leaves_shows_its_fields_in_brief() -> None:
    """Dear to make: what it holds is shown above, and each of these shows a line of each."""
    there = import_module("homeostat.study")
    kinds = [thing for name in there.__all__ if is_dataclass(thing := getattr(there, name))]
    assert kinds
    assert [kind.__name__ for kind in kinds if "_repr_html_" not in vars(kind)] == []


def _too_much(text: str) -> bool:
    lines = text.splitlines()
    whole = any(word in text for word in ("no summary", "tensor(", "array("))
    return len(lines) > LINES or max(map(len, lines)) > COLUMNS or len(text) > CHARACTERS or whole


MAIN = (
    *(hybrid.HybridModel, exchange.Bundle, training.Cohort, training.Record, hybrid.Prediction, stability.Certificate),
    *(stability.Refusal, stability.Lure, training.Personal, Schedule, trust.UncertaintyReport, trust.Outcome, training.Fitted),
)


class Page(HTMLParser):
    """The tags, attributes and texts of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags, self.attributes, self.texts = list[str](), list[tuple[str, str | None]](), list[str]()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@pytest.mark.parametrize("kind", MAIN)
def test_a_notebook_shows_the_same_rows_as_a_table(kind: type, shown: dict[type, list[Any]]) -> None:
    value = shown[kind][0]
    page = Page(value._repr_html_())
    assert set(page.tags) == {"table", "thead", "tbody", "tr", "th", "td"}
    assert {name for name, _ in page.attributes} <= {"colspan", "style"}
    assert {said for name, said in page.attributes if name == "style"} == {"text-align:left"}  # no colour: pages may be dark
    title, *rows = repr(value).splitlines()
    assert page.texts[0] == title
    assert rows[0].split()[0] == page.texts[1].split()[0]


def test_a_name_is_text_and_no_tag(cohort: Cohort) -> None:
    name = "<script>alert(1)</script>\x1b[31m\n"
    record = training.Record("<b>" + "1" * 90, Schedule(), [1.0], [2.0], (name,), units={name: "mg/L"})
    assert "<script" not in record._repr_html_()
    assert "<b>" not in record._repr_html_()
    assert "&lt;script" in record._repr_html_()
    assert "\x1b" not in repr(record)
    assert len(repr(record).splitlines()) <= LINES


def test_a_value_that_cannot_say_what_it_is_still_shows_itself(shown: dict[type, list[Any]]) -> None:
    """A claim with a rate that is no number makes no sentence; a person in a debugger looks at it all the same."""
    broken = replace(shown[stability.Certificate][0], rate=float("nan"))
    assert "no summary" in repr(broken)
    assert "rate" in repr(broken)
    assert len(repr(broken).splitlines()) <= LINES
    half = object.__new__(training.Record)
    assert repr(half).startswith("Record")
    assert half._repr_html_().startswith("<table>")


def test_what_does_not_fit_is_named() -> None:
    text = as_text("Title", [(f"row {k}", "words " * 40) for k in range(9)])
    assert len(text.splitlines()) == LINES
    assert "row 8" in text.splitlines()[-1]
    assert brief(range(3)) == "range(0, 3)"
    assert brief(list(range(1000)), 40).endswith("1000 in all)")
    assert brief(torch.tensor(0.1 + 0.2)) == "0.3"
    assert brief(torch.zeros(3, 4)) == "(3, 4) float32"
    assert brief(torch.empty(2, device="meta")) == "(2,) float32 on meta"


def test_an_error_that_quotes_values_stays_one_line(people: tuple[training.Record, ...]) -> None:
    with pytest.raises(ValueError, match="write") as said:
        training.Personal(list(people), 1, 2, 3)  # type: ignore[arg-type]
    assert "\n" not in str(said.value)
