"""One valid call of every public name and method of `stability`, tiny."""

from typing import Any

import numpy as np
import torch

import stability
from benchmarks.slips.attempt import Call, of
from benchmarks.slips.world import D, world
from physics.shelf import ParallelElimination
from stability import Box, Lure, Refusal, certify, regional_rate


def rows() -> dict[str, Call]:
    w = world()
    system, certificate = w.system, w.certificate
    A = torch.tensor(system.A.copy(), dtype=D)
    weights = [torch.tensor(v.copy(), dtype=D) for v in system.weights]
    metric = torch.tensor(certificate.metric.copy(), dtype=D)
    multipliers = [torch.tensor(certificate.multipliers[0].copy(), dtype=D)]
    torch_call = {"A": A, "weights": weights, "metric": metric}
    region = Box([-1.0, -1.0], [1.0, 1.0])
    inputs = stability.Inputs([-0.01], [0.01])
    plain = [np.asarray(v) for v in system.weights]
    rows: dict[str, Any] = {
        "Box": lambda: (Box, {"lower": np.array([-1.0, -1.0]), "upper": np.array([1.0, 1.0])}),
        "Ellipsoid": lambda: (stability.Ellipsoid, {"centre": np.array([0.0, 0.0]), "radius": 1.0}),
        "Inputs": lambda: (stability.Inputs, {"lower": np.array([0.0]), "upper": np.array([1.0]),
                                              "doses": np.array([[1.0, 0.0]]), "gap": 2.0}),
        "Inputs.from_dict": lambda: (stability.Inputs.from_dict, {"data": inputs.to_dict()}),
        "Lure": lambda: (Lure, {
            "A": system.A, "weights": system.weights, "biases": system.biases, "activation": "tanh", "B": system.B,
            "input_weights": system.input_weights, "skip": np.zeros((2, 2))}),
        "Branch": lambda: (stability.Branch, {
            "weights": plain, "biases": system.biases, "activation": "tanh", "input_weights": system.input_weights}),
        "Policy": lambda: (stability.Policy, {"weights": [np.ones((1, 2))], "biases": [[0.0]], "activation": "relu"}),
        "Policy.linear": lambda: (stability.Policy.linear, {"gain": [[1.0, 0.0]], "offset": [0.0]}),
        "Policy.saturating": lambda: (stability.Policy.saturating, {
            "gain": [[1.0, 0.0]], "offset": [0.0], "lower": [0.0], "upper": [1.0]}),
        "Policy.__call__": lambda: (stability.Policy.linear([[1.0, 0.0]]), {"x": [1.0, 2.0]}),
        "close_loop": lambda: (stability.close_loop, {
            "system": system, "policy": stability.Policy.linear([[-0.1, 0.0]]), "inputs": [0]}),
        "Lure.closed": lambda: (Lure.closed, {
            "feedback": stability.close_loop(system, stability.Policy.linear([[-0.1, 0.0]]), [0]).feedback}),
        "Lure.of": lambda: (Lure.of, {"system": system.to_dict()}),
        "Lure.stack": lambda: (Lure.stack, {"systems": [system, system]}),
        "Lure.jacobian": lambda: (system.jacobian, {"slopes": [np.ones(3)]}),
        "Lure.from_dict": lambda: (Lure.from_dict, {"data": system.to_dict()}),
        "best_multipliers": Call(lambda: (stability.best_multipliers, {
            **torch_call, "activation": "tanh", "seconds": 1.0, "small": 256}), dear=True),
        "certify": Call(lambda: (certify, {
            "system": system, "rate": 0.5, "region": None, "inputs": None, "seconds": 2.0, "metric": certificate.metric,
            "multipliers": certificate.multipliers, "condition": 1e4}), dear=True),
        "certify_step": Call(lambda: (stability.certify_step, {
            "certificate": certificate, "system": system, "step": 0.1, "method": "rk4", "seconds": 2.0}), dear=True),
        "Budget": lambda: (stability.Budget, {"cells": 1000, "seconds": 1.0, "bytes": 1_000_000}),
        "decay_in_words": lambda: (stability.decay_in_words, {"rate": 0.5, "unit": "h"}),
        "check": lambda: (stability.check, {"claim": certificate, "system": system}),
        "common_metric": Call(lambda: (stability.common_metric, {
            "jacobians": system.A[None], "rate": 0.5, "condition": 1e4, "seconds": 2.0}), dear=True),
        "contraction_barrier": lambda: (stability.contraction_barrier, {
            **torch_call, "multipliers": multipliers, "rate": 0.5, "activation": "tanh"}),
        "contraction_margin": lambda: (stability.contraction_margin, {**torch_call, "activation": "tanh"}),
        "contraction_rate": lambda: (stability.contraction_rate, {**torch_call, "multipliers": multipliers,
                                                                  "activation": "tanh"}),
        "prove": lambda: (stability.prove, {"claim": certificate, "system": system.to_dict(),
                                            "budget": stability.Budget(cells=1000)}),
        "read_claim": lambda: (stability.read_claim, {"data": certificate.to_dict()}),
        "exactly": lambda: (stability.exactly, {"certificate": certificate, "system": system}),
        "falsify": Call(lambda: (stability.falsify, {"system": system, "rate": 0.5, "region": region, "seconds": 0.3,
                                                     "seed": 0}), dear=True),
        "l2_gain": Call(lambda: (stability.l2_gain, {"certificate": certificate, "system": system, "output": np.eye(2),
                                                     "search": False, "seconds": 1.0}), dear=True),
        "lipschitz_bound": Call(lambda: (stability.lipschitz_bound, {
            "weights": plain, "activation": "tanh", "region": region, "biases": [np.asarray(b) for b in system.biases],
            "seconds": 1.0}), dear=True),
        "metric_cap": Call(lambda: (stability.metric_cap, {"system": system, "samples": 16, "seed": 0, "seconds": 1.0}),
                           dear=True),
        "multi_affine": lambda: (stability.multi_affine, {
            "A": lambda theta: np.diag(-theta), "lower": [1.0, 2.0], "upper": [2.0, 3.0]}),
        "spectral_cap": Call(lambda: (stability.spectral_cap, {"system": system, "samples": 16, "seed": 0}), dear=True),
        "tube": Call(lambda: (stability.tube, {"certificate": certificate, "system": system, "search": False, "state": 0,
                                               "seconds": 1.0}), dear=True),
        "vertices": lambda: (stability.vertices, {"lower": [[-2.0, 0.1], [0.0, -1.0]], "upper": [[-1.0, 0.1], [0.0, -1.0]]}),
        "weighted_l1": Call(lambda: (stability.weighted_l1, {"system": system, "rate": 0.5}), dear=True),
    }
    taped = Lure(A=np.zeros((2, 2)), weights=[], biases=[], tape=ParallelElimination().tape.to_dict(),
                 theta=[1.0, 2.5, 20.0, 4.0, 50.0])
    amounts = Box([0.0, 0.0], [300.0, 300.0])
    on_region = regional_rate(taped, amounts)
    assert isinstance(on_region, stability.RegionalRate)
    claims = (certificate, on_region, stability.tube(certificate, system), stability.lipschitz_bound(plain, seconds=1.0),
              Refusal(reason="not proved", message="Nothing was found."),
              stability.certify_step(certificate, system, 0.1, seconds=2.0),
              stability.weighted_l1(system))
    for claim in claims:
        rows[f"{type(claim).__name__}.from_dict"] = lambda claim=claim: (type(claim).from_dict, {"data": claim.to_dict()})
    names = [("a", "mg"), ("b", "mg")]
    for claim in (one for one in claims if isinstance(one, stability.Claim)):
        about: Any = {"weights": plain, "activation": "tanh"} if claim.kind == "lipschitz" else system
        about = taped if isinstance(claim, stability.RegionalRate) else about
        rows |= {f"{type(claim).__name__}.{name}": lambda call=call, given=given: (call, dict(given)) for name, call, given in (
            ("prove", claim.prove, {"system": about, "budget": stability.Budget(cells=1000)}),
            ("in_words", claim.in_words, {"time_unit": "h"}),
            ("details", claim.details, {"time_unit": "h", "states": names}),
        )}
    rows |= {
        "Certificate.caps_in_words": lambda: (certificate.caps_in_words, {"time_unit": "h"}),
        "Lure.one": lambda: (Lure.stack([system, system]).one, {"index": 1}),
        "RegionalRate.where_in_words": lambda: (on_region.where_in_words, {"states": names}),
        "regional_rate": Call(lambda: (regional_rate, {
            "system": taped, "region": amounts, "inputs": None, "rate": None, "seconds": 2.0, "condition": 1e4}), dear=True),
        "Certificate.where_in_words": lambda: (certificate.where_in_words, {"states": names, "time_unit": "h"}),
    }
    return of("stability", rows)
