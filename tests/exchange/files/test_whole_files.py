"""Several files, all or none: after an error, a signal, and beside those of an earlier model."""

import errno
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from exchange import Onnx
from exchange.files.whole_files import whole_files
from exchange.torch_program.several import targets_of, write_all

NAMES = ("field", "step", "person")


@pytest.fixture
def targets(tmp_path: Path) -> dict[str, Path]:
    """Two of them are there already."""
    found = {name: tmp_path / f"model.{name}.onnx" for name in NAMES}
    for name in NAMES[:2]:
        found[name].write_text("old")
    return found


def _put(name: str, partial: Path) -> None:
    partial.write_text(f"new {name}")


def _there(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


BEFORE = {"model.field.onnx": "old", "model.step.onnx": "old"}
AFTER = {f"model.{name}.onnx": f"new {name}" for name in NAMES}


def _at_renaming(number: int, do: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    rename, count = Path.replace, iter(range(1000))

    def replace(self: Path, target: Path) -> Path:
        if next(count) == number:
            do()
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", replace)


@pytest.mark.parametrize("number", range(5))  # two go aside, three come
@pytest.mark.parametrize("which", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_between_two_of_them_waits(
    targets: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, which: signal.Signals
) -> None:
    def ended(*_: object) -> None:
        raise KeyboardInterrupt

    _at_renaming(number, lambda: signal.raise_signal(which), monkeypatch)
    before = signal.signal(which, ended)
    try:
        with pytest.raises(KeyboardInterrupt):
            whole_files(targets, _put)
        assert signal.getsignal(which) is ended
    finally:
        signal.signal(which, before)
    assert _there(tmp_path) == AFTER


@pytest.mark.parametrize("number", range(5))
def test_what_fails_between_two_of_them_puts_back(
    targets: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def fail() -> None:
        raise OSError(errno.EACCES, "no")

    _at_renaming(number, fail, monkeypatch)
    with pytest.raises(OSError, match="no"):
        whole_files(targets, _put)
    assert _there(tmp_path) == BEFORE


def test_what_stops_while_they_are_written_leaves_all_as_it_was(targets: dict[str, Path], tmp_path: Path) -> None:
    def stop(by: BaseException) -> None:
        def put(name: str, partial: Path) -> None:
            _put(name, partial)
            if name == "step":
                raise by

        whole_files(targets, put)

    for error in (KeyboardInterrupt(), ValueError("x"), OSError(errno.ENOSPC, "full")):
        with pytest.raises(type(error)) as seen:
            stop(error)
        assert _there(tmp_path) == BEFORE
        if isinstance(seen.value, OSError):
            assert seen.value.filename == str(targets["step"])


def test_one_of_an_earlier_model_goes(targets: dict[str, Path], tmp_path: Path) -> None:
    files, said = write_all(targets, {"field": 1, "person": 1}, _put)
    assert files == (targets["field"], targets["person"])
    assert said == ("beside it: model.person.onnx", "removed, of what was there before: model.step.onnx")
    assert _there(tmp_path) == {name: text for name, text in AFTER.items() if "step" not in name}


def test_the_name_of_one_of_them_is_the_name_of_all(tmp_path: Path) -> None:
    for given in ("q.onnx", "q.field.onnx", "q.step.onnx", "q"):
        found = targets_of(Onnx(), tmp_path / given, NAMES, "Onnx.write")
        assert [path.name for path in found.values()] == ["q.field.onnx", "q.step.onnx", "q.person.onnx"]
