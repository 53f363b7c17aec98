# %% [markdown]
# # Warfarin: two channels, one mechanism
#
# Warfarin by mouth lowers the activity of the clotting factors, days later and longer than it is in the blood. What
# happens in between is in print, and not linear: an `InhibitedProduction` behind an absorption in two steps. Both
# channels, the concentration and the activity, are fitted together, and what is fitted is proved to forget how it began.
#
# The people are made here from the mechanism itself, so that the truth is known. Nothing is learned beside it: that
# would be one more argument of `HybridModel`.

# %%
from collections.abc import Sequence
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import torch

from exchange import lure_of
from hybrid import Dose, Exponential, HybridModel, Mesh, Schedule, States, conditions_of, predict, simulate
from learned import AdditiveProportional
from physics import LogNormalPopulation, Parameter
from physics.shelf import WarfarinTurnover
from stability import Box, Inputs, certify, check, decay_in_words
from training import Cohort, Record, Search, at_times, fit_population, last, personalise

mechanism = WarfarinTurnover()
mechanism

# %% [markdown]
# ## 1 · Sixteen people
#
# Everyone takes 1.5 mg/kg once. θ is log-normal between people, CL and V grow with weight. Concentrations over six days
# with an error of .2 mg/L and 8 %, activities with one of 2 % of normal and 4 %.

# %%
seeds = torch.Generator().manual_seed(14)
generator = np.random.default_rng(14)
POWERS = {"V": {"WT": (70.0, 1.0, "kg")}, "CL": {"WT": (70.0, 0.75, "kg")}}
SPREAD = [0.5, 0.5, 0.25, 0.2, 0.02, 0.3, 0.15, 0.08]  # of ktr, ka, CL, V, Emax, EC50, kout, E0
TIMES = np.array([1.0, 3.0, 6.0, 12.0, 24.0, 36.0, 48.0, 72.0, 96.0, 144.0])  # h
ERROR = {"additive": [0.2, 2.0], "proportional": [0.08, 0.04]}  # of cp in mg/L, of pca in %
UNITS = {"time": "h", "cp": "mg/L", "pca": "%", "WT": "kg", "dose": "mg"}


def model_of(parameters: Sequence[Parameter], spread: Sequence[float], learn_spread: bool = False) -> HybridModel:
    return HybridModel(
        mechanism,
        LogNormalPopulation(parameters, spread, POWERS, learn_spread=learn_spread),
        observation=States(["CP", "PCA"], channels=["cp", "pca"]),
        noise=AdditiveProportional(**ERROR, floor=[0.02, 0.2]),
    )


truth, records, true = model_of(mechanism.physical, SPREAD), [], []
for i in range(16):
    weight = float(generator.uniform(50.0, 100.0))
    schedule = Schedule(doses=(Dose("depot", 0.0, 1.5 * weight),))
    eta = torch.tensor(generator.standard_normal((1, 1, 8)))
    theta = truth.theta(eta, {"WT": torch.tensor([weight], dtype=torch.float64)})[0, 0].detach()
    y = simulate(truth, schedule, TIMES, theta)[:, [2, 3]].numpy()
    sd = np.sqrt(np.square(ERROR["additive"]) + np.square(ERROR["proportional"] * y))
    values = y + sd * generator.standard_normal(y.shape)
    records.append(Record(f"{i + 1}", schedule, TIMES, values, ("cp", "pca"), {"WT": weight}, units=UNITS))
    true.append(theta)
true = torch.stack(true)  # (N, q)
records[0]

# %% [markdown]
# ## 2 · Fit
#
# The search begins up to 40 % off the truth, and is not told the spread. What each person's own θ may be is integrated out:
# one likelihood of both channels, in which an activity says something of a concentration that nobody measured.

# %%
OFF = (0.7, 1.4, 0.7, 1.4, 0.97, 0.7, 1.4, 0.8)
start = [replace(p, typical=p.typical * by) for p, by in zip(mechanism.physical, OFF, strict=True)]
model = model_of(start, [0.4, 0.4, 0.3, 0.3, 0.05, 0.4, 0.3, 0.2], learn_spread=True)
cohort = Cohort.of(records, model, Mesh(6.0))  # steps of six hours: exponential ones take what decays fast exactly
found = last(fit_population(model, cohort, search=Search(steps=25, solver=Exponential()), tolerance=0.1))
model = found.model
nobody, of70 = torch.zeros(1, 1, 8, dtype=torch.float64), {"WT": torch.tensor([70.0], dtype=torch.float64)}
with torch.no_grad():
    typical, was = (one.theta(nobody, of70)[0, 0].tolist() for one in (model, truth))
    spread = model.population.omega[0].tolist()
for k, p in enumerate(mechanism.physical):
    print(f"{p.name:>5} {typical[k]:7.3f} {p.unit}, true {was[k]:7.3f}; spread {spread[k]:.2f}, true {SPREAD[k]:.2f}")

# %% [markdown]
# ## 3 · Look
#
# Four of them: the fit at their most likely θ, with the error of measurement, beside what was measured.

# %% mystnb={"image": {"alt": "Four people: concentrations rise in hours, fall for days; activity falls below half, and turns"}}
people = personalise(model, cohort, solver=Exponential())
times = torch.linspace(0.0, 144.0, 97, dtype=torch.float64)
figure, panels = plt.subplots(2, 4, figsize=(11, 4.6), sharex=True, sharey="row", layout="constrained")
for i in range(4):
    one = cohort.people(torch.tensor([i]))
    conditions = conditions_of(
        model, [records[i].schedule], [times.tolist()], covariates={"WT": [records[i].covariates["WT"]]}
    )
    answer = predict(model, at_times(one, conditions, times[None]), people.mode[:, None, [i]])
    low, high = answer.quantile([0.1, 0.9])[:, 0]
    for row, unit in enumerate(("cp (mg/L)", "pca (%)")):
        axes = panels[row, i]
        axes.fill_between(times, low[:, row], high[:, row], color="tab:blue", alpha=0.3, label="80 %")
        axes.plot(times, answer.point[0, :, row], color="tab:blue")
        axes.plot(TIMES, records[i].values[:, row], "k.", label="measured")
        if i == 0:
            axes.set_ylabel(unit)
    panels[0, i].set_title(f"person {records[i].id}")
    panels[1, i].set_xlabel("time since the dose (h)")
panels[0, 0].legend(fontsize=8)
plt.show()

# %% [markdown]
# Everyone's own θ, found from both channels together, beside the one that they were made with. EC50, of which one dose
# says less, is drawn towards the typical one:

# %% mystnb={"image": {"alt": "Three panels, CL, EC50 and E0: most likely against true, a dot a person, beside the diagonal"}}
with torch.no_grad():
    own = model.theta(people.mode, cohort.conditions.covariates)[0]  # (N, q)
figure, panels = plt.subplots(1, 3, figsize=(9, 3), layout="constrained")
for axes, k in zip(panels, (2, 5, 7), strict=True):
    axes.plot(true[:, k], own[:, k], "o", color="tab:blue", markersize=4)
    axes.axline((float(true[0, k]),) * 2, slope=1.0, color="k", linestyle=":", linewidth=1)
    name, unit = mechanism.physical[k].name, mechanism.physical[k].unit
    axes.set(title=f"{name} ({unit})", xlabel="true", ylabel="most likely")
plt.show()

# %% [markdown]
# ## 4 · A proof
#
# The inhibition saturates: its slope lies between 0 and Emax E0 kout/EC50 wherever there is no less than nothing of the
# drug. That nobody has less than nothing is proved too, with doses of up to 200 mg every twelve hours or later; so this
# is a certificate, of all sixteen people at once, and not only a rate on a region.

# %%
system = lure_of(model, people.mode, cohort.conditions.covariates)
amounts = Box([0.0, 0.0, 0.0, -np.inf], [np.inf] * 4)
doses = Inputs([], [], doses=[[0.0] * 4, [200.0, 0.0, 0.0, 0.0]], gap=12.0)
result = certify(system, region=amounts, inputs=doses)
print(
    f"the distance {decay_in_words(result.rate, 'h')}; proved again: {check(result, system)}"
    if result
    else result.message
)
result
