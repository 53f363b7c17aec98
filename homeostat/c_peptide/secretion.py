"""What the network has learned, as curves: how much is secreted above basal for a given rise of glucose."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from homeostat.c_peptide.model import gut
from hybrid import HybridModel
from training import Cohort


@dataclass(frozen=True, eq=False)
class Secretion:
    """Production above basal in nmol/L/min of everyone (N, G) over the rise of glucose (G,) in mmol/L, the members' mean.

    `early`: 30 min after the drink, glucose having risen evenly until then · `late`: 90 min after it, glucose having risen
    evenly for 30 min and stayed there for 60. The network sees slope, area and the gut's curve of that path too.
    `spread` (G,): the standard deviation between members of their median person's early curve. `seen`: the largest rise at
    30 min that was measured of anyone.
    """

    rise: np.ndarray
    early: np.ndarray
    late: np.ndarray
    spread: np.ndarray
    seen: float

    @staticmethod
    def of(model: HybridModel, cohort: Cohort, beta: Tensor, points: int = 49) -> "Secretion":  # beta (M, N, 1)
        """The curves of these people, up to the largest rise at 30 min that 95 % of them stay below."""
        rises = np.array([r.schedule.inputs["glucose"].at(30.0) for r in cohort.records])
        rise = np.linspace(0.0, float(np.quantile(rises, 0.95)), points)
        early = production(model, cohort, beta, rise, minutes=30.0)
        late = production(model, cohort, beta, rise, minutes=90.0)
        between = np.median(early, 1).std(0)
        return Secretion(rise, early.mean(0), late.mean(0), between, float(rises.max()))

    def percentile(self, which: float, late: bool = False) -> np.ndarray:  # (G,)
        """The curve of the person at that percentile of the early curve's mean."""
        order = np.argsort(self.early.mean(1))
        person = order[round(which / 100.0 * (len(order) - 1))]
        return np.asarray((self.late if late else self.early)[person])


def turned(model: HybridModel, cohort: Cohort, beta: Tensor) -> np.ndarray:  # beta (M, N, 1) → (M,)
    """1 for the members under which a larger β secretes more at 30 min, on average over a rise of up to 10 mmol/L, else −1."""
    much = production(model, cohort, beta, np.linspace(2.5, 10.0, 4), minutes=30.0).mean(-1)  # (M, N)
    own = beta[..., 0].detach().cpu().numpy()
    with_it = ((own - own.mean(1, keepdims=True)) * much).sum(1)
    return np.where(with_it < 0.0, -1.0, 1.0)


def production(
    model: HybridModel,
    cohort: Cohort,
    beta: Tensor,  # (M, N, 1)
    rise: np.ndarray,  # (G,)
    *,
    minutes: float,
) -> np.ndarray:  # (M, N, G)
    """Every member's production for everyone, where glucose rose evenly for 30 min to `rise` and then stayed."""
    path = {
        "basal": np.zeros_like(rise),
        "glucose": rise,
        "slope": rise / 30.0 if minutes <= 30.0 else np.zeros_like(rise),
        "area": rise * (minutes - 15.0),
        "gut": np.full_like(rise, float(gut(np.array(minutes)))),
    }
    u = torch.tensor(np.stack([path[name] for name in model.backbone.inputs], -1), device=model.device)  # (G, m)
    M, N = beta.shape[:2]
    with torch.no_grad():
        c = model.context(beta, cohort.conditions.covariates)  # (M, N, r)
        found = [
            model.residual(u.new_zeros(M, N, 2), one.expand(M, N, -1), c)[..., 0] for one in u
        ]  # each (M, N), nmol/L/min
    return torch.stack(found, -1).cpu().numpy()
