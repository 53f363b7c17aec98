"""The bundled tables are the published rows, and say whose they are."""

import csv
import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from homeostat.data import OHASHI_CREDIT, ohashi
from training.people import read_ohashi
from training.people.tables.ohashi import TABLES

# of the bytes as they were taken from the published tables: an edit of a number is an edit here
SHA256 = {
    "ohashi_OGTT.csv": "7602cca6ed97921e2e6bec9c72234e67cfbd067cac8619a79c6f87642f06156e",
    "ohashi_subjectinfo.csv": "d71170ac85bb2bd62771f65548a22fa4e7892b709312e2e637e1e32f7942bcf1",
    "ohashi_clamp_indices.csv": "a5ebc23bf8319d8fdcc86f6556fa472d1462011f6c946cb8535e2c9dc9bfdbf4",
    "split.csv": "270745f681736358bf0f86f6e9ba5e0e5825878a066ef2add98e19a148e23337",
}


def rows_of(path: Path) -> dict[str, dict[str, str]]:
    delimiter = "," if path.name == "split.csv" else ";"
    with path.open(encoding="utf-8-sig", newline="") as file:
        return {row["No"]: row for row in csv.DictReader(file, delimiter=delimiter)}


def test_the_bytes_are_those_that_were_taken() -> None:
    assert set(SHA256) == set(TABLES)
    for name, digest in SHA256.items():
        assert hashlib.sha256((ohashi() / name).read_bytes()).hexdigest() == digest, name


def test_117_people_on_the_published_split() -> None:
    data = read_ohashi(ohashi())
    train, test = ([r.id for r in group] for group in (data.train, data.test))
    assert (len(train), len(test)) == (82, 35)
    assert len({*train, *test}) == 117  # nobody is in both
    assert set(data.first_phase) == {*train, *test}
    # printed for the last value carried forward of the same people: .830, so conversions, split and score are the published ones
    y = np.stack([r.values[:, 0] for r in data.test])
    assert np.sqrt(((y[:, 3:] - y[:, 2:3]) ** 2).mean()) == pytest.approx(0.830, abs=5e-4)


def test_every_cell_is_the_published_one() -> None:
    home = os.environ.get("HOMEOSTAT_DATA")
    if home is None or not (Path(home) / "ohashi").is_dir():
        pytest.skip("HOMEOSTAT_DATA names no folder with ohashi/: the published tables are not here")
    for name in TABLES:
        ours, published = rows_of(ohashi() / name), rows_of(Path(home) / "ohashi" / name)
        for person, row in ours.items():
            assert row.items() <= published[person].items(), (name, person)


def test_the_licence_gets_what_it_asks_for() -> None:
    said = " ".join((ohashi() / "ATTRIBUTION.md").read_text().split())
    for text in (said, OHASHI_CREDIT):
        for asked in (
            "K. Ohashi",
            "S. Kuroda",
            "insulin clearance",
            "10.1038/s41540-018-0051-6",
            "licenses/by/4.0",
            "CC BY 4.0",
        ):
            assert asked in text
        assert "left out" in text  # what was changed
    root = Path(__file__).parents[2]
    assert "ATTRIBUTION.md" in (root / "NOTICE").read_text()
