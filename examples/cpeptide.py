"""C-peptide after a glucose drink: known kinetics, learned secretion, one number β per person.

    python examples/cpeptide.py [--data DIR] [--device cpu] [--seed 0] [--quick | --validate]

The kinetics are Van Cauter's two compartments with rates from age and diabetes status. What the pancreas adds to its basal
output is not known and is learned: production = NN(g, β) − NN(0, β), with one β per person and the network shared; the model,
and what its choices rest on, is `homeostat/c_peptide/model.py`. The results of the published conditional UDE (de Rooij et al.
2025) on its own split of the same 117 people stand beside ours in the table.
The 35 test people are for that table. Every choice was made by cross-validation on the 82 training people; `--validate` does it
for the configuration as it stands, and `--quick` does it small. Neither predicts a test person.
`homeostat demo c-peptide` shows more of it: another ensemble, with intervals, pictures, a page and a bundle.
"""

import argparse
import sys
import time

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from homeostat.c_peptide.agreement import Published, consensus, spearman, squared_errors
from homeostat.c_peptide.beta import AHEAD, ALL_FIVE, FIRST_PHASE, means
from homeostat.c_peptide.figures import LAST, OURS, PROPORTIONAL, Figures, figures_of
from homeostat.c_peptide.model import FORECAST_FROM, STEPS, build, people, train
from homeostat.c_peptide.proof import certify_open
from homeostat.data import ohashi
from hybrid import HybridModel
from learned import Ensemble
from stability import check, decay_in_words
from training import Cohort
from training.people import Ohashi, read_ohashi

MEMBERS = 20  # each with first weights of its own; all of them see all 82 training people


def validate(data: Ohashi, ensemble: Ensemble, steps: int, seed: int, device: str, console: Console) -> HybridModel:
    """Cross-validation of the configuration on the training people; returns the members of all folds.

    Everyone is predicted by the mean of the members that never saw them, as the test people are by all members.
    """
    generator = torch.Generator().manual_seed(seed)
    model = ensemble.stack(build(), generator).to(device)
    cohort = people(data.train, model)
    N, M = len(data.train), ensemble.members
    fold = ensemble.fold_of(N, generator)
    weights = ensemble.record_weights(N, generator, fold).to(device)
    fitted, *_ = train(model, cohort, weights, steps, console)
    model = fitted.model
    own = fold * M + torch.arange(M)[:, None]  # (M, N): the members that never saw person n
    (full, _), (ahead, _) = means(model, cohort, ALL_FIVE, 120.0), means(model, cohort, AHEAD, FORECAST_FROM)
    whole = squared_errors(full[own, torch.arange(N)].mean(0), cohort).sum(1)
    forecast = squared_errors(ahead[own, torch.arange(N)].mean(0), cohort)[:, 3:].mean(1)
    _, beta = means(model, cohort, FIRST_PHASE, 120.0)
    index = np.array([data.first_phase.get(r.id, np.nan) for r in data.train])
    clamped = np.isfinite(index)
    rho = abs(float(spearman(consensus(beta.cpu().numpy())[clamped], index[clamped])))
    without = np.sort(forecast)[:-1]
    console.print(
        f"training people, predicted by members that never saw them ({M} averaged): summed squared error "
        f"{whole.mean():.3f} nmol²/L² per person, 90–120 min forecast RMSE {np.sqrt(forecast.mean()):.3f} nmol/L "
        f"({np.sqrt(without.mean()):.3f} without the worst person); |Spearman ρ| of all members' β {rho:.3f}"
    )
    return model


def prove(model: HybridModel, cohort: Cohort, beta: Tensor, console: Console) -> None:  # beta (M, N)
    """Certify every member with every person, and check the certificate."""
    # Secretion depends on glucose, not on C-peptide, so the loop is open and contraction is the backbone's.
    found, _, system = certify_open(model, cohort, beta[..., None])
    if not found:
        console.print(f"no certificate: {found.message}")
        return
    console.print(
        f"certificate: in all {beta.shape[0]} × {beta.shape[1]} systems the distance in one metric P (condition "
        f"{found.condition:.1f}) {decay_in_words(found.rate, 'min')}; "
        f"independent check: {'accepted' if check(found, system) else 'REFUSED'}"
    )


def table_of(found: Figures, test: int) -> Table:
    """The three published figures beside ours, each with its interval, and what a forecast has to beat."""
    published = Published()
    table = Table(title=f"{test} test people of the published split\n95 % intervals over bootstrap draws of people")
    for column in ("", "ours", "published", "secretion ∝ ΔG", "last value"):
        table.add_column(column, no_wrap=True)
    ahead = found.forecast
    table.add_row(
        "squared error of one person,\nβ from all five samples,\nnmol²/L²",
        _two_lines(found.squared_error[OURS]),
        f"{published.squared_error:.3f}",
        _two_lines(found.squared_error[PROPORTIONAL]),
    )
    range_of = "{:.2f}–{:.2f}".format(*published.rank)
    table.add_row(
        f"|Spearman ρ| of β with the\nfirst phase, all {found.order.size} people", _two_lines(found.rank), range_of
    )
    table.add_row("|Spearman ρ| of β with the\nfirst phase, test people", _two_lines(found.rank_test))
    table.add_row(
        "RMSE at 90 and 120 min,\nβ from 0–60 min, nmol/L",
        _two_lines(ahead[OURS]),
        f"{published.forecast:.3f}",
        _two_lines(ahead[PROPORTIONAL]),
        _two_lines(ahead[LAST]),
    )
    return table


def _two_lines(estimate: object) -> str:
    return str(estimate).replace(" ", "\n", 1)


def main(arguments: list[str] | None = None) -> int:
    """Read, fit, personalise, compare, certify. Returns the exit code."""
    parser = argparse.ArgumentParser(description="C-peptide: a learned secretion on known kinetics.")
    parser.add_argument(
        "--data",
        default=str(ohashi()),
        help="a folder with the Ohashi tables and split.csv; by default the bundled one",
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seed", type=int, default=0)
    length = parser.add_mutually_exclusive_group()
    length.add_argument(
        "--quick", action="store_true", help="--validate with two folds and few steps: shows that it runs"
    )
    length.add_argument("--validate", action="store_true", help="cross-validate on the training people and stop")
    options = parser.parse_args(arguments)
    try:
        data = read_ohashi(options.data)
    except ValueError as error:
        print(f"{error}.\nWithout --data the tables of the package are read, which are CC BY 4.0.", file=sys.stderr)
        return 2

    console = Console()
    started = time.monotonic()
    if options.quick or options.validate:
        folds, members, steps = (2, 1, 60) if options.quick else (5, 6, STEPS)
        ensemble = Ensemble(members=members, resample="init", folds=folds)
        model = validate(data, ensemble, steps, options.seed, options.device, console)
        cohort = people(data.train, model)
        prove(model, cohort, means(model, cohort, ALL_FIVE, 120.0)[1], console)
    else:
        generator = torch.Generator().manual_seed(options.seed)
        ensemble = Ensemble(members=MEMBERS, resample="init")
        model = ensemble.stack(build(), generator).to(options.device)
        cohort = people(data.train, model)
        weights = ensemble.record_weights(len(data.train), generator).to(options.device)
        fitted, *_ = train(model, cohort, weights, STEPS, console)
        # the network is frozen from here on: β is found for each person and member
        found = figures_of(fitted.model, cohort, data, options.seed)
        console.print(table_of(found, len(data.test)))
        console.print(f"rk4 on the mesh is within {found.apart:.1e} nmol/L of dopri5")
        test = people(data.test, fitted.model)
        prove(fitted.model, test, means(fitted.model, test, ALL_FIVE, 120.0)[1], console)
    console.print(f"{time.monotonic() - started:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
