"""That C-peptide contracts: for every member and person, in one metric."""

from dataclasses import replace

import torch
from torch import Tensor

from exchange.bundle.systems import lure_of
from homeostat.study.rounded import certify_rounded
from hybrid import HybridModel
from learned import select
from stability import Certificate, Lure, Refusal, certify, check
from training import Cohort


def certify_open(
    model: HybridModel,
    cohort: Cohort,
    beta: Tensor,  # (M, N, 1)
) -> tuple[Certificate | Refusal, float | None, Lure]:
    """The certificate of every member and person, the best rate that was certified, and the system that it is about.

    Secretion depends on glucose and not on C-peptide, so the loop is open, and contraction is the backbone's, the same for every
    member: one member gives the metric and the rate, and both are then proved for all of them.
    """
    system = lure_of(model, beta, cohort.conditions.covariates)
    one = lure_of(select(model, torch.tensor([0])), beta[:1], cohort.conditions.covariates)
    found, best = certify_rounded(one)
    if isinstance(found, Refusal):
        return found, None, system
    whole = certify(system, (1.0 - 1e-6) * found.rate, metric=found.metric)
    if isinstance(whole, Certificate):
        whole = replace(whole, inequality_cap=found.inequality_cap, metric_cap=found.metric_cap)
    return whole, best, system


def holds_for(
    certificate: Certificate,
    model: HybridModel,
    cohort: Cohort,
    beta: Tensor,  # (M, N, 1)
) -> bool:
    """Is the same rate proved in the same metric for these people too?"""
    system = lure_of(model, beta, cohort.conditions.covariates)
    found = certify(system, certificate.rate, metric=certificate.metric)
    return isinstance(found, Certificate) and bool(check(found, system))
