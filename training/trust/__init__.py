"""How far a prediction may be trusted: scores, calibration, null bands, verdicts. Recalibration has a room of its own."""

from training.trust.calibration import (
    EVENT_BINS,
    calibration_null_band,
    describe_convention,
    ence,
    ence_null_band,
    expected_calibration_error,
    quantile_calibration_error,
    quantile_null_band,
    reliability_curve,
    zms,
)
from training.trust.horizons import Horizons
from training.trust.innovations import innovations
from training.trust.null_band import NullBand
from training.trust.outcome import Outcome
from training.trust.person_null import PersonNull
from training.trust.report_parts import ChannelReport, Flag, Gate, UncertaintyReport
from training.trust.score_frames import ScoreTable
from training.trust.score_rows import (
    HorizonScores,
    HorizonTable,
    PairedDifference,
    mean_scores,
    paired_difference,
    scores_by_horizon,
)
from training.trust.scores import (
    brier,
    brier_decomposition,
    coverage,
    crps,
    crps_samples,
    energy_score,
    interval_score,
    nll,
    path_coverage,
    pit,
    pooled,
    score_table,
    sharpness,
)
from training.trust.simultaneous import SimultaneousBand, simultaneous_band
from training.trust.uncertainty_report import uncertainty_report
from training.trust.verdicts import Verdict, verdicts_about

__all__ = [
    "EVENT_BINS",
    "ChannelReport",
    "Flag",
    "Gate",
    "HorizonScores",
    "HorizonTable",
    "Horizons",
    "NullBand",
    "Outcome",
    "PairedDifference",
    "PersonNull",
    "ScoreTable",
    "SimultaneousBand",
    "UncertaintyReport",
    "Verdict",
    "brier",
    "brier_decomposition",
    "calibration_null_band",
    "coverage",
    "crps",
    "crps_samples",
    "describe_convention",
    "ence",
    "ence_null_band",
    "energy_score",
    "expected_calibration_error",
    "innovations",
    "interval_score",
    "mean_scores",
    "nll",
    "paired_difference",
    "path_coverage",
    "pit",
    "pooled",
    "quantile_calibration_error",
    "quantile_null_band",
    "reliability_curve",
    "score_table",
    "scores_by_horizon",
    "sharpness",
    "simultaneous_band",
    "uncertainty_report",
    "verdicts_about",
    "zms",
]
