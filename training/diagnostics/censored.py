"""Values that are known by limits alone, among simulated ones that have none."""

from dataclasses import dataclass

import torch
from torch import Tensor

from physics.arguments import InputError
from training.diagnostics.simulated import SimulatedCohorts


@dataclass(frozen=True, eq=False)
class Censoring:
    """What stands for a number: `side` (N, T, p), −1 below `low`, 1 above `high`, 0 where a value is one or is not there.

    `low`, `high` (N, T, p), −∞ and +∞ for none: of every measurement of a channel where the channel has one, else of those that
    are known by it. `single` (p,): whether that is so.
    """

    side: Tensor
    low: Tensor
    high: Tensor
    single: tuple[bool, ...]

    @staticmethod
    def of(simulated: SimulatedCohorts, name: str) -> "Censoring | None":
        """None where every measurement is a number.

        Between 0 and a limit counts as below it. Errors: `ValueError`, beginning with `name`, for another value between two
        limits.
        """
        if simulated.limits is None:
            return None
        lower, upper = simulated.limits.unbind(-1)
        known = ~torch.isfinite(simulated.y)
        under = known & torch.isfinite(upper) & (torch.isinf(lower) | (lower == 0.0))
        over = known & torch.isfinite(lower) & torch.isinf(upper)
        inside = known & torch.isfinite(lower) & torch.isfinite(upper) & ~under
        if bool(inside.any()):
            i, t, c = torch.nonzero(inside)[0].tolist()
            raise InputError(
                f"{name}: {simulated.about.channels[c]} of person {simulated.about.ids[i]} is known to lie between "
                f"{float(lower[i, t, c]):g} and {float(upper[i, t, c]):g}, and only values below or above one limit "
                "have a place here",
                "leave such people out, simulated.people(index)",
            )
        if not bool((under | over).any()):
            return None
        low, high = torch.full_like(lower, -torch.inf), torch.full_like(upper, torch.inf)
        low[under], high[over] = upper[under], lower[over]
        single = []
        for c in range(lower.shape[-1]):
            ends = [found[..., c][which[..., c]].unique() for found, which in ((upper, under), (lower, over))]
            single.append(all(len(end) <= 1 for end in ends))
            if single[-1]:
                for found, end in ((low, ends[0]), (high, ends[1])):
                    if len(end):
                        found[..., c] = end[0]
        return Censoring(over.to(torch.int8) - under.to(torch.int8), low, high, tuple(single))


def imputed(
    values: Tensor,  # (K, R, L)
    y: Tensor,  # (R, L), NaN where only a limit is known
    known: tuple[Tensor, Tensor, Tensor],  # side, low and high (R, L)
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Draws beyond a limit shuffled among themselves, and a censored value as one of them: the limit where there is none."""
    values, y = values.clone(), y.clone()
    side = known[0]
    for sign, end in ((-1, known[1]), (1, known[2])):
        for r, place in torch.nonzero(torch.isfinite(end)).tolist():
            beyond = torch.nonzero(sign * values[:, r, place] > sign * end[r, place])[:, 0]
            here = int(side[r, place]) == sign
            if len(beyond):
                order = torch.randperm(len(beyond), generator=generator, device=generator.device).to(beyond.device)
                values[beyond, r, place] = values[beyond[order], r, place]
            if here:
                y[r, place] = end[r, place]
                if len(beyond):
                    pick = torch.randint(len(beyond), (1,), generator=generator, device=generator.device).to(beyond.device)
                    y[r, place] = values[beyond[pick[0]], r, place]
    return values, y
