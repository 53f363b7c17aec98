# %% [markdown]
# # One study, from table to report
#
# For pharmacometricians: the study that everybody in the field knows, twelve people who took theophylline by mouth, taken from
# its table to a forecast of somebody new by what this package has for each step. What the field calls it and what it is called
# here stands in [the dictionary](#the-fields-words-and-ours) at the end. Every number and picture below is made by the code above
# it when these pages are built.

# %%
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt  # whose being there makes a notebook show figures
import numpy as np
import torch
from matplotlib.axes import Axes

from homeostat.data import THEOPHYLLINE_UNITS, theophylline
from homeostat.pictures import (
    curves_axes,
    eta_axes,
    expected_errors_axes,
    npde_axes,
    people_axes,
    predictive_check_axes,
    residuals_axes,
)
from hybrid import Concentration, Dose, HybridModel, Schedule, conditions_of
from learned import Combined1, Combined2, Constant, NoiseHead
from physics import Administered, Backbone, LogNormal, MixedPopulation, OneCompartmentOral, PowerOf
from training import (
    Cohort,
    Fitted,
    Record,
    at_times,
    fit_population,
    forecast,
    last,
    personalise,
    read_nonmem,
    starting_values,
)
from training.diagnostics import (
    eta_against_covariates,
    fitted_curves,
    npde,
    predictive_check,
    residuals,
    simulated_cohorts,
)
from training.identify import Arm, compare_designs, other_optima, person_information
from training.inference import (
    Approximation,
    ObjectiveValue,
    likelihood_ratio,
    objective_value,
    parameter_table,
    polish,
)

# %% [markdown]
# ## 1 · The table
#
# ID, TIME, AMT, DV, EVID, CMT and weight, as NONMEM reads it. Units are stated, never guessed. EVID, MDV, RATE, ADDL, II, SS,
# CENS, LIMIT and OCC are read as the field means them, and a row that has no meaning is refused by its line. A value is read with
# the occasion and the covariates of its own row. In one place programs differ, and this one says which it is: a covariate holds from
# its row on, where NONMEM takes a row's values for the time before it
# ([why](decisions/0032-pieces-are-covariates-in-time.md)); `help(read_nonmem)` has the line that moves such a column.

# %%
plt.close("all")
records = read_nonmem(theophylline(), units=THEOPHYLLINE_UNITS)
records[0]

# %% [markdown]
# ## 2 · The model
#
# One compartment, first-order absorption, θ = (ka, CL, V). Nobody had theophylline in them before the dose: `start="empty"` says
# so, and the samples at time 0 are then scored like all others, 132 in all. (By default a sample before the dose *sets* where its
# person starts, which is right where people come with something in their blood, and leaves 120 to score.)
#
# Every parameter is log-normal between people, independently to begin with. The error is additive, again to begin with.

# %%
known = Administered(OneCompartmentOral(parameters="clearance"), start="empty")
CovariateModels = Mapping[str, Sequence[PowerOf]]


def model_of(
    backbone: Backbone,
    noise: NoiseHead,
    correlated: Sequence[Sequence[str]] = (),
    covariates: CovariateModels | None = None,
) -> HybridModel:
    effects = {"ka": LogNormal(0.6), "CL": LogNormal(0.3), "V": LogNormal(0.2)}
    population = MixedPopulation(backbone, effects, correlated=correlated, covariates=covariates)
    return HybridModel(backbone, population, observation=Concentration("plasma", "V"), noise=noise)


def additive() -> NoiseHead:
    return Constant(sd=[0.7], floor=[0.01])  # mg/L


before = model_of(known, additive())
before

# %% [markdown]
# ## 3 · Can such data tell these parameters at all?
#
# That is asked before anything is fitted, of a design: who is given what, and when they are sampled. First of one person's record
# alone. `sentences()` is empty where nothing is wrong.

# %%
dose = Schedule((Dose("gut", 0.0, 320.0),))
rich = Arm(dose, times=(0.25, 0.5, 1.0, 2.0, 3.5, 5.0, 7.0, 9.0, 12.0, 24.0), people=12)
print(person_information(before, rich).sentences())
for sentence in other_optima(before, rich).sentences():
    print(sentence)

# %% [markdown]
# The second sentence is flip-flop: another θ with the very same curve, which this model keeps out.
#
# Then what the whole study can be expected to tell, and what it could if nobody came to be sampled before the seventh hour: of ka
# nothing, and without ka not CL and V either, since a late curve shows its slope and one height. That is known without a fit.

# %% mystnb={"image": {"alt": "Expected relative errors of seven numbers: the study as it was below 30 %, sampled late far above 100 % in ka, CL and V"}}
designs = compare_designs(before, {"as it was": rich, "late": Arm(dose, times=(7.0, 9.0, 12.0, 24.0), people=12)})
axes: Axes | list[Axes]
axes = expected_errors_axes(
    designs.designs, title="What the study can tell", subtitle="expected relative standard errors, 12 people"
)

# %% [markdown]
# ## 4 · The fit
#
# Starting values are read off everyone's data. `fit_population` maximises the likelihood with every η integrated out, by default
# as FOCE with interaction does; `polish` goes from there to the very optimum, which standard errors and differences of OFV are of.

# %%
start = starting_values(records, known)
cohort = Cohort.of(records, before)


def fitted_of(model: HybridModel, approximation: Approximation = "focei", beginning: Fitted | None = None) -> Fitted:
    first = beginning or last(fit_population(model, cohort))
    return last(polish(first.model, cohort, approximation=approximation, start=first.personal))


def ofv_of(fitted: Fitted, approximation: Approximation = "focei") -> ObjectiveValue:
    return objective_value(fitted.model, cohort, approximation=approximation, start=fitted.personal)


print(start.sentence)
fitted = fitted_of(model_of(start.backbone, additive()))
first = ofv_of(fitted)
first

# %% [markdown]
# The number is NONMEM's and nlmixr2's: −2 log L without n log 2π. (nlmixr2 prints 116.80 for this model and these data.) It is an
# approximation's, and another approximation has another number *and another optimum*; so each is compared with its own kind
# only, and a difference of two kinds is refused. With at most four η adaptive Gauss–Hermite quadrature is the check on all others:

# %%
print(f"FOCEI       {first.ofv.item():.2f}")
others: tuple[Approximation, ...] = ("laplace", "quadrature")
for kind in others:
    print(f"{kind:<11} {ofv_of(fitted_of(fitted.model, kind, fitted), kind).ofv.item():.2f}")

# %% [markdown]
# Laplace's 118.52 is the optimum of this very model: θ bends before the ends of its boxes, and ka is kept above CL/V in everyone.
# With boxes too wide to bend anybody and that order left out (`faster=None`) Laplace's optimum for these data is 118.508.
#
# ## 5 · What the estimates are worth
#
# Standard errors from the curvature of that likelihood, relative ones, intervals on the scale on which the error is Gaussian
# (logarithms here), and the shrinkage of η beside its ω, of ε beside the error.

# %%
table = parameter_table(fitted, cohort)
print(table.sentences() or "nothing to be said beside the table")
table.to_frame()[["name", "unit", "estimate", "rse", "low", "high", "shrinkage"]].round(3)

# %% [markdown]
# ## 6 · The error model
#
# `Combined1` adds standard deviations, a + b f; `Combined2` variances, a² + b² f². They are two models and programs mean one or
# the other by "combined". Neither lies in the other, so AIC compares them.

# %%
heads: dict[str, NoiseHead] = {
    "combined1": Combined1([0.5], [0.1], [0.01]),
    "combined2": Combined2([0.5], [0.1], [0.01]),
}
errors = {name: fitted_of(model_of(start.backbone, head)) for name, head in heads.items()}
values = {"additive": first, **{name: ofv_of(one) for name, one in errors.items()}}
for name, value in values.items():
    print(
        f"{name:<10} OFV {value.ofv.item():7.2f}   AIC {value.aic.item():7.2f}   BIC {value.bic('people').item():7.2f}"
    )

# %% [markdown]
# From here on the error is combined1.
#
# ## 7 · Look
#
# A thousand cohorts of these twelve people are drawn from the model, with their doses, weights and times. Where do the quantiles
# of what was measured lie among theirs? All took about the same dose, so that prediction correction changes little here.

# %% mystnb={"image": {"alt": "Two panels over 25 hours: measured 10, 50 and 90 % quantiles lie within the bands of simulated cohorts"}}
chosen, base = errors["combined1"], values["combined1"]
generator = torch.Generator().manual_seed(1)
drawn = simulated_cohorts(chosen.model, cohort, 1000, generator)
checks = {
    "as measured": predictive_check(drawn),
    "prediction-corrected": predictive_check(drawn, corrected=True),
}
axes = predictive_check_axes(
    checks, title="Predictive check", subtitle="1,000 simulated cohorts of the same twelve people"
)

# %% [markdown]
# Where each measurement lies among its draws, as a normal number, without the correlation within a person: NPDE. With each
# statistic stands what a right model would show with so few people. The distance from the normal law is a little more than that:
# most values lie closer together, and a few, early ones, farther out than they should. Absorption is not quite first-order in everyone.

# %% mystnb={"image": {"alt": "Three panels of NPDE: against normal quantiles, along time, and along the prediction"}}
scattered = npde(drawn, generator)
axes = npde_axes(scattered, title="NPDE")

# %% [markdown]
# PRED, IPRED, CWRES and IWRES. They rest on a linearisation, which NPDE do not.

# %% mystnb={"image": {"alt": "Six panels: measured against typical and individual predictions, and weighted residuals about 0"}}
people = personalise(chosen.model, cohort)
left = residuals(chosen.model, cohort, people)
axes = residuals_axes(left, title="Residuals")

# %% [markdown]
# Each person: their own curve, and that of the typical person with their dose.

# %% mystnb={"image": {"alt": "Twelve panels, one a person: measured concentrations, the individual curve through them, the typical one beside"}}
axes = curves_axes(fitted_curves(chosen.model, cohort, people), title="Individual fits")

# %% [markdown]
# ## 8 · A covariate, a correlation
#
# Everyone's η beside their weight, with the rank correlation and how often chance gives as much:

# %% mystnb={"image": {"alt": "Three panels: the coordinates of ka, CL and V of twelve people against their weight"}}
axes = eta_axes(eta_against_covariates(chosen.model, cohort, people, generator=generator), title="η and weight")

# %% [markdown]
# Chance alone gives such correlations often. Of twelve people they are no proof either way, so it is asked of the likelihood what
# one expects beforehand: is V ∝ (WT/70 kg)^β worth its number? And do the η of CL and V go together?

# %%
weight: CovariateModels = {"V": [PowerOf("WT", 70.0, 0.0, unit="kg", learn=True)]}
larger = {
    "WT on V": fitted_of(model_of(start.backbone, Combined1([0.5], [0.1], [0.01]), covariates=weight)),
    "corr(CL,V)": fitted_of(model_of(start.backbone, Combined1([0.5], [0.1], [0.01]), correlated=[("CL", "V")])),
}
for name, one in larger.items():
    found = parameter_table(one, cohort)
    row = next(row for row in found.rows if row.name == name)
    print(
        f"{name} = {row.estimate:.3f}, {row.low:.3f} to {row.high:.3f}"
        if row.se < torch.inf
        else f"{name} = {row.estimate:.3f}"
    )
    print(likelihood_ratio(base, ofv_of(one)).sentence())
    for sentence in found.sentences():
        print(sentence)

# %% [markdown]
# Twelve people leave the first open. The second they ask for, and put it so near 1 that no interval can be given, which the
# sentence says instead of inventing one: what CL and V share is likely the fraction that was absorbed, for by mouth alone only
# CL/F and V/F are seen. So the last model has this correlation, and no weight.
#
# ## 9 · Somebody new
#
# A thirteenth person takes 250 mg at 0 and 12 h and is sampled twice. Nothing is fitted any more: the population is what is known
# beforehand, the two samples say the rest, and the forecast holds what they leave open.

# %% mystnb={"image": {"alt": "A day of a new person: two samples in the first two hours, the forecast with its bands through both doses"}}
final = larger["corr(CL,V)"].model
twice = Schedule((Dose("gut", 0.0, 250.0), Dose("gut", 12.0, 250.0)))
units = {"time": "h", "dose": "mg", "concentration": "mg/L"}
visitor = Record("13", twice, np.array([1.0, 2.0]), np.array([[6.1], [7.4]]), ("concentration",), units=units)
seen = Cohort.of([visitor], final)
times = torch.linspace(0.0, 24.0, 97, dtype=torch.float64)[None]
ahead = at_times(seen, conditions_of(final, [twice], times.tolist()), times)
answer, _ = forecast(final, seen, ahead, draws=200, generator=generator)
axes = people_axes(answer, [visitor], forecast_from=2.0, title="Person 13", subtitle="forecast from two samples")

# %%
answer.to_frame(level=0.8).iloc[[12, 48, 56, 96]].round(2)

# %% [markdown]
# ## 10 · At the shell
#
# What the design tells before there are data, and then a whole study with a learned part beside the known one, judged on people
# whom it never saw, with its predictive checks, NPDE, residuals and fits as one page:
#
# ```
# homeostat identify --do "dose 320 mg -> gut @ 0" --times 0.5,2,8,24 --people 12 --additive 0.7 --proportional 0.1
# homeostat fit table.csv --start empty --units TIME=h,AMT=mg,DV=mg/L,WT=kg --out runs/mine
# ```
#
# And the model of this page, a population alone by FOCE with interaction, with its table of estimates on the page, in the bundle
# and in `--json`:
#
# ```
# homeostat fit table.csv --method focei --error combined1 --correlated CL,V --start empty --ignore WT
#     --backbone-config '{"parameters": "clearance"}' --units TIME=h,AMT=mg,DV=mg/L --out runs/alone
# ```
#
# ## The field's words, and ours
#
# | the field | here |
# |---|---|
# | THETA, a typical value | `Parameter.typical` where the search starts; "CL" in `estimates()` and in the parameter table |
# | ETA | what `population.deviations(eta)` gives, on the scale of the logarithm, logit or θ. η itself is standard normal here: one is L times the other ([why two](decisions/0024-one-eta-for-every-population.md)) |
# | OMEGA; `$OMEGA BLOCK` | `omega_matrix`, Ω = L Lᵀ; `correlated=[("CL", "V")]` of `MixedPopulation`. "omega(CL)" is a standard deviation, not a variance |
# | EXP(ETA), logit, additive ETA; no ETA | `LogNormal`, `LogitNormal`, `Normal`; `Shared` where it is estimated, `Fixed` where it is `FIX` |
# | SIGMA, W, ERROR | a noise head: `Constant` additive, `Combined1`, `Combined2`, `Correlated` for L2; log-normal errors by `Log` |
# | `$PK` covariates: power, exponential, linear, categorical | `PowerOf`, `ExponentialOf`, `LinearOf`, `CategoryOf`, with `learn=True` where the coefficient is estimated |
# | IOV, OCC | `occasions=Occasions({"CL": 0.15}, count=3)`; the column is read; also on F1, D1 and R1, and not on a lag |
# | ALAG, F1, D1, R1, a baseline as a parameter | `Administered(backbone, lag=…, fraction=…, duration=…, rate=…, initial=…)`; together with OCC, covariates in time, EVID 3/4 and SS, but for a lag into a compartment with SS. RATE stays and F1 shortens the infusion; a DUR stays and F1 slows it (`Dose.kept`) |
# | `A_0(1) = 0` | `Administered(backbone, start="empty")` |
# | EVID 0 to 4, MDV, RATE, ADDL, II, SS | columns of the table, read; in Python `Dose`, `Schedule.resets`, `Steady` |
# | BLQ, CENS, LIMIT; M1, M3, M4 | columns of the table, `Record.lower` and `upper`; `Cohort.of(records, model, censoring="m3")`, which is the default, "m4", "m1" |
# | OFV; `$EST METHOD=1 INTER`, `LAPLACE` | `objective_value`; `fit_population`, `approximation="focei"`, "laplace", "quadrature" |
# | `$COV`, RSE, condition number | `standard_errors`, `parameter_table`; "sandwich" for R⁻¹SR⁻¹; `bootstrap` of people |
# | SAEM, IMP | not here, and not needed where this package is at home: they are for integrals over η that Laplace's method takes badly. Its gradient is exact here, and up to four η quadrature says how good it is. Where it is bad with more η (few samples each, counts, events), take a program that has them |
# | POSTHOC, EBE | `personalise`: the mode, and what is left open as a covariance |
# | VPC, pcVPC, NPDE, CWRES, IWRES, PRED, IPRED | `predictive_check`, `corrected=True`, `npde`, `residuals` |
# | PFIM, PopED, `$DESIGN` | `population_information`, `compare_designs` |
# | a new individual, MAP Bayesian forecasting | `forecast` from a `Cohort` of what is known |
# | ADVAN, `$DES` | backbones and the [shelf](../physics/README.md#the-shelf); [a mechanism of your own](extend.md#a-mechanism) |
