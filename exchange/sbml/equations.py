"""What a model without a network says: the rate of each state and the mean of each channel, as one program."""

from torch import Tensor

from exchange.program.lines import Lines
from exchange.program.of_tape import of_tape
from exchange.program.program import Program
from exchange.program.tracing import traced
from hybrid import Concentration, HybridModel, States
from physics import LinearBackbone


def equations_of(model: HybridModel) -> Program:
    """`rate` (n) and `y` (p) of x (n), u (m), theta (q), c (r) and what runs in, infused (n), of a model of one member.

    Of a mechanism its tape, and of a linear backbone A(θ) x + B(θ) u out of the entries that are not always 0; with the known
    terms beside them.
    Errors: `ValueError` for a part that no listed operation says, by its name.
    """
    backbone = model.backbone
    n, m, q = len(backbone.states), len(backbone.inputs), len(backbone.physical)
    lines = Lines({"x": n, "u": m, "theta": q, "c": model.sees, "infused": n})
    rates = [lines.given("infused", i) for i in range(n)]
    known = list[list[int]]()
    if model.mechanism is not None:
        known.append(_joined(lines, of_tape(model.mechanism.tape))["rate"])
    else:
        known.append(_linear(lines, model))
    for term in model.known:

        def rate(x: Tensor, u: Tensor, theta: Tensor, c: Tensor, term=term) -> Tensor:  # type: ignore[no-untyped-def]
            found: Tensor = term.at(theta, c).rate(x, u)
            return found

        shapes = {name: (1, 1, size) for name, size in (("x", n), ("u", m), ("theta", q), ("c", model.sees))}
        name = f"the known term {type(term).__name__}"
        known.append(_joined(lines, traced(rate, shapes, ["rate"], name=name, module=model))["rate"])
    for more in known:
        rates = [lines.write("add", rate, one) for rate, one in zip(rates, more, strict=True)]
    return lines.program({"rate": rates, "y": _observed(lines, model)})


def _linear(lines: Lines, model: HybridModel) -> list[int]:
    """The lines of A(θ) x + B(θ) u."""
    backbone = model.backbone
    n, m = len(backbone.states), len(backbone.inputs)
    if isinstance(backbone, LinearBackbone):
        A, B = ([lines.constant(v) for v in M.reshape(-1).tolist()] for M in (backbone.A, backbone.B))
    else:
        shapes = {"theta": (len(backbone.physical),)}
        name = f"the backbone {type(backbone).__name__}"
        found = _joined(lines, traced(backbone.matrices, shapes, ["A", "B"], name=name, module=backbone))
        A, B = found["A"], found["B"]
    rates = list[int]()
    for i in range(n):
        row = [(A[n * i + j], lines.given("x", j)) for j in range(n)] + [
            (B[m * i + k], lines.given("u", k)) for k in range(m)
        ]
        found_rate = lines.constant(0.0)
        for entry, value in row:
            if lines.number(entry) != 0.0:
                found_rate = lines.write("add", found_rate, lines.write("multiply", entry, value))
        rates.append(found_rate)
    return rates


def _observed(lines: Lines, model: HybridModel) -> list[int]:
    observation = model.observation
    if not isinstance(observation, States | Concentration):
        n, q = len(model.backbone.states), len(model.backbone.physical)
        name = f"the observation {type(observation).__name__}"
        shapes = {"x": (1, 1, n), "theta": (1, 1, q)}
        whole = traced(
            lambda x, theta: observation.mean(x[:, :, None], theta), shapes, ["y"], name=name, module=observation
        )
        return _joined(lines, whole)["y"]
    found = list[int]()
    for state, over, ratio in observation.measured:
        y = lines.given("x", state)
        y = y if over is None else lines.write("divide", y, lines.given("theta", over))
        found.append(lines.write("multiply", y, lines.constant(ratio)))
    return found


def _joined(lines: Lines, program: Program) -> dict[str, list[int]]:
    """A program written among others that have its inputs: where each of its outputs stands."""
    at = lines.copy_of(program)
    return {name: [at[i] for i in ends] for name, ends in program.outputs.items()}
