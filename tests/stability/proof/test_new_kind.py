"""A kind of claim that the checker is taught as its README says: a file with `judge`, and a line in JUDGES."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stability import Lure
from stability.proof import Budget, Meter, Verdict, main, prove
from stability.proof.arithmetic import TINY, gamma, proved_positive
from stability.proof.checker import JUDGES
from stability.proof.reading import get, number
from stability.proof.system import read_system, unlike

NOT_COVERED = ("the discretisation",)


def statement(rate: float, systems: int) -> str:
    return f"Without its learned part, each of the {systems} systems contracts at rate {rate!r} in the Euclidean distance."


def judge(claim: object, system: object, meter: Meter) -> Verdict:
    """−(A + Aᵀ) − 2λI ≻ 0."""
    stack, rate = read_system(system), number(get(claim, "rate"))
    said = statement(rate, stack.count)
    refusal = unlike(claim, stack, said, NOT_COVERED)
    if refusal or not 0 < rate < 1e50:
        return Verdict(False, refusal or "the rate is not positive")
    meter.look("before the only step")
    A, n = stack.A[:], stack.A.shape[-1]
    mid = -(A + A.swapaxes(1, 2)) - 2.0 * rate * np.eye(n)
    good = proved_positive(mid, gamma(4) * (2.0 * np.abs(A) + 2.0 * np.abs(A.swapaxes(1, 2)) + 2.0 * rate * np.eye(n)) + TINY)
    return Verdict(bool(good.all()), said if good.all() else "a system is slower", rate, stack.count)


def toy() -> tuple[dict[str, Any], Lure]:
    system = Lure(A=[[[-1.0, 0.5], [-0.5, -2.0]], [[-3.0, 0.0], [0.0, -1.5]]], weights=[], biases=[])
    claim = {"kind": "backbone", "rate": 0.75, "digest": system.digest(), "leading": [2], "slope_range": [0.0, 1.0]}
    return claim | {"claim": statement(0.75, 2), "not_covered": list(NOT_COVERED)}, system


def test_it_is_proved_in_python_and_at_the_shell(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    claim, system = toy()
    file = tmp_path / "proof.json"
    file.write_text(json.dumps({"certificate": claim, "system": system.to_dict()}))
    assert "'backbone' is not one that this checker knows" in prove(claim, system).reason
    assert main([str(file)]) == 2
    monkeypatch.setitem(JUDGES, "backbone", judge)
    assert prove(claim, system) == Verdict(True, claim["claim"], 0.75, 2)
    assert main([str(file)]) == 0
    assert f"proved: {claim['claim']}" in capsys.readouterr().out
    assert prove(claim, system, budget=Budget(seconds=1e-9)).reason.startswith("not decided: 1e-09 seconds are used up")
    assert main([str(file), "--exact"]) == 3


def test_what_is_false_of_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(JUDGES, "backbone", judge)
    claim, system = toy()
    faster = claim | {"rate": 1.0 + 2**-40, "claim": statement(1.0 + 2**-40, 2)}
    assert prove(faster, system).reason == "a system is slower"  # −1 is the slowest, and no rate reaches it
    for change, words in (
        ({"rate": 0.5}, "sentence"),
        ({"digest": "0" * 64}, "another system"),
        ({"leading": [1]}, "leading"),
        ({"not_covered": []}, "not covered"),
        ({"slope_range": [0.0, 0.5]}, "slope range"),
        ({"rate": "fast"}, "a number is needed"),
    ):
        assert words in prove(claim | change, system).reason
