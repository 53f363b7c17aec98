# %% [markdown]
# # A drug study: twelve people and one dose
#
# Theophylline by mouth, eleven samples in a day: read the table, fit a small ensemble, prove that it contracts,
# forecast people that it never saw, look whether its probabilities mean what they say, and ask what another dose would
# have done. `homeostat demo` does all of it at full length, from the shell.

# %%
import matplotlib.pyplot as plt
import torch

from exchange import lure_of
from homeostat.data import THEOPHYLLINE_UNITS, theophylline
from hybrid import Concentration, Dose, HybridModel, conditions_of, predict
from learned import MLP, AdditiveProportional
from physics import LogNormalPopulation, OneCompartmentOral
from stability import certify, check, decay_in_words
from training import (
    Cohort,
    Looks,
    Objective,
    Plan,
    Search,
    Stability,
    at_times,
    fit,
    forecast_unseen,
    last,
    personalise,
    read_nonmem,
    starting_values,
)
from training.trust import Outcome, score_table, uncertainty_report

generator = torch.Generator().manual_seed(2026)

# %% [markdown]
# ## 1 · Read
#
# Units are stated, never guessed. A table of your own has the same columns.

# %%
records = read_nonmem(theophylline(), units=THEOPHYLLINE_UNITS)
records[0]

# %% [markdown]
# ## 2 · Fit
#
# What is known is a gut that empties into plasma, and plasma that is cleared: two rates and a volume, which differ
# from person to person and grow with weight. What is learned vanishes where there is no drug. Typical values are read
# off the data; then four members, and three times four that never see the people of their fold, are trained as one
# computation.

# %%
powers = {"V": {"WT": (70.0, 1.0, "kg")}}
start = starting_values(records, OneCompartmentOral(), powers)
print(start.sentence)
template = HybridModel(
    start.backbone,
    LogNormalPopulation(start.backbone, spread={"ka": 0.6, "ke": 0.2, "V": 0.2}, powers=powers),
    MLP(hidden=(8,), separable=True, state_scale=320.0, rate_scale=0.08),
    observation=Concentration("plasma", "V", channel="concentration", unit="mg/L"),
    noise=AdditiveProportional(additive=[0.5], proportional=[0.1], floor=[0.03]),
)
cohort = Cohort.of(records, template)
plan = Plan.of(people=len(records), members=4, folds=3, generator=generator)
objective = Objective(
    weights=plan.weights,
    held_out=plan.held_out,
    stability=Stability.of(template, cohort.conditions.covariates),
    forecast_from=2.5,
)
stack = last(
    fit(plan.stack(template, generator), cohort, objective, Search(steps=90, rate=0.05), Looks(every=15))
).model
model = plan.final(stack)
model

# %% [markdown]
# ## 3 · Certify
#
# One metric for all members and all people: in it any two courses with the same doses approach each other at the
# stated rate or faster.

# %%
people = personalise(model, cohort)
system = lure_of(model, people.mode, cohort.conditions.covariates)
result = certify(system)
print(
    f"the distance {decay_in_words(result.rate, 'h')}; proved again: {check(result, system)}"
    if result
    else result.message
)
result

# %% [markdown]
# ## 4 · Forecast
#
# Everyone is forecast from the samples of their first 2½ hours, by the members that never saw them.

# %%
known, later = cohort.until(2.5), cohort.after(2.5)
unseen = forecast_unseen(plan, stack, known, later, generator=generator)
outcome = Outcome.of(unseen, later)
score_table(outcome)

# %% mystnb={"image": {"alt": "Six people's measurements and the 80 % intervals of their forecasts, which fall with time"}}
figure, panels = plt.subplots(2, 3, figsize=(10, 5), sharex=True, sharey=True, layout="constrained")
low, high = unseen.quantile([0.1, 0.9])[..., 0].clamp(min=0.0)
for axes, i in zip(panels.flat, range(6), strict=True):
    axes.fill_between(unseen.times[i], low[i], high[i], color="tab:blue", alpha=0.3, label="80 % interval")
    axes.plot(unseen.times[i], unseen.point[i, :, 0], color="tab:blue", label="mean")
    axes.plot(known.times[i], known.y[i, :, 0], "k.", label="known")
    axes.plot(later.times[i], later.y[i, :, 0], "ko", fillstyle="none", markersize=4, label="never seen")
    axes.axvline(2.5, color="k", linestyle=":", linewidth=1)
    axes.set_title(f"person {records[i].id}")
for axes in panels[-1]:
    axes.set_xlabel("time since the dose (h)")
for axes in panels[:, 0]:
    axes.set_ylabel("concentration (mg/L)")
panels[0, 0].legend(fontsize=7)
plt.show()

# %% [markdown]
# ## 5 · May it be believed?
#
# Each number is judged beside what a perfectly calibrated forecaster of these twelve people would show; with so few,
# that is a wide band.

# %%
report = uncertainty_report(outcome, generator=generator, resample="bootstrap")
print(*report.verdicts, sep="\n")

# %% [markdown]
# ## 6 · What if the dose had been split in two?
#
# The first person, half of the dose at once and half after eight hours, under their own parameters with what is not
# known of them.

# %% mystnb={"image": {"alt": "The 80 % interval as given, and that of two halves, which peaks later and lower"}}
first = cohort.people(torch.tensor([0]))
(dose,) = records[0].schedule.doses
halved = records[0].schedule.do(Dose("gut", dose.time, dose.amount / 2), Dose("gut", dose.time + 8.0, dose.amount / 2))
times = torch.linspace(0.0, 25.0, 101, dtype=torch.float64)
draws = people.draws(16, generator)[:, :, :1]
weight = {"WT": [records[0].covariates["WT"]]}
figure, axes = plt.subplots(figsize=(6, 3.2), layout="constrained")
for schedule, colour, label in ((records[0].schedule, "tab:gray", "as given"), (halved, "tab:orange", "in two halves")):
    conditions = conditions_of(
        model, [schedule], [times.tolist()], covariates=weight, baseline=first.conditions.baseline
    )
    answer = predict(model, at_times(first, conditions, times[None]), draws)
    low, high = answer.quantile([0.1, 0.9])[:, 0, :, 0].clamp(min=0.0)
    axes.fill_between(times, low, high, color=colour, alpha=0.4, label=f"{label}, 80 %")
axes.plot(records[0].times, records[0].values[:, 0], "k.", label="measured, as given")
axes.set(xlabel="time since the dose (h)", ylabel="concentration (mg/L)", title=f"person {records[0].id}")
axes.legend(fontsize=8)
plt.show()

# %% [markdown]
# Nobody in the table had a dose after the first: what is said here of the second half rests on the model alone, and no
# interval knows that. `homeostat simulate`, asked the same of a bundle, says so beside its answer where a dose or a
# state goes beyond those of training.
