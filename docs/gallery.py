# %% [markdown]
# # Gallery
#
# Every picture is a function that draws on matplotlib axes and returns them: on a figure of its own, or on axes of
# yours. Each stands here below the code that makes it, all of them of one small study, the twelve people of the [drug
# study](../examples/drug_study.py) with fewer steps. `homeostat demo` and `homeostat report` draw the same from a
# bundle.

# %%
import matplotlib.pyplot as plt  # whose being there makes a notebook show figures
import numpy as np
import torch

from exchange import Bundle, lure_of
from homeostat.data import THEOPHYLLINE_UNITS, theophylline
from homeostat.gallery.theta import theta_of
from homeostat.pictures import (
    Observed,
    Phase,
    Reliability,
    member_mean_field,
    nearby,
    observed_axes,
    people_axes,
    phase_axes,
    reliability_axes,
    theta_axes,
    what_if_axes,
)
from hybrid import Concentration, HybridModel
from learned import MLP, AdditiveProportional
from physics import LogNormalPopulation, OneCompartmentOral
from stability import certify
from training import Cohort, Objective, Plan, Search, fit, forecast_unseen, last, personalise, read_nonmem

plt.close("all")
generator = torch.Generator().manual_seed(2026)
records = read_nonmem(theophylline(), units=THEOPHYLLINE_UNITS)
backbone = OneCompartmentOral()
template = HybridModel(
    backbone,
    LogNormalPopulation(backbone, spread={"ka": 0.6, "ke": 0.2, "V": 0.2}),
    MLP(hidden=(8,), separable=True, state_scale=320.0, rate_scale=0.08),
    observation=Concentration("plasma", "V", channel="concentration", unit="mg/L"),
    noise=AdditiveProportional(additive=[0.5], proportional=[0.1], floor=[0.03]),
)
cohort = Cohort.of(records, template)
plan = Plan.of(people=len(records), members=3, folds=2, generator=generator)
objective = Objective(weights=plan.weights, held_out=plan.held_out, forecast_from=2.5)
stack = last(fit(plan.stack(template, generator), cohort, objective, Search(steps=40, rate=0.06))).model
model = plan.final(stack)
people = personalise(model, cohort)
bundle = Bundle.of(model, cohort, people)
known, later = cohort.until(2.5), cohort.after(2.5)
unseen = forecast_unseen(plan, stack, known, later, generator=generator)

# %% [markdown]
# ## People, and both uncertainties

# %%
chosen = torch.arange(4)
axes = people_axes(
    unseen.people(chosen), [records[i] for i in chosen], forecast_from=2.5, title="Never seen in training"
)

# %% [markdown]
# ## Observed against predicted

# %%
axes = observed_axes({"forecast": Observed.of(unseen, later.y)})

# %% [markdown]
# ## When the model says 70 %, does it happen?

# %%
asked = torch.isfinite(later.y)
happened = torch.where(asked, (later.y > 5.0).double(), torch.nan)
pit = torch.where(asked, unseen.cdf(later.y.nan_to_num()), torch.nan)
axes = reliability_axes(Reliability.of(unseen.exceeds(5.0), happened, pit, event="above 5 mg/L", generator=generator))

# %% [markdown]
# ## The parameters of everyone, in their ranges

# %%
axes = theta_axes(theta_of(model, cohort, people))

# %% [markdown]
# ## What if?

# %%
times = np.linspace(0.0, 25.0, 101).tolist()
schedules = {"as given": records[0].schedule, "split in two": records[0].schedule.do("split gut in 2 every 8")}
answers = {name: bundle.forecast(records[0].id, schedule, times) for name, schedule in schedules.items()}
axes = what_if_axes(answers, schedules=schedules, threshold=8.0, time_unit="h", nonnegative=("concentration",))

# %% [markdown]
# ## The proof beside what is computed

# %%
result = certify(lure_of(model, people.mode, cohort.conditions.covariates))
assert result, result.message
metric = np.asarray(result.metric)
first = nearby((320.0, 0.0), metric, 60.0 * float(np.sqrt(np.linalg.eigvalsh(metric)[0])))
phase = Phase.of(
    member_mean_field(model, people.mode[:, [0]], records[0].covariates),
    np.stack([first, np.array([[60.0, 240.0], [110.0, 240.0]])]),
    np.linspace(0.0, 24.0, 241),
    metric=metric,
    rate=result.rate,
    states=backbone.states,
    units=backbone.state_units,
    time_unit="h",
    lowest=(0.0, 0.0),
)
axes = phase_axes(phase)
