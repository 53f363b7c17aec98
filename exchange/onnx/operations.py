"""The operations of torch that a graph may hold, and how each is written in ONNX.

Only what has the same meaning to the last branch: where torch switches (softplus beyond 20, a comparison with NaN), so does the
graph. Functions that ONNX lacks are written by those that it has, in a form that keeps their digits near 0.
"""

from collections.abc import Mapping
from types import MappingProxyType

from exchange.onnx.along_axes import ALONG_AXES
from exchange.onnx.call import Rule
from exchange.onnx.elementwise import ELEMENTWISE

# by the names that torch.export gives, without the overload
OPERATIONS: Mapping[str, Rule] = MappingProxyType({**ELEMENTWISE, **ALONG_AXES})
