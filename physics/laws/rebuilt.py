"""What a configuration and the weights bring back: what a bundle does with every part of a model."""

import copy
import json
from typing import Any, TypeVar

from torch import nn

ModuleT = TypeVar("ModuleT", bound=nn.Module)


def rebuilt(module: ModuleT, name: str) -> ModuleT:
    """`type(module)(**module.config())`, its config through JSON and back, with the module's own state.

    Errors: `ValueError`, beginning with `name`, for a configuration that is no JSON, or that does not build it.
    """
    kind = type(module)
    try:
        config: dict[str, Any] = json.loads(json.dumps(module.config(), allow_nan=False))  # type: ignore[operator]
        again = kind(**{option: _built(given, module) for option, given in config.items()})
        again.load_state_dict(copy.deepcopy(module.state_dict()))
    except Exception as error:
        raise ValueError(
            f"{name}: {kind.__name__} is not rebuilt by its configuration ({type(error).__name__}: {str(error)[:200]}); config() "
            "gives the constructor's arguments as plain JSON values, and the tensors have the shapes that the constructor makes"
        ) from error
    return again


def _built(given: Any, module: nn.Module) -> Any:
    """An argument; of a part that is made of others, {"class": …, "config": …} as the part that it describes."""
    if isinstance(given, list):
        return [_built(one, module) for one in given]
    if not isinstance(given, dict) or given.keys() != {"class", "config"}:
        return given
    kinds: dict[str, type[nn.Module]] = {type(part).__name__: type(part) for part in module.modules()}
    return kinds[given["class"]](**{option: _built(one, module) for option, one in given["config"].items()})
