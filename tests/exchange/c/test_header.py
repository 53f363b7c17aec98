"""The exported header: compiled strictly, and what it computes is what the model computes."""

import re
import shutil
import subprocess
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks.exchange.random_bundles import one_of_each, random_bundle
from exchange import Bundle, CHeader, Selected, Selection, content_hash, selected
from exchange.c.calling import CompiledHeader
from exchange.c.compiled import FLAGS, STRICT, compiler, run
from hybrid import HybridModel
from learned import select
from stability import certify
from tests.exchange.c.conftest import HeaderOf

needs_compiler = pytest.mark.skipif(compiler() is None, reason="no C compiler (CC, cc, gcc, clang)")
ADA = Selection(person="Ada")
EXACT = 1e-13


def tensor(values: object) -> Tensor:
    return torch.tensor(np.asarray(values), dtype=torch.float64)


def apart(found: object, wanted: object) -> float:
    """The largest difference, in parts of the largest number."""
    found, wanted = (np.array(v.tolist() if isinstance(v, Tensor) else v, np.float64) for v in (found, wanted))
    return 0.0 if not wanted.size else float(np.abs(found - wanted).max() / max(np.abs(wanted).max(), 1e-300))


def differences(chosen: Selected, header: CompiledHeader, points: int = 2) -> dict[str, float]:
    """For each function of the header how far it is from the model, over all members, at random states, inputs and directions."""
    found: dict[str, float] = {}

    def saw(name: str, *pairs: tuple[object, object]) -> None:
        found[name] = max(found.get(name, 0.0), *(apart(a, b) for a, b in pairs))

    rng, model = np.random.default_rng(0), chosen.model
    n, m, d = len(model.backbone.states), len(model.backbone.inputs), model.population.dimension
    size = 1.0 + chosen.x0.abs().nan_to_num().max().item()
    for k in range(len(chosen.members)):
        one = select(model, torch.tensor([k])) if model.members > 1 else model
        theta, c, person = chosen.theta[None, k : k + 1], chosen.c[None, k : k + 1], header.bind(k)
        right = one.at(theta, c)

        def field(x: Tensor, u: Tensor, right=right) -> Tensor:  # type: ignore[no-untyped-def]
            rate: Tensor = right.rate(x[None, None], u[None, None])[0, 0]
            return rate

        for _ in range(points):
            x, vx, w = np.abs(rng.normal(size=n)) * size, rng.normal(size=n), rng.normal(size=n)
            u, vu, infused = rng.normal(size=m), rng.normal(size=m), rng.normal(size=n)
            X, U = tensor(x)[None, None], tensor(u)[None, None]
            saw("field", (person.field(x, u, infused), field(tensor(x), tensor(u)) + tensor(infused)))
            saw("jacobian", (person.jacobian(x, u), right.jacobian(X, U)[0, 0]))
            by_x, by_u = torch.autograd.functional.jacobian(field, (tensor(x), tensor(u)))
            saw("directional", (person("directional", x, u, vx, vu), by_x @ tensor(vx) + by_u @ tensor(vu)))
            saw("adjoint", *zip(person("adjoint", x, u, w), (tensor(w) @ by_x, tensor(w) @ by_u), strict=True))
            y = _measured(one, theta, tensor(x))
            saw("observe", (person("observe", x), y))
            moved = torch.autograd.functional.jacobian(partial(_measured, one, theta), tensor(x)) @ tensor(vx)
            saw("observe_directional", (person("observe_directional", x, vx), moved))
            variance = one.noise.variance(y[None, None, None], X[:, :, None], U[:, :, None])[0, 0, 0]
            saw("variance", (person("variance", y.numpy(), x, u), variance))
            g = torch.zeros(n) if one.process is None else one.process.diffusion(X)[0, 0]
            saw("diffusion", (person("diffusion", x), g))
        own, known = rng.normal(size=model.personal), np.array(list(chosen.covariates.values()))
        covariates = {name: tensor([value]) for name, value in chosen.covariates.items()}
        saw("theta", (header.theta(k, own[:d], known), one.theta(tensor(own)[None, None], covariates)[0, 0]))
        saw("context", (header.context(own[d:], known), one.context(tensor(own)[None, None], covariates)[0, 0]))
        start = person.initial(chosen.baseline)
        if start is not None:
            saw("initial", (start, chosen.x0[k]))
    return found


def _measured(one: HybridModel, theta: Tensor, x: Tensor) -> Tensor:
    return one.observation.mean(x[None, None, None], theta)[0, 0, 0]


# an MLP with inputs, covariates, latents, relu and two layers, and noise as a network; a linear part beside the layers; people
# whose parameters are correlated, shared, logit-normal, and moved by every kind of covariate; an offset of everyone's own, which
# is taken off what was measured beforehand; θ seen, in a sum
@pytest.mark.parametrize("name", ["neural noise", "contracting", "mixed", "offset", "sum of residuals"])
@needs_compiler
def test_c_is_the_model(header_of: HeaderOf, name: str) -> None:
    bundle, path = header_of(name)
    found = differences(selected(bundle, ADA), CompiledHeader(path, flags=(*FLAGS, *STRICT)))
    assert {k: v for k, v in found.items() if not v < EXACT} == {}
    assert {
        "field",
        "jacobian",
        "directional",
        "adjoint",
        "observe",
        "variance",
        "theta",
        "context",
        "initial",
    } <= found.keys()


def written(bundle: Bundle, folder: Path) -> tuple[Selected, CompiledHeader]:
    who = Selection(person=bundle.people[0].id)
    path = CHeader(who).write(bundle, folder / "model.h").path
    return selected(bundle, who), CompiledHeader(path, flags=(*FLAGS, *STRICT))


# a mechanism that bends: with a known term and a residual without layers; with a linear part beside the layers, not in L
@pytest.mark.parametrize("seed", [16, 84])
@needs_compiler
def test_c_is_the_mechanism(tmp_path: Path, seed: int) -> None:
    found = differences(*written(random_bundle(seed), tmp_path))
    assert {k: v for k, v in found.items() if not v < EXACT} == {}


@pytest.mark.slow
@needs_compiler
def test_every_member_of_every_family(tmp_path: Path) -> None:
    for k, (name, bundle) in enumerate(one_of_each()):
        (tmp_path / str(k)).mkdir()
        found = differences(*written(bundle, tmp_path / str(k)))
        assert {part: v for part, v in found.items() if not v < EXACT} == {}, name


@needs_compiler
def test_nothing_is_made_from_nothing_exactly(header_of: HeaderOf) -> None:
    _, path = header_of("contracting")
    header = CompiledHeader(path)
    for member in range(2):
        person = header.bind(member)
        zero = np.zeros(header.sizes["STATES"])
        assert (person.field(zero, np.zeros(header.sizes["INPUTS"])) == 0.0).all()


@needs_compiler
def test_float_is_the_model_in_float(header_of: HeaderOf, tmp_path: Path) -> None:
    bundle, _ = header_of("neural noise")
    written = CHeader(ADA, "float32").write(bundle, tmp_path / "single.h")
    assert "not certified" in written.sentences[0]
    path, text = written.path, written.path.read_text()
    assert not re.search(r"\bdouble\b", text.split("*/", 1)[1])
    found = differences(selected(bundle, ADA), CompiledHeader(path, flags=(*FLAGS, *STRICT, "-Wdouble-promotion")))
    assert {k: v for k, v in found.items() if not v < 2e-5} == {}


@needs_compiler
def test_it_needs_the_mathematics_library_and_nothing_else(header_of: HeaderOf, tmp_path: Path) -> None:
    """No heap: what it calls is what it lists, all of it of <math.h>; and C++ reads it too."""
    _, path = header_of("neural noise")
    using = compiler()
    assert using is not None
    names = ("bind", "theta", "context", "initial", "jacobian", "adjoint", "variance", "step_exponential", "prepare")
    source = '#include "model.h"\n' + "".join(
        f"extern const void *a{k}; const void *a{k} = (const void *)&model_{name};\n" for k, name in enumerate(names)
    )
    (tmp_path / "all.c").write_text(source)
    run([using, "-std=c99", "-O0", f"-I{path.parent}", "-c", str(tmp_path / "all.c"), "-o", str(tmp_path / "all.o")])
    if shutil.which("nm"):
        listed = subprocess.run(
            ["nm", "-u", str(tmp_path / "all.o")], capture_output=True, text=True, check=True
        ).stdout
        called = {line.split()[-1] for line in listed.splitlines()} - {"_GLOBAL_OFFSET_TABLE_", "memset", "memcpy"}
        said = path.read_text().split("that are called: ")[1].split(".")[0].split(", ")
        assert called <= set(said)
        assert not called & {"malloc", "calloc", "realloc", "free"}
    plus = shutil.which("g++") or shutil.which("clang++")
    if plus:
        (tmp_path / "all.cc").write_text('#include "model.h"\nint main() { return model_bind(0, -1, 0, 0) + 1; }\n')
        run(
            [
                plus,
                "-std=c++17",
                *STRICT,
                f"-I{path.parent}",
                "-c",
                str(tmp_path / "all.cc"),
                "-o",
                str(tmp_path / "b.o"),
            ]
        )


@needs_compiler
def test_a_compiler_that_takes_every_number_for_finite_is_refused(header_of: HeaderOf, tmp_path: Path) -> None:
    _, path = header_of("neural noise")
    (tmp_path / "a.c").write_text('#include "model.h"\n')
    command = [str(compiler()), "-std=c99", "-fsyntax-only", f"-I{path.parent}", str(tmp_path / "a.c")]
    for flag in ("-ffast-math", "-ffinite-math-only"):
        with pytest.raises(ValueError, match="drop the checks"):
            run([*command, flag])
        run([*command, flag, "-Dmodel_ALLOW_FAST_MATH"])
    run([*command, "-fno-fast-math"])
    assert "C++17" in path.read_text()


def test_who_is_refused_at_bind(header_of: HeaderOf) -> None:
    if compiler() is None:
        pytest.skip("no C compiler")
    header = CompiledHeader(header_of("neural noise")[1])
    assert header.bind(1).field(np.ones(2), np.ones(2)).shape == (2,)
    for member, c in ((2, None), (-1, None), (0, [np.nan] * header.sizes["CONTEXT"])):
        with pytest.raises(ValueError, match="bind refuses"):
            header.bind(member, None, c)


def test_what_is_not_certified_says_so(header_of: HeaderOf, tmp_path: Path) -> None:
    assert "NOT CERTIFIED" in header_of("neural noise")[1].read_text()
    plain, _ = header_of("contracting")
    proved = replace(plain, claims=(certify(plain.system()),))
    written = CHeader(ADA).write(proved, tmp_path / "proved.h")
    assert written.sentences == ()
    text = written.path.read_text()
    assert "NOT CERTIFIED" not in text
    assert content_hash(proved) in text
    assert "the distance in P between" in " ".join(text.split())
    assert text.isascii()


def test_a_target_that_exists_stays(header_of: HeaderOf, tmp_path: Path) -> None:
    bundle, _ = header_of("neural noise")
    there = tmp_path / "model.h"
    there.write_text("mine")
    with pytest.raises(ValueError, match="exists"):
        CHeader().write(bundle, there)
    with pytest.raises(ValueError, match="a folder"):
        CHeader(replace=True).write(bundle, tmp_path)
    assert there.read_text() == "mine"
    assert list(tmp_path.iterdir()) == [there]
