"""The ensemble Kalman filter: particles of everyone, each carried by itself with noise of its own."""

from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from hybrid.cutting.interval import Interval
from hybrid.derivative import values_of
from hybrid.filters.contract import Belief, Filter, Followed, Innovation, require_believed, wide
from hybrid.filters.drift import HalfDrift
from hybrid.filters.ensemble import assimilated, summed, whitened
from hybrid.filters.flow import carried, driven_root, seen
from hybrid.filters.gaussian import Conditioned, condition
from hybrid.filters.lost import over
from hybrid.filters.stepping import Given, corrected, deviation, pieces, require_interval, unmoved, whole
from hybrid.filters.threefry import bits_of, keyed_normals
from hybrid.threads import of_followed, threads_by
from hybrid.triangular import tria
from physics.arguments import require_kind, require_number, require_people, require_shape
from physics.glance import glance

_START, _NOISE, _DRIFT_BEFORE, _DRIFT_AFTER = range(4)  # what numbers are drawn for


@dataclass(frozen=True)
class EnKF(Filter):
    """P particles of everyone: copies with states and η of their own, each following the stochastic equation from step to step.

    The belief keeps its particles, so between measurements it may have any shape; mean and root are theirs (divisor P − 1). A
    measurement moves them by the serial square-root update, which draws nothing (`ensemble.assimilated`).
    Random numbers are a function of names: of `seed`, the person's own key, the step's time, member, particle and component.
    Whoever is followed beside somebody, and in which order, changes none of them; who goes back to a belief and comes again gets
    the same path. Steps of one person that begin at one time get the same numbers, so a time is not gone through twice; times are
    told apart in float64, whatever the model's type.
    Linear and Gaussian, the error to the exact filter falls as 1/√P: noise is drawn with its very mean and covariance, and what
    is left is what chance correlates it with the states. The other two filters are exact there; this one is for laws that points
    do not see (a threshold, two ways to go). A gradient is that of these particles; along the length of a stretch that has none
    now it lacks the noise, whose size √h has no derivative there.
    Arguments: `people`, who is followed; `particles` P, more than the states and coordinates together, better ten times as many;
    `seed`; `keys` (N,) whole numbers, a person's own for as long as they are followed (None: their places 0 … N − 1).
    Errors: `ValueError` for too few particles, keys that are not whole numbers, a belief with another number of particles, and a
    step so short that its time stands still.
    Law: somebody of whom a particle diverges is lost, and nothing is left out in silence.
    Source: Evensen, J. Geophys. Res. 99 (1994) 10143; Whitaker & Hamill, Mon. Weather Rev. 130 (2002) 1913.
    """

    people: Followed
    particles: int = 128
    seed: int = 0
    keys: Tensor | None = None

    __repr__, _repr_html_ = glance()

    def __post_init__(self) -> None:
        require_kind(self.people, Followed, "EnKF: people", "Followed.of(model, people)")
        z = self.people.states + self.people.model.personal
        require_number(self.particles, "EnKF: particles, how many,", least=z + 2.0, most=1e6, whole=True)
        object.__setattr__(self, "particles", int(self.particles))  # 128.0 is taken for what it is
        require_number(self.seed, "EnKF: seed", least=-(2.0**63), most=2.0**63 - 1025, whole=True)
        if self.keys is not None:
            write = "torch.arange(N), a whole number for each person"
            require_shape(self.keys, "EnKF: keys", self.people.size, write=write, whole=True, like=self.people.floor)

    def of(self, index: Tensor) -> "EnKF":
        """The filter of the chosen people, who keep their keys."""
        require_people(index, self.people.size, "EnKF.of: index")
        return replace(self, people=self.people.people(index), keys=self._keys[index])

    @property
    def _keys(self) -> Tensor:  # (N,) int64
        device = self.people.floor.device
        return torch.arange(self.people.size, device=device) if self.keys is None else self.keys.to(torch.int64)

    @threads_by(of_followed)
    def predict(self, belief: Belief, interval: Interval) -> Belief:
        require_believed(self.people, belief, "EnKF.predict")
        require_interval(self.people, belief, interval, "EnKF.predict")
        belief, lost = whole(self.people, self._with_particles(belief))
        values: tuple[Tensor, ...] = (belief.mean, belief.root, _of(belief))
        clock = wide(belief.time)
        for piece in pieces(self.people, interval):
            later = clock + piece.dt
            _require_later(clock, later, piece.dt)
            found, values, lost = over(piece, lost, values, partial(self._step, clock))
            values, clock = values if found is None else found, later
        mean, root, particles = (torch.where(lost.reshape(-1, *[1] * (v.ndim - 2)), torch.nan, v) for v in values)
        return replace(belief, mean=mean, root=root, particles=particles, time=clock)

    @threads_by(of_followed)
    def update(self, belief: Belief, y: Tensor, *, inputs: Tensor | None = None) -> tuple[Belief, Innovation]:
        require_believed(self.people, belief, "EnKF.update")
        return corrected(self.people, self._with_particles(belief), y, inputs, self._look, "EnKF")

    def _look(self, given: Given) -> Conditioned:
        """What a measurement says of the particles, and makes of them."""
        particles = _of(given)
        z = particles.shape[-2]
        shown = seen(self.people, particles.mT, given.inputs).mT  # (M, N, p, P)
        predicted, shadow = summed(shown)
        noise = deviation(self.people, given, predicted)
        y = given.y.expand(len(predicted), -1, -1)
        both = tria(torch.cat([summed(particles)[1], shadow], -2))
        found = condition(given.mean, both[..., :z, :], y, predicted, both[..., z:, :], noise)
        taught = ~torch.isnan(y).all(-1)
        after = _these(assimilated(particles, shown, y, noise.expand_as(y)))
        mean, root, particles = (
            torch.where(taught.reshape(*taught.shape, *[1] * (new.ndim - 2)), new, old)
            for new, old in zip(after, (given.mean, given.root, particles), strict=True)
        )
        return replace(found, mean=mean, root=root, particles=particles)

    def _with_particles(self, belief: Belief) -> Belief:
        """The belief of every member with particles, of its very mean and covariance where it has none yet."""
        if belief.particles is not None and belief.particles.shape[-1] != self.particles:
            raise ValueError(
                f"EnKF: the belief has {belief.particles.shape[-1]} particles and the filter {self.particles}; follow on with "
                "as many, or begin anew from its mean and root, replace(belief, particles=None)"
            )
        if belief.particles is not None:
            return belief
        safe, lost = whole(self.people, belief)
        M, N, z = safe.mean.shape
        drawn = self._drawn(wide(safe.time), (M, z, self.particles), _START).to(safe.mean)
        particles = torch.where(lost[:, None, None], torch.nan, safe.mean[..., None] + safe.root @ drawn)
        mean, root = belief.mean.expand(M, N, z), belief.root.expand(M, N, z, z)
        return replace(belief, mean=mean, root=root, particles=particles)

    def _drawn(self, moment: Tensor, shape: tuple[int, int, int], purpose: int) -> Tensor:  # (M, N, a, P)
        """Constants, whatever is differentiated."""
        with torch.no_grad():
            return whitened(keyed_normals(int(self.seed), self._keys, bits_of(moment), shape, purpose))

    def _step(
        self, moment: Tensor, piece: Interval, mean: Tensor, root: Tensor, particles: Tensor
    ) -> tuple[tuple[Tensor, Tensor, Tensor], Tensor]:
        """Every particle's own step: what arrives, half the drift, the flow, the noise along its own path, half the drift. Mean,
        root and particles after it, and who diverges (N,).
        """
        people, n = self.people, self.people.states
        before = particles.mT  # (M, N, P, z)
        M, P = before.shape[0], before.shape[2]
        x, eta = before[..., :n] + piece.jump[None, :, None], before[..., n:]
        begin = torch.cat([x, self._drifted(moment, eta, piece, _DRIFT_BEFORE)], -1)
        x = carried(people, begin, piece)
        lost = ~torch.isfinite(x).flatten(-2).all(-1).all(0)
        x = torch.where(lost[:, None, None], 0.0, x)
        if people.noisy:
            R = driven_root(people, begin, torch.cat([x, begin[..., n:]], -1), piece)
            noise = self._drawn(moment, (M, n, P), _NOISE).to(x)  # (M, N, n, P)
            away = (tria(R[..., :n, :]) @ noise.mT[..., None])[..., 0]
            x = x + torch.where(piece.dt[:, None, None] > 0.0, away, 0.0)  # a path has no derivative along √0
        after = _these(torch.cat([x, self._drifted(moment, begin[..., n:], piece, _DRIFT_AFTER)], -1).mT)
        lost = lost | ~torch.isfinite(after[1]).flatten(-2).all(-1).all(0)
        mean, root, particles = (
            unmoved(piece, old, new) for old, new in zip((mean, root, particles), after, strict=True)
        )
        return (mean, root, particles), lost

    def _drifted(self, moment: Tensor, eta: Tensor, piece: Interval, purpose: int) -> Tensor:  # (M, N, P, d)
        """η after half of the step's drift, with a number of its own for every particle."""
        tau, (M, _, P, d) = self.people.drift, eta.shape
        if tau is None or not d:
            return eta
        half = HalfDrift.of(piece.dt, tau, self.people.states)
        noise = self._drawn(moment, (M, d, P), purpose).to(eta).mT
        away = torch.where(piece.dt[:, None, None] > 0.0, half.gain[:, None, None] * noise, 0.0)
        return half.keep[:, None, None] * eta + away


def _these(particles: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # (M, N, z, P)
    """Their mean, its root, and themselves."""
    mean, away = summed(particles)
    return mean, tria(away), particles


def _of(belief: Belief | Given) -> Tensor:  # (M, N, z, P)
    if belief.particles is None:
        raise ValueError("EnKF: the belief has no particles; follow it with this filter's own predict and update")
    return belief.particles


def _require_later(before: Tensor, after: Tensor, dt: Tensor) -> None:  # (N,)
    """Raise `ValueError` where a step ends at the very time at which it began: the next one would draw the same numbers."""
    still = values_of((after == before) & (dt > 0.0))
    if bool(still.any()):
        i = int(still.nonzero()[0, -1])
        raise ValueError(
            f"EnKF.predict: person {i}'s step of {float(values_of(dt).flatten()[i]):g} is shorter than float64 tells times apart "
            f"at {float(values_of(before).flatten()[i]):g}, and numbers are drawn by time; count time from nearer, from the "
            "record's own start"
        )
