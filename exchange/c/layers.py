"""A layered residual as loops over constant tables: its value, its slopes, and products with its Jacobian from either side.

In differences from the values at the origin, as `learned.residual.Field` is: with v the difference of a layer's value from that
at x = 0, u = 0, the next is W (φ(v + origin) − active), so that the origin maps to the origin without any rounding. Weights lie
column by column: a product is a sum of columns, whose inner loop a compiler vectorises without being allowed to reorder sums.
"""

from dataclasses import dataclass

import numpy as np

from exchange.c.activations import activation_in_c
from exchange.c.numbers import Real, literal, table
from learned.residual import Layers

_TOGETHER = 4  # columns added in one go: the sum is loaded and stored a quarter as often


@dataclass(frozen=True)
class LayersInC:
    """The layers of all members: sizes, tables, and the text of what is computed with them.

    `widths` (n, h_1, …, n) · `inputs` m, `context` how many of c (and θ behind it) the first layer sees · `activation` by its
    name · `zero`, whether the value at the origin is left out · `skip`, whether there is a linear part beside the layers.
    """

    prefix: str
    real: Real
    widths: tuple[int, ...]
    inputs: int
    context: int
    activation: str
    zero: bool
    skip: bool
    arrays: dict[str, np.ndarray]  # by the names of their tables, each (M, …), weights column by column

    @property
    def hidden(self) -> tuple[int, ...]:
        """The widths of the layers with an activation."""
        return self.widths[1:-1]

    @property
    def tables(self) -> str:
        """The weights and biases of every member."""
        return "\n".join(table(f"{self.prefix}_{name}", values, self.real) for name, values in self.arrays.items())

    @property
    def fields(self) -> str:
        """What a bound person holds of the layers: their values at the origin."""
        p = f"    {self.prefix}_real"
        held = [f"{p} origin{k}[{h}], active{k}[{h}];" for k, h in enumerate(self.hidden, 1)]
        return "\n".join([*held, *([] if self.zero else [f"{p} last[{self.widths[-1]}];"])])

    @property
    def functions(self) -> str:
        """PREFIX_phi and its slope, PREFIX_layers, _layers_slopes, _layers_push and _layers_pull; ahead of them a loop over j."""
        return "\n\n".join(
            [
                activation_in_c(self.activation, self.prefix, self.real) if self.hidden else "",
                self._value(),
                *([self._slopes()] if self.hidden else []),
                self._push(),
                self._pull(),
            ]
        ).strip()

    def binding(self) -> str:
        """The statements that give a person the layers' values at the origin, from `person->c` (and θ)."""
        p, lines, last = self.prefix, ["    /* the layers at x = 0, u = 0 */"], len(self.widths) - 2
        for k in range(last + (0 if self.zero and self.hidden else 1)):
            name = f"person->origin{k + 1}" if k < last else "person->last"
            width = self.widths[k + 1]
            if k == last and self.zero:
                continue
            lines += [f"    for (i = 0; i < {width}; ++i)", f"        {name}[i] = {p}_bias{k + 1}[person->member][i];"]
            if k == 0 and self.context:
                lines.append(self._columns(width, self.context, "covariate_weight", "seen", name))
            if k > 0:
                lines.append(self._columns(width, self.widths[k], f"weight{k + 1}", f"person->active{k}", name))
            if k < last:
                lines += [
                    f"    for (i = 0; i < {width}; ++i)",
                    f"        person->active{k + 1}[i] = {p}_phi(person->origin{k + 1}[i]);",
                ]
        return "\n".join(lines)

    def _columns(self, out: int, into: int, weight: str, by: str, to: str) -> str:
        """`to` += W `by`, W (out, into) column by column."""
        start, lines, whole = f"{self.prefix}_{weight}[person->member]", ["    {"], into - into % _TOGETHER
        # a block of its own: where the columns end is known to nobody else
        lines.append(f"        const {self.prefix}_real *w = {start};")
        if whole:
            terms = " + ".join(
                f"w[{k * out} + i] * {by}[j + {k}]" if k else f"w[i] * {by}[j]" for k in range(_TOGETHER)
            )
            lines += [
                f"        for (j = 0; j < {whole}; j += {_TOGETHER}, w += {_TOGETHER * out})",
                f"            for (i = 0; i < {out}; ++i)",
                f"                {to}[i] += {terms};",
            ]
        if into > whole:
            lines += [
                f"        for (j = {whole}; j < {into}; ++j, w += {out})",
                f"            for (i = 0; i < {out}; ++i)",
                f"                {to}[i] += w[i] * {by}[j];",
            ]
        return "\n".join([*lines, "    }"])

    def _rows(self, out: int, into: int, weight: str, by: str, to: str, *, add: bool) -> str:
        """`to` = Wᵀ `by`, or += with `add`."""
        return "\n".join(
            [
                "    {",
                f"        const {self.prefix}_real *w = {self.prefix}_{weight}[person->member];",
                f"        for (j = 0; j < {into}; ++j, w += {out}) {{",
                f"            {self.prefix}_real sum = {literal(0.0, self.real)};",
                f"            for (i = 0; i < {out}; ++i)",
                f"                sum += w[i] * {by}[i];",
                f"            {to}[j] {'+' if add else ''}= sum;",
                "        }",
                "    }",
            ]
        )

    def _zeroed(self, name: str, size: int) -> str:
        return f"    for (i = 0; i < {size}; ++i)\n        {name}[i] = {literal(0.0, self.real)};"

    def _opening(self, name: str, arguments: str, local: str, *, unused: str = "u") -> list[str]:
        return [
            f"static inline void {self.prefix}_{name}(const {self.prefix}_person *person, {arguments})",
            "{",
            *([f"    {self.prefix}_real {local};"] if local else []),
            "    int i, j;",
            *(f"    (void){word};" for word in unused.split()),
        ]

    def _first(self, x: str, u: str, to: str) -> list[str]:
        """`to` = W_1 x + U u."""
        lines = [self._zeroed(to, self.widths[1]), self._columns(self.widths[1], self.widths[0], "weight1", x, to)]
        return [*lines, self._columns(self.widths[1], self.inputs, "input_weight", u, to)] if self.inputs else lines

    def _next(self, k: int) -> list[str]:
        """v_{k+1} = W_{k+1} v_k."""
        columns = self._columns(self.widths[k + 1], self.widths[k], f"weight{k + 1}", f"v{k}", f"v{k + 1}")
        return [self._zeroed(f"v{k + 1}", self.widths[k + 1]), columns]

    def linear(self, x: str, to: str) -> str:
        """`to` += S x, the linear part beside the layers."""
        return self._columns(self.widths[-1], self.widths[0], "skip", x, to)

    def _value(self) -> str:
        p, R = self.prefix, f"{self.prefix}_real"
        local = ", ".join(f"v{k}[{h}]" for k, h in enumerate(self.widths[1:], 1))
        lines = [f"/* rate += what is learned{', without its linear part, which is in L' if self.skip else ''} */"]
        lines += self._opening("layers", f"const {R} *x, const {R} *u, {R} *rate", local)
        lines += self._first("x", "u", "v1")
        for k, width in enumerate(self.hidden, 1):
            lines += [
                f"    for (i = 0; i < {width}; ++i)",
                f"        v{k}[i] = {p}_phi(v{k}[i] + person->origin{k}[i]) - person->active{k}[i];",
                *self._next(k),
            ]
        last = len(self.widths) - 1
        added = f"v{last}[i]" if self.zero else f"v{last}[i] + person->last[i]"
        lines += [f"    for (i = 0; i < {self.widths[-1]}; ++i)", f"        rate[i] += {added};", "}"]
        return "\n".join(lines)

    def _slopes(self) -> str:
        """φ' of every hidden unit at a point, layer after layer in one array."""
        p, R, lines, at = self.prefix, f"{self.prefix}_real", ["/* the slopes of all hidden units at a point */"], 0
        local = ", ".join(f"v{k}[{h}]" for k, h in enumerate(self.hidden, 1))
        lines += self._opening("layers_slopes", f"const {R} *x, const {R} *u, {R} *slope", local)
        lines += self._first("x", "u", "v1")
        for k, width in enumerate(self.hidden, 1):
            lines += [
                f"    for (i = 0; i < {width}; ++i) {{",
                f"        const {R} z = v{k}[i] + person->origin{k}[i];",
                f"        slope[{at} + i] = {p}_phi_slope(z);",
                *([f"        v{k}[i] = {p}_phi(z) - person->active{k}[i];"] if k < len(self.hidden) else []),
                "    }",
            ]
            if k < len(self.hidden):
                lines += self._next(k)
            at += width
        return "\n".join([*lines, "}"])

    def _push(self) -> str:
        """Along a direction."""
        R, at = f"{self.prefix}_real", 0
        local = ", ".join(f"v{k}[{h}]" for k, h in enumerate(self.widths[1:], 1))
        lines = ["/* to += (d learned/dx) along_x + (d learned/du) along_u */"]
        lines += self._opening(
            *("layers_push", f"const {R} *slope, const {R} *along_x, const {R} *along_u, {R} *to", local),
            unused="slope along_u",
        )
        lines += self._first("along_x", "along_u", "v1")
        for k, width in enumerate(self.hidden, 1):
            lines += [
                f"    for (i = 0; i < {width}; ++i)",
                f"        v{k}[i] *= slope[{at} + i];",
                *self._next(k),
            ]
            at += width
        lines += [f"    for (i = 0; i < {self.widths[-1]}; ++i)", f"        to[i] += v{len(self.widths) - 1}[i];"]
        return "\n".join([*lines, *([self.linear("along_x", "to")] if self.skip else []), "}"])

    def _pull(self) -> str:
        """Against a direction, from the last layer to the first."""
        R, at = f"{self.prefix}_real", sum(self.hidden)
        local = ", ".join(f"v{k}[{h}]" for k, h in enumerate(self.hidden, 1))
        lines = ["/* back_x += (d learned/dx)' weighted, back_u += (d learned/du)' weighted */"]
        lines += self._opening(
            *("layers_pull", f"const {R} *slope, const {R} *weighted, {R} *back_x, {R} *back_u", local),
            unused="slope back_u",
        )
        above = "weighted"
        for k in range(len(self.hidden), 0, -1):
            width = self.hidden[k - 1]
            at -= width
            lines += [
                self._rows(self.widths[k + 1], width, f"weight{k + 1}", above, f"v{k}", add=False),
                f"    for (i = 0; i < {width}; ++i)",
                f"        v{k}[i] *= slope[{at} + i];",
            ]
            above = f"v{k}"
        lines.append(self._rows(self.widths[1], self.widths[0], "weight1", above, "back_x", add=True))
        if self.inputs:
            lines.append(self._rows(self.widths[1], self.inputs, "input_weight", above, "back_u", add=True))
        if self.skip:
            lines.append(self._rows(self.widths[-1], self.widths[0], "skip", "weighted", "back_x", add=True))
        return "\n".join([*lines, "}"])


def layers_in_c(layers: Layers, members: int, prefix: str, real: Real) -> LayersInC:
    """The text and tables of these layers, which members share or have each their own. Errors: as `activation_in_c`."""

    def columns(weight: np.ndarray) -> np.ndarray:  # (M|1, out, in) to (M, in · out)
        return np.broadcast_to(weight.swapaxes(-1, -2), (members, *weight.shape[:0:-1])).reshape(members, -1)

    weights = [w.detach().numpy() for w in layers.weights]
    arrays = {f"weight{k}": columns(w) for k, w in enumerate(weights, 1)}
    biases = [b.detach().numpy() for b in layers.biases]
    zero, last = layers.vanishes_at_origin, len(weights)
    for k, bias in enumerate(biases, 1):
        if k < last or not zero:
            arrays[f"bias{k}"] = np.broadcast_to(bias, (members, bias.shape[-1]))
    inputs, context = layers.input_weights.shape[-1], layers.covariate_weights.shape[-1]
    if inputs:
        arrays["input_weight"] = columns(layers.input_weights.detach().numpy())
    if context and (len(weights) > 1 or not zero):
        arrays["covariate_weight"] = columns(layers.covariate_weights.detach().numpy())
    if layers.skip is not None:
        arrays["skip"] = columns(layers.skip.detach().numpy())
    widths = (weights[0].shape[-1], *(w.shape[-2] for w in weights))
    return LayersInC(
        *(prefix, real, widths, inputs, context if "covariate_weight" in arrays else 0),
        activation=layers.activation,
        zero=zero,
        skip=layers.skip is not None,
        arrays=arrays,
    )
