"""The ensemble Kalman filter: particles of everyone, each carried by itself with noise of its own."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hybrid.cutting.interval import Interval
from hybrid.filters.contract import Belief, Filter, Followed, Innovation, require_believed
from hybrid.filters.ensemble import assimilated, summed, whitened
from hybrid.filters.flow import carried, driven_root, seen
from hybrid.filters.gaussian import condition
from hybrid.filters.stepping import corrected, deviation, measured, pieces, require_interval
from hybrid.filters.threefry import bits_of, keyed_normals
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
    the same path. Steps of one person that begin at one time get the same numbers, so a time is not gone through twice.
    Linear and Gaussian, the error to the exact filter falls as 1/√P: noise is drawn with its very mean and covariance, and what
    is left is what chance correlates it with the states. The other two filters are exact there; this one is for laws that points
    do not see (a threshold, two ways to go). A gradient is that of these particles.
    Arguments: `people`, who is followed; `particles` P, more than the states and coordinates together, better ten times as many;
    `seed`; `keys` (N,) whole numbers, a person's own for as long as they are followed (None: their places 0 … N − 1).
    Errors: `ValueError` for too few particles, keys that are not whole numbers, and a belief with another number of particles.
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

    def predict(self, belief: Belief, interval: Interval) -> Belief:
        require_believed(self.people, belief, "EnKF.predict")
        require_interval(self.people, belief, interval, "EnKF.predict")
        belief = self._with_particles(belief)
        for piece in pieces(self.people, interval):
            belief = self._step(belief, piece)
        return belief

    def update(self, belief: Belief, y: Tensor, *, inputs: Tensor | None = None) -> tuple[Belief, Innovation]:
        given = measured(self.people, belief, y, inputs, "EnKF")
        belief = self._with_particles(belief)
        particles = _of(belief)
        shown = seen(self.people, particles.mT).mT  # (M, N, p, P)
        predicted, shadow = summed(shown)
        _, away = summed(particles)
        noise = deviation(self.people, given, predicted)
        y = given.y.expand(len(predicted), -1, -1)
        z = away.shape[-2]
        both = tria(torch.cat([away, shadow], -2))
        found = condition(belief.mean, both[..., :z, :], y, predicted, both[..., z:, :], noise)
        after = self._moved(belief, assimilated(particles, shown, y, noise.expand_as(y)), torch.isnan(y).all(-1))
        return after, corrected(belief, given, found)[1]

    def _with_particles(self, belief: Belief) -> Belief:
        """The belief of every member, with particles of its very mean and covariance where it has none yet."""
        M = max(self.people.model.members, len(belief.mean))
        _, N, z = belief.mean.shape
        mean, root = belief.mean.expand(M, -1, -1), belief.root.expand(M, -1, -1, -1)
        if belief.particles is None:
            drawn = self._drawn(belief, (M, z, self.particles), _START).to(mean)
            return replace(belief, mean=mean, root=root, particles=mean[..., None] + root @ drawn)
        if belief.particles.shape[-1] != self.particles:
            raise ValueError(
                f"EnKF: the belief has {belief.particles.shape[-1]} particles and the filter {self.particles}; follow on with "
                "as many, or begin anew from its mean and root, replace(belief, particles=None)"
            )
        return replace(belief, mean=mean, root=root, particles=belief.particles.expand(M, N, z, -1))

    def _drawn(self, belief: Belief, shape: tuple[int, int, int], purpose: int) -> Tensor:  # (M, N, a, P)
        """Constants, whatever is differentiated."""
        with torch.no_grad():
            return whitened(keyed_normals(int(self.seed), self._keys, bits_of(belief.time), shape, purpose))

    def _step(self, belief: Belief, piece: Interval) -> Belief:
        people, n = self.people, self.people.states
        before = _of(belief).mT  # (M, N, P, z)
        M, P = before.shape[0], before.shape[2]
        x, eta = before[..., :n] + piece.jump[None, :, None], before[..., n:]
        begin = torch.cat([x, self._drifted(belief, eta, piece, _DRIFT_BEFORE)], -1)
        end = torch.cat([carried(people, begin, piece), begin[..., n:]], -1)
        _, R = driven_root(people, begin, end, piece)
        noise = self._drawn(belief, (M, n, P), _NOISE).to(end)  # (M, N, n, P)
        x = end[..., :n] + (tria(R[..., :n, :]) @ noise.mT[..., None])[..., 0]
        after = torch.cat([x, self._drifted(belief, end[..., n:], piece, _DRIFT_AFTER)], -1).mT
        rests = ((piece.dt == 0.0) & (piece.jump == 0.0).all(-1)).expand(M, -1)
        return replace(self._moved(belief, after, rests), time=belief.time + piece.dt)

    def _drifted(self, belief: Belief, eta: Tensor, piece: Interval, purpose: int) -> Tensor:  # (M, N, P, d)
        """η after half of the step's drift: η ← ρ η + √(1 − ρ²) w, ρ = e^{−h/2τ}."""
        tau, (M, _, P, d) = self.people.drift, eta.shape
        if tau is None or not d:
            return eta
        half = piece.dt[:, None, None] / (2.0 * tau)
        noise = self._drawn(belief, (M, d, P), purpose).to(eta).mT
        moves = half > 0.0  # a square root has no slope at 0
        gained = torch.where(moves, (-torch.expm1(-2.0 * torch.where(moves, half, 1.0))).sqrt(), 0.0)
        return torch.exp(-half) * eta + gained * noise

    @staticmethod
    def _moved(belief: Belief, particles: Tensor, rests: Tensor) -> Belief:  # (M, N, z, P), (M, N)
        """The belief that these particles are; who rests keeps theirs to the bit, and who lost one is lost under every member."""
        lost = ~torch.isfinite(particles).flatten(-2).all(-1).all(0)[:, None]  # (N, 1)
        particles = torch.where(lost[..., None], torch.nan, particles)
        mean, away = summed(particles)
        root = tria(away)
        return replace(
            belief,
            mean=torch.where(rests[..., None], belief.mean, mean),
            root=torch.where(rests[..., None, None], belief.root, root),
            particles=torch.where(rests[..., None, None], _of(belief), particles),
        )


def _of(belief: Belief) -> Tensor:  # (M, N, z, P)
    if belief.particles is None:
        raise ValueError("EnKF: the belief has no particles; follow it with this filter's own predict and update")
    return belief.particles
