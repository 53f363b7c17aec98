"""The table of the shelf says of every entry which rate is proved where: proved here again, and no better one was left out."""

import re
from pathlib import Path

import pytest

from benchmarks.shelf_claims import ASKED, ROWS, cell_of, found_of, system_of
from physics import MECHANISMS
from stability import check

README = Path(__file__).parents[3] / "physics" / "README.md"
KINDS = {kind.__name__: kind for kind in MECHANISMS}
CUT = ("CoupledTanks", "SIRS")  # by cells, in some seconds


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
    assert cell.endswith(ASKED[first].words(KINDS[first]()))
    if cell.startswith("disproved"):
        found = found_of(mechanism)
        assert not found
        assert found.reason == "disproved"
        assert ASKED[name].why in cell
        return
    rate, unit = re.findall(r"^([\d.e-]+) /(\w+), ", cell)[0]
    assert unit == mechanism.time_unit
    assert check(found_of(mechanism, float(rate)), system_of(mechanism))


@pytest.mark.slow
@pytest.mark.parametrize("names", ROWS, ids=lambda names: names[0])
def test_it_is_the_best_that_was_found(names: tuple[str, ...]) -> None:
    said, cell = (re.split(r" (?=/)", text, maxsplit=1) for text in (cell_of(names), written()[names[0]]))
    assert said[1:] == cell[1:]
    if len(said) > 1:
        assert float(cell[0]) == pytest.approx(float(said[0]), rel=0.02)
