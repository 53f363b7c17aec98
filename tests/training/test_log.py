"""The TensorBoard log passes steps on, and a fit that goes on has one curve."""

import builtins
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from hybrid import HybridModel
from learned import Ensemble
from tests.builders import as_values
from training import Checkpoint, Cohort, fit, log_steps

needs_tensorboard = pytest.mark.skipif(
    importlib.util.find_spec("tensorboard") is None, reason="tensorboard is not installed (the extra `log`)"
)
# protobuf's and tensorboard's own, on import
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def curves(folder: Path) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder))
    found.Reload()
    return {tag: [(e.step, e.value) for e in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


def near(value: torch.Tensor | float) -> Any:
    return pytest.approx(float(value), rel=1e-6)  # scalars are stored in float32


@pytest.fixture
def given(model: HybridModel) -> dict:
    held_out = torch.eye(4, dtype=torch.bool)[:2]
    stack = Ensemble(2).stack(model, torch.Generator().manual_seed(3))
    return {"model": stack, "held_out": held_out, "weights": (~held_out).double(), "every": 2, "steps": 6}


@needs_tensorboard
def test_what_is_logged_is_what_was_yielded(given: dict, cohort: Cohort, tmp_path: Path) -> None:
    steps = list(log_steps(fit(**as_values(cohort=cohort, **given)), tmp_path))
    assert [s.index for s in steps] == [1, 2, 3, 4, 5, 6]
    found = curves(tmp_path)
    assert found.keys() == {"loss/mean", "loss/lowest", "loss/highest", "held out/mean", "rate"}
    assert found["loss/mean"] == [(s.index, near(s.loss.mean())) for s in steps]
    assert [k for k, _ in found["held out/mean"]] == [2, 3, 4, 5, 6]  # the latest look, once there is one
    assert found["rate"][0] == (1, near(0.05))


@needs_tensorboard
def test_a_fit_that_goes_on_has_one_curve(given: dict, cohort: Cohort, tmp_path: Path) -> None:
    whole = [(s.index, near(s.loss.mean())) for s in fit(**as_values(cohort=cohort, **given))]
    checkpoint = Checkpoint(tmp_path / "fit.checkpoint")
    for step in log_steps(fit(**as_values(cohort=cohort, **given, checkpoint=checkpoint)), tmp_path / "log"):
        if step.index == 4:
            break
    assert checkpoint.path.exists()  # stopping the observer stops the fit, and the fit saves
    assert [
        s.index for s in log_steps(fit(**as_values(cohort=cohort, **given, checkpoint=checkpoint)), tmp_path / "log")
    ] == [4, 5, 6]
    assert curves(tmp_path / "log")["loss/mean"] == whole


def test_without_tensorboard_it_says_what_to_install(
    given: dict, cohort: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def missing(name: str, *rest: Any) -> Any:
        if "tensorboard" in name:
            raise ModuleNotFoundError("No module named 'tensorboard'")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ImportError, match=r"pip install 'homeostat\[log\]'"):
        log_steps(fit(**as_values(cohort=cohort, **given)), tmp_path)  # at the call, before anything is trained


def test_nothing_to_log_is_nothing(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is not installed (the extra `log`)")

    def none() -> Iterator[Any]:
        yield from ()

    assert list(log_steps(none(), tmp_path)) == []
    assert list(tmp_path.iterdir()) == []
