"""One valid call of every public name and method of `exchange`, tiny."""


from itertools import count

import torch

import exchange
import hybrid
import learned
import physics
import training
from benchmarks.slips.attempt import Call, of
from benchmarks.slips.world import schedule, world


def rows() -> dict[str, Call]:
    w = world()
    person = {"id": "1", "schedule": schedule(), "covariates": {"WT": 70.0}, "baseline": (float("nan"),)}
    people = tuple(
        exchange.Person(r.id, r.schedule, dict(r.covariates), tuple(r.baseline.tolist())) for r in w.cohort.records
    )
    bundle = exchange.Bundle(w.model, people, w.known, w.cohort.mesh)
    certified = exchange.Bundle(w.model, people, w.known, w.cohort.mesh, [w.certificate])
    kept = exchange.save(bundle, w.folder / "kept.twin")
    signed, key, fresh = w.folder / "signed.twin", w.folder / "a.key", count()
    if not key.exists():
        exchange.new_key(key)
    exchange.sign(kept, key, signed)
    fmu = exchange.Fmu(binary=False, replace=True).write(certified, w.folder / "certified.fmu")
    weights = {name: p.detach() for name, p in w.model.named_parameters()}
    # what SBML holds: one member, no network
    straight = hybrid.HybridModel(
        physics.LinearBackbone([[-1.0]]), physics.SharedPopulation(),
        observation=hybrid.States((0,), ("y",), ("1",)), noise=learned.Constant([0.4], [0.02]),
    )
    nothing = torch.zeros(1, 1, 0, dtype=torch.float64)
    spread = torch.zeros(1, 1, 0, 0, dtype=torch.float64)
    whom = training.Personal(nothing, spread, nothing.sum(-1), torch.ones(1, 1, dtype=torch.bool))
    linear = exchange.Bundle(straight, (exchange.Person("1", hybrid.Schedule(), {}, (0.5,)),), whom, hybrid.Mesh(0.5))
    graphs = {"selection": exchange.Selection(), "precision": "float64", "replace": True}
    return of("exchange", {
        "Sbml": lambda: (exchange.Sbml, {"selection": exchange.Selection(0), "replace": True}),
        "Sbml.write": Call(lambda: (exchange.Sbml(replace=True).write, {"bundle": linear, "path": str(w.folder / "a.xml")}),
                           dear=True),
        "Person": lambda: (exchange.Person, dict(person)),
        "Bundle": lambda: (exchange.Bundle, {"model": w.model, "people": people, "personal": w.known, "mesh": w.cohort.mesh,
                                             "claims": [], "calibration": {"a": 1.0}, "provenance": {"a": "b"}}),
        "Bundle.of": lambda: (exchange.Bundle.of, {"model": w.model, "cohort": w.cohort, "people": w.known, "claims": [],
                                                   "calibration": {"a": 1.0}, "provenance": {"a": "b"}, "solver": None}),
        "Bundle.forecast": lambda: (bundle.forecast, {"person": w.cohort.ids[0], "schedule": "", "times": [1.0, 2.0],
                                                      "draws": 2, "seed": 7}),
        "Bundle.units_made_in": lambda: (certified.units_made_in, {"claim": w.certificate}),
        "solver_named": lambda: (exchange.solver_named, {"name": "rk4"}),
        "units_of": lambda: (exchange.units_of, {"model": w.model}),
        "Bundle.conditions": lambda: (bundle.conditions, {"times": [[1.0, 2.0]] * 4}),
        "Bundle.person": lambda: (bundle.person, {"id": "1"}),
        "save": Call(lambda: (exchange.save, {"bundle": bundle, "path": str(w.folder / "a.twin")}), dear=True),
        "load": Call(lambda: (exchange.load, {"path": str(kept), "structures": dict(exchange.BUILTIN)}), dear=True),
        "card": Call(lambda: (exchange.card, {"bundle": bundle}), dear=True),
        "new_key": Call(lambda: (exchange.new_key, {"path": str(w.folder / f"{next(fresh)}.key")}), dear=True),
        "sign": Call(lambda: (exchange.sign, {"path": str(kept), "key": str(key), "target": str(signed)}), dear=True),
        "signed_by": Call(lambda: (exchange.signed_by, {"path": str(kept)}), dear=True),
        "verify": Call(lambda: (exchange.verify, {"path": str(signed), "key": f"{key}.pub"}), dear=True),
        "content_hash": Call(lambda: (exchange.content_hash, {"bundle": bundle}), dear=True),
        "Onnx": lambda: (exchange.Onnx, dict(graphs)),
        "TorchProgram": lambda: (exchange.TorchProgram, dict(graphs)),
        "Onnx.write": Call(lambda: (exchange.Onnx(**graphs).write, {"bundle": bundle, "path": str(w.folder / "a.onnx")}),
                           dear=True),
        "TorchProgram.write": Call(lambda: (exchange.TorchProgram(**graphs).write, {
            "bundle": bundle, "path": str(w.folder / "a.pt2")}), dear=True),
        "Selection": lambda: (exchange.Selection, {"member": 0, "person": w.cohort.ids[0]}),
        "selected": lambda: (exchange.selected, {"bundle": bundle, "selection": exchange.Selection(0)}),
        "CHeader": lambda: (exchange.CHeader, {"selection": exchange.Selection(), "precision": "float64", "prefix": "m",
                                               "replace": False}),
        "CHeader.write": Call(lambda: (exchange.CHeader(replace=True).write, {"bundle": bundle, "path": str(w.folder / "a.h")}),
                              dear=True),
        "Fmu": lambda: (exchange.Fmu, {"selection": exchange.Selection(0), "fmi": 3, "step": "rk4", "prefix": "m",
                                       "fixed_theta": False, "binary": False, "replace": False}),
        "Fmu.write": Call(lambda: (exchange.Fmu(binary=False, replace=True).write,
                                   {"bundle": bundle, "path": str(w.folder / "a.fmu")}), dear=True),
        "check_fmu": Call(lambda: (exchange.check_fmu, {"path": str(fmu.path), "run": False, "states": 2, "seed": 0}), dear=True),
        "lure_of": lambda: (exchange.lure_of, {"model": w.model, "personal": w.known.mode,
                                               "covariates": dict(w.cohort.conditions.covariates)}),
        "describe": lambda: (exchange.describe, {"model": w.model}),
        "rebuild": lambda: (exchange.rebuild, {"structure": exchange.describe(w.model), "weights": dict(weights),
                                               "structures": dict(exchange.BUILTIN)}),
    })
