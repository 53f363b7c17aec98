"""The numbers of a bundle: every trainable tensor of the model, and the people's coordinates, as safetensors."""

from collections.abc import Mapping

import safetensors.torch
import torch
from torch import Tensor

from exchange.bundle.structures import LARGEST
from exchange.files.plain_json import plain_json
from hybrid import HybridModel
from training.people import Personal

_HEADER = 2**20  # bytes of the tensors' names
_PERSONAL = ("mode", "covariance", "objective", "converged")


def packed(model: HybridModel, known: Personal) -> bytes:
    """The model's parameters and the people's coordinates, by name."""
    tensors = {f"model.{k}": v.detach().cpu().contiguous() for k, v in model.named_parameters()}
    tensors |= {f"personal.{k}": getattr(known, k).detach().cpu().contiguous() for k in _PERSONAL}
    return safetensors.torch.save(tensors)


def unpacked(data: bytes) -> dict[str, Tensor]:
    """The tensors; their names, which are read before anything else, may not take much."""
    header = int.from_bytes(data[:8], "little")
    if header > min(_HEADER, len(data)):
        raise ValueError(f"the names of its tensors claim {header:,} bytes, and {_HEADER:,} are allowed; save it again")
    names = plain_json(data[8 : 8 + header], 64 * _HEADER)
    if len(names) > _HEADER // 64:
        raise ValueError(f"it has {len(names):,} tensors; save it again")
    return safetensors.torch.load(data)


def weights_in(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The model's, under the names that the model gives them."""
    return {k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")}


def personal_in(tensors: Mapping[str, Tensor], model: HybridModel, people: int) -> Personal:
    """The people's coordinates out of the stored tensors, which must be all that there is beside the model's."""
    M, N, d = model.members, people, model.personal
    wanted = {"mode": (M, N, d), "covariance": (M, N, d, d), "objective": (M, N), "converged": (M, N)}
    found = {k.removeprefix("personal."): v for k, v in tensors.items() if not k.startswith("model.")}
    if found.keys() != wanted.keys():
        raise ValueError(f"the tensors {sorted(found.keys() ^ wanted.keys())} are missing or unexpected; save it again")
    for name, shape in wanted.items():
        kind = torch.bool if name == "converged" else torch.float64
        if found[name].shape != shape or found[name].dtype != kind or not torch.isfinite(found[name]).all():
            raise ValueError(
                f"the people's {name} has shape {tuple(found[name].shape)} and type {found[name].dtype}; {shape} of finite "
                f"{kind} is needed, for {M} members and {N} people"
            )
    if any(bool((found[name].abs() > LARGEST).any()) for name in ("mode", "covariance", "objective")):
        raise ValueError(f"a number of the people's coordinates is beyond {LARGEST:g}; save it again")
    if d and N and bool((torch.linalg.cholesky_ex(found["covariance"]).info > 0).any()):
        raise ValueError("the covariance of a person's coordinates is not positive definite; save it again")
    return Personal(found["mode"], found["covariance"], found["objective"], found["converged"])
