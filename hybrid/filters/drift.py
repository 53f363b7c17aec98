"""Where a person's coordinates drift: an Ornstein–Uhlenbeck process whose stationary law is their prior.

dη = −η/τ dt + √(2/τ) dW keeps N(0, I), and forgets within τ: over h, η ← ρη + √(1 − ρ²) w with ρ = e^{−h/τ} and w ~ N(0, I).
A step of the states with η held goes between two halves of it (Strang, SIAM J. Numer. Anal. 5 (1968) 506), so that what the
drift does to the states is right to second order in the step, and exactly the process where η drives nothing.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from hybrid.filters.moved import Moved, root_of_variance
from hybrid.triangular import tria


@dataclass(frozen=True)
class HalfDrift:
    """What half of a step does to η: `keep` e^{−h/2τ} (N,) of it stays, and `gain` √(1 − e^{−h/τ}) (N,) is new; `states` n."""

    keep: Tensor
    gain: Tensor
    states: int

    @staticmethod
    def of(
        dt: Tensor,  # (N,)
        tau: float,
        states: int,
    ) -> "HalfDrift":
        """Half of steps of these lengths."""
        return HalfDrift(torch.exp(-0.5 * dt / tau), root_of_variance(-torch.expm1(-dt / tau)), states)

    def _scaled(self, value: Tensor) -> Tensor:  # (M, N, z, k)
        """The rows of η times what stays of them."""
        n = self.states
        return torch.cat([value[..., :n, :], self.keep[:, None, None] * value[..., n:, :]], -2)

    def _mean(self, mean: Tensor) -> Tensor:  # (M, N, z)
        return torch.cat([mean[..., : self.states], self.keep[:, None] * mean[..., self.states :]], -1)

    def _noise(self, like: Tensor) -> Tensor:  # (M, N, z, d)
        z = like.shape[-2]
        eye = torch.eye(z, dtype=like.dtype, device=like.device)[:, self.states :]
        return (self.gain[:, None, None] * eye).expand(*like.shape[:-2], -1, -1)

    def before(
        self,
        mean: Tensor,  # (M, N, z)
        root: Tensor,  # (M, N, z, z)
    ) -> tuple[Moved, Tensor]:
        """The half before a step, and the root of what it makes: its noise moves the last rows of the triangle alone."""
        n, after = self.states, self._scaled(root)
        noise = self._noise(root)
        corner = tria(torch.cat([after[..., n:, n:], noise[..., n:, :]], -1))
        low = torch.cat([after[..., n:, :n], corner], -1)
        return Moved(self._mean(mean), root, after, noise), torch.cat([after[..., :n, :], low], -2)

    def after(self, moved: Moved) -> Moved:
        """A step and the half after it as one."""
        noise = torch.cat([self._scaled(moved.noise), self._noise(moved.after)], -1)
        return Moved(self._mean(moved.mean), moved.before, self._scaled(moved.after), noise, moved.lost)
