"""What a person brings besides θ: one number that only the network reads, as a value and as a table."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from homeostat.gallery.table import Cell, Table
from homeostat.gallery.theta import SHOWN
from hybrid import HybridModel
from training import Personal

_MEANING = (
    "The latent is a number without unit that only the learned part reads; before anything is measured it is taken to have "
    "mean 0 and standard deviation 1."
)


@dataclass(frozen=True, eq=False)
class Latent:
    """The single latent of N people under each of M members.

    `name` and `meaning`, a sentence or two · `ids` (N,) · `values` (M, N), turned so that the members agree on its direction ·
    `own` (M, N), the Laplace standard deviation of what a person's own data leave open · `found` (N,), whether every member's
    search ended well.
    """

    name: str
    meaning: str
    ids: tuple[str, ...]
    values: NDArray[np.float64]
    own: NDArray[np.float64]
    found: NDArray[np.bool_]


def latent_of(
    model: HybridModel,
    ids: tuple[str, ...],
    personal: Personal,
    *,
    name: str = "latent",
    meaning: str = _MEANING,
    turn: NDArray[np.float64] | None = None,  # (M,), 1 or −1
) -> Latent | None:
    """Of these people; None for a model without a latent, and for one of several, which members may mix as they like.

    The network decides what more of a latent means, each member's own: `turn` says which are to be turned round; by default
    those whose order of the people runs against the first member's.
    """
    if model.latents != 1:
        return None
    values = personal.mode[..., -1].detach().cpu().double().numpy()
    if turn is None:
        middle = values - values.mean(1, keepdims=True)
        turn = np.where(middle @ middle[0] < 0.0, -1.0, 1.0)
    own = personal.covariance[..., -1, -1].detach().cpu().double().clamp_min(0.0).sqrt().numpy()
    return Latent(name, meaning, ids, turn[:, None] * values, own, personal.converged.cpu().all(0).numpy())


def latent_table(latent: Latent) -> Table:
    """Everyone's: the members' mean, how far they differ, and what the person's own data leave open."""
    columns = ["person", latent.name, "± over members", "± of their own data", "search ended well"]
    middle, own = latent.values.mean(0), np.sqrt(np.square(latent.own).mean(0))
    many = len(latent.values) > 1
    over = latent.values.std(0, ddof=1) if many else np.full(len(latent.ids), np.nan)
    ended = ["yes" if found else "no" for found in latent.found]
    numbers = zip(latent.ids, *(v.tolist() for v in (middle, over, own)), ended, strict=True)
    rows: list[Sequence[Cell]] = [list(row) for row in numbers]
    note = (
        f"{latent.meaning} No column has a unit. Everyone's most likely value given all of their data, mean over the members, "
        "which are turned so that they agree on its direction; ± over members, their standard deviation; ± of their own data, "
        "the standard deviation that a person's measurements leave (Laplace, root mean square over the members)."
    )
    return Table(f"Everyone's {latent.name}", columns, rows, note=note, most=SHOWN)
