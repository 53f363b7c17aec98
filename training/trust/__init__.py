"""How far a prediction may be trusted: scores, calibration, null bands, horizons, verdicts, recalibration."""

from training.trust.horizons import Horizons
from training.trust.null_band import NullBand
from training.trust.report_parts import UncertaintyReport
from training.trust.score_rows import PairedDifference, paired_difference, scores_by_horizon
from training.trust.scores import brier_decomposition, score_table
from training.trust.uncertainty_report import uncertainty_report
from training.trust.verdicts import Verdict

__all__ = [
    "Horizons",
    "NullBand",
    "PairedDifference",
    "UncertaintyReport",
    "Verdict",
    "brier_decomposition",
    "paired_difference",
    "score_table",
    "scores_by_horizon",
    "uncertainty_report",
]
