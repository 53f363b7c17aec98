# %% [markdown]
# # The shelf in pictures
#
# One plot of every mechanism that is [on the shelf](../physics/README.md#the-shelf), at its typical θ; above each what
# is given. Where that names no start, drugs and the stomach are empty, and all else is at rest; inputs that it does not
# name are at their typical levels. Nothing is learned here: that would be one more argument of `HybridModel`.

# %%
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes

from hybrid import HybridModel, Schedule, Signal, States, simulate
from learned import Constant
from physics import Mechanism, SharedPopulation, shelf

plt.close("all")
READ = {"1": "share", "Cel": "°C", "mm[Hg]": "mmHg"}  # codes of units, as they are read


@dataclass(frozen=True)
class Scene:
    """What a plot shows of a mechanism until a time, in its units; `words` say it.

    `start`: where states start, the others at 0; none for the model's own. `inputs`: from when on, which level.
    """

    kind: type[Mechanism]
    until: float
    words: str
    start: Mapping[str, float] = field(default_factory=dict)
    inputs: Mapping[str, Sequence[tuple[float, float]]] = field(default_factory=dict)


def size_of(largest: float) -> float:
    """The 1, 2 or 5 times a power of ten nearest below."""
    ten = 10.0 ** math.floor(math.log10(largest))
    return ten * max(n for n in (1.0, 2.0, 5.0) if n * ten <= largest * 1.001)


def draw(axes: Axes, scene: Scene) -> None:
    """Its states against time in their unit; where there are several, each state in a size that the legend tells."""
    one = scene.kind()
    typical = {p.name: p.typical for p in one.physical}
    error = [1.0] * len(one.states)  # that a model has; nothing is measured here
    seen, noise = States(list(one.states)), Constant(error, floor=error)
    model = HybridModel(one, SharedPopulation(one, values=typical), observation=seen, noise=noise)
    levels = {name: scene.inputs.get(name, [(0.0, one.typical_inputs.get(name, 0.0))]) for name in one.inputs}
    held = {n: Signal(tuple(t for t, _ in s), tuple(v for _, v in s), "held") for n, s in levels.items()}
    times = torch.linspace(0.0, scene.until, 161, dtype=torch.float64)
    theta = torch.tensor(list(typical.values()), dtype=torch.float64)
    start = torch.tensor([scene.start.get(name, 0.0) for name in one.states], dtype=torch.float64)
    with torch.no_grad():
        path = simulate(model, Schedule(inputs=held), times, theta, start if scene.start else None)
    units = {name: READ.get(unit, unit) for name, unit in one.states.items()}
    alike = len(set(units.values())) == 1
    for k, (name, unit) in enumerate(units.items()):
        size = 1.0 if alike else size_of(path[:, k].abs().max().item())
        axes.plot(times, path[:, k] / size, label=name if alike else f"{name} / {size:g} {unit}", color=f"C{k}")
    axes.set_title(f"{one.name}\n", fontsize=11)
    axes.text(0.5, 1.03, scene.words, transform=axes.transAxes, ha="center", fontsize=9)
    axes.set_xlabel(f"time ({one.time_unit})")
    axes.set_ylabel(next(iter(units.values())) if alike else "in the size named")
    if alike:
        axes.legend(fontsize=8)
    else:  # long names, above the lines
        axes.set_ylim(top=axes.get_ylim()[1] * (1.1 + 0.17 * math.ceil(len(units) / 2)))
        axes.legend(fontsize=8, ncols=2, loc="upper center")


def panels(*scenes: Scene) -> None:
    """A panel for each, in two columns."""
    rows = math.ceil(len(scenes) / 2)
    _, grid = plt.subplots(rows, 2, figsize=(8, 2.9 * rows), layout="constrained", squeeze=False)
    for axes in grid.flat[len(scenes) :]:
        axes.set_visible(False)
    for axes, scene in zip(grid.flat, scenes, strict=False):
        draw(axes, scene)


# %% [markdown]
# ## Compartments
#
# Left in clearances, right in rate constants, which are those of the left, rounded.

# %% mystnb={"image": {"alt": "Twelve plots, alike left and right: a dose leaves where it is given; the rest fills, and falls"}}
panels(
    Scene(shelf.OneCompartment, 48.0, "300 mg into plasma", {"plasma": 300.0}),
    Scene(shelf.OneCompartmentRates, 48.0, "300 mg into plasma", {"plasma": 300.0}),
    Scene(shelf.OneCompartmentByMouth, 48.0, "300 mg by mouth", {"gut": 300.0}),
    Scene(shelf.OneCompartmentByMouthRates, 48.0, "300 mg by mouth", {"gut": 300.0}),
    Scene(shelf.TwoCompartments, 24.0, "1000 mg into plasma", {"plasma": 1000.0}),
    Scene(shelf.TwoCompartmentsRates, 24.0, "1000 mg into plasma", {"plasma": 1000.0}),
    Scene(shelf.TwoCompartmentsByMouth, 24.0, "1000 mg by mouth", {"gut": 1000.0}),
    Scene(shelf.TwoCompartmentsByMouthRates, 24.0, "1000 mg by mouth", {"gut": 1000.0}),
    Scene(shelf.ThreeCompartments, 2.0, "200 mg into plasma", {"plasma": 200.0}),
    Scene(shelf.ThreeCompartmentsRates, 2.0, "200 mg into plasma", {"plasma": 200.0}),
    Scene(shelf.ThreeCompartmentsByMouth, 12.0, "200 mg by mouth", {"gut": 200.0}),
    Scene(shelf.ThreeCompartmentsByMouthRates, 12.0, "200 mg by mouth", {"gut": 200.0}),
)
plt.show()

# %% [markdown]
# ## Elimination that saturates, and effects
#
# A response and an effect compartment have a concentration C as their input: here it is given, and `series` puts them
# behind a drug. `WarfarinTurnover`, `Marsh` and `Schnider` have the drug before them.

# %% mystnb={"image": {"alt": "Ten plots: plasma falls almost straight, then bends; responses go from 100 % and return"}}
DAY = {"C": [(0.0, 0.0), (6.0, 5.0), (30.0, 0.0)]}  # mg/L from hours on
panels(
    Scene(shelf.MichaelisMenten, 5.0, "1200 mg by mouth", {"gut": 1200.0}),
    Scene(shelf.ParallelElimination, 48.0, "1200 mg by mouth", {"gut": 1200.0}),
    Scene(shelf.InhibitedProduction, 96.0, "C = 5 mg/L from 6 to 30 h", inputs=DAY),
    Scene(shelf.InhibitedLoss, 96.0, "C = 5 mg/L from 6 to 30 h", inputs=DAY),
    Scene(shelf.StimulatedProduction, 96.0, "C = 5 mg/L from 6 to 30 h", inputs=DAY),
    Scene(shelf.StimulatedLoss, 96.0, "C = 5 mg/L from 6 to 30 h", inputs=DAY),
    Scene(shelf.EffectCompartment, 30.0, "C = 5 mg/L for 10 min", inputs={"C": [(0.0, 5.0), (10.0, 0.0)]}),
    Scene(shelf.WarfarinTurnover, 240.0, "100 mg by mouth", {"depot": 100.0, "PCA": 96.5}),
    Scene(shelf.Marsh, 30.0, "200 mg into central", {"central": 200.0}),
    Scene(shelf.Schnider, 30.0, "200 mg into central", {"central": 200.0}),
)
plt.show()

# %% [markdown]
# ## Physiology
#
# `Bergman` as after glucose into a vein. `S2008` at rest, then Ra 3 mg/kg/min for two hours and insulin of 6 pmol/kg/min,
# some five times its basal rate, for one. `S2008Stomach` empties most slowly when about half of the meal is left.

# %% mystnb={"image": {"alt": "Five plots: glucose falls; with a meal it rises; a stomach empties; pressure beats; SIRS swings"}}
FALLING = [(0.0, 100.0), (5.0, 60.0), (15.0, 40.0), (30.0, 25.0), (60.0, 15.0), (90.0, 10.0)]  # m[IU]/L from minutes on
BEATS = [(0.8 * k + late, flow) for k in range(10) for late, flow in ((0.0, 240.0), (0.3, 0.0))]  # mL/s from seconds on
BASAL = shelf.S2008.typical_inputs["insulin"]
panels(
    Scene(shelf.Bergman, 180.0, "from 280 mg/dL; I falls from 100 to 10 mIU/L", {"glucose": 280.0}, {"I": FALLING}),
    Scene(
        shelf.S2008,
        480.0,
        "a meal from 60 to 180 min, insulin from 60 to 120",
        inputs={
            "insulin": [(0.0, BASAL), (60.0, 6.0), (120.0, BASAL)],
            "Ra": [(0.0, 0.0), (60.0, 3.0), (180.0, 0.0)],
        },
    ),
    Scene(
        shelf.S2008Stomach,
        300.0,
        "60 g of carbohydrate, eaten in 15 min",
        inputs={"eaten": [(0.0, 4000.0), (15.0, 0.0)], "Dbar": [(0.0, 60000.0)]},
    ),
    Scene(shelf.Windkessel, 8.0, "Q 240 mL/s for 0.3 s of every 0.8 s", {"pressure": 80.0}, {"Q": BEATS}),
    Scene(shelf.SIRS, 400.0, "1 % infected", {"S": 0.99, "I": 0.01}),
)
plt.show()

# %% [markdown]
# ## Engineering
#
# `CoupledTanks`: above 20 cm the upper one runs over into the lower. `BuildingZone`: the radiators' valve, walls that
# store heat, 100 W/m² of sun.

# %% mystnb={"image": {"alt": "Three plots: a tank runs over, one fills; a load slows a motor; a house cools by night"}}
NIGHTS = [(0.0, 16.0), (6.0, 21.0), (22.0, 16.0), (30.0, 21.0), (46.0, 16.0)]  # °C from hours on
panels(
    Scene(
        shelf.CoupledTanks,
        900.0,
        "q 8 cm³/s, from 300 to 600 s 18 cm³/s",
        inputs={"q": [(0.0, 8.0), (300.0, 18.0), (600.0, 8.0)]},
    ),
    Scene(
        shelf.DCMotor,
        6.0,
        "1 V; from 3 s on a load of 0.005 N·m",
        {"speed": 0.0},
        {"V": [(0.0, 1.0)], "load": [(0.0, 0.0), (3.0, 0.005)]},
    ),
    Scene(shelf.BuildingZone, 48.0, "2 °C outdoors; setpoint 21 °C, from 22 to 6 h 16 °C", inputs={"setpoint": NIGHTS}),
)
plt.show()
