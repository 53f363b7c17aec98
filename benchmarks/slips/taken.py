"""Slips that are right to take though they are of another kind than the valid value, each with the reason; for `attempt.py`."""

from collections.abc import Mapping

Reasons = Mapping[str, str]

_ANY_AXES = "any axes may stand in front"
_AXES = dict.fromkeys(("one axis more", "one axis fewer", "a tensor of another shape", "of no axis"), _ANY_AXES)
_AXES |= dict.fromkeys(("its first one axis more", "its first one axis fewer", "nested", "transposed"), _ANY_AXES)
_MISSING = dict.fromkeys(("NaN in it", "all NaN", "its first NaN in it", "its first all NaN"), "NaN is what was not measured")
_LIMIT = dict.fromkeys(("inf in it", "-inf in it"), "an activation has a limit at infinity, and this is its value there")
# torch multiplies a tensor that has no memory with one that has; what a machine really has it refuses to mix, and so do we
_LIMIT |= {"on another device": "a tensor without memory stands for no real device here"}
_LATER = "names, positions and numbers by name are resolved where the part joins a model"
_NAMED = dict.fromkeys(
    ("a list of words", "an array of words", "words in it", "an empty mapping", "a mapping", "-1", "a number"), _LATER
)
_SEEN = {**_NAMED, "True": "all of them", "an empty list": "none of them"}
_SCALE = {**_NAMED, "3.5": "one number for all", "its first alone": "one number for all"}
_JSON = dict.fromkeys(
    ("a mapping", "None in it", "words in it", "a list in it", "an object in it", "a number for a name"),
    "any JSON; what is none is refused where the bundle is saved",
)
_REFUSED = {"*": "the checker never raises: what it cannot read it refuses, and says so in the verdict"}
_READ = {"words in it": "a claim is read; whether it is true is for check to say"}
_ANY = {"*": "any tensor may be exchanged"}
_ONE_NAME = dict.fromkeys(("words", "no words", "a page"), "one text is that of the one channel")
_CALLED = dict.fromkeys(("a model", "a class", "a function to words"), "any function; what it gives is looked at by the fit")
_ANY_NAME = {"words in it": "any name will do"}
_COUNT = "how many channels there are, the model says"

_AXES_OF = (
    *("hybrid.root", "hybrid.transition"),
    *("hybrid.Concentration.mean", "hybrid.Offset.mean", "hybrid.Offset.offset", "hybrid.Offset.seen", "hybrid.States.mean"),
    *("hybrid.Concentration.seen", "hybrid.Log.mean", "hybrid.Log.seen", "hybrid.States.seen"),
    *("hybrid.Prediction.crps", "hybrid.Prediction.log_prob"),
    *("hybrid.SemilinearField.linear", "learned.DiagonalDiffusion.diffusion", "learned.Zero.forward"),
    *("physics.LinearBackbone.initial", "physics.LinearBackbone.matrices", "physics.LogNormalPopulation.log_prior"),
    *("physics.OneCompartmentOral.matrices", "physics.OneCompartmentOral.rates", "physics.SharedPopulation.log_prior"),
    *("physics.SharedPopulation.theta", "physics.VanCauter.initial", "physics.VanCauter.matrices"),
    *(f"physics.{name}.bound" for name in ("LogNormalPopulation", "MixedPopulation", "SharedPopulation", "VanCauterPopulation")),
    *("physics.MarshPopulation.bound", "physics.SchniderPopulation.bound", "physics.MixedPopulation.log_prior"),
    "physics.Administered.matrices",
    *("physics.LinearisedBackbone.initial", "physics.LinearisedBackbone.matrices", "physics.LinearisedBackbone.start"),
    *("physics.Linearised.remainder", "physics.Linearised.slope"),
    *("physics.Tape.at", "physics.Tape.evaluate", "physics.Tape.plain"),
    *("physics.linearise", "physics.MarshPopulation.log_prior", "physics.MarshPopulation.theta"),
    *("physics.SchniderPopulation.log_prior", "physics.SchniderPopulation.theta"),
    *("physics.VanCauterPopulation.log_prior", "physics.VanCauterPopulation.theta", "physics.spectral_abscissa"),
    *("stability.Branch", "stability.Policy.__call__"),
    *("stability.Lure", "stability.Lure.jacobian", "stability.contraction_barrier", "stability.contraction_margin"),
    *("stability.contraction_rate", "stability.best_multipliers"),
)
_LIMIT_OF = (
    *("hybrid.SemilinearField.nonlinear", "hybrid.SemilinearField.nonlinear_at", "hybrid.SemilinearField.residual"),
    *("hybrid.BoundTerm.rate", "hybrid.BoundTerm.jacobian", "hybrid.RightHandSide.jacobian", "learned.Field.jacobian"),
    *("learned.Field.__call__", "learned.MLP.forward", "learned.ContractingMLP.forward"),
    "learned.SumOfResiduals.forward",
)
_CLAIMS = ("Certificate", "RegionalRate", "Gain", "LipschitzBound", "Step", "WeightedL1", "Refusal")

TAKEN: Mapping[str, Mapping[str, Reasons]] = {
    "training.identify.sensitivities": {
        "design": {"a cohort": "the people of a cohort are a design"}, "solver": {"a solver": "any solver of the model"},
    },
    "training.shift.compared": {"reference": {"None": "nothing says what the training looked like, and the flag says so"}},
    "training.identify.population_information": {"design": {"a cohort": "the people of a cohort are a design"}},
    "physics.CategoryOf": {"levels": {"a number for a name": "a further category, and its number"}},
    "physics.MixedPopulation": {"omega": {"an empty list": "no covariance is known"}},
    "physics.LogNormalPopulation": {"spread": {"None in it": "that parameter is shared and learned"}},
    "physics.SharedPopulation": {"learned": {"True": "all of them are"}},
    **{name: {"*": _AXES} for name in _AXES_OF},
    **{name: {"*": _LIMIT} for name in _LIMIT_OF},
    **{f"stability.{name}.from_dict": {"data": _READ} for name in _CLAIMS},
    **{f"stability.{name}.prove": {"system": _REFUSED} for name in _CLAIMS if name != "Refusal"},
    "stability.read_claim": {"data": _READ},
    **{f"exchange.{name}": {"calibration": _JSON, "provenance": _JSON} for name in ("Bundle", "Bundle.of")},
    "exchange.Person": {"baseline": {"one too many": _COUNT}},
    "hybrid.BoundTerm": dict.fromkeys(("value", "slope"), _CALLED),
    "hybrid.Concentration": {"state": _NAMED, "volume": _NAMED},
    "hybrid.Offset": {
        "by": dict.fromkeys(("in quotes", "a page", "words", "no words"), _LATER),
        "inputs": {
            "words in it": _LATER, "None in it": "that input as it is", "an empty mapping": "the other parts are added",
        },
        "covariates": {"an empty mapping": "the other parts are added"},
    },
    "hybrid.Conditions": {"baseline": {"one column too many": _COUNT}},
    "hybrid.Interval.of": {"inputs": {"its first alone": "the inputs may be the same at both ends"}},
    "hybrid.filters.along": {"y": {"all NaN": "where nothing was measured a filter predicts"}},
    "hybrid.filters.follow": {"y": {"all NaN": "where nothing was measured a filter predicts"}},
    "hybrid.segments_of": {"inputs": {"its first alone": "the inputs may be the same at both ends"}},
    "hybrid.Prediction": {"units": _ONE_NAME},
    "hybrid.Prediction.cdf": {"y": {**_AXES, **dict.fromkeys(("inf in it", "-inf in it"), "all, or nothing, lies below")}},
    "hybrid.Prediction.crosses": {"threshold": {"inf": "nothing exceeds infinity"}},
    "hybrid.Prediction.during": {"end": {"inf": "a window may be open"}},
    "hybrid.Prediction.exceeds": {"threshold": {"inf": "nothing exceeds infinity"}},
    "hybrid.SemilinearField.within": {"k": {"True": "to Python True is 1"}},
    "hybrid.Signal.sample": {"times": {"an empty list": "nothing is asked"}},
    "learned.ContractingMLP": {"sees_inputs": _NAMED, "sees_theta": _SEEN, "state_scale": _SCALE, "input_scale": _SCALE},
    "learned.Ensemble.stack": {"module": {"a model": "any model may be stacked"}},
    "learned.MLP": {
        **dict.fromkeys(("acts_on", "sees_inputs"), _NAMED),
        **{"sees_states": _SEEN, "sees_theta": _SEEN, "state_scale": _SCALE, "input_scale": _SCALE},
    },
    "learned.NeuralNoise": dict.fromkeys(("channel_scale", "state_scale", "input_scale"), _SCALE),
    "learned.NeuralNoise.variance": {"*": {**_AXES, **_LIMIT}},
    "physics.Defaults": {"compartments": {"words in it": "whether there is such a state, the backbone says"}},
    "physics.OneCompartmentOral": {"faster": {"None": "the boxes may tell the rates apart"}},
    **{f"physics.Administered.{name}": {"*": _AXES, "baseline": {**_AXES, **_MISSING}} for name in ("initial", "start")},
    "physics.OneCompartmentOral.initial": {"*": {**_AXES, **_MISSING}},
    "physics.Tape": {"code": {"one too many": "a line that no rate reads changes nothing"}},
    "physics.TapedMechanism": {"data": {"words in it": "any name will do"}},
    "physics.equilibrium": {"*": {**_AXES, **dict.fromkeys(("NaN in it", "all NaN"), "a value that says who has none")}},
    "stability.check": {"*": _REFUSED},
    "stability.exactly": {"*": _REFUSED},
    "stability.prove": {"claim": _REFUSED, "system": _REFUSED},
    "training.Anchor.likelihood": {"y": _MISSING},
    "training.Anchor.of": {"variance": {"an empty mapping": "a flat prior for every tensor"}},
    "training.trust.recalibration.CrossScaling.fit": {"y": _MISSING},
    "training.trust.recalibration.Scaling.fit": {"y": _MISSING},
    "training.Anchor.members": {"index": {"as booleans": "yes or no for each"}},
    "training.Checkpoint": {"path": {"words": "a file in this folder"}},
    "training.Objective": {"likelihood": _CALLED},
    "training.Record": {"channels": _ONE_NAME, "read_with": {"a name too few": "what a row does not say itself its time says"}},
    "training.Search": {"clip": {"None": "any norm"}, "optimiser": _CALLED, "schedule": _CALLED},
    "training.Shard.gather": {"tensor": _ANY},
    "training.Shard.total": {"tensor": _ANY},
    "training.gather_members": {"module": {"another model": "any module may be gathered"}},
    "training.gaussian_crps": {"y": _MISSING},
    "training.gaussian_nll": {"y": _MISSING},
    "training.read_nonmem": {"channels": _ANY_NAME, "compartments": _ANY_NAME},
    "training.read_table": {"channels": _ANY_NAME, "compartments": _ANY_NAME},
    "training.trust.recalibration.AdaptiveConformal.factor": {
        "alpha": {**_AXES, "an empty list": "nothing is asked", "3.5": "α may leave [0, 1]", "-1": "α may leave [0, 1]"}
    },
    "training.trust.recalibration.AdaptiveConformal.fit": {"y": _MISSING},
    "training.trust.recalibration.FittedOn.of": {
        "*": {**_MISSING, **dict.fromkeys(("as booleans", "its first as booleans"), "outcomes may be yes or no")}
    },
    "training.trust.recalibration.IsotonicEvents.fit": {"outcome": _MISSING},
    "training.trust.recalibration.SplitConformal.fit": {"y": _MISSING},
    "training.trust.recalibration.conformal_quantile": {"scores": {**_AXES, "inf in it": "the largest of all scores"}},
    "twin.Twin": {
        "sources": {"as a generator": "names in any order"},
        **dict.fromkeys(("drift", "level", "block"), dict.fromkeys(("as a tensor", "as an array"), "the number that it holds")),
    },
    "twin.Twin.arrive": {"events": {"its first alone": "one event needs no list"}},
    "twin.SqliteLog.add": {"judged": {"words in it": "why the caller refuses it"}},
    "twin.SqliteLog.timelines": {"after": {"None in it": "from the beginning"}},
    "twin.read_event": {"line": {"words in it": "any id will do"}},
    "training.trust.recalibration.scale_parts": {"*": {"3.5": "one number for all channels"}},
}
