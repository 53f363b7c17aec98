"""What onnxruntime cannot compute in float64."""

from collections.abc import Iterable

# operations of ONNX for which onnxruntime's CPU provider has a kernel in float32 and none in float64 (NOT_IMPLEMENTED when a
# session is made; asked of 1.32 one by one, and again by a test, so that the list shrinks when onnxruntime grows), and what is
# made of them. Softplus and its like are not here: they are written by exp and log, which have one.
WITHOUT_FLOAT64 = {
    "Erf": "erf, and gelu, which is made of it",
    "Atan": "atan",
    "Tan": "tan",
    "Asin": "asin",
    "Acos": "acos",
}


def require_float64(operations: Iterable[str], what: str) -> None:
    """Raise `ValueError` for operations of a float64 graph that onnxruntime would refuse to load, each by its name."""
    absent = sorted(set(operations) & set(WITHOUT_FLOAT64))
    if absent:
        each = "; ".join(f"{name} ({WITHOUT_FLOAT64[name]})" for name in absent)
        raise ValueError(
            f"{what}: onnxruntime has no float64 kernel of {each}; export it in float32, precision='float32', or in another form"
        )
