"""Directions in the logarithms of parameters, said in words."""

from collections.abc import Sequence

import torch
from torch import Tensor

_SMALL, _LARGE = 0.1, 0.3  # of a weak direction's largest part: what is never named, and what always is
_NOTHING = 1e-4  # the same of one that is not seen at all: rounding of its parts
_ALIKE = 0.1  # by which powers may differ that are called equal, in a weak direction
_PREFIX = {"log": "log ", "logit": "logit ", "fisher": "artanh ", "linear": ""}


def reduced(
    ways: Tensor,  # (K, P), orthonormal
) -> Tensor:  # (K, P)
    """The same space by directions with as many zeros as may be: Gauss and Jordan, the largest part left for a pivot.

    Each direction's largest part is ±1, and the first of its parts that is not 0 is positive.
    """
    found = ways.clone()
    free = torch.ones_like(found, dtype=torch.bool)
    for k in range(len(found)):
        place = int((found[k:].abs() * free[k:]).argmax())
        row, column = k + place // found.shape[1], place % found.shape[1]
        found[[k, row]] = found[[row, k]]
        found[k] = found[k] / found[k, column].clone()
        for other in range(len(found)):
            if other != k:
                found[other] = found[other] - found[other, column].clone() * found[k]
        free[:, column] = False
    for k in range(len(found)):
        scaled = found[k] / found[k].abs().amax()
        scaled = torch.where(scaled.abs() < _NOTHING, 0.0, scaled)
        first = scaled[scaled != 0.0][0]
        found[k] = scaled * first.sign()
    return found


def in_words(
    way: Tensor,  # (P,), in z
    names: Sequence[str],
    scales: Sequence[str],
    size: Tensor,  # (P,)
    hardly: bool = False,
) -> str:
    """What cannot be told where nothing changes along this direction; where little does, `hardly`, without a full stop.

    "These data cannot tell Vmax from Km, only their ratio Vmax/Km." Powers that are not 1 are those of the tangent: they hold
    near the values that were asked about, and the sentence says so.
    """
    scaled = way / way.abs().amax()
    named = main_parts(way) if hardly else [j for j in range(len(names)) if abs(float(scaled[j])) >= _NOTHING]
    can, end = ("hardly tell", "") if hardly else ("cannot tell", ".")
    own, powers = [names[j] for j in named], [float(scaled[j]) for j in named]
    if len(named) == 1:
        how = "hardly tell anything of" if hardly else "tell nothing of"
        return f"These data {how} {own[0]}{end}"
    even = all(abs(abs(p) - 1.0) <= (_ALIKE if hardly else 10.0 * _NOTHING) for p in powers)
    # of θ alone: the spreads of two parameters that are only seen together add up as squares
    typical = all(scales[j] == "log" and "(" not in names[j] for j in named)
    if typical and len(named) == 2 and (even or not hardly):
        return f"These data {can} {own[0]} from {own[1]}, only {_seen_of(own, powers, even)}{end}"
    if typical and even:
        up = [n for n, p in zip(own, powers, strict=True) if p * powers[0] > 0.0]
        down = [n for n, p in zip(own, powers, strict=True) if p * powers[0] < 0.0]
        if down:
            how = f"{_listed(up)} multiplied by a number while {_listed(down)} {'is' if len(down) == 1 else 'are'} divided by it"
        else:
            how = f"{_listed(up)} multiplied by one number"
        return f"These data {can} {_listed(own)} apart: {how} {_same(hardly)}{end}"
    by = ", ".join(
        f"{_PREFIX[scales[j]]}{names[j]} {float(scaled[j] * (size[j] if scales[j] == 'linear' else 1.0)):+.3g}"
        for j in named
    )
    return f"These data {can} {_listed(own)} apart: near these values, moving ({by.replace('-', '−')}) {_same(hardly)}{end}"


def main_parts(way: Tensor) -> list[int]:
    """Of a weak direction, what is named: what it mostly is, where that is one number, or two that go alike; else more of it."""
    parts = (way / way.abs().amax()).abs().tolist()
    large = [j for j, part in enumerate(parts) if part >= _LARGE]
    if len(large) == 1 or (len(large) == 2 and min(parts[j] for j in large) >= 1.0 - _ALIKE):
        return large
    return [j for j, part in enumerate(parts) if part >= _SMALL]


def _same(hardly: bool) -> str:
    return "changes them less than noise does" if hardly else "gives the same data"


def _seen_of(names: Sequence[str], powers: Sequence[float], even: bool) -> str:
    """What of two stays when both move: the product of powers that the direction does not change."""
    a, b = powers
    if even:
        return f"their ratio {names[0]}/{names[1]}" if a * b > 0.0 else f"their product {names[0]}·{names[1]}"
    power = a / b
    return f"{names[0]}{'/' if power > 0.0 else '·'}{names[1]}^{abs(power):.3g}, near these values"


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
