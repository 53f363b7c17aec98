"""Every public name and method of the project that a caller makes."""

import inspect
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

from benchmarks.slips.attempt import PACKAGES
from hybrid.filters import Filter
from physics import LinearisedBackbone, Mechanism

# what a caller does not make: results, whose fields are filled by the function that returns them, and interfaces
RESULTS = {
    "hybrid": (
        *("Cause", "Failure", "Interval", "Parts", "Paths", "RightHandSide", "Rollout", "Segments", "SimulationError"),
        "Solution",
    ),
    "hybrid.filters": ("Followed", "Innovation", "Track"),
    "stability": (
        *("Certificate", "Counterexample", "Gain", "LipschitzBound", "Refusal", "RegionalRate", "Step", "Verdict"),
        "WeightedL1",
    ),
    "learned": ("Field", "Layers"),
    "physics": ("Equilibrium", "Linearised"),
    "exchange": ("Checked", "Outside", "Rebuilt", "Selected", "Written"),
    "training": (
        *("AtEnd", "Best", "Convergence", "FarCovariate", "Fitted", "InnovationStep", "Marginal"),
        *("PopulationStep", "ShootingStep", "Start", "Step", "Table", "Windows"),
    ),
    "twin": ("Band", "Change", "Consistency", "Estimate", "Moved", "Receipt", "Timed"),
    "training.diagnostics": (
        *("EtaCovariates", "FittedCurves", "PredictionErrors", "PredictiveCheck", "Residuals", "SimulatedCohorts"),
    ),
    "training.inference": (
        *("Bootstrap", "LikelihoodRatio", "NewtonStep", "ObjectiveValue", "ParameterRow", "ParameterTable", "Shrinkage"),
        "StandardErrors",
    ),
    "training.shift": ("Reference", "Update"),
    "training.identify": ("Comparison", "Information", "Optima", "Sensitivities"),
    "training.trust.recalibration": (
        *("AdaptiveConformal", "CrossScaling", "Followed", "IsotonicEvents", "Scaling", "SplitConformal"),
    ),
}
MODULES = (
    *(*PACKAGES, "hybrid.filters", "training.diagnostics", "training.inference", "training.identify", "training.shift"),
    "training.trust.recalibration",
)


def exported() -> Iterator[tuple[str, Any]]:
    """Every public name with what it stands for: "hybrid.Dose"."""
    for module in MODULES:
        there = import_module(module)
        for name in getattr(there, "__all__", ()):
            yield f"{module}.{name}", getattr(there, name)


def public() -> dict[str, Callable[..., Any]]:
    """Every public call by its name: functions, constructors, and methods that take an argument."""
    found: dict[str, Callable[..., Any]] = {}
    for name, thing in exported():
        module, short = name.rsplit(".", 1)
        if inspect.isclass(thing):
            interface = inspect.isabstract(thing) or getattr(thing, "_is_protocol", False)
            if interface:
                continue
            if short not in RESULTS.get(module, ()) and _takes_any(thing):
                found[name] = thing
            for method, function in _methods(thing):
                found[f"{name}.{method}"] = function
        elif inspect.isfunction(thing):
            found[name] = thing
    return found


def _takes_any(function: Callable[..., Any]) -> bool:
    parameters = [p for p in inspect.signature(function).parameters.values() if p.name not in ("self", "cls")]
    handed_on = all(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters) and len(parameters) == 2
    return bool(parameters) and not handed_on  # *args and **kwargs are those of torch's Module, which takes none


def _methods(cls: type) -> Iterator[tuple[str, Callable[..., Any]]]:
    seen: set[str] = set()
    for base in cls.__mro__:
        if base.__module__.split(".")[0] not in PACKAGES:
            continue
        for name, value in vars(base).items():
            if (name.startswith("_") and name != "__call__") or name in seen:
                continue
            seen.add(name)
            if name in getattr(cls, "__dataclass_fields__", ()):  # a field whose default is a function
                continue
            if name == "rate" and issubclass(cls, Mechanism):  # what its author writes, and tracing alone calls
                continue
            if name == "step" and issubclass(cls, Filter):  # the inside of `predict`, which has looked at what is given
                continue
            if name == "hull" and cls is LinearisedBackbone:  # it has none, whatever it is given
                continue
            function = value.__func__ if isinstance(value, staticmethod | classmethod) else value
            if inspect.isfunction(function) and _takes_any(function):
                yield name, function


