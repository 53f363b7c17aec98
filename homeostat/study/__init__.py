"""From a table to a judged model: recipe, training, evaluation, what is asked, and the bundle.

`fit_table`, which also draws and writes, is in `homeostat.study.fit_table`.
"""

from homeostat.study.asked import Asked, asked_of, require_two_forecasts
from homeostat.study.backbones import backbone_named, observation_of, require_driven
from homeostat.study.bundled import bundle_of, marked
from homeostat.study.dense import dense_of, dense_unseen, split
from homeostat.study.evaluation import Evaluation, crps_difference, evaluate, judge, score
from homeostat.study.provenance import provenance
from homeostat.study.recipe import Recipe, hybrid_recipe, neural_ode_recipe, noise_for
from homeostat.study.rounded import certify_rounded, dosed_region
from homeostat.study.settings import Settings
from homeostat.study.suited import notes_of, require_one_unit, require_room, unstated
from homeostat.study.training import Trained, gradient_difference, require_folds, train
from training.people.tables.of_model import channels_of, channels_shown, compartments_of

__all__ = [
    "Asked",
    "Evaluation",
    "Recipe",
    "Settings",
    "Trained",
    "asked_of",
    "backbone_named",
    "bundle_of",
    "certify_rounded",
    "channels_of",
    "channels_shown",
    "compartments_of",
    "crps_difference",
    "dense_of",
    "dense_unseen",
    "dosed_region",
    "evaluate",
    "gradient_difference",
    "hybrid_recipe",
    "judge",
    "marked",
    "neural_ode_recipe",
    "noise_for",
    "notes_of",
    "observation_of",
    "provenance",
    "require_driven",
    "require_folds",
    "require_one_unit",
    "require_room",
    "require_two_forecasts",
    "score",
    "split",
    "train",
    "unstated",
]
