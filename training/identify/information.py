"""What a design tells of parameters: Fisher's information, its rank, its directions, and the errors that it leaves."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from hybrid.frames import frame_of
from physics.glance import Summary, glance
from training.identify.words import in_words, main_parts, reduced
from training.inference.estimates import stretch

if TYPE_CHECKING:
    from hybrid.frames import DataFrame

Whose = Literal["one person's parameters", "one person's η", "the population's"]

_SAFE = 10.0  # times the error of the slopes, as two stencils show it
_TOUCHED = 1e-3  # of a direction's largest part: what moves along it by less than this is still known
WEAK = 1.0  # of a logarithm: an expected error of 100 %


def _summary(found: "Information") -> Summary:
    P = len(found.names)
    rows = [
        (n, f"{float(found.value[j]):.4g}, expected {_in_percent(found, j)}") for j, n in enumerate(found.names[:5])
    ]
    return f"Information of a design about {found.whose}: rank {found.rank} of {P}", [
        *rows,
        ("condition", f"{found.condition:.3g}"),
        ("said", " ".join(found.sentences()[:1])),
    ]


def _in_percent(found: "Information", j: int) -> str:
    if found.whose == "one person's η":
        return f"sd {float(found.se[j]):.3g} of a priori 1"
    return f"RSE {100.0 * float(found.rse[j]):.3g} %"


@dataclass(frozen=True)
class Information:
    """What a design tells of P numbers: the Fisher information I = Rᵀ R in coordinates z that are all of order 1.

    `whose`: "one person's parameters", "one person's η", or "the population's" · `names`, `scales` (P,): on "log" z is the
    logarithm, on "logit" that of value/(1 − value), on "fisher" artanh, on "linear" the number over its `size` (P,) · `value`
    (P,) · `root` R (K, P), already with the number of people · `error`: the spectral norm of what R may be wrong by, as two
    stencils of its differences show it · `count`, measurements of everybody · `prior`: does R hold η ~ N(0, I) too?
    """

    whose: Whose
    names: tuple[str, ...]
    scales: tuple[str, ...]
    value: Tensor
    size: Tensor
    root: Tensor
    error: float
    count: int
    prior: bool = False

    __repr__, _repr_html_ = glance(_summary)

    @cached_property
    def _apart(self) -> tuple[Tensor, Tensor]:  # (P,), (P, P)
        """Singular values, descending, and directions, in rows."""
        P = len(self.names)
        short = self.root.new_zeros(max(0, P - len(self.root)), P)
        _, values, ways = torch.linalg.svd(torch.cat([self.root, short]), full_matrices=False)
        return values, ways

    @property
    def matrix(self) -> Tensor:  # (P, P)
        """I, in the coordinates z."""
        return self.root.mT @ self.root

    @property
    def eigenvalues(self) -> Tensor:  # (P,)
        """Of I, descending."""
        return self._apart[0].square()

    @property
    def directions(self) -> Tensor:  # (P, P)
        """Eigenvectors of I, in rows in the order of the `eigenvalues`, in z."""
        return self._apart[1]

    @property
    def tolerance(self) -> float:
        """The singular value of R below which nothing is seen.

        No singular value of a matrix differs from that of another by more than the spectral norm of their difference (Weyl): one
        that is 0 is found below `error`, ten times which is taken here, and never less than what rounding of the decomposition
        can make.
        """
        rounding = max(self.root.shape) * torch.finfo(self.root.dtype).eps * float(self._apart[0][:1].sum())
        return max(_SAFE * self.error, 4.0 * rounding)

    @property
    def rank(self) -> int:
        """How many directions the data tell anything of."""
        return int((self._apart[0] > self.tolerance).sum())

    @property
    def condition(self) -> float:
        """The largest eigenvalue of I by the smallest, infinite where the rank is not full."""
        values = self._apart[0]
        return float((values[0] / values[-1]) ** 2) if self.rank == len(self.names) else float("inf")

    @property
    def unseen(self) -> Tensor:  # (K, P)
        """Directions in z along which no expected datum changes; each as few numbers as may be, its largest part 1."""
        return reduced(self._apart[1][self.rank :])

    @property
    def weak(self) -> Tensor:  # (K, P)
        """Directions of length 1 along which the expected error is above 1: a factor of e, or a whole size; weakest first."""
        values, ways = self._apart
        seen = range(0 if self.prior else self.rank)[::-1]  # a prior leaves no error above its own
        found = [ways[k] for k in seen if float(values[k]) * WEAK < 1.0]
        return torch.stack(found) if found else ways[:0]

    @property
    def covariance(self) -> Tensor:  # (P, P)
        """I⁻¹ in z: the least that any unbiased estimate leaves (Cramér and Rao). Infinite on the diagonal, and NaN beside it,
        for what moves along a direction that is not seen.
        """
        values, ways = self._apart
        rank = self.rank
        scaled = ways[:rank] / values[:rank, None]
        found = scaled.mT @ scaled
        touched = (ways[rank:].abs() > _TOUCHED).any(0)
        found[touched] = torch.nan
        found[:, touched] = torch.nan
        found.diagonal()[touched] = torch.inf
        return found

    @property
    def se(self) -> Tensor:  # (P,)
        """Expected standard errors, in the unit of each number, by the delta method."""
        slope = torch.stack([stretch(s, v) for s, v in zip(self.scales, self.value, strict=True)])
        linear = torch.tensor([s == "linear" for s in self.scales], device=slope.device)
        return torch.where(linear, self.size, slope.abs()) * self.covariance.diagonal().sqrt()

    @property
    def rse(self) -> Tensor:  # (P,)
        """Expected relative standard errors |se/value|, as a fraction."""
        return self.se / self.value.abs()

    @property
    def log_det(self) -> float:
        """log det I, −∞ where something is not seen: what a D-optimal design makes large."""
        return 2.0 * float(self._apart[0].log().sum()) if self.rank == len(self.names) else float("-inf")

    @property
    def good(self) -> bool:
        """Is everything seen, along every direction to better than 100 %?"""
        return self.rank == len(self.names) and not len(self.weak)

    def sentences(self) -> list[str]:
        """What these data cannot tell, and what they hardly can; nothing where all is well."""
        found = [in_words(way, self.names, self.scales, self.size) for way in self.unseen]
        for way in self.weak:
            known = [j for j in main_parts(way) if bool(torch.isfinite(self.se[j]))]
            errors = " and ".join(self._error(j) for j in known)
            said = in_words(way, self.names, self.scales, self.size, hardly=True)
            found.append(f"{said} (expected {errors})." if known else f"{said}.")
        if self.whose == "one person's η" and self.prior:
            # η² a posteriori by a priori: what of each is the population's and not the person's
            found += [
                f"Of the spread of {name} between people {100.0 * float(v):.0f} % stays after these data: forecasts of a person "
                "shrink to the typical one in it."
                for name, v in zip(self.names, self.covariance.diagonal(), strict=True)
                if float(v) > 0.5
            ]
        return found

    def _error(self, j: int) -> str:
        if self.whose == "one person's η":
            return f"sd of {self.names[j]} {float(self.se[j]):.3g}"
        rse = float(self.rse[j])
        return f"RSE of {self.names[j]} {f'{100.0 * rse:.0f}' if rse <= 10.0 else 'above 1000'} %"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values: everything above but R."""
        return {
            "of": self.whose,
            "names": list(self.names),
            "scales": list(self.scales),
            "value": self.value.tolist(),
            "se": self.se.tolist(),
            "rse": self.rse.tolist(),
            "rank": self.rank,
            "tolerance": self.tolerance,
            "eigenvalues": self.eigenvalues.tolist(),
            "directions": self.directions.tolist(),
            "unseen": self.unseen.tolist(),
            "weak": self.weak.tolist(),
            "condition": self.condition,
            "log_det": self.log_det,
            "measurements": self.count,
            "sentences": self.sentences(),
        }

    def to_frame(self) -> "DataFrame":
        """One row for each number, as a pandas DataFrame: name, scale, value, expected standard error and RSE (a fraction)."""
        return frame_of(
            {
                "name": list(self.names),
                "scale": list(self.scales),
                "value": self.value.tolist(),
                "se": self.se.tolist(),
                "rse": self.rse.tolist(),
            },
            "Information.to_frame",
        )
