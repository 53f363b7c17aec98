# %% [markdown]
# # Gallery
#
# Every picture is a function that draws on matplotlib axes and returns them: on a figure of its own, or on axes of
# yours. Each stands here below the code that makes it, all of them of one small study, the twelve people of the [drug
# study](../examples/drug_study.py) with fewer steps. `homeostat demo` and `homeostat report` draw the same from a
# bundle.

# %%
from pathlib import Path
from tempfile import mkdtemp

import matplotlib.pyplot as plt  # whose being there makes a notebook show figures
import numpy as np
import torch

from exchange import Bundle, lure_of
from homeostat.data import THEOPHYLLINE_UNITS, theophylline
from homeostat.gallery.judged import rings_of
from homeostat.gallery.theta import theta_of
from homeostat.pictures import (
    Observed,
    Phase,
    Reliability,
    figure_of,
    hero_axes,
    horizons_axes,
    ignorance_axes,
    member_mean_field,
    nearby,
    observed_axes,
    people_axes,
    phase_axes,
    reliability_axes,
    theta_axes,
    what_if_axes,
    write_picture,
)
from hybrid import Concentration, HybridModel
from learned import MLP, AdditiveProportional
from physics import LogNormalPopulation, OneCompartmentOral
from stability import certify
from training import Cohort, Objective, Plan, Search, fit, forecast_unseen, last, personalise, read_nonmem
from training.trust import Outcome, uncertainty_report

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

# %% mystnb={"image": {"alt": "Four panels, one a person: forecast, both bands, measurements before and after 2.5 h"}}
chosen = torch.arange(4)
axes = people_axes(
    unseen.people(chosen), [records[i] for i in chosen], forecast_from=2.5, title="Never seen in training"
)

# %% [markdown]
# ## Observed against predicted

# %% mystnb={"image": {"alt": "Measured against predicted concentration, each dot with its interval, beside the diagonal"}}
axes = observed_axes({"forecast": Observed.of(unseen, later.y)})

# %% [markdown]
# ## When the model says 70 %, does it happen?

# %% mystnb={"image": {"alt": "Left, observed frequency against stated probability; right, share below each quantile"}}
asked = torch.isfinite(later.y)
happened = torch.where(asked, (later.y > 5.0).double(), torch.nan)
pit = torch.where(asked, unseen.cdf(later.y.nan_to_num()), torch.nan)
reliability = Reliability.of(unseen.exceeds(5.0), happened, pit, event="above 5 mg/L", generator=generator)
axes = reliability_axes(reliability)

# %% [markdown]
# ## How far ahead, and what is the uncertainty made of?
#
# Coverage, width, parts of the variance and the histogram of the probability integral transform, of one channel of an
# `uncertainty_report`: all four, or each by itself (`coverage_axes`, `sharpness_axes`, `split_axes`, `pit_axes`).

# %% mystnb={"image": {"alt": "Four panels: coverage by horizon, width of the intervals, parts of the variance, PIT"}}
report = uncertainty_report(Outcome.of(unseen, later), generator=generator, levels=(0.8, 0.95), resample="bootstrap")
axes = horizons_axes(report.channels[0], time_unit="h")

# %% [markdown]
# ## Where does the model know little?
#
# On the right the members' disagreement about the vector field itself, on rings around the states of training
# (`rings_axes` draws that alone).

# %% mystnb={"image": {"alt": "Left, parts of the variance by predicted value; right, the members part away from the data"}}
axes = ignorance_axes(report.channels[0], rings_of(model, cohort, people), time_unit="h")

# %% [markdown]
# ## The parameters of everyone, in their ranges

# %% mystnb={"image": {"alt": "Three strips, ka, ke and V: a stroke for each person, a dot for the typical value"}}
axes = theta_axes(theta_of(model, cohort, people))

# %% [markdown]
# ## What if?

# %% mystnb={"image": {"alt": "The dose as given peaks above the threshold of 8 mg/L; split in two it peaks lower, twice"}}
times = np.linspace(0.0, 25.0, 101).tolist()
schedules = {"as given": records[0].schedule, "split in two": records[0].schedule.do("split gut in 2 every 8")}
answers = {name: bundle.forecast(records[0].id, schedule, times) for name, schedule in schedules.items()}
axes = what_if_axes(answers, schedules=schedules, threshold=8.0, time_unit="h", nonnegative=("concentration",))

# %% [markdown]
# ## The proof beside what is computed

# %% mystnb={"image": {"alt": "Left, two pairs of trajectories and shrinking ellipses; right, their distances as promised"}}
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

# %% [markdown]
# ## All in one, and written to files
#
# The wide picture at the head of a demo's page. `write_picture` writes it twice, as SVG and as PNG, with its words; what
# it returns shows itself. An SVG takes the colours of the page that it is put into.

# %%
axes = hero_axes(unseen, records, reliability, phase, forecast_from=2.5, people=(0, 4))
words = "Two people forecast, stated probabilities beside what happened, and two trajectories in their ellipses."
folder = Path(mkdtemp())
picture = write_picture(figure_of(axes), folder, "hero", title="All in one", caption="Read from left to right.", alt=words)
plt.close("all")
picture
