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
        again = kind(**config)
        again.load_state_dict(copy.deepcopy(module.state_dict()))
    except Exception as error:
        raise ValueError(
            f"{name}: {kind.__name__} is not rebuilt by its configuration ({type(error).__name__}: {str(error)[:200]}); config() "
            "gives the constructor's arguments as plain JSON values, and the tensors have the shapes that the constructor makes"
        ) from error
    return again
