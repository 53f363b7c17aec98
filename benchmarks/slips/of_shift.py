"""One valid call of every public name and method of `training.shift`, tiny."""

from benchmarks.slips.attempt import Call, of
from benchmarks.slips.world import generator, world
from hybrid import RungeKutta
from training import shift
from training.shift.given import Given
from training.shift.measured import Measured
from training.trust import Outcome


def rows() -> dict[str, Call]:
    w = world()
    solver = RungeKutta("rk4")
    reference = shift.Reference.of(w.model, w.cohort, w.known)
    given, outcome = Given.of(w.cohort, w.cohort), Outcome.of(w.prediction, w.cohort)
    return of("training.shift", {
        "Reference.of": lambda: (shift.Reference.of, {
            "model": w.model, "cohort": w.cohort, "personal": w.known, "solver": solver, "simulated": (w.cohort, w.known)}),
        "Reference.look": lambda: (reference.look, {
            "person": given.beside(reference.envelopes)[0], "measured": Measured(), "i": 0, "names": ("ka",)}),
        "simulated": lambda: (shift.simulated, {
            "model": w.model, "cohort": w.cohort, "generator": generator(), "people": 2, "solver": solver}),
        "Reference.judge": lambda: (reference.judge, {"given": given, "measured": Measured(), "names": ("ka",)}),
        "Reference.from_dict": lambda: (shift.Reference.from_dict, {"data": reference.to_dict()}),
        "compared": lambda: (shift.compared, {
            "prediction": w.prediction, "reference": reference, "model": w.model, "known": w.cohort, "asked": w.cohort,
            "personal": w.known, "solver": solver}),
        "update": Call(lambda: (shift.update, {
            "outcome": outcome, "generator": generator(), "level": 0.8, "repeats": 1}), dear=True),
        "Update.from_dict": lambda: (shift.Update.from_dict, {
            "data": shift.update(outcome, generator=generator(), repeats=1).to_dict()}),
    })
