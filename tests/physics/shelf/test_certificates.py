"""The table of certificates in physics/README.md: what stands there is proved again, of every entry that it names."""

import re
from pathlib import Path

import pytest

from benchmarks.shelf_certificates import ELSEWHERE, KEPT, Kept, cell_of
from physics import MECHANISMS
from stability import Certificate

README = Path(__file__).parents[3] / "physics" / "README.md"
KINDS = {kind.__name__: kind for kind in MECHANISMS}
SLOW = ("CoupledTanks", "SIRS", "MichaelisMenten")
EVERYWHERE = [name for name in KINDS if name not in KEPT and name not in ELSEWHERE]


def written() -> dict[str, str]:
    """The last cell of each row, by the name that the row begins with."""
    text = README.read_text().split("| certified |")[1].split("\n\n")[0]
    rows = [re.split(r" \| ", line.strip("| ")) for line in text.splitlines() if line.startswith("| `")]
    return {re.findall(r"`(\w+)", row[0])[0]: row[-1] for row in rows}


def test_every_region_has_a_row() -> None:
    assert sorted(written()) == sorted(["OneCompartment", *KEPT])


@pytest.mark.parametrize(
    "name", [*(name for name in KEPT if name not in SLOW), *(pytest.param(n, marks=pytest.mark.slow) for n in SLOW)]
)
def test_what_stands_there_is_proved(name: str) -> None:
    mechanism, cell = KINDS[name](), written()[name]
    rate, unit = re.findall(r"^([\d.e-]+) /(\w+), kept: ", cell)[0]
    assert unit == mechanism.time_unit
    found = KEPT[name].certified(mechanism, float(rate))
    assert isinstance(found, Certificate), found
    assert cell_of(mechanism, found).split(", ")[1] == cell.split(", ")[1]


def test_what_is_linear_is_certified_everywhere_and_three_responses_are_alike() -> None:
    for name in EVERYWHERE:
        if name in ("StimulatedProduction", "StimulatedLoss"):
            found = KEPT["InhibitedProduction"].certified(KINDS[name](), 0.0999)
        else:
            found = Kept().certified(KINDS[name]())
        assert isinstance(found, Certificate), name
