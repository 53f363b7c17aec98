"""What a model takes for granted beside its estimates, by name: what two nested models must have in common."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from hybrid import HybridModel
from learned import Constant, Correlated
from physics import LogNormalPopulation, MixedPopulation, SharedPopulation
from physics.covariate_models import described, names_of, numbers_of
from training.machinery.checkpoint import plain

_SIZES = {"sd", "additive", "proportional"}  # of a noise head: where estimates start, or what is held
_CHOSEN = {"lag", "fraction", "duration", "rate", "initial"}  # what a wrapped backbone has as θ, by state
_ABSENT = {"lag": 0.0, "fraction": 1.0, "duration": 0.0}  # what they are where there is no such θ


@dataclass(frozen=True)
class Taken:
    """What is not estimated.

    `parts`, in words that are equal for equal parts: "backbone", "start", "observation", "noise", "the law of V", "WT on V" … ·
    `adds`, which θ each of those parts brings that a smaller model may do without · `numbers`, every number that is held, by its
    name (M,) · `theta`, the parameters there are · `boxes`, the range of each · `absent`, of those that a smaller model may do
    without the number that stands for that: a lag or an offset of 0, a fraction of 1.
    """

    parts: Mapping[str, str] = field(default_factory=dict)
    adds: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    numbers: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    theta: tuple[str, ...] = ()
    boxes: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    absent: Mapping[str, float] = field(default_factory=dict)

    def inside(self, name: str) -> bool | None:
        """Does a model without this θ lie inside its range? None where nobody knows what the θ then is."""
        if name not in self.absent or name not in self.boxes:
            return None
        low, high = self.boxes[name]
        return low < self.absent[name] < high


def taken(model: HybridModel, estimated: Sequence[str]) -> Taken:
    """What `model` takes for granted where it estimates the numbers of these names."""
    parts: dict[str, str] = {}
    adds: dict[str, tuple[str, ...]] = {}
    theta = tuple(name for name, _ in model.population.gives or ())
    _of_backbone(model.backbone, theta, parts, adds)
    offsets: list[Mapping[str, Any]] = []
    parts["observation"] = _text(_without_offsets(_said(model.observation), offsets))
    for one in offsets:
        name = f"the offset of {one['channel']}"
        parts[name] = _text(one)
        by = [one["by"], *one["inputs"].values(), *(said[0] for said in one["covariates"].values())]
        adds[name] = tuple(str(b) for b in by if b)
    numbers = _of_population(model, theta, estimated, parts, adds)
    numbers |= _of_noise(model, estimated, parts, adds)
    parts["residual"] = _learned(model.residual)
    if model.process is not None:
        parts["process noise"] = _learned(model.process)
    for k, term in enumerate(model.known):
        parts[f"known term {k + 1}"] = _learned(term)
    boxes = {name: (float(low), float(high)) for name, (low, high) in zip(theta, model.population.box.tolist(), strict=True)}
    absent = {n: v for what, v in _ABSENT.items() for part in adds if part.startswith(f"{what} of ") for n in adds[part]}
    absent |= {n: 0.0 for one in offsets for n in adds[f"the offset of {one['channel']}"] if n in boxes}
    return Taken(parts, adds, numbers, theta, boxes, absent)


def difference(smaller: Taken, larger: Taken, added: Sequence[str]) -> str | None:
    """By what the two differ that the `added` numbers do not explain, in words; None where the smaller lies in the larger."""
    for name in [*smaller.parts, *(n for n in larger.parts if n not in smaller.parts)]:
        here, there = smaller.parts.get(name), larger.parts.get(name)
        if here == there:
            continue
        brings = larger.adds.get(name, ())
        if brings and all(one in added for one in brings) and (here is None or smaller.adds.get(name) == ()):
            continue
        if here is not None and there is not None:
            return f"{name} differs ({_shown(here)} in the smaller, {_shown(there)} in the larger)"
        return f"the {'larger' if here is None else 'smaller'} alone has {name} ({_shown(here or there or '')})"
    for name, value in larger.numbers.items():
        own = smaller.numbers.get(name)
        if own is None:
            if smaller.parts:
                return f"the larger holds {name} at {value[0]:.4g}, and the smaller does not"
        elif not _equal(own, value):
            return f"{name} is held at {own[0]:.4g} in the smaller and at {value[0]:.4g} in the larger"
    for name, value in smaller.numbers.items():
        if name not in larger.numbers and name not in added and larger.parts:
            return f"the smaller holds {name} at {value[0]:.4g}, and the larger does not"
    return None


def _of_backbone(backbone: Any, theta: Sequence[str], parts: dict[str, str], adds: dict[str, tuple[str, ...]]) -> None:
    said: dict[str, Any] = backbone.config() if hasattr(backbone, "config") else {}
    parts["start"] = str(said.get("start", "backbone"))
    for what in _CHOSEN & said.keys() if "backbone" in said else ():
        for state, parameter in said[what].items():
            parts[f"{what} of {state}"] = parameter["name"]
            adds[f"{what} of {state}"] = (parameter["name"],)
    within: Mapping[str, Any] = said["backbone"] if "backbone" in said else {"class": type(backbone).__qualname__, "config": said}
    kept = {k: v for k, v in dict(within.get("config", {})).items() if k not in theta and k not in ("parameters", "typical")}
    named = within.get("config", {}).get("parameters")  # a choice of names, or a list of the parameters themselves
    if isinstance(named, str):
        kept["parameters"] = named
    parts["backbone"] = _text([within.get("class"), kept])


def _of_population(
    model: HybridModel, theta: Sequence[str], estimated: Sequence[str], parts: dict[str, str], adds: dict[str, tuple[str, ...]]
) -> dict[str, tuple[float, ...]]:
    population = model.population
    numbers: dict[str, tuple[float, ...]] = {}
    spread = [name.partition(" in occasion ") for name in population.effects]
    for j, name in enumerate(theta):
        if name in {s[0] for s in spread}:  # a law between people is of its box: θ bends towards the ends
            low, high = population.box[j].tolist()
            parts[f"the law of {name}"] = f"{population.scales[j]} within {low:g} to {high:g}"
            adds[f"the law of {name}"] = tuple(n for n in (f"omega({name})", f"iov({name})") if n in estimated)[:1]
    if isinstance(population, MixedPopulation):
        for j, one in population.moves:
            name, own = f"{one.covariate} on {theta[j]}", names_of(one, theta[j])
            said = {k: v for k, v in described(one).items() if k not in ("learn", "exponent", "slope", "levels")}
            parts[name] = _text(said)
            if one.learn:
                adds[name] = tuple(own)
            else:
                numbers |= {n: (v,) for n, v in zip(own, numbers_of(one), strict=True)}
        if any(m.learn and n not in estimated for j, m in population.moves for n in names_of(m, theta[j])):
            parts["covariate models"] = _learned(population)
    elif isinstance(population, LogNormalPopulation):
        for name, by in population.powers.items():
            for covariate, power in by.items():
                parts[f"{covariate} on {name}"] = _text({"kind": "power", "covariate": covariate, "reference": power[0],
                                                        "unit": population.covariates[covariate]})
                numbers[f"{covariate} on {name}"] = (float(power[1]),)
    elif not isinstance(population, SharedPopulation):
        parts["population"] = _learned(population, {"learn_spread", "spread"})
    with torch.no_grad():
        eta = torch.zeros(model.members, 1, model.personal, dtype=population.box.dtype, device=population.box.device)
        at = {name: eta.new_tensor([population.references.get(name, 1.0)]) for name in population.covariates}
        typical = population.theta(eta[..., : population.dimension], at)[:, 0]  # (M, q)
    for j, name in enumerate(theta):
        if name not in estimated and bool(torch.isfinite(typical[:, j]).all()):
            numbers[name] = tuple(typical[:, j].tolist())
    omega = population.omega_matrix
    if omega is not None:
        sd = omega.detach().diagonal(dim1=-2, dim2=-1).sqrt()  # (M, d)
        for j, (parameter, occasion, _) in enumerate(spread):
            name = f"iov({parameter})" if occasion else f"omega({parameter})"
            if name not in estimated:
                numbers[name] = tuple(sd[:, j].tolist())
            for i in range(j):
                pair = {f"corr({spread[i][0]},{parameter})", f"corr({parameter},{spread[i][0]})"}
                R = omega.detach()[:, i, j] / (sd[:, i] * sd[:, j])
                if not pair & set(estimated) and not occasion and bool((R != 0.0).any()):
                    numbers[f"corr({spread[i][0]},{parameter})"] = tuple(R.tolist())
    return numbers


def _of_noise(
    model: HybridModel, estimated: Sequence[str], parts: dict[str, str], adds: dict[str, tuple[str, ...]]
) -> dict[str, tuple[float, ...]]:
    head: Any = model.noise
    if isinstance(head, Correlated):
        pairs = tuple(n for n in head.estimates() if n.startswith("corr(") and n in estimated)
        parts["the correlation of errors"] = "learned" if pairs else _text(head.start)
        if pairs:
            adds["the correlation of errors"] = pairs
        head = head.head
    config = dict(head.config()) if hasattr(head, "config") else {}
    sizes = {"additive" if k == "sd" else k: config.pop(k) for k in _SIZES & config.keys()}
    parts["the noise head"] = type(head).__qualname__
    parts["the rest of the noise head"] = _text(config)
    channels = model.observation.channels
    numbers: dict[str, tuple[float, ...]] = {}
    for what, values in sizes.items():
        for channel, value in zip(channels, values.values() if isinstance(values, Mapping) else values, strict=True):
            if f"{what}({channel})" not in estimated:
                numbers[f"{what}({channel})"] = (float(value),)
    # a constant error is one with a proportional part of 0
    if isinstance(head, Constant):
        adds["the noise head"] = ()
    elif "proportional" in sizes and all(f"proportional({c})" in estimated for c in channels):
        adds["the noise head"] = tuple(f"proportional({c})" for c in channels)
    return numbers


def _learned(part: Any, less: Collection[str] = ()) -> str:
    """A part with its tensors; one without any is its class, whatever it was told of the model."""
    tensors = [*part.parameters()] if hasattr(part, "parameters") else []
    if not any(t.numel() for t in tensors) and type(part).__qualname__ == "Zero":
        return "Zero"
    config = {k: v for k, v in (part.config() if hasattr(part, "config") else {}).items() if k not in less}
    held = [] if less else [t.detach() for t in tensors]
    return _text([type(part).__qualname__, config, held])


def _said(part: Any) -> Any:
    return {"class": type(part).__qualname__, "config": part.config() if hasattr(part, "config") else {}}


def _without_offsets(said: Any, found: list[Mapping[str, Any]]) -> Any:
    if isinstance(said, Mapping):
        if said.get("class") == "Offset":
            found.append({k: v for k, v in said["config"].items() if k != "observation"})
            return _without_offsets(said["config"]["observation"], found)
        return {k: _without_offsets(v, found) for k, v in said.items()}
    return said


def _text(value: object) -> str:
    return json.dumps(plain(value), sort_keys=True, default=repr).replace('"', "")


def _shown(text: str) -> str:
    return text if len(text) <= 70 else text[:69] + "…"


def _equal(one: Sequence[float], other: Sequence[float]) -> bool:
    return len(one) == len(other) and all(abs(a - b) <= 1e-9 * max(1.0, abs(a), abs(b)) for a, b in zip(one, other, strict=True))

