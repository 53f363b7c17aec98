"""Bundles that are not what was written: refused, or what their bytes say, within the memory that their size allows.

A sample of `python -m benchmarks.corruptions`, which breaks bundles ten thousand times.
"""

import json
import time
import tracemalloc
from collections import Counter
from pathlib import Path

import pytest

from benchmarks.corruptions.bombs import bombs
from benchmarks.corruptions.content import Content, entries, ordinary, packed
from benchmarks.corruptions.judge import judge
from benchmarks.corruptions.kinds import corruption
from exchange import load, save
from exchange.files.plain_json import memory_of, plain_json
from exchange.files.whole_file import whole_file

MEGABYTES = 40  # of the largest bombs; files of their size may take less than that


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Content]:
    path = save(ordinary(), tmp_path_factory.mktemp("made") / "a.twin")
    return path, entries(path)


def test_a_sample_of_corruptions(made: tuple[Path, Content], tmp_path: Path) -> None:
    path, content = made
    raw, told = path.read_bytes(), Counter[str]()
    for seed in range(120):
        found = corruption(content, raw, seed)
        verdict, fault = judge(found, tmp_path / "b.twin", content)
        assert fault is None, (found.kind, seed)
        told[verdict] += 1
    assert told["refused"] > 80
    assert told["as it says"] > 3


BOMBS = (
    "blanks",
    "zeros as weights",
    "blanks in manifest.json",
    "more than the archive says",
    "a little more than the archive says",
    "empty lists",
    "empty lists in model.json",
    "empty objects",
    "numbers",
    "short texts",
    "a wide character",
    "nesting",
    "nested lists",
    "a number of ten million digits",
    "one name, many times",
    "names of tensors that claim 2^60 bytes",
    "names of tensors without end",
    "many tensors",
    "a tensor of 2^60 numbers",
    "a tensor of many axes",
    "many entries",
    "overlapping entries",
    "a crowd",
    "wide multipliers",
    "many claims",
    "an optional entry",
    "many optional entries",
    "optional entries of long names",
    "a card of blanks",
    "a signature of blanks",
    "a manifest of names",
    "wide layers",
    "many layers",
)


@pytest.fixture(scope="module")
def files(made: tuple[Path, Content]) -> dict[str, bytes]:
    return bombs(made[1], MEGABYTES)


def test_the_list_is_whole(files: dict[str, bytes]) -> None:
    # of many doses and small steps a bundle may well speak: they are refused where something is asked of them
    assert set(files) == {*BOMBS, "many doses", "small steps"}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_refused_in_little_memory(files: dict[str, bytes], tmp_path: Path, name: str) -> None:
    path = tmp_path / "b.twin"
    path.write_bytes(files[name])
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"b\.twin") as caught:
            load(path)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000
    assert most < 48e6 + 16 * len(files[name])


@pytest.mark.parametrize("name", ["many doses", "small steps"])
def test_what_only_a_question_would_make_long(files: dict[str, bytes], tmp_path: Path, name: str) -> None:
    from homeostat.bundles.simulated import simulate_person

    path = tmp_path / "b.twin"
    path.write_bytes(files[name])
    began = time.process_time()
    with pytest.raises(ValueError):
        simulate_person(path, "", person=None, until=None, points=3, level=0.8, picture=None)
    assert time.process_time() - began < 20.0


def test_the_weight_of_json_is_near_what_it_takes() -> None:
    texts = [
        b"[" + b"[]," * 50_000 + b"1]",
        b"[" + b"{}," * 50_000 + b"1]",
        b"[" + b'{"a":1},' * 50_000 + b"1]",
        b"[" + b"1.5," * 50_000 + b"1]",
        json.dumps(["é𝕏" * 5] * 20_000, ensure_ascii=False).encode(),
        json.dumps({str(k): k for k in range(50_000)}).encode(),
    ]
    for text in texts:
        tracemalloc.start()
        plain_json(text, 10**9)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert most < 1.5 * memory_of(text) + 1e5


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"NaN", b"[1e999]", b"-Infinity", b'{"a":1,"a":1}', b"[" * 10**5, b"9" * 21, b"\xff", b'"\xed\xa0\x80"'],
    ids=lambda t: repr(t[:12]),
)
def test_what_is_no_plain_json(text: bytes) -> None:
    with pytest.raises(ValueError) as caught:
        plain_json(text, 10**8)
    assert type(caught.value) is ValueError
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="allowed"):
        plain_json(b"[" + b"[]," * 1000 + b"1]", 50_000)


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.update(surprise=1),
        lambda m: m["people"][0].update(surprise=1),
        lambda m: m["people"][0]["schedule"].update(surprise=1),
        lambda m: m["structure"].update(surprise={}),
        lambda m: m["structure"]["noise"].update(surprise={}),
        lambda m: m["people"][0]["covariates"].update(WT=True),
        lambda m: m.update(failed={"1_0": "x"}),
        lambda m: m.update(provenance=[["a", 1]]),
    ],
)
def test_a_word_that_is_not_known_is_not_passed_over(made: tuple[Path, Content], tmp_path: Path, change) -> None:  # type: ignore[no-untyped-def]
    """What is dropped on loading may have been what mattered: an older program must not read half of a newer file."""
    about = json.loads(made[1]["model.json"])
    change(about)
    path = tmp_path / "b.twin"
    path.write_bytes(packed({**made[1], "model.json": json.dumps(about).encode()}))
    with pytest.raises(ValueError, match=r"b\.twin"):
        load(path)


@pytest.mark.parametrize(
    "change",
    [
        {"rate": "fast"},
        {"rate": None},
        {"condition": []},
        {"claim": 5},
        {"slope_range": [0.0]},
        {"metric": [1.0, 2.0]},
        {"metric": []},
        {"leading": [1.5]},
        {"not_covered": [1]},
        {"not_covered": {}},
        {"not_covered": "all"},
        {"region": "everywhere"},
        {"region": {"kind": "box"}},
        {"identity_refused": "no"},
    ],
    ids=repr,
)
def test_a_certificate_of_other_kinds_of_values_is_refused(
    made: tuple[Path, Content], tmp_path: Path, change: dict[str, object]
) -> None:
    proof = json.loads(made[1]["proof.json"])
    proof["claims"][0]["claim"].update(change)
    path = tmp_path / "b.twin"
    path.write_bytes(packed({**made[1], "proof.json": json.dumps(proof).encode()}))
    with pytest.raises(ValueError, match=r"b\.twin"):
        load(path)


def test_save_writes_nothing_that_load_would_refuse(tmp_path: Path) -> None:
    from dataclasses import replace

    path = save(ordinary(), tmp_path / "a.twin")
    before = path.read_bytes()
    with pytest.raises(ValueError, match="nothing was written"):
        save(replace(ordinary(), calibration={"zeros": [0] * 10**6}), path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.twin"]


def test_a_file_is_whole_or_not_there(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "x.txt"
    with whole_file(path) as partial:
        partial.write_text("one")

    def stopped(by: BaseException) -> None:
        with whole_file(path) as partial:
            partial.write_text("two")
            raise by

    for error in (KeyError("x"), KeyboardInterrupt(), OSError("odd")):
        with pytest.raises(type(error)):
            stopped(error)
    assert path.read_text() == "one"
    assert [p.name for p in path.parent.iterdir()] == ["x.txt"]
    with pytest.raises(OSError, match=r"x\.txt"), whole_file(path / "y.txt"):
        pass
