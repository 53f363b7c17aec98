"""An ordinary bundle, and what is in its file."""

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from exchange import Bundle, Person
from exchange.files.archive import VERSION, content_of
from hybrid import Concentration, Dose, HybridModel, Mesh, Schedule
from learned import MLP, AdditiveProportional, Ensemble
from physics import LogNormalPopulation, OneCompartmentOral
from stability import certify, certify_step, lipschitz_bound
from training import Personal

Content = dict[str, bytes]


def ordinary(seed: int = 11) -> Bundle:
    """Two members, three people, a certificate, and beside it a claim about a step and one about a member's layers."""
    g = torch.Generator().manual_seed(seed)
    backbone = OneCompartmentOral()
    model = HybridModel(
        backbone,
        LogNormalPopulation(backbone.physical, [0.6, 0.2, 0.2], {"V": {"WT": (70.0, 1.0)}}),
        MLP(2, hidden=(4,), separable=True, state_scale=300.0, rate_scale=0.1),
        observation=Concentration(1, 2),
        noise=AdditiveProportional([0.5], [0.1], [0.02]),
    )
    stack = Ensemble(2).stack(model, g)
    people = tuple(
        Person(name, Schedule((Dose("gut", 0.0, 300.0 + k), Dose("gut", 3.0, 50.0, duration=1.5))), {"WT": 60.0 + k}, (0.1 * k,))
        for k, name in enumerate(("Ada", "№ 2", "3"))
    )
    d, mode = stack.personal, 0.2 * torch.randn(2, 3, stack.personal, generator=g, dtype=torch.float64)
    spread = 0.1 * torch.eye(d, dtype=torch.float64).expand(2, 3, d, d).clone()
    known = Personal(mode, spread, torch.zeros(2, 3, dtype=torch.float64), torch.ones(2, 3, dtype=torch.bool))
    scores = {"scores": {"hybrid": {"crps": 0.5, "nll": 1.3, "coverage_80": 0.81}}, "uncertainty": {}}
    about = {"table": "people.csv", "units": {"TIME": "h", "AMT": "mg", "DV": "mg/L"}, "settings.solver": "rk4"}
    plain = Bundle(stack, people, known, Mesh(0.5, 0.1), calibration=scores, provenance=about)
    system = plain.system()
    certificate, layers = certify(system), [w[1, 0] for w in system.weights]
    return replace(plain, claims=(certificate, certify_step(certificate, system, 0.1), lipschitz_bound(layers)))


def entries(path: Path) -> Content:
    """What is in a bundle's archive."""
    with zipfile.ZipFile(path) as archive:
        return {n: archive.read(n) for n in archive.namelist()}


def rehashed(content: Mapping[str, bytes]) -> Content:
    """The same entries under a manifest that is right again, in whichever format; as they are where that is no manifest."""
    content = dict(content)
    manifest = value_in(content.get("manifest.json", b""))
    if not isinstance(manifest, dict):  # what was changed is the manifest
        return content
    hashes = {n: hashlib.sha256(d).hexdigest() for n, d in content.items() if n not in ("manifest.json", "signature.json")}
    manifest["sha256"] = hashes
    if manifest.get("version") == VERSION:
        optional = manifest.get("optional")
        manifest["content"] = content_of(content)
        manifest["optional"] = optional
        if isinstance(optional, list):  # what is no name stays as it is
            manifest["optional"] = [n for n in optional if not isinstance(n, str) or n in hashes]
    return {**content, "manifest.json": json.dumps(manifest).encode()}


def packed(content: Mapping[str, bytes], *, rehash: bool = True) -> bytes:
    """The archive with these entries; `rehash`: under a manifest that is right again."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in (rehashed(content) if rehash else content).items():
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
    return out.getvalue()


def value_in(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        return None
