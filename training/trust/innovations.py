"""Does one residual of a person foretell the next? What a prediction says of the dependence between times is taken out first."""

import numpy as np
import torch
from torch import Tensor

from training.trust.null_band import Array, ArrayLike, as_array
from training.trust.outcome import Outcome, require_outcome


def innovations(
    outcome: Outcome,
    rows: ArrayLike | None = None,  # (R, N, T, p), observations at the same places
) -> Array:  # (N, T, p), or (R, N, T, p)
    """Standardised innovations L⁻¹(y − mean) of every person and channel, present observations first, in order of time.

    C = L Lᵀ is the mixture's covariance between one person's times: that of the components' mean paths (members and draws are
    fixed along the path, so their errors last) plus the aleatoric variance on the diagonal. Under the prediction they have
    mean 0, variance 1 and no correlation, however much the members disagree; as in a Kalman filter each is what its
    observation adds to those before. NaN behind the last present one.
    Law: Cov = I under the prediction. Source: Kailath (1968); for mixtures to second moments only.
    """
    require_outcome(outcome, "innovations")
    prediction, seen = outcome.prediction, outcome.y
    values = seen[None] if rows is None else torch.from_numpy(as_array(rows))
    mean, variance, times = (v.detach().cpu() for v in (prediction.mean, prediction.variance, prediction.times))
    whitened = torch.full(values.shape, torch.nan, dtype=torch.float64)
    for c in range(seen.shape[2]):
        here = ~torch.isnan(seen[..., c])  # (N, T)
        order = torch.argsort(torch.where(here, times, torch.inf), dim=1, stable=True)
        present = here.gather(1, order)

        def sorted_by_time(v: Tensor, order: Tensor = order) -> Tensor:  # (..., N, T)
            return v.gather(-1, order.expand(v.shape))

        path = torch.where(present, sorted_by_time(mean[..., c].flatten(0, 1)), 0.0)  # (K, N, T)
        noise = torch.where(present, sorted_by_time(variance[..., c].mean((0, 1))), 1.0)
        centre = path.mean(0)
        apart = (path - centre).transpose(0, 1)  # (N, K, T)
        covariance = apart.transpose(1, 2) @ apart / len(path) + torch.diag_embed(noise)
        root = torch.linalg.cholesky(covariance)
        residual = torch.where(present, sorted_by_time(values[..., c]) - centre, 0.0)  # (R, N, T)
        solved = torch.linalg.solve_triangular(root, residual.permute(1, 2, 0), upper=False).permute(2, 0, 1)
        whitened[..., c] = torch.where(present, solved, torch.nan)
    found = whitened.numpy()
    return found[0] if rows is None else found


def neighbour_sums(whitened: Array) -> Array:  # (..., N, T) -> (..., N, 2)
    """Per person Σ ν_t ν_{t+1} and Σ ½ (ν_t² + ν_{t+1}²) over neighbours: their quotient is the lag-one autocorrelation."""
    before, after = whitened[..., :-1], whitened[..., 1:]
    return np.stack([np.nansum(before * after, -1), np.nansum(0.5 * (before**2 + after**2), -1)], -1)
