"""What the mutations of global and of regional certificates have in common: a case, and changes of numbers in it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from stability import Certificate, Lure


@dataclass(frozen=True)
class Case:
    """A system and the certificate that was proved for it."""

    system: Lure
    certificate: Certificate


Mutation = Callable[[Case, np.random.Generator], Case]


def factor(rng: np.random.Generator) -> float:
    """A relative change from far below the certificate's margin to thirtyfold, either way."""
    return float(1.0 + rng.choice([-1, 1]) * 10.0 ** rng.uniform(-7, 1.5))


def consistent(certificate: Certificate, **fields: Any) -> Certificate:
    """The certificate with other numbers, and the statements that depend on them made to agree again."""
    new = replace(certificate, claim="", spectral_cap=1e9, metric_cap=None, inequality_cap=None, **fields)
    return replace(new, condition=float(np.linalg.cond(new.metric)))


def one_entry(array: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A copy with one entry changed: scaled, or replaced where it is zero."""
    new = np.array(array)
    where = tuple(int(rng.integers(s)) for s in new.shape)
    new[where] = new[where] * factor(rng) if new[where] else 10.0 ** rng.uniform(-3, 0)
    return new


def mutate_weights(one: Case, rng: np.random.Generator) -> Case:
    weights = list(one.system.weights)
    layer = int(rng.integers(len(weights)))
    weights[layer] = one_entry(weights[layer], rng)
    return replace(one, system=replace(one.system, weights=tuple(weights)))


def mutate_bias(one: Case, rng: np.random.Generator) -> Case:
    biases = list(one.system.biases)
    layer = int(rng.integers(len(biases)))
    biases[layer] = one_entry(biases[layer], rng)
    return replace(one, system=replace(one.system, biases=tuple(biases)))


def mutate_linear_part(one: Case, rng: np.random.Generator) -> Case:
    try:
        return replace(one, system=replace(one.system, A=one_entry(one.system.A, rng)))
    except ValueError:  # no longer stable: not a system at all
        return mutate_linear_part(one, rng)


def mutate_skip(one: Case, rng: np.random.Generator) -> Case:
    before = np.zeros_like(one.system.A) if one.system.skip is None else one.system.skip
    return replace(one, system=replace(one.system, skip=one_entry(before, rng)))


def mutate_metric(one: Case, rng: np.random.Generator) -> Case:
    P = np.array(one.certificate.metric)
    i, j = rng.integers(len(P), size=2)
    P[i, j] *= factor(rng)
    P[j, i] = P[i, j] if rng.integers(20) else P[j, i]  # now and then not symmetric
    return replace(one, certificate=consistent(one.certificate, metric=P))


def mutate_multipliers(one: Case, rng: np.random.Generator) -> Case:
    multipliers = one_entry(one.certificate.multipliers, rng)
    return replace(one, certificate=consistent(one.certificate, multipliers=multipliers))


def mutate_rate(one: Case, rng: np.random.Generator) -> Case:
    return replace(one, certificate=consistent(one.certificate, rate=one.certificate.rate * factor(rng)))


def mutate_hash(one: Case, rng: np.random.Generator) -> Case:
    digits = list(one.certificate.digest)
    where = int(rng.integers(len(digits)))
    digits[where] = format(int(digits[where], 16) ^ int(rng.integers(1, 16)), "x")
    return replace(one, certificate=replace(one.certificate, digest="".join(digits)))
