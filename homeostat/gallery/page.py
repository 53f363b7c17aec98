"""Pictures, tables and the HTML page of one evaluation."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from exchange import Bundle
from homeostat.gallery.figures import people_pictures, phase_of, phase_picture, reliability_numbers, reliability_picture
from homeostat.gallery.judged import Judged, conventions_table, pictures_of, scores_table
from homeostat.gallery.report import write_report
from homeostat.gallery.tables import score_rows, uncertainty_rows
from homeostat.pictures.uncertainty import Rings
from homeostat.study.asked import Asked
from homeostat.study.evaluation import Evaluation
from homeostat.wording import made_from
from training import Record
from training.trust.verdicts import Verdict


def write_page(
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
        *people_pictures(
            folder,
            dense,
            records,
            asked,
            title="Everyone's data, and what was forecast",
            subtitle=f"From the measurements up to {asked.forecast_from:g} {asked.time_unit} since the {asked.since} (filled) to "
            "the rest (open)",
            beyond=beyond,
        ),
        reliability_picture(folder, reliability_numbers(first, asked)),
        *pictures_of(folder, judged, asked, rings),
    ]
    if len(bundle.model.backbone.states) == 2 and not bundle.model.backbone.inputs:
        end = max(float(r.times[-1]) for r in records)
        phase = phase_of(bundle, 0, end)
        pictures.append(phase_picture(folder, phase, bundle.people[0].id))
    return write_report(
        folder / "report.html",
        title=title,
        lead=lead,
        verdicts=verdicts,
        tables=[
            score_rows(evaluations, heading),
            uncertainty_rows(evaluations, asked.unit),
            scores_table(judged, asked),
            conventions_table(judged),
        ],
        pictures=pictures,
        provenance=made_from(bundle.provenance, bundle.model.backbone.time_unit),
    )
