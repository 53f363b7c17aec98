"""Every picture, table and verdict of a study, made from its numbers: the demo, `fit` and `report` all show these."""

from homeostat.gallery.claims import claim_verdict, named, outside_verdicts, speaks_of, whom
from homeostat.gallery.figures import (
    beyond_training,
    hero_picture,
    largest_doses,
    people_pictures,
    phase_of,
    phase_picture,
    reliability_numbers,
    reliability_picture,
    reliability_pictures,
    what_if_picture,
)
from homeostat.gallery.tables import baseline_notes, score_rows, uncertainty_rows
from homeostat.gallery.verdicts import (
    WHAT_EVERYONE_SAID,
    comparison_verdict,
    ends_verdicts,
    fit_summary,
    fit_verdicts,
    interrupted_verdicts,
    largest_difference,
    saved_verdict,
    saved_words,
)
from homeostat.pictures import Picture
from homeostat.study.asked import Asked
from homeostat.wording import cut_note, density_in, made_from, with_unit

__all__ = [
    "WHAT_EVERYONE_SAID",
    "Asked",
    "Picture",
    "baseline_notes",
    "beyond_training",
    "claim_verdict",
    "comparison_verdict",
    "cut_note",
    "density_in",
    "ends_verdicts",
    "fit_summary",
    "fit_verdicts",
    "hero_picture",
    "interrupted_verdicts",
    "largest_difference",
    "largest_doses",
    "made_from",
    "named",
    "outside_verdicts",
    "people_pictures",
    "phase_of",
    "phase_picture",
    "reliability_numbers",
    "reliability_picture",
    "reliability_pictures",
    "saved_verdict",
    "saved_words",
    "score_rows",
    "speaks_of",
    "uncertainty_rows",
    "what_if_picture",
    "whom",
    "with_unit",
]
