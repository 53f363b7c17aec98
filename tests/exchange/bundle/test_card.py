"""The model card says what the bundle holds, and where nothing was measured it says so."""

import json
import re
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.corruptions.content import ordinary
from benchmarks.exchange.random_bundles import random_bundle
from exchange import Bundle, Person, card, content_hash, load, save
from exchange.bundle.calibration import as_calibration
from exchange.bundle.typical import typical_theta
from homeostat.study.groups import cross_validated
from hybrid import HybridModel, Mesh, Schedule, Signal, States
from learned import Constant
from physics import LinearBackbone, SharedPopulation
from stability import Refusal
from training import prior
from training.trust.recalibration.fitted_on import FittedOn
from training.trust.recalibration.scaling import Scaling

GROUPS = {
    "forecast": "hybrid",
    "level": 0.8,
    "groups": [
        {
            "group": "WT up to 70 kg", "by": "WT", "channel": "concentration", "people": 6, "count": 54,
            "crps": {"observed": 0.51, "lower": 0.4, "upper": 0.66},
            "coverage": {"observed": 0.5, "lower": 0.7, "upper": 0.95},
        },
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return ordinary()


def test_it_says_what_is_measured_and_what_is_claimed(bundle: Bundle) -> None:
    told = card(replace(bundle, calibration={**bundle.calibration, "groups": GROUPS}))
    certificate = bundle.claims[0]
    assert certificate
    assert "**The file carries a certificate**" in told
    assert "NOT CERTIFIED" not in told
    assert certificate.in_words("h")[1:] in told
    for claim in bundle.claims:
        assert isinstance(claim, Refusal) or all(one in told for one in claim.not_covered)
    assert "| hybrid | not measured | 0.5 | 1.3 | 81 %, no band | not measured |" in told
    assert "| WT up to 70 kg | concentration | 6 | 54 | 0.51 (0.4 to 0.66) mg/L | 50 % (70 to 95 %), **outside** |" in told
    assert "| dose into gut | mg | 300 | 301 | 302 | 3 |" in told
    assert content_hash(bundle) in card(bundle)


def test_where_nothing_was_measured_it_says_so(bundle: Bundle) -> None:
    told = card(replace(bundle, claims=(), calibration={}, provenance={}))
    assert told.count("Not measured: ") == 2
    assert "**NOT CERTIFIED.**" in told.split("## ")[0]
    assert "not certified" in told.split("## What is proved")[1]
    assert "Table: not recorded." in told
    assert "the file holds no scores on people never seen" in told
    refused = Refusal(reason="no common metric", message="no metric was found")
    assert "refused: no metric was found" in card(replace(bundle, claims=(refused,))).split("## ")[0]
    about = {"interrupted": "hybrid after 3 of 9 steps", "not_converged": "2 of 8 members went on moving"}
    head = card(replace(bundle, provenance=about)).split("## ")[0]
    assert all(words in head for words in about.values())


def test_what_others_wrote_is_text_and_no_markup(bundle: Bundle) -> None:
    evil = "<script>x</script>\n# **Certified** | [x](http://x) `y` \x1b[2J\u202e"
    about, scores = {"table": evil, evil: evil, "credit": evil}, {"scores": {evil: {"crps": 1}}}
    told = card(replace(bundle, claims=(), provenance=about, calibration=scores))
    assert not re.search(r"(?<!\\)(<script|\[x\]|\*\*Cert|`y)", told)
    assert not re.search(r"^# \*\*|\x1b|\u202e", told, re.M)
    plain = card(replace(bundle, claims=(), provenance={}, calibration={}))
    assert [line for line in told.splitlines() if line[:1] == "#"] == [line for line in plain.splitlines() if line[:1] == "#"]


def test_every_table_says_of_whom_it_is(bundle: Bundle) -> None:
    rows = [{"horizon": "1–2", "level": 0.8, "records": 3, "count": 9, "share": {"observed": 0.8, "lower": 0.6, "upper": 0.9}}]
    found: dict[str, Any] = {
        "scores": {"hybrid": {"crps": 0.5}},
        "groups": GROUPS,
        "uncertainty": {"before": {"gates": 2, "failed": 0, "channels": [{"coverage_by_horizon": rows}]}},
    }
    whom = {**cross_validated(12, "hybrid"), "groups": "4 others"}
    told = card(replace(bundle, calibration={**found, "whom": whom})).split("## Performance")[1]
    scores, horizons, groups = (told.split(head)[0] for head in ("### By horizon", "### By group", "### Recalibration"))
    assert "Of whom: the 12 people of the training, each forecast by members that were fitted without them" in scores
    assert "whose model is that of the row hybrid" in scores
    assert horizons.count("Of whom: the 12 people") == 2
    assert "Of whom: 4 others." in groups
    told = card(replace(bundle, calibration=found))  # of an earlier program
    assert told.count("Of whom: not recorded.") == 3
    scaling = {**found["uncertainty"], **as_calibration(scaling_of(bundle, "Ada", "Somebody"))["uncertainty"]}
    told = card(replace(bundle, calibration={**found, "uncertainty": scaling}))
    assert "Of whom: the 2 people on whose forecasts the recalibration below was fitted, 1 of them among those" in told


def scaling_of(bundle: Bundle, *people: str) -> Scaling:
    channels = tuple(bundle.model.observation.channels)
    ones, covariance = (1.0,) * len(channels), (((0.0,) * 3,) * 3,) * len(channels)
    return Scaling(channels, ones, ones, ones, covariance, "nll", ones, ones, FittedOn.of(people, np.ones(len(people))))


def test_typical_values_are_the_fitted_ones_beside_the_reference() -> None:
    bundle = random_bundle(4)  # of four members that differ
    theta = typical_theta(bundle, bundle.model)  # (4, q)
    told = card(bundle)
    assert "| parameter | unit | fitted typical value | reference | source of the reference | never outside |" in told
    assert ", of the 4 members in their order" in told
    for parameter, own in zip(bundle.model.backbone.physical, theta.T.tolist(), strict=True):
        shown = [f"{value:.4g}" for value in own]
        assert len(set(shown)) == 4
        assert f"| {parameter.name} | {parameter.unit} | {', '.join(shown)} | {parameter.typical:.4g} | " in told


@pytest.mark.parametrize(
    "rubbish",
    [
        {"scores": 5, "uncertainty": [], "groups": "x", "protocol": 3},
        {"scores": {"a": {"crps": "x"}, "b": 3}, "uncertainty": {"before": {"channels": [3, {"coverage_by_horizon": {}}]}}},
        {"uncertainty": {"scaling": 4, "before": {"gates": "x", "channels": 5}}, "groups": {"groups": [1, {}]}},
        {"scores": {"a": {"crps": 1, "coverage_80": "x", "coverage_80_null_lower": None}}, "groups": {"groups": [{"crps": 1}]}},
    ],
)  # fmt: skip
def test_a_calibration_of_rubbish_makes_a_card(bundle: Bundle, rubbish: dict[str, Any]) -> None:
    assert "## Performance" in card(replace(bundle, calibration=rubbish))


def test_it_stands_in_the_file_and_the_hash_beside_it(bundle: Bundle, tmp_path: Path) -> None:
    path = save(bundle, tmp_path / "a.twin")
    with zipfile.ZipFile(path) as archive:
        assert archive.read("card.md").decode() == card(bundle) == card(load(path))
        manifest = json.loads(archive.read("manifest.json"))
    assert manifest["content"] == content_hash(bundle) == content_hash(load(path))
    assert manifest["optional"] == ["card.md"]


def driven_records() -> Bundle:
    """A tank with a pump, the same in both records."""
    named = {"states": ["level"], "state_units": ["cm"], "inputs": ["pump"], "input_units": ["V"]}
    tank = LinearBackbone([[-0.3]], B=[[1.0]], **named, time_unit="min")
    model = HybridModel(
        tank, SharedPopulation(), observation=States([0], ["level"], ["cm"]), noise=Constant([0.1], [0.01])
    )
    pump = Schedule((), {"pump": Signal((0.0, 6.0), (1.0, 2.0), "held")})
    people = tuple(Person(name, pump, {}, (float("nan"),)) for name in ("one", "two"))
    return Bundle(model, people, prior(model, 2), Mesh(0.5, 0.1))


def test_a_card_of_single_systems_speaks_of_records(bundle: Bundle) -> None:
    """A driven tank has no doses and no persons; people are people."""
    told = card(driven_records()).split("## What is proved")[0]
    for words in ("of one record under inputs that are given", "seen in the records", "Decisions about the system"):
        assert words in told
    assert not re.search(r"\b(people|person|persons|dose|doses)\b", told, re.IGNORECASE), told
    assert "of one person under a schedule that is given" in card(bundle)
    assert "doses of a person" in card(bundle)
