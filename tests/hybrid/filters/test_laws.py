"""A filter that breaks a law is told which, with the numbers: one broken member for each law."""

from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from hybrid import Interval
from hybrid.filters import UKF, Belief, Filter, Followed, Innovation, check_filter


@dataclass(frozen=True)
class Listener(Filter):
    """The unscented filter, unless something is said to be wrong with it."""

    people: Followed
    wrong: str = ""

    def predict(self, belief: Belief, interval: Interval) -> Belief:
        inner, wrong = UKF(self.people), self.wrong
        if wrong == "dose":
            interval = interval.quiet()
        found = inner.predict(belief, interval)
        mean, root, time = found.mean, found.root, found.time
        lost = found.lost
        if wrong == "mean":
            mean = mean + 1e-6
        if wrong == "time":
            time = belief.time
        if wrong == "upper":
            root = root.flip(-1)
        if wrong == "rests":
            root = root * (1.0 + 1e-13)
        if wrong == "together" and bool((interval.dt > 0.0).any()):
            rests = (interval.dt == 0.0)[:, None]
            mean = torch.where(rests, mean + 1e-13, mean)
        if wrong == "twice":
            mean = torch.where((interval.start > 0.0)[:, None], mean + 0.01, mean)
        if wrong == "first order":  # of the step's length, and nothing of a linear model
            moves = (interval.dt > 0.0) & (not self.people.model.linear)
            mean = mean + torch.where(moves, 0.1 * torch.where(moves, interval.dt, 1.0).sqrt(), 0.0)[:, None]
        if wrong == "people":
            mean = torch.where((interval.dt > 0.0)[:, None], mean + 1e-11 * (mean.shape[1] - 1), mean)
        if wrong == "members":
            mean = mean + 1e-11 * (len(mean) - 1)
        if wrong == "averaged":
            mean = mean.mean(0, keepdim=True).expand_as(mean)
        if wrong == "raises" and bool(lost.any()):
            raise RuntimeError("overflow")
        if wrong == "blames all" and bool(lost.any()):
            mean = mean * torch.nan
        if wrong == "no NaN":
            mean, root = mean.nan_to_num(), root.nan_to_num()
        if wrong == "disturbed" and bool(lost.any()):
            mean = mean + 1e-9
        if wrong == "gradient":
            root = 0.5 * (root + root.detach())
        if wrong == "no gradient":
            mean, root = mean.detach(), root.detach()
        return replace(found, mean=mean, root=root, time=time)

    def update(self, belief: Belief, y: Tensor, *, inputs: Tensor | None = None) -> tuple[Belief, Innovation]:
        after, found = UKF(self.people).update(belief, y, inputs=inputs)
        if self.wrong == "taught":
            after = replace(after, mean=after.mean + 1e-13)
        if self.wrong == "covariance":
            after = replace(after, root=after.root * torch.where(belief.time > 2.8, 1.0 + 1e-6, 1.0)[:, None, None])
        if self.wrong == "likelihood":
            found = replace(found, log_likelihood=found.log_likelihood + 1e-6)
        if self.wrong == "nis":
            found = replace(found, nis=2.0 * found.nis)
        if self.wrong == "count":
            found = replace(found, count=torch.full_like(found.count, y.shape[-1]))
        if self.wrong == "no gradient":
            found = replace(found, log_likelihood=found.log_likelihood.detach())
        if self.wrong == "wakes":
            after = replace(after, mean=after.mean.nan_to_num(), root=after.root.nan_to_num())
        return after, found


def test_a_filter_of_ones_own_keeps_the_laws() -> None:
    check_filter(Listener)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ("mean", "the mean differs from the Kalman filter's by"),
        ("dose", "the mean differs from the Kalman filter's by"),
        ("covariance", r"the covariance differs from the Kalman filter's by .* \(allowed: 1e-09"),
        ("likelihood", "the log-likelihood differs from the Kalman filter's by 4e-06"),
        ("time", "the belief's time is"),
        ("upper", "predict gives a root that is not lower triangular"),
        ("nis", "an innovation's nis is not what"),
        ("count", "an innovation's count is not what"),
        ("rests", "an interval of no length changes the belief"),
        ("together", "one of no length beside somebody else's changes the belief"),
        ("taught", "a measurement without a value changes the belief"),
        ("twice", "cut in two, a linear model's interval gives another mean"),
        ("first order", r"differ by .* order 0\.5\d*, and 2 is needed"),
        ("people", "somebody's belief differs by .* where others"),
        ("members", "a member's belief differs by .* where another"),
        ("averaged", "a member's belief differs by"),
        ("raises", r"raises RuntimeError \(overflow\)"),
        ("blames all", r"lost are \[True, True\]"),
        ("no NaN", r"lost are \[False, False\]"),
        ("wakes", r"after a measurement \[False, False\]"),
        ("disturbed", "another's belief differs by"),
        ("gradient", "by autograd and .* by differences"),
        ("no gradient", "has no gradient"),
    ],
)
def test_a_broken_filter_fails_the_right_law(wrong: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=f"check_filter: Listener: .*{sentence}"):
        check_filter(lambda people: Listener(people, wrong))


def test_what_is_no_filter_is_refused() -> None:
    with pytest.raises(ValueError, match="make gives a Filter of the people, and gave"):
        check_filter(lambda people: people)  # type: ignore[arg-type, return-value]
    with pytest.raises(ValueError, match="accuracy"):
        check_filter(UKF, accuracy=0.0)
    with pytest.raises(ValueError, match="a function of 1 argument"):
        check_filter(lambda: UKF)  # type: ignore[arg-type, misc]
