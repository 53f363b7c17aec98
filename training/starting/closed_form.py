"""Starting values of a compartment with absorption by its closed form: everyone's data at once, and the middle of their own θ."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hybrid import Dose, Schedule
from hybrid.schedules.dose import as_float, next_after
from physics import OneCompartmentOral
from training.people.records import Record

_MOST_PEOPLE = 100  # of more, as many are taken evenly: this is a start
_MOST_PAIRS = 200_000  # of a measurement and a dose before it
_GRID = 16  # values of ka, and of ke, that are tried before the search
_WIDTH = 2.0  # how little the built-in typical values weigh: a standard deviation of e² = 7 times


@dataclass(frozen=True)
class ByClosedForm:
    """Everyone's measurements, and what of each dose had come by then.

    Of every measurement k: the `person` (K,) by number, `y`, `weight` (the inverse of its tolerance), the factors `ka`, `ke`,
    `V` (K,) by which covariates change the person's parameters, the `baseline` and the time `since` the record's start. Of
    every pair of a measurement and an earlier dose: `row`, `elapsed`, `duration`, `amount` and whether it went into the `gut`
    (P,).
    """

    person: np.ndarray
    y: np.ndarray
    weight: np.ndarray
    ka: np.ndarray
    ke: np.ndarray
    V: np.ndarray
    baseline: np.ndarray
    since: np.ndarray
    row: np.ndarray
    elapsed: np.ndarray
    duration: np.ndarray
    amount: np.ndarray
    gut: np.ndarray
    people: int

    @staticmethod
    def of(
        records: Sequence[Record], backbone: OneCompartmentOral, powers: Mapping[str, Mapping[str, Sequence[Any]]]
    ) -> "ByClosedForm | None":
        """None where there is nothing to learn from."""
        if any(len(r.channels) != 1 for r in records):
            return None
        pairs = sum(int(r.scored.sum()) * len(_given(r.schedule)) for r in records)
        every = max(1, math.ceil(len(records) / _MOST_PEOPLE), math.ceil(pairs / _MOST_PAIRS))
        points: list[np.ndarray] = []  # person, y, factors of ka, ke, V, baseline, since
        given: list[np.ndarray] = []  # row, elapsed, duration, amount, gut
        at, people = 0, 0
        for record in records[::every]:
            values = record.values[:, 0]
            good = record.scored & np.isfinite(values) & (values > 0)
            doses = [one for one in _given(record.schedule) if as_float(one[0].amount) > 0]
            start = 0.0 if record.schedule.anew else float(np.nan_to_num(record.baseline[0]))
            if not good.any() or (not doses and not start > 0):
                continue
            effect = {p.name: factor_of(record, powers.get(p.name, {})) for p in backbone.physical}
            ke = effect["CL"] / effect["V"] if backbone.by_clearance else effect["ke"]
            t, count = record.times[good], int(good.sum())
            rest = np.broadcast_to([effect["ka"], ke, effect["V"], start], (count, 4))
            points.append(np.column_stack([np.full(count, people), values[good], rest, t - record.schedule.start]))
            people += 1
            for d, known, gone in doses:
                elapsed = t - as_float(d.arrival)
                come = np.flatnonzero((elapsed > 0) & (t > known) & (t <= gone))
                one = [as_float(d.duration), as_float(d.amount), float(d.state == backbone.states[0])]
                given.append(np.column_stack([at + come, elapsed[come], np.broadcast_to(one, (len(come), 3))]))
            at += count
        if not points:
            return None
        person, y, ka, ke_factor, V, baseline, since = np.concatenate(points).T
        row, after, duration, amount, gut = np.concatenate([np.empty((0, 5)), *given]).T
        weight = 1.0 / (0.2 * y + 0.05 * np.median(y))
        of_doses = (row.astype(int), after, duration, amount, gut > 0)
        return ByClosedForm(person.astype(int), y, weight, ka, ke_factor, V, baseline, since, *of_doses, people)

    def parts(self, ka: float, ke: float) -> tuple[np.ndarray, np.ndarray]:
        """The concentrations f = s/V + b at these rates: s (K,), made by doses, and b, left of the baseline."""
        a, e, t = ka * self.ka[self.row], ke * self.ke[self.row], self.elapsed
        # two equal rates are a limit that the formulas below do not take; a millionth apart they are near enough for a start
        a = np.where(np.abs(a - e) < 1e-6 * e, e * (1.0 + 1e-6), a)
        slow, fast = np.exp(-e * t), np.exp(-a * t)
        bolus = np.where(self.gut, a / (a - e) * (slow - fast), slow)

        def since_begun(t: np.ndarray) -> np.ndarray:
            """What a rate of 1 has brought into the plasma after t."""
            straight = -np.expm1(-e * t) / e
            through = (a * straight + np.expm1(-a * t)) / (a - e)
            return np.where(self.gut, through, straight)

        long = np.where(self.duration > 0, self.duration, 1.0)
        infused = (since_begun(t) - since_begun(np.maximum(t - long, 0.0))) / long
        come = self.amount * np.where(self.duration > 0, infused, bolus)
        s = np.bincount(self.row, come, minlength=len(self.y)) / self.V
        return s, self.baseline * np.exp(-ke * self.ke * self.since)


def factor_of(record: Record, by: Mapping[str, Sequence[Any]]) -> float:
    """What a person's covariates multiply a parameter by."""
    factor = 1.0
    for name, (reference, exponent, *_) in by.items():
        value = record.covariates.get(name, math.nan)
        if not value > 0:
            raise ValueError(
                f"record {record.id}: a parameter depends on the logarithm of the covariate {name}, which is "
                f"{'missing' if math.isnan(value) else format(value, 'g')}; correct the table, or take {name} out of the powers"
            )
        factor *= (value / reference) ** exponent
    return factor


def least_squares(data: ByClosedForm, backbone: OneCompartmentOral) -> np.ndarray:  # (3,)
    """The logarithms of θ that make the pooled squares least."""
    boxes = {p.name: (math.log(p.low), math.log(p.high)) for p in backbone.physical}
    low, high = np.array(list(boxes.values())).T
    middle = np.log([p.typical for p in backbone.physical])
    if backbone.by_clearance:
        boxes["ke"] = (boxes["CL"][0] - boxes["V"][1], boxes["CL"][1] - boxes["V"][0])
        # more than what anybody's clearance over anybody's volume would be; the rates of most drugs are inside
        boxes["ke"] = (max(boxes["ke"][0], math.log(1e-4)), min(boxes["ke"][1], math.log(50.0)))

    def misfit(x: np.ndarray) -> np.ndarray:  # (K + 3,)
        ka, second, V = np.exp(x)
        s, b = data.parts(ka, second / V if backbone.by_clearance else second)
        return np.concatenate([data.weight * (data.y - s / V - b), (x - middle) / _WIDTH])

    def admissible(x: np.ndarray) -> bool:
        ka, ke = x[0], x[1] - x[2] if backbone.by_clearance else x[1]
        ordered = backbone.faster is None or (ka > ke if backbone.faster == "ka" else ke > ka)
        return bool(ordered and (x >= low).all() and (x <= high).all())

    best, least = middle, _huber(misfit(middle)) if admissible(middle) else math.inf
    for log_ka in np.linspace(*boxes["ka"], _GRID):
        for log_ke in np.linspace(*boxes["ke"], _GRID):
            s, b = data.parts(math.exp(log_ka), math.exp(log_ke))
            w = data.weight**2
            inverse = float((w * s * (data.y - b)).sum() / max((w * s * s).sum(), 1e-300))
            log_V = float(np.clip(-math.log(inverse), *boxes["V"])) if inverse > 0 else middle[2]
            x = np.array([log_ka, log_ke + log_V if backbone.by_clearance else log_ke, log_V])
            if admissible(x) and (value := _huber(misfit(x))) < least:
                best, least = x, value
    if not math.isfinite(least):
        return middle
    x, damping = best, 1e-2
    for _ in range(60):
        r = misfit(x)
        weight = np.sqrt(np.minimum(1.0, 1.0 / np.maximum(np.abs(r), 1e-300)))  # Huber's, of residuals of order 1
        J = np.stack([(misfit(x + h) - misfit(x - h)) / 2e-5 for h in 1e-5 * np.eye(3)], 1) * weight[:, None]
        H, g = J.T @ J, J.T @ (weight * r)
        step = -np.linalg.solve(H + damping * np.diag(np.diag(H)), g)
        trial = np.clip(x + np.clip(step, -1.0, 1.0), low, high)
        if admissible(trial) and (value := _huber(misfit(trial))) < least:
            done = np.abs(trial - x).max() < 1e-7
            x, least, damping = trial, value, max(damping / 5.0, 1e-9)
            if done:
                break
        else:
            damping *= 5.0
            if damping > 1e9:
                break
    return x


def middle_of(
    data: ByClosedForm,
    backbone: OneCompartmentOral,
    x: np.ndarray,  # (3,)
) -> np.ndarray:  # (3,)
    """The logarithms of θ about which people differ to both sides, from those that fit all of them at once."""
    low, high = (np.log([getattr(p, end) for p in backbone.physical]) for end in ("low", "high"))
    prior = np.diag(1.0 / np.where([p.name == "ka" for p in backbone.physical], 0.6, 0.3) ** 2)

    def misfit(x: np.ndarray, own: np.ndarray) -> np.ndarray:  # (K,)
        """Everyone's, with departures own (P, 3) of the logarithms of their θ."""
        ka, second, V = np.exp(np.clip(x + own, low, high)).T  # (P,)
        ke = second / V if backbone.by_clearance else second
        rows = data.person
        theirs = replace(data, ka=data.ka * ka[rows], ke=data.ke * ke[rows], V=data.V * V[rows])
        s, b = theirs.parts(1.0, 1.0)
        found: np.ndarray = data.weight * (data.y - s - b)
        return found

    def each(values: np.ndarray) -> np.ndarray:  # (K, ...) -> (P, ...)
        """Sums by person."""
        total = np.zeros((data.people, *values.shape[1:]))
        np.add.at(total, data.person, values)
        return total

    begun, own = x.copy(), np.zeros((data.people, 3))
    for _ in range(20):
        r = misfit(x, own)
        J = np.stack([(misfit(x, own + h) - misfit(x, own - h)) / 2e-4 for h in 1e-4 * np.eye(3)], -1)  # (K, 3)
        w = np.minimum(1.0, 3.0 / np.maximum(np.abs(r), 1e-300))[:, None]  # what is three tolerances off pulls no harder
        H = each(J[:, :, None] * (w * J)[:, None, :]) + prior
        g = each(w * J * r[:, None]) + own @ prior
        own = own + np.clip(-np.linalg.solve(H, g[..., None])[..., 0], -0.3, 0.3)
        shift = own.mean(0)
        x, own = x + shift, own - shift
    ka, ke = x[0], x[1] - x[2] if backbone.by_clearance else x[1]
    kept = backbone.faster is None or (ka > ke if backbone.faster == "ka" else ke > ka)
    # where people say so little that their departures run away, all of them at once say more
    return x if kept and np.isfinite(x).all() and np.abs(x - begun).max() < 1.0 else begun


def _huber(r: np.ndarray) -> float:
    size = np.abs(r)
    return float(np.where(size <= 1.0, 0.5 * r * r, size - 0.5).sum())


_EARLIER = 60  # doses before a steady state: what is older says nothing of where a search begins


def _given(schedule: Schedule) -> list[tuple[Dose, float, float]]:
    """The doses, some of those that led to a steady state too, each with the times from which and up to which it is seen."""
    found = [(d, -np.inf, next_after(schedule.anew, as_float(d.time))) for d in schedule.arriving]
    for one in schedule.steady:
        until = next_after(schedule.anew, one.time)
        for k in range(1, _EARLIER + 1):
            dose = Dose(one.state, one.time - k * one.every, one.amount, min(one.duration, k * one.every))
            found.append((dose, one.time, until))
    return found
