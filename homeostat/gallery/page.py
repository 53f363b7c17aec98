"""The page of one evaluation: its pictures and tables in their sections."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from exchange import Bundle
from homeostat.gallery.diagnostics import diagnostics_section
from homeostat.gallery.estimates import estimates_section
from homeostat.gallery.figures import people_pictures, phase_of, phase_picture, reliability_pictures
from homeostat.gallery.fitted import observed_picture, theta_picture
from homeostat.gallery.judged import Judged, conventions_table, pictures_of, scores_table
from homeostat.gallery.latents import Latent, latent_table
from homeostat.gallery.made import Made
from homeostat.gallery.report import Section, write_report
from homeostat.gallery.tables import score_rows, uncertainty_rows, values_table
from homeostat.gallery.theta import computed, people_table, typical_table
from homeostat.pictures import Phase, Picture, Rings, Theta
from homeostat.study.asked import Asked
from homeostat.study.diagnosed import Diagnosed
from homeostat.study.evaluation import Evaluation
from homeostat.study.individual import Fits
from homeostat.wording import behind, made_from
from hybrid import Prediction
from training import Cohort, Record
from training.trust.verdicts import Verdict

DRAWN = 240  # people at most on a page, ten pictures of them; the files have everybody


@dataclass(frozen=True, eq=False)
class Shown:
    """What a page shows: forecasts of people and what came true, in the model's units.

    `evaluations`, by the name of the model, the first of which the page is about · `records`, everybody, and their `cohort` ·
    `dense`, forecasts of the first `DRAWN` of them on a grid · `judged`, `rings`, of the first evaluation · `theta`, None for a
    model without parameters · `fits`, from all of everyone's data, None where that was not asked · `beyond`, the ids of those who
    go beyond what was trained · `heading`, whose scores they are · `unfinished`, by the name of another model why its training
    counts as not converged · `latent`, what people have besides θ · `about_theta`, what a reader must know of both ·
    `diagnosed`, the population beside these people, and `fitted_on`, whether it was fitted on some of them; `estimated_here`:
    its table of estimates is of these very people.
    """

    bundle: Bundle
    evaluations: Mapping[str, Evaluation]
    records: Sequence[Record]
    cohort: Cohort
    asked: Asked
    dense: Prediction
    judged: Judged
    rings: Rings | None
    theta: Theta | None
    fits: Fits | None
    beyond: Sequence[str] = ()
    heading: str = "People never seen in training"
    unfinished: Mapping[str, str] = field(default_factory=dict)
    latent: Latent | None = None
    about_theta: Sequence[str] = ()
    diagnosed: Diagnosed | None = None
    fitted_on: bool = False
    estimated_here: bool = False

    @property
    def evaluation(self) -> Evaluation:
        """What the page is about."""
        return next(iter(self.evaluations.values()))

    @property
    def drawn(self) -> Sequence[Record]:
        """Those who are drawn."""
        return self.records[:DRAWN]


def write_page(
    folder: Path,
    shown: Shown,
    *,
    title: str,
    opening: Sequence[str],
    verdicts: Sequence[Verdict],
    made: Made,
    notes: Sequence[str] = (),
    values: Mapping[str, Any] | None = None,
) -> Path:
    """Draw, and write `report.html`, `report.json` and the tables in `folder`; the page's path."""
    folder.mkdir(parents=True, exist_ok=True)
    forecasts = forecast_pictures(folder, shown)
    bundle = shown.bundle
    return write_report(
        folder / "report.html",
        title=title,
        opening=opening,
        made=made,
        picture=forecasts[0],
        verdicts=verdicts,
        notes=notes,
        sections=sections_of(folder, shown, forecasts[1:], phase_section(folder, shown)),
        provenance=made_from(bundle.provenance, bundle.model.backbone.time_unit),
        values=values,
    )


def forecast_pictures(folder: Path, shown: Shown) -> list[Picture]:
    """Everybody who is drawn, forecast, page by page."""
    asked = shown.asked
    return people_pictures(
        folder,
        shown.dense,
        shown.drawn,
        asked,
        name="people",
        title="Everyone's data, and what was forecast",
        subtitle=f"From the measurements up to {asked.forecast_from:g}{behind(asked.time_unit)} since the {asked.since} (filled) "
        "to the rest (open)",
        beyond=shown.beyond,
    )


def sections_of(folder: Path, shown: Shown, forecasts: Sequence[Picture], *more: Section | None) -> list[Section]:
    """The folded part of a page. `forecasts`, the pictures of people that are not its first; `more`, what else there is to see,
    before the last section, which says how the numbers are defined.
    """
    found = [
        _forecasts(shown, forecasts),
        _calibration(folder, shown),
        _theta(folder, shown),
        _individual(folder, shown),
        _estimates(folder, shown),
        _population(folder, shown),
        *more,
        Section(
            "How these numbers are defined", "Several definitions are in use.", tables=[conventions_table(shown.judged)]
        ),
    ]
    return [section for section in found if section is not None]


def phase_section(folder: Path, shown: Shown) -> Section | None:
    """The proof beside what is computed, for two states of one of the bundle's people; None where that cannot be drawn."""
    bundle = shown.bundle
    if len(bundle.model.backbone.states) != 2 or bundle.model.backbone.inputs or not bundle.people:
        return None
    end = max(float(r.times[-1]) for r in shown.records)
    return proof_section(folder, phase_of(bundle, 0, end), bundle.people[0].id)


def proof_section(folder: Path, phase: Phase, person: str) -> Section:
    """Trajectories beside what is proved of them; without a proof that speaks of them, its title promises none."""
    proved, bare = "The proof, beside what is computed", "Two pairs of trajectories, of which nothing is proved"
    picture = phase_picture(folder, phase, person)
    words = "Two pairs of trajectories under the vector field."
    return Section(bare if phase.rate is None else proved, words, pictures=[picture])


def _forecasts(shown: Shown, pictures: Sequence[Picture]) -> Section:
    evaluation, asked = shown.evaluation, shown.asked
    notes = []
    if len(shown.records) > DRAWN:
        notes.append(f"The first {DRAWN} of {len(shown.records)} people are drawn; the tables' files have everybody.")
    values = values_table("Forecasts beside what was measured", evaluation.prediction, evaluation.y, asked, "")
    return Section(
        "Forecasts and their scores",
        "Every person's forecast, the scores, and every number behind the pictures.",
        notes,
        pictures,
        [
            score_rows(shown.evaluations, shown.heading, unfinished=shown.unfinished),
            uncertainty_rows(shown.evaluations, asked.unit),
            values,
        ],
    )


def _calibration(folder: Path, shown: Shown) -> Section:
    pictures = [
        *reliability_pictures(folder, shown.evaluation, shown.asked),
        *pictures_of(folder, shown.judged, shown.asked, shown.rings),
    ]
    return Section(
        "Is the uncertainty right?",
        "Stated probabilities beside what happened, by horizon, and what the uncertainty is made of.",
        pictures=pictures,
        tables=[scores_table(shown.judged, shown.asked)],
    )


def _theta(folder: Path, shown: Shown) -> Section:
    title, theta = "Parameters θ", shown.theta
    if theta is None:
        return Section(title, "This model has no physical parameters.", ["Its right-hand side is learned as a whole."])
    tables = [typical_table(theta), people_table(theta)]
    summary = "Typical values, spread, box, everyone's θ from all of their data, and who leans on an end."
    if theta.given is not None:
        summary = f"Not estimated: {computed(theta)}."
    if shown.latent is not None:
        title = f"{title} and {shown.latent.name}"
        summary += f" Estimated is everyone's {shown.latent.name}."
        tables = [latent_table(shown.latent), *tables] if theta.given is not None else [*tables, latent_table(shown.latent)]
    return Section(title, summary, shown.about_theta, [theta_picture(folder, theta)], tables)


def _population(folder: Path, shown: Shown) -> Section | None:
    if shown.diagnosed is None:
        return None
    return diagnostics_section(folder, shown.diagnosed, shown.asked.since, fitted_on=shown.fitted_on)


def _estimates(folder: Path, shown: Shown) -> Section | None:
    if shown.diagnosed is None or shown.diagnosed.estimates is None:
        return None
    return estimates_section(folder, shown.diagnosed.estimates, fitted_on=shown.estimated_here)


def _individual(folder: Path, shown: Shown) -> Section | None:
    fits, asked = shown.fits, shown.asked
    if fits is None:
        return None
    whole = replace(asked, forecast_from=None)
    pictures = people_pictures(
        folder,
        fits.dense,
        shown.drawn,
        whole,
        name="fits",
        title="Everyone's data, and the individual fit to all of them",
        subtitle="Every measurement was known",
    )
    observed = observed_picture(
        folder, shown.evaluation.prediction, shown.evaluation.y, fits.prediction, shown.cohort.y, asked
    )
    note = "The measurements were known: how close they are says nothing about a forecast."
    return Section(
        "Individual fits, and observed against predicted",
        "Each person described with all of their data known; no forecast, and no evidence about one.",
        [note],
        [observed, *pictures],
        [values_table("Individual fits beside what was measured", fits.prediction, shown.cohort.y, asked, note)],
    )
