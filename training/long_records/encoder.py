"""A map from the measurements around a moment to the state at it, which all windows of all records share."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hybrid import Segments
from physics.arguments import require_number
from physics.glance import glance
from training.long_records.window import Windows
from training.loop.lessons import Lessons

_RIDGE = 1e-3  # of the rows' number: the first map is fitted to what is standardised


@dataclass(frozen=True)
class StartEncoder:
    """How `shoot` is to find the windows' starts where records are many: by one map, trained along, instead of numbers for each.

    s = scale·(W f + b + V tanh(U f + a)), f the measurements and inputs at τ − lags·δ, …, τ + lags·δ around the start τ of a
    window, standardised, δ the median time between two measurements: between two measurements on the straight line, beyond the
    first and the last as these; a channel that a record has no measurement of counts as its mean. Only what teaches is read. W,
    b, and U, V, a of `hidden` units where there are some, are every member's own, (2·lags + 1)·(p + m)·n + n numbers without
    these, however many records there are.
    Arguments: `lags` on either side, 8 · `hidden`, 16; 0 is a linear map, enough where dynamics and observation are linear.
    Law: the number of its parameters does not depend on how many records or windows there are.
    Source: Beintema, Schoukens & Tóth, Automatica 152 (2023) 110958 (an encoder by measurements before τ, without joints).
    """

    lags: int = 8
    hidden: int = 16

    __repr__, _repr_html_ = glance()

    def __post_init__(self) -> None:
        require_number(self.lags, "StartEncoder: lags, on either side,", least=1.0, most=1000.0, whole=True)
        require_number(self.hidden, "StartEncoder: hidden", least=0.0, most=1000.0, whole=True)


@dataclass(frozen=True)
class Encoded:
    """Starts as a map of `features` (M, N, W-1, F).

    `tensors`, the map's, by name · `known` (M, N, W-1): whether a taught measurement lies at the window's start or later. Where
    there is none, nothing is known of the start, and the window costs nothing.
    """

    features: Tensor
    tensors: dict[str, Tensor]
    known: Tensor

    def starts(self) -> Tensor:  # (M, N, W-1, n), in the states' scales
        """What the map makes of the features."""
        f, t = self.features, self.tensors
        linear = torch.einsum("mnwf,mfi->mnwi", f, t["encoder.W"]) + t["encoder.b"][:, None, None]
        if "encoder.U" not in t:
            return linear
        hidden = torch.tanh(torch.einsum("mnwf,mfh->mnwh", f, t["encoder.U"]) + t["encoder.a"][:, None, None])
        return linear + torch.einsum("mnwh,mhi->mnwi", hidden, t["encoder.V"])

    @staticmethod
    def of(
        encoder: StartEncoder,
        cut: Windows,
        taught: Lessons,
        y: Tensor,  # (M, N, T, p), NaN where nothing teaches
        starts: Tensor,  # (M, N, W-1, n) in the states' scales, which the map is to give first
    ) -> "Encoded":
        """The map nearest to these starts, over the windows of those who teach each member."""
        require_driven(cut.whole)
        M, N, J, n = starts.shape
        counted = taught.weights > 0  # (M, N)
        features, known = _features(encoder.lags, cut, y, counted)
        F = features.shape[-1]
        use = (known & cut.joined & counted[..., None]).to(starts)[..., None]  # (M, N, W-1, 1)
        X = (torch.cat([features, torch.ones_like(features[..., :1])], -1) * use).reshape(M, N * J, F + 1)
        ridge = torch.full((F + 1,), _RIDGE, dtype=starts.dtype, device=starts.device)
        ridge[-1] = 1e-9  # the mean is not pulled to 0
        rows = use.sum((1, 2, 3)).clamp(min=1.0)[:, None, None]
        gram = X.mT @ X + rows * torch.diag(ridge)
        found = torch.linalg.solve(gram, X.mT @ (starts * use).reshape(M, N * J, n))
        tensors = {"encoder.W": found[:, :-1], "encoder.b": found[:, -1]}
        if encoder.hidden:
            draws = torch.Generator().manual_seed(0)  # where a search begins, the same for every member
            U = torch.randn(F, encoder.hidden, generator=draws, dtype=torch.float64).to(starts) / F**0.5
            tensors["encoder.U"] = U.expand(M, -1, -1)
            tensors["encoder.a"] = starts.new_zeros(M, encoder.hidden)
            tensors["encoder.V"] = starts.new_zeros(M, encoder.hidden, n)
        leaves = {name: t.detach().clone(memory_format=torch.contiguous_format).requires_grad_() for name, t in tensors.items()}
        return Encoded(features, leaves, known)


def require_driven(whole: Segments) -> None:
    """Raise `ValueError` for records with doses after their start: a state jumps there, and what is around says two things."""
    given = (whole.jump[:, 1:] != 0).any() or (whole.rate != 0).any()
    if bool(given):
        raise ValueError(
            "shoot: an encoder reads a state off the measurements around it, and in these records doses or infusions come "
            'between, which it does not see; write starts="data"'
        )


def _features(
    lags: int, cut: Windows, y: Tensor, counted: Tensor
) -> tuple[Tensor, Tensor]:  # (M, N, W-1, F), (M, N, W-1)
    whole = cut.whole
    read = (whole.start.gather(1, whole.segment) + whole.fraction * whole.dt.gather(1, whole.segment)).cpu().numpy()
    K = whole.dt.shape[1]
    begun = whole.start.gather(1, cut.edge[:, 1:-1].clamp(max=K - 1)).cpu().numpy()  # (N, W-1)
    inputs = whole.read_inputs()
    series = torch.cat([y, inputs.expand(len(y), *inputs.shape[-3:])], -1).detach().double().cpu().numpy()
    mask, p = counted.cpu().numpy(), y.shape[-1]
    M, N, _, q = series.shape
    found = np.zeros((M, N, begun.shape[1], q, 2 * lags + 1))
    known = np.zeros((M, *begun.shape), dtype=bool)
    for m in range(M):
        apart = np.diff(read[mask[m]], axis=1)
        step = float(np.median(apart[apart > 0])) if (apart > 0).any() else 1.0
        at = begun[:, :, None] + step * np.arange(-lags, lags + 1)  # (N, W-1, 2·lags + 1)
        there = np.isfinite(series[m])  # (N, T, q)
        who = there & mask[m][:, None, None]
        count = np.maximum(who.sum((0, 1)), 1)
        mean = np.where(who, series[m], 0.0).sum((0, 1)) / count  # (q,)
        sd = np.sqrt(np.where(who, (series[m] - mean) ** 2, 0.0).sum((0, 1)) / count)
        sd = np.where(sd > 0, sd, 1.0)
        for i in range(N):
            measured = there[i, :, :p].any(-1)
            known[m, i] = begun[i] <= (read[i][measured].max() if measured.any() else -np.inf)
            for c in range(q):
                if there[i, :, c].any():
                    times, values = read[i][there[i, :, c]], series[m, i, there[i, :, c], c]
                    found[m, i, :, c] = (np.interp(at[i], times, values) - mean[c]) / sd[c]
    features = torch.from_numpy(found.reshape(M, N, begun.shape[1], -1)).to(y)
    return features, torch.from_numpy(known).to(y.device)
