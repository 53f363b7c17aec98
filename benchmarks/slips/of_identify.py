"""One valid call of every public name and method of `training.identify`, tiny."""

from benchmarks.slips.attempt import Call, of
from benchmarks.slips.world import schedule, world
from hybrid import Concentration, Exponential, HybridModel
from learned import Constant
from physics import LogNormalPopulation
from training import identify


def rows() -> dict[str, Call]:
    w = world()
    population = LogNormalPopulation(w.backbone, spread={"ka": 0.6, "ke": 0.2, "V": 0.2}, learn_spread=True)
    model = HybridModel(w.backbone, population, observation=Concentration("plasma", "V"), noise=Constant([0.5], [0.01]))
    solver = Exponential(rtol=1e-6)
    arm = identify.Arm(schedule(), (1.0, 4.0, 12.0), people=3)
    asked = {"model": model, "design": arm, "parameters": ("ka", "V"), "solver": solver}
    return of("training.identify", {
        "Arm": lambda: (identify.Arm, {
            "schedule": schedule(), "times": (1.0, 4.0), "people": 3, "covariates": {"WT": 70.0},
            "baseline": {"concentration": 0.0}}),
        "sensitivities": Call(lambda: (identify.sensitivities, dict(asked)), dear=True),
        "person_information": Call(lambda: (identify.person_information, {**asked, "of": "theta", "prior": False}), dear=True),
        "population_information": Call(lambda: (identify.population_information, {
            "model": model, "design": arm, "kind": "reduced", "solver": solver}), dear=True),
        "compare_designs": Call(lambda: (identify.compare_designs, {
            "model": model, "designs": {"one": arm}, "parameters": ("ka", "V"), "of": "theta", "solver": solver}), dear=True),
        "other_optima": Call(lambda: (identify.other_optima, {**asked, "starts": 1}), dear=True),
    })
