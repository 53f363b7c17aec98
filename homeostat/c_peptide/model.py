"""Known kinetics, a learned secretion, and one number β per person that the secretion is learned with.

    dC/dt = −(k0 + k2) C + k1 Y + k0·basal + production,   dY/dt = −k1 Y + k2 C,
    production = NN(g, β) − NN(0, β)

The rates are Van Cauter's, from age and diabetes status (`physics.VanCauter`). g is all that is known of a glucose drink: the
rise of glucose, how fast it rises, its area so far, and a curve in time, the same for everyone, that stands for the gut's signal.
With the rise alone this is the conditional universal differential equation of de Rooij, O'Donovan & van Riel (npj Syst. Biol.
Appl. 11 (2025) 84).
"""

from collections.abc import Generator, Sequence
from dataclasses import replace
from types import MappingProxyType

import numpy as np
from rich.console import Console
from torch import Tensor

from homeostat.c_peptide.beta import SOLVER, standardise
from homeostat.progress import Interruption, watched
from hybrid import HybridModel, Mesh, Signal, States
from learned import MLP, AdditiveProportional
from physics import VanCauter, VanCauterPopulation
from training import Cohort, Fitted, Objective, Record, Search, Step, fit, recorded

# Chosen by five-fold cross-validation on the training people: summed squared error and forecast RMSE of people not seen, over
# several draws of folds, 3 to 12 members averaged. The rise of glucose alone: .37, .59. Slope and area as well: .26, .53; the
# gut's curve: .25, .525. Three hidden layers and fewer steps: .24, .52. A draw of folds moves the second by .01, and one person,
# whose C-peptide keeps climbing, makes over 40 % of its square. Widths from 5, 200 to 400 steps, weight decay and bootstrap
# changed about as little; tanh fits better (.21) and forecasts no better; body mass, type, glucose or C-peptide at 0 min as
# covariates, and a heavy-tailed loss, did not help. More of it in benchmarks/README.md.
HIDDEN = (8, 8, 8)
STEPS, RATE = 250, 0.1
MESH = Mesh(step=7.5)  # min; of training and of every prediction
FORECAST_FROM = 60.0  # min
RESIDUAL_INPUTS = MappingProxyType({"slope": "mmol/L/min", "area": "mmol/L.min", "gut": "1"})


def drinking(record: Record) -> Record:
    """The same person with the three inputs that are made of the measured glucose and of time; C-peptide is never below 0.

    With glucose linear between its samples the slope is held between them, exactly; the area is exact at the knots. `gut` is
    t/30 · exp(1 − t/30): it peaks 30 min after the drink, about when GLP-1 and GIP do (Nauck & Meier, Diabetes Obes.
    Metab. 20 (2018) S1 5). The network learns what to make of it.
    """
    record = record.on_own_clock()  # the drink is at 0
    glucose = record.schedule.inputs["glucose"]
    end = float(record.times[-1])
    knots = np.linspace(0.0, end, 1 + round(end / 7.5))
    rise = np.array([glucose.at(t) for t in knots])
    area = np.concatenate([[0.0], np.cumsum(np.diff(knots) * (rise[1:] + rise[:-1]) / 2.0)])
    slope = np.diff(glucose.values) / np.diff(glucose.times)
    made = {
        "slope": Signal(glucose.times[:-1], tuple(slope.tolist()), "held"),
        "area": Signal(tuple(knots.tolist()), tuple(area.tolist())),
        "gut": Signal(tuple(knots.tolist()), tuple(gut(knots).tolist())),
    }
    return replace(record, schedule=record.schedule.do(inputs=made), nonnegative=record.channels)


def gut(time: np.ndarray) -> np.ndarray:
    """The curve that stands for the gut's signal, `time` min after the drink: 1 where it is highest, at 30 min."""
    return time / 30.0 * np.exp(1.0 - time / 30.0)


def build() -> HybridModel:
    """One member of the model, untrained."""
    # ε changes plasma alone, and of the inputs it sees all but basal. A rise of 8 mmol/L, by .125 mmol/L/min, for an hour, and
    # a rate of 1/8 nmol/L/min are the sizes to expect.
    production = MLP(
        hidden=HIDDEN,
        activation="softplus",
        sees_states=False,
        sees_inputs=("glucose", *RESIDUAL_INPUTS),
        acts_on=("plasma",),
        input_scale={"basal": 1.0, "glucose": 8.0, "slope": 0.125, "area": 512.0, "gut": 1.0},
        rate_scale=0.125,
    )
    return HybridModel(
        VanCauter(RESIDUAL_INPUTS),
        VanCauterPopulation(),
        production,
        observation=States(("plasma",), ["C-peptide"], ["nmol/L"]),
        noise=AdditiveProportional([0.2], [0.02], [0.02]),
        latents=1,
    )


def people(records: Sequence[Record], model: HybridModel) -> Cohort:
    """These people on the mesh, with all the inputs that the model has, where the model is."""
    return Cohort.of([drinking(r) for r in records], model, MESH).to(model.device)


def steps_of(
    model: HybridModel,
    cohort: Cohort,
    weights: Tensor,  # (M, N)
    steps: int,
) -> Generator[Step, None, None]:
    """The steps of fitting every member."""
    # The backbone has no parameter to fit, so the residual cannot absorb any of it: it need not be kept small.
    # Nobody is held out to stop early: in the cross-validation that made forecasts worse, looks being noisy.
    objective = Objective(weights=weights, least_residual=0.0)
    return fit(model, cohort, objective=objective, search=Search(steps=steps, rate=RATE, solver=SOLVER))


def train(
    model: HybridModel,
    cohort: Cohort,
    weights: Tensor,  # (M, N)
    steps: int,
    console: Console,
) -> tuple[Fitted, Interruption | None, list[Tensor]]:
    """Fit every member under a progress bar, and give β its unit; where it was interrupted, and every step's losses (M,).

    Ctrl-C keeps the last complete step.
    """
    losses: list[Tensor] = []
    best, interruption = watched(recorded(steps_of(model, cohort, weights, steps), losses), "hybrid", console)
    return standardise(best, weights), interruption, losses
