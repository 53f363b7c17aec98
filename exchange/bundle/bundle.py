"""The model bundle: a trained model with everything that it must be judged by."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import Any

import torch

from exchange.bundle import forecasts
from exchange.bundle.calibration import as_calibration
from exchange.bundle.coverage import Outside, Subject, outside, outside_units, subjects_of
from exchange.bundle.joined import require_about, require_claims, require_joined, require_own_calibration
from exchange.bundle.person import Person, people_of
from exchange.bundle.solvers import DEFAULT, name_of, solver_named
from exchange.bundle.systems import Subjects, lure_of
from exchange.bundle.units import units_of
from exchange.files.entries import require_others
from hybrid import Conditions, HybridModel, Mesh, Prediction, Schedule, Solver, conditions_of
from physics.arguments import quote, require_kind, require_same_people, require_text
from physics.glance import Summary, glance, with_units
from stability import Certificate, Claim, Lure, Refusal, prove
from stability.proof import Verdict
from stability.threads import few_threads
from training.people import Cohort, Personal
from training.people.records import never_negative
from training.shift import Reference
from training.trust.recalibration.scaling import Scaling

_OTHERS = "the digest is not that of the bundle's system, or of its layers: the arrays were changed after the claim was made"


def _summary(bundle: Any) -> Summary:
    return f"Bundle: members {bundle.model.members}, people {len(bundle.people)}", [
        ("model", bundle.model),
        ("observed", with_units(bundle.model.observation.channels, bundle.model.observation.units)),
        ("people", tuple(person.id for person in bundle.people)),
        *((claim.kind, _claimed(bundle, claim)) for claim in bundle.claims[:3]),
        ("calibration", tuple(bundle.calibration) or "none"),
        ("provenance", dict(bundle.provenance) or None),
        ("not below 0", ", ".join(bundle.nonnegative)),
        ("training", "; ".join(bundle.reference.sentences()) if bundle.reference else "what it looked like is not said"),
    ]


def _claimed(bundle: Any, claim: Claim | Refusal) -> object:
    """A claim in the unit of time in which it was made, which it does not know itself."""
    if not isinstance(claim, Claim):
        return claim
    time = bundle.units_made_in(claim).get("time", bundle.model.backbone.time_unit)
    try:
        return f"{type(claim).__name__}, for bundle.prove() to prove: {claim.in_words(str(time))}"
    except ValueError:  # its numbers are such that no proof can stand behind them
        return claim


@dataclass(frozen=True)
class Bundle:
    """A trained model with everything that it must be judged by; `Bundle.of` makes it of what training leaves.

    `model` (M members) · `people` (N) and their `personal` coordinates (M, N, d) · `mesh` of the solver · `claims` about the
    model and these people, each to be proved anew wherever it is read, and the `Refusal` of one that was not to be had ·
    `calibration`, scores on unseen people, plain JSON ·
    `provenance`: data, versions, seed, settings, plain JSON; "interrupted" says there what training was cut short, and
    "settings.solver" what it was trained with · `nonnegative`: the channels that are declared never to be below 0 ·
    `made_in`: for each claim the units of time, states and inputs in which it was made; by default the model's, when the claim
    and the model first meet, and from then on what they were · `others`: entries of a file that this program does not know
    and that say of themselves that they are optional, bytes by name; they are kept, never read, and written again ·
    `reference`, what the training looked like, by which others are held beside it; None where nobody says it.
    """

    model: HybridModel
    people: tuple[Person, ...]
    personal: Personal
    mesh: Mesh
    claims: tuple[Claim | Refusal, ...] = ()
    _: KW_ONLY
    calibration: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    nonnegative: tuple[str, ...] = ()
    made_in: tuple[tuple[Claim, Mapping[str, Any]], ...] = ()
    others: Mapping[str, bytes] = field(default_factory=dict)
    reference: Reference | None = None

    __repr__, _repr_html_ = glance(_summary)

    def __post_init__(self) -> None:
        require_kind(self.model, HybridModel, "Bundle: model", "Bundle.of(model, cohort, people)")
        require_kind(self.people, (tuple, list), "Bundle: people", "a tuple of Person")
        for person in self.people:
            require_kind(person, Person, "Bundle: each of people", "Person(record.id, record.schedule, …)")
        require_kind(self.personal, Personal, "Bundle: personal", "personalise(model, cohort)")
        require_kind(self.mesh, Mesh, "Bundle: mesh", "cohort.mesh")
        if self.personal.mode.shape[1] != len(self.people):
            raise ValueError(f"Bundle: personal is of {self.personal.mode.shape[1]} people and people of {len(self.people)}")
        write = "write Bundle.of(model, cohort, personalise(model, cohort))"
        require_same_people(self.personal.ids, tuple(p.id for p in self.people), "Bundle: personal and people", write)
        for what, value in (("calibration", self.calibration), ("provenance", self.provenance)):
            require_kind(value, Mapping, f"Bundle: {what}", "{}, plain JSON by name")
        require_others(self.others)
        require_kind(self.reference, (Reference, type(None)), "Bundle: reference", "Reference.of(model, cohort, personal)")
        claims = require_claims(self.claims)
        object.__setattr__(self, "claims", claims)
        units = {kind: unit for kind, unit in units_of(self.model).items() if kind in ("time", "states", "inputs")}
        # replace(bundle, model=another) keeps what was said of each claim, which is known by being the same value
        known = {id(claim): then for claim, then in self.made_in}
        made = tuple((claim, known.get(id(claim), units)) for claim in claims if isinstance(claim, Claim))
        object.__setattr__(self, "made_in", made)

    @staticmethod
    def of(
        model: HybridModel,
        cohort: Cohort,
        people: Personal,
        *,
        claims: Sequence[Claim | Refusal] = (),
        calibration: Mapping[str, Any] | Scaling | None = None,
        provenance: Mapping[str, Any] | None = None,
        solver: Solver | None = None,
    ) -> "Bundle":
        """A trained model and the people of a cohort, ready to save; on the CPU, wherever they are, and in copies.

        Arguments: `people`, what `personalise(model, cohort)` found; `claims`, what `certify(lure_of(model, people.mode,
        cohort.conditions.covariates))` and its like returned, refusals too; `calibration`, plain JSON, or a `Scaling`;
        `provenance`, where it comes from, plain JSON; `solver`, with which the people were found, remembered by its name
        (`solver_named`): by default the one that `personalise` takes. Units, ids, schedules on everybody's own clock, covariates,
        baselines, when each was last measured, the mesh and the channels that are never below 0 are the cohort's and the model's.
        Errors: `ValueError` for parts that are not of each other: members or people of another number, other people, a claim
        about another system, a recalibration that was fitted on others, a model that is not in float64, a solver without a name.
        """
        require_joined(model, cohort, people)
        claims = require_claims(claims)
        about_people = [claim for claim in claims if isinstance(claim, Claim)]
        if about_people:
            known = cohort.conditions.covariates
            require_about(about_people, lure_of(model, people.mode, known))
        if not isinstance(calibration, Mapping | Scaling | None):
            raise ValueError(f"Bundle.of: calibration is plain JSON by name, or a Scaling, and is {quote(calibration)}")
        scores = as_calibration(calibration)
        require_own_calibration(scores, cohort.ids)
        require_kind(provenance, (Mapping, type(None)), "Bundle.of: provenance", '{"table": "people.csv"}')
        remembered = {} if solver is None else {"settings.solver": name_of(solver)}
        reference = Reference.of(model, cohort, people, solver=solver)
        return Bundle(
            copy.deepcopy(model).to("cpu"),  # `to` moves a module itself, and the caller goes on with this one
            people_of(cohort, reference.units),
            replace(people.to("cpu"), ids=cohort.ids),
            cohort.mesh,
            claims,
            calibration=scores,
            provenance={**(provenance or {}), **remembered},
            nonnegative=never_negative(cohort.records),
            reference=reference,
        )

    @property
    def certificate(self) -> Certificate | Refusal | None:
        """The certificate of contraction among the claims; without one the first refusal, and None where there is neither."""
        found = next((claim for claim in self.claims if isinstance(claim, Certificate)), None)
        return found or next((claim for claim in self.claims if isinstance(claim, Refusal)), None)

    @property
    def solver(self) -> Solver:
        """The solver that it was trained with, by its provenance: a person is found with the same one."""
        return solver_named(str(self.provenance.get("settings.solver", DEFAULT)))

    def units_made_in(self, claim: Claim) -> Mapping[str, Any]:
        """The units of time, states and inputs in which one of the claims was made; none where the bundle does not say them.

        Errors: `ValueError` for a claim that is none of the bundle's.
        """
        found = next((units for known, units in self.made_in if known is claim), None)
        if found is None:
            raise ValueError(f"units_made_in: claim is one of bundle.claims, and is {quote(claim)}; write bundle.claims[0]")
        return found

    def system(self) -> Lure:
        """The Lur'e arrays of every member and fitted person, built anew from the model's weights."""
        return lure_of(self.model, self.personal.mode, self.conditions().covariates)

    def prove(self) -> tuple[tuple[Claim, Verdict], ...]:
        """Every claim, and what the checker says of it and of what the bundle's own weights and people give, in their order.

        Each is held against what it is about: the system of all members and people, or the learned layers of a member.
        Law: proved ⇒ the claim's sentence holds of this bundle's arrays, in real arithmetic.
        """
        claims = [claim for claim in self.claims if isinstance(claim, Claim)]
        if not claims:
            return ()
        system = self.system()
        with few_threads(system.states + sum(system.widths)):
            subjects = Subjects(system)
            found = [(claim, subjects.of(claim)) for claim in claims]
            return tuple((c, Verdict(False, _OTHERS) if subject is None else prove(c, subject)) for c, subject in found)

    def conditions(self, times: Sequence[Sequence[float]] | None = None) -> Conditions:
        """The fitted people, ready to simulate at `times` (their schedule's start where None), where the model is."""
        times = times if times is not None else [[p.schedule.start] for p in self.people]
        names = sorted(self.people[0].covariates) if self.people else []
        return conditions_of(
            self.model,
            [p.schedule for p in self.people],
            times,
            covariates={k: [p.covariates[k] for p in self.people] for k in names},
            baseline=torch.tensor([p.baseline for p in self.people], dtype=torch.float64),
            mesh=self.mesh,
        )

    def forecast(
        self,
        person: str,
        schedule: Schedule | str | None,
        times: Sequence[float],  # (T,)
        *,
        draws: int = 16,
        seed: int = 7,
    ) -> Prediction:
        """What becomes of a fitted person under a schedule, by every member and `draws` of their own parameters: N = 1.

        Arguments: `person`, an id; `schedule`, in the model's units, a text as the shell takes it, which changes what was given
        (`"scale gut by 2"`; a unit that is typed is checked), or None for what was given; `times` in the model's unit of time
        (`units_of`), from the start on. Schedule and times count from the person's own first dose as it was given (or their
        start). The same `seed` draws the same parameters whatever the schedule, so that answers can be compared.
        Returns a `Prediction`, whose channels say their units. It is made by error control, or with the bundle's solver where
        that adapts its steps. The bundle's recalibration was fitted on these people and is not applied to them. Its `shift` says
        whether covariates, what is given until the last time, and the members' disagreement are as in the training.
        Errors: `ValueError` for an unknown person, a text that is no schedule, and times before the start; `SimulationError`.
        Law: equals `predict(model, cohort, draws)` of a cohort of this one person.
        """
        index = self.person(person)
        who, known = self.people[index], self.personal.people(torch.tensor([index], device=self.personal.mode.device))
        asked = forecasts.asked_of(self.model, who, schedule)
        at = forecasts.times_of(self.model, who, asked, times)
        mesh, solver = self.mesh, self.solver
        found = forecasts.forecast(self.model, who, known, asked, at, mesh=mesh, solver=solver, draws=draws, seed=seed)
        return forecasts.held_beside(self.reference, self.model, who, asked, at, found, mesh=mesh, solver=solver)

    def outside(self) -> list[Outside]:
        """What the claims, taken to be true, do not cover of the bundle's own people; nothing without a claim."""
        now, found = units_of(self.model), list[Outside]()
        for claim, then in self.made_in:
            name = "certificate" if isinstance(claim, Certificate) else f"claim ({claim.kind})"
            found += outside_units(then, now, name)
        certificates = [claim for claim in self.claims if isinstance(claim, Certificate)]
        subjects = self.subjects() if certificates else []
        return found + [one for certificate in certificates for one in outside(certificate, self.model, subjects)]

    def subjects(self) -> list[Subject]:
        """The bundle's own people as a claim meets them: what is done, and where each member lets them start."""
        if not self.people:
            return []
        given, personal = self.conditions(), self.personal.mode
        ids, schedules = [p.id for p in self.people], [p.schedule for p in self.people]
        begun = given.segments.u0[:, 0]
        return subjects_of(self.model, ids, schedules, personal, given.covariates, given.baseline, begun)

    def person(self, id: str) -> int:
        """The index of a fitted person. Errors: `ValueError` listing who is there."""
        require_text(id, "Bundle.person: id", f'"{self.people[0].id if self.people else "1"}"')
        ids = [p.id for p in self.people]
        if id not in ids:
            raise ValueError(f"no person {quote(id)} in this bundle; it has {', '.join(ids)[:120]}")
        return ids.index(id)
