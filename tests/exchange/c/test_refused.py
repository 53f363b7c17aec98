"""What the C writer does not take, and says so before a file is there."""

import os
from pathlib import Path

import pytest
import torch
from torch import Tensor

from exchange import CHeader, Selection
from exchange.c import compiled
from exchange.c.activations import activation_in_c
from exchange.c.calling import CompiledHeader
from exchange.c.compiled import compiler, shared_library
from exchange.c.identifiers import identifiers, require_prefix
from exchange.c.numbers import literal, remark, string, table
from hybrid import HybridModel, States
from learned import Constant, Residual
from learned.residual import ACTIVATIONS
from physics import LinearBackbone, SharedPopulation
from tests.exchange.bundle.test_bundle import MODELS, bundle_for


@pytest.mark.parametrize("name", ["", "1st", "my-model", "double", "class", "m" * 32, "_x", "modèle", 3, None])
def test_a_prefix_is_an_identifier(name: object) -> None:
    with pytest.raises(ValueError, match="prefix"):
        require_prefix(name, "prefix")


def test_the_file_s_stem_is_the_prefix(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="write 'my_model'"):
        CHeader().write(bundle_for(MODELS["contracting"]()), tmp_path / "my-model.h")
    assert list(tmp_path.iterdir()) == []


def test_two_names_that_are_one_in_c_are_both_named() -> None:
    assert identifiers(["plasma", "№ 2"], "the states") == ("plasma", "__2")
    with pytest.raises(ValueError, match=r"'x-1' and 'x 1' are one name"):
        identifiers(["x-1", "x 1"], "the states")


def two_names() -> HybridModel:
    backbone = LinearBackbone([[-1.0, 0.0], [0.0, -2.0]], states=("x-1", "x 1"))
    return HybridModel(
        backbone, SharedPopulation(), observation=States([0], ["y"], ["1"]), noise=Constant([1.0], [0.1])
    )


def test_a_model_with_such_names_is_refused_whole(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"the states 'x-1' and 'x 1'"):
        CHeader().write(bundle_for(two_names()), tmp_path / "model.h")
    assert list(tmp_path.iterdir()) == []


class Odd(Residual):
    """An operation that nobody writes in C."""

    def __init__(self) -> None:
        super().__init__()
        self.states, self.inputs, self.covariates, self.vanishes_at_origin = 2, 0, 0, False
        self.size = torch.nn.Parameter(torch.ones(1, 1, dtype=torch.float64))

    def forward(self, x: Tensor, u: Tensor, c: Tensor) -> Tensor:
        return torch.special.bessel_j0(x) * self.size

    def reset(self, generator: torch.Generator) -> None:
        return None

    def config(self) -> dict[str, object]:
        return {}


def test_an_operation_outside_the_list_is_named(tmp_path: Path) -> None:
    backbone = LinearBackbone([[-1.0, 0.0], [0.0, -2.0]])
    noise = Constant([1.0], [0.1])
    model = HybridModel(backbone, SharedPopulation(), Odd(), observation=States([0], ["y"], ["1"]), noise=noise)
    with pytest.raises(ValueError, match=r"(?s)Odd.*bessel_j0"):
        CHeader().write(bundle_for(model), tmp_path / "model.h")
    assert list(tmp_path.iterdir()) == []


def test_every_activation_of_ours_is_written_and_no_other() -> None:
    for name in ACTIVATIONS:
        assert "m_phi_slope" in activation_in_c(name, "m", "double")
    with pytest.raises(ValueError, match=r"'swish' .* tanh, relu"):
        activation_in_c("swish", "m", "double")


def test_options_are_asked_at_once() -> None:
    for wrong in ({"precision": "float16"}, {"prefix": "a b"}, {"selection": "Ada"}):
        with pytest.raises(ValueError, match="CHeader"):
            CHeader(**wrong)
    with pytest.raises(ValueError, match="bundle"):
        CHeader().write("model.twin", "model.h")
    with pytest.raises(ValueError, match="no person"):
        CHeader(Selection(person="Bob")).write(bundle_for(MODELS["contracting"]()), "never.h")


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model.h").write_text("mine")

    def fails(self: Path, *given: object, **named: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("exchange.c.header.header_of", lambda *given, **named: "int x;")
    monkeypatch.setattr(Path, "write_text", fails)
    with pytest.raises(OSError, match=r"model\.h"):
        CHeader(replace=True).write(bundle_for(MODELS["contracting"]()), tmp_path / "model.h")
    assert [one.name for one in tmp_path.iterdir()] == ["model.h"]
    assert (tmp_path / "model.h").read_bytes() == b"mine"


def test_no_compiler_and_a_refusal_of_one_are_sentences(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if compiler() is not None:
        with pytest.raises(ValueError, match="refused the C"):
            shared_library("int f(void) { return", tmp_path / "a.so")
    (tmp_path / "other.h").write_text("int x;\n")
    with pytest.raises(ValueError, match="no header that was exported"):
        CompiledHeader(tmp_path / "other.h")
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("CC", "")
    assert compiler() is None
    with pytest.raises(ValueError, match="no C compiler"):
        shared_library("int x;", tmp_path / "a.so")
    assert not (tmp_path / "a.so").exists()


def test_numbers_and_texts_lose_nothing_and_end_nothing() -> None:
    assert float.fromhex(literal(1.0 / 3.0, "double")) == 1.0 / 3.0
    assert [literal(v, "double") for v in (0.5, -2.0, float("inf"), float("nan"))] == ["0.5", "-2.0", "INFINITY", "NAN"]
    assert literal(0.1, "float") == "0x1.99999ap-4f"
    assert table("a", [], "double") == "static const double a[1] = {0.0};"
    assert string('mg/L "№"?') == '"mg/L \\"\\342\\204\\226\\"\\?"'
    assert remark("a */ b ??/ θ ≤ é № \x07") == "a * / b ? ?/ theta <= e No ?"


SCRIPTS = {
    "exit 3": r"refused .* \(exit status 3\) and said nothing$",
    "echo one >&2; echo two >&2; exit 1": r"refused .* and said: one \| two$",
    "exit 0": "made no file; set CC",
    "sleep 60": "not done .* after 0.2 s",
}


@pytest.mark.skipif(os.name != "posix", reason="compilers made of a shell script")
@pytest.mark.parametrize("script", SCRIPTS)
def test_a_compiler_that_is_none_is_a_sentence(script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = tmp_path / "my cc"
    made.write_text(f"#!/bin/sh\n{script}\ntrue\n" if script == "sleep 60" else f"#!/bin/sh\n{script}\n")
    made.chmod(0o700)
    monkeypatch.setenv("CC", f"'{made}' -O1")
    monkeypatch.setattr(compiled, "LONGEST", 0.2 if script == "sleep 60" else 60.0)
    with pytest.raises(ValueError, match=SCRIPTS[script]) as found:
        shared_library("int x;", tmp_path / "a.so")
    assert "\n" not in str(found.value)
    assert [one.name for one in tmp_path.iterdir()] == ["my cc"]


def test_the_compiler_that_cc_names_is_taken_or_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    for named, said in (("/nonexistent -O1", "CC names the compiler '/nonexistent', which is not there"), ("'", "no command")):
        monkeypatch.setenv("CC", named)
        with pytest.raises(ValueError, match=said):
            compiler()
