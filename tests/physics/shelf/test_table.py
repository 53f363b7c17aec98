"""The table of the shelf says of every entry what is proved where: proved here again, and no better one was left out."""

import re
from pathlib import Path

import pytest

from benchmarks.shelf_claims import ASKED, ROWS, cell_of, found_of, system_of
from physics import MECHANISMS
from stability import Refusal, check

README = Path(__file__).parents[3] / "physics" / "README.md"
KINDS = {kind.__name__: kind for kind in MECHANISMS}
CUT = ("CoupledTanks", "S2008", "SIRS")  # in some seconds


def written() -> dict[str, str]:
    """The last cell of each row, by the name that the row begins with."""
    rows = [re.split(r" \| ", line.strip("| ")) for line in README.read_text().splitlines() if line.startswith("| `")]
    return {re.findall(r"`(\w+)", row[0])[0]: row[-1] for row in rows if len(row) == 6}


def test_every_entry_has_one_row() -> None:
    assert [name for names in ROWS for name in names] == sorted(KINDS, key=[n for r in ROWS for n in r].index)
    assert list(written()) == [names[0] for names in ROWS]


@pytest.mark.parametrize("name", [name for name in KINDS if name not in CUT])
def test_what_stands_there_is_proved(name: str) -> None:
    (first,) = (names[0] for names in ROWS if name in names)
    cell, mechanism = written()[first], KINDS[name]()
    kind, region = cell.split(": ", 1)
    if kind == "disproved":
        found = found_of(mechanism)
        assert isinstance(found, Refusal)
        assert found.reason == kind
        assert region == f"{ASKED[name].words(mechanism)}: {ASKED[name].why}"
        return
    kind, rate, unit = re.findall(r"^([a-z ]+), ([\d.e-]+) /(\w+)$", kind)[0]
    assert (unit, region) == (mechanism.time_unit, ASKED[first].words(KINDS[first]()))
    found = found_of(mechanism, float(rate))
    assert not isinstance(found, Refusal)
    assert found.kind == kind
    assert check(found, system_of(mechanism))


@pytest.mark.slow
@pytest.mark.parametrize("names", ROWS, ids=lambda names: names[0])
def test_it_is_the_best_that_was_found(names: tuple[str, ...]) -> None:
    said, cell = (re.split(r", (?=[\d.])| (?=/)", text, maxsplit=2) for text in (cell_of(names), written()[names[0]]))
    assert (said[0], said[2:]) == (cell[0], cell[2:])
    if said[2:]:
        assert float(cell[1]) == pytest.approx(float(said[1]), rel=0.03)
