"""The core and the stomach of the UVA/Padova simulator of 2008: its people, its equations written out anew, its trajectories."""

import hashlib
import math
from pathlib import Path

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from physics.shelf import S2008, S2008Person, S2008Stomach, s2008_people, s2008_person
from physics.shelf.physiology.s2008_people import s2008_table

PEOPLE = s2008_people()
CORE, STOMACH = S2008(), S2008Stomach()


def test_the_table_is_the_one_that_was_taken_and_says_whose_it_is() -> None:
    digest = hashlib.sha256(s2008_table().read_bytes()).hexdigest()
    assert digest == "662f3b684d160fdf485edd1d7196dd1cd85c14b53650b030fdb86aaa05bb2e50"
    said, licence = ((s2008_table().parent / name).read_text() for name in ("ATTRIBUTION.md", "LICENSE"))
    assert "Jinyu Xie" in said
    assert "Copyright (c) 2017 Jinyu Xie" in licence
    assert "Permission is hereby granted, free of charge" in licence
    assert "physics/data/s2008" in (Path(__file__).parents[3] / "NOTICE").read_text()


def test_people_go_by_name_and_sit_in_the_box() -> None:
    assert list(PEOPLE) == [f"{group}#{i:03d}" for group in ("adolescent", "adult", "child") for i in range(1, 11)]
    for mechanism in (CORE, STOMACH):
        typical = {p.name: p.typical for p in mechanism.physical}
        assert s2008_person("adult#001").theta(mechanism) == typical
        for person in PEOPLE.values():
            theta = person.theta(mechanism)
            assert all(p.low <= theta[p.name] <= p.high for p in mechanism.physical)
    with pytest.raises(ValueError, match=r"there is no 'adult#011'; there are adolescent#001"):
        s2008_person("adult#011")
    with pytest.raises(ValueError, match="name is a text"):
        s2008_person(1)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", PEOPLE)
def test_everyone_rests_where_the_table_says(name: str) -> None:
    """To the table's twelve digits: each rate against the largest of what it sums up."""
    person = PEOPLE[name]
    assert tuple(person.rest) == tuple(CORE.states)
    theta = np.array(list(person.theta(CORE).values()))
    x, u = np.array(list(person.rest.values())), np.array([person.insulin, 0.0])
    rate = CORE.tape.plain(x, u, theta)
    p = person.columns
    flows = {"Gp": p["k1"] * p["Gpb"], "Gt": p["k1"] * p["Gpb"], "Ip": p["m2"] * p["Ipb"], "X": p["p2u"] * p["Ib"]}
    flows |= {"I1": p["ki"] * p["Ib"], "Id": p["ki"] * p["Ib"], "Il": p["m2"] * p["Ipb"], "Gs": p["ksc"] * p["Gpb"]}
    flows |= {"Isc1": person.insulin, "Isc2": person.insulin}
    assert np.abs(rate / np.array([flows[s] for s in CORE.states])).max() < 1e-11
    assert p["Gpb"] / p["Vg"] == pytest.approx(p["Gb"], rel=1e-6)


def written_out(person: S2008Person, eaten: float, insulin: float, Dbar: float):
    """The thirteen equations of the papers, with the switches at 0 that the mechanism leaves out."""
    p = person.columns

    def rate(t: float, x: np.ndarray) -> np.ndarray:
        solid, liquid, gut, Gp, Gt, Ip, X, I1, Id, Il, Isc1, Isc2, Gs = x
        q, k = solid + liquid, p["kmax"]
        if Dbar > 0.0:
            alpha, beta = 5.0 / (2.0 * Dbar * (1.0 - p["b"])), 5.0 / (2.0 * Dbar * p["d"])
            k = math.tanh(alpha * (q - p["b"] * Dbar)) - math.tanh(beta * (q - p["d"] * Dbar)) + 2.0
            k = p["kmin"] + (p["kmax"] - p["kmin"]) / 2.0 * k
        production = max(p["kp1"] - p["kp2"] * Gp - p["kp3"] * Id, 0.0)
        excretion = p["ke1"] * (Gp - p["ke2"]) if Gp > p["ke2"] else 0.0
        use = (p["Vm0"] + p["Vmx"] * X) * Gt / (p["Km0"] + Gt)
        found = [
            eaten - p["kmax"] * solid,
            p["kmax"] * solid - k * liquid,
            k * liquid - p["kabs"] * gut,
            production + p["f"] * p["kabs"] * gut / p["BW"] - p["Fsnc"] - excretion - p["k1"] * Gp + p["k2"] * Gt,
            p["k1"] * Gp - p["k2"] * Gt - use,
            -(p["m2"] + p["m4"]) * Ip + p["m1"] * Il + p["ka1"] * Isc1 + p["ka2"] * Isc2,
            p["p2u"] * (Ip / p["Vi"] - p["Ib"]) - p["p2u"] * X,
            p["ki"] * (Ip / p["Vi"] - I1),
            p["ki"] * (I1 - Id),
            p["m2"] * Ip - (p["m1"] + p["m30"]) * Il,
            insulin - (p["ka1"] + p["kd"]) * Isc1,
            p["kd"] * Isc1 - p["ka2"] * Isc2,
            p["ksc"] * (Gp - Gs),
        ]
        held = {3: Gp, 4: Gt, 5: Ip, 9: Il, 10: Isc1, 11: Isc2, 12: Gs}
        return np.array([0.0 if i in held and held[i] < 0.0 else rate for i, rate in enumerate(found)])

    return rate


@pytest.mark.parametrize("name", ["adult#001", "adolescent#005", "child#007"])
def test_core_and_stomach_follow_the_equations_through_a_meal(name: str) -> None:
    """A meal of 45 g eaten in 9 min, one unit of insulin for 20 g with it: ours as tapes, one beside the other."""
    person = PEOPLE[name]
    a, b = (np.array(list(person.theta(m).values())) for m in (STOMACH, CORE))
    f, kabs, BW = (person.columns[c] for c in ("f", "kabs", "BW"))

    def ours(t: float, x: np.ndarray, eaten: float, insulin: float, Dbar: float) -> np.ndarray:
        meal = STOMACH.tape.plain(x[:3], np.array([eaten, Dbar]), a)
        return np.concatenate([meal, CORE.tape.plain(x[3:], np.array([insulin, f * kabs * x[2] / BW]), b)])

    start = np.array([0.0, 0.0, 0.0, *person.rest.values()])
    one, two, t = start, start, 0.0
    bolus = 45.0 / 20.0 * 6000.0 / BW / 9.0
    glucose = []
    # D grows while the meal is eaten: as an input it is held, minute by minute
    pieces = [
        (30.0, 0.0, 0.0, 0.0),
        *((1.0, 5000.0, bolus, 5000.0 * (i + 1)) for i in range(9)),
        (300.0, 0.0, 0.0, 45000.0),
    ]
    for length, eaten, more, Dbar in pieces:
        u = (eaten, person.insulin + more, Dbar)
        both = [
            solve_ivp(rate, (t, t + length), x, "DOP853", rtol=1e-11, atol=1e-9, args=args).y[:, -1]
            for rate, x, args in ((ours, one, u), (written_out(person, *u), two, ()))
        ]
        one, two = both
        t += length
        np.testing.assert_allclose(one, two, rtol=1e-8, atol=1e-6)
        glucose.append(one[3] / person.columns["Vg"])
    assert max(glucose) > glucose[0] + 10.0  # the meal was seen, mg/dL
