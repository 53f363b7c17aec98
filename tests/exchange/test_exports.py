"""The laws of every form of export: whole or not at all, nothing that is there is lost, the same bytes, "not certified" is said.

And the whole path, slow: random bundles in every form, run by clients that are not ours.
"""

import errno
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.exchange.random_bundles import each, names_of_each, random_bundle
from benchmarks.exchange.subject import Subject, subject_of, without_network
from benchmarks.exchange.table import TARGETS
from benchmarks.exchange.worker import parts
from exchange import EXPORTS, Bundle, Export, Selection
from exchange.bundle.calibration import STATED
from exchange.c.compiled import compiler
from exchange.export import NOT_CERTIFIED
from stability import Refusal
from tests.exchange.own_export import Matrices

FORMS = (*EXPORTS, Matrices)
ONE = Selection(member=0)
needs = {"FMU 3": ("fmpy",), "ONNX float64": ("onnx", "onnxruntime"), "SBML": ("libsbml", "roadrunner")}
SLOW = ("fmu", "onnx", "torch")  # to write: much is traced or compiled
each_form = pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)


@pytest.fixture(scope="module")
def plain() -> Bundle:
    """Without a network, so that every form can hold it, and refused a certificate."""
    bundle = without_network(each(names_of_each().index(next(n for n in names_of_each() if n.startswith("SIRS")))))
    return replace(bundle, claims=(Refusal(reason="not proved", message="nobody looked for one"),))


def require_packages(form: type[Export]) -> None:
    for package in {"onnx": ("onnx",), "sbml": ("libsbml",)}.get(form.name, ()):
        pytest.importorskip(package)


@each_form
def test_what_is_there_stays(form: type[Export], plain: Bundle, tmp_path: Path) -> None:
    require_packages(form)
    # graphs and programs lie beside each other: model.onnx becomes model.field.onnx, …
    for name in ("model", "model.field"):
        (tmp_path / f"{name}{form.suffix}").write_bytes(b"mine")
    with pytest.raises(ValueError, match=r"exists.*replace"):
        form(selection=ONE).write(plain, tmp_path / f"model{form.suffix}")
    assert {path.read_bytes() for path in tmp_path.iterdir()} == {b"mine"}
    folder = tmp_path / f"folder{form.suffix}"
    folder.mkdir()
    with pytest.raises(ValueError, match="folder"):
        form(selection=ONE, replace=True).write(plain, folder)


@pytest.mark.parametrize(
    "form",
    [pytest.param(form, marks=[pytest.mark.slow] if form.name in SLOW else [], id=form.name) for form in FORMS],
)
def test_whole_or_not_at_all(
    form: type[Export], plain: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_packages(form)
    begun = 0
    into_place = Path.replace

    def full(self: Path, target: Path) -> Path:
        nonlocal begun
        begun += 1
        if begun == 1 and form.name in ("onnx", "torch"):  # the disk is full after the first of several
            return into_place(self, target)
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", full)
        with pytest.raises(OSError, match="No space left"):
            form(selection=ONE).write(plain, tmp_path / f"model{form.suffix}")
    assert begun
    assert list(tmp_path.iterdir()) == []
    said = form(selection=ONE).write(plain, tmp_path / f"model{form.suffix}").sentences
    assert any(NOT_CERTIFIED in sentence for sentence in said)
    assert all(sentence == sentence.strip() and "\n" not in sentence for sentence in said)
    assert form is Matrices or all(STATED in text_in(path) for path in tmp_path.iterdir())


def text_in(path: Path) -> str:
    """What is written in a file, or in the entries of an archive, with single spaces for white space."""
    found = [path.read_bytes()]
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            found = [archive.read(name) for name in archive.namelist() if not name.endswith("card.md")]
    return " ".join(b" ".join(found).decode(errors="replace").split())


@pytest.mark.slow
@each_form
def test_equal_bundles_give_equal_bytes(form: type[Export], plain: Bundle, tmp_path: Path) -> None:
    require_packages(form)
    made = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        form(selection=ONE).write(plain, tmp_path / name / f"model{form.suffix}")
        made.append({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()})
    assert made[0] == made[1]


@pytest.fixture(scope="module", params=[3, 16, 23, 26], ids=lambda seed: f"bundle {seed}")
def subject(request: pytest.FixtureRequest) -> Subject:
    return subject_of(random_bundle(request.param), request.param)


@pytest.mark.slow
@pytest.mark.skipif(compiler() is None, reason="no C compiler")
@pytest.mark.parametrize("form", ["header float64", "FMU 3", "ONNX float64", "torch float64", "SBML"])
def test_clients_that_are_not_ours_compute_what_was_trained(form: str, subject: Subject, tmp_path: Path) -> None:
    for package in needs.get(form, ()):
        pytest.importorskip(package)
    found = parts()[form](subject, tmp_path)
    for figure, most in TARGETS[form].items():
        assert figure not in found or found[figure] <= most, (figure, found)


def test_the_page_says_it_too() -> None:
    page = Path(__file__).parents[2] / "docs" / "exchange.md"
    assert STATED in " ".join(page.read_text().split())
