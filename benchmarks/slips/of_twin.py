"""One valid call of every public name and method of `twin` beside its log, tiny."""

from datetime import timedelta

import twin
from benchmarks.slips.attempt import Call, of
from hybrid.filters import UKF
from tests.twin.builders import NOW, dosed, measured, oral_bundle


def rows() -> dict[str, Call]:
    bundle = oral_bundle(ids=["P1"])
    told = [dosed("P1", 0, 300.0, "d"), measured("P1", 0.1, 1.0, "m")]

    def made() -> twin.Twin:
        """One that has heard of somebody."""
        found = twin.Twin(bundle)
        found.arrive(told, now=NOW)
        return found

    known = {"P1": twin.Patient(spread={"gut": 1.0})}
    return of("twin", {
        "Patient": lambda: (twin.Patient, {"covariates": {"WT": 70.0}, "inputs": {"basal": 1.0}, "mean": [[0.0]],
                                           "covariance": [[[1.0]]], "spread": {"gut": 1.0}}),
        "Twin": lambda: (twin.Twin, {"bundle": bundle, "log": twin.SqliteLog(), "people": dict(known), "sources": ["lab"],
                                     "filter": UKF, "drift": 24.0, "floor": {"plasma": 1.0}, "horizon": timedelta(days=7),
                                     "ahead": timedelta(minutes=5), "level": 0.9, "block": 16}),
        "Twin.arrive": lambda: (made().arrive, {"events": list(told), "now": NOW}),
        "Twin.estimate": lambda: (made().estimate, {"patient": "P1", "at": told[1].time}),
        "Twin.track": lambda: (made().track, {"patient": "P1", "times": [told[1].time]}),
        "Twin.state": lambda: (made().state, {"patient": "P1"}),
    })
