"""The field in C as the sum of its parts, and its exact derivatives: along a direction, against one, and whole."""

from collections.abc import Mapping
from string import Template

from exchange.c.functions import OfMembers, function_in_c
from exchange.c.layers import LayersInC
from exchange.c.numbers import Real
from exchange.program import adjoint, directional

_POINT = "const ${p}_person *person, const ${p}_real *x, const ${p}_real *u"
_ADD = "    for (i = 0; i < ${p}_STATES; ++i)\n        $to[i] += term[i];"


def field_in_c(
    known: OfMembers | None,
    residual: OfMembers | None,  # what is learned, where it has no layers
    layers: LayersInC | None,
    prefix: str,
    real: Real,
    whole: bool,  # is A x + B u inside `known`?
) -> list[str]:
    """PREFIX_field, _beside, _directional, _adjoint and _jacobian, ahead of them what they call."""
    programs = {name: part for name, part in (("known", known), ("learned", residual)) if part is not None}
    made: list[str] = []
    for name, part in programs.items():
        made += _programmed(name, part, prefix, real)
    aside = layers is not None and layers.skip and known is not None  # the learned linear part is not in L
    words = {"p": prefix, "unused": "    (void)person;\n    (void)x;\n    (void)u;"}
    made.append(_rate(programs, layers, words, whole, aside))
    made.append(_directional(programs, layers, words, whole))
    made.append(_adjoint(programs, layers, words, whole))
    made.append(_jacobian(programs, layers, words, whole))
    return made


def _programmed(name: str, part: OfMembers, prefix: str, real: Real) -> list[str]:
    p, R, lead = (
        f"{prefix}_{name}",
        f"{prefix}_real",
        f"const {prefix}_person *person, const {prefix}_real *x, const {prefix}_real *u",
    )
    at = {"x": "x[{i}]", "u": "u[{i}]", "theta": "person->theta[{i}]", "c": "person->c[{i}]"}
    ahead = {**at, "x_dot": "vx[{i}]", "u_dot": "vu[{i}]", "rate_dot": "v[{i}]"}
    back = {**at, "rate_bar": "w[{i}]", "x_bar": "wx[{i}]", "u_bar": "wu[{i}]"}
    return [
        function_in_c(p, part, f"{lead}, {R} *rate", {**at, "rate": "rate[{i}]"}, real),
        function_in_c(
            *(f"{p}_directional", part.each(directional)), f"{lead}, const {R} *vx, const {R} *vu, {R} *v", ahead, real
        ),
        function_in_c(*(f"{p}_adjoint", part.each(adjoint)), f"{lead}, const {R} *w, {R} *wx, {R} *wu", back, real),
    ]


def _rate(
    programs: Mapping[str, OfMembers], layers: LayersInC | None, words: Mapping[str, str], whole: bool, aside: bool
) -> str:
    """The field and what it leaves beside L x."""
    body = ["    for (i = 0; i < ${p}_STATES; ++i) {", "        rate[i] = infused ? infused[i] : 0;"]
    if not whole:
        body += [
            "        for (j = 0; j < ${p}_INPUTS; ++j)",
            "            rate[i] += person->B[i * ${p}_INPUTS + j] * u[j];",
        ]
    body.append("    }")
    for name in programs:
        body += ["    ${p}_" + name + "(person, x, u, term);", Template(_ADD).safe_substitute(to="rate")]
    if layers is not None:
        body.append("    ${p}_layers(person, x, u, rate);")
        if aside:
            body.append(layers.linear("x", "rate"))
    term = "    ${p}_real term[${p}_STATES];\n" if programs else ""
    product = "        for (j = 0; j < ${p}_STATES; ++j)\n            rate[i] $sign= person->$matrix[i * ${p}_STATES + j] * x[j];"
    with_x = "    for (i = 0; i < ${p}_STATES; ++i)\n" + product
    more = (
        Template(with_x).safe_substitute(sign="-", matrix="A")
        if whole
        else Template(with_x).safe_substitute(sign="+", matrix="L")
    )
    first, second = ("field", "beside") if whole else ("beside", "field")
    remarks = {
        "field": "/* dx/dt at x under the inputs u; infused (NULL: nothing): what runs in, state units per time. */",
        "beside": "/* dx/dt without L x: what an exponential step does not take exactly. */",
    }
    text = f"""\
{remarks[first]}
static inline void ${{p}}_{first}({_POINT}, const ${{p}}_real *infused,
    ${{p}}_real *rate)
{{
{term}    int i, j;
    (void)j;
$unused
{chr(10).join(body)}
}}

{remarks[second]}
static inline void ${{p}}_{second}({_POINT}, const ${{p}}_real *infused,
    ${{p}}_real *rate)
{{
    int i, j;
    ${{p}}_{first}(person, x, u, infused, rate);
{more}
}}"""
    return Template(text).substitute(words)


def _directional(
    programs: Mapping[str, OfMembers], layers: LayersInC | None, words: Mapping[str, str], whole: bool
) -> str:
    body = _pushed(programs, layers, whole, along="vx", inputs="vu", to="v")
    text = f"""\
/* The derivative of the field along (vx, vu): J vx + (df/du) vu. */
static inline void ${{p}}_directional({_POINT}, const ${{p}}_real *vx,
    const ${{p}}_real *vu, ${{p}}_real *v)
{{
{_locals(programs, layers)}    int i, j;
    (void)j;
    (void)vu;
$unused
{_sloped(layers)}{body}
}}"""
    return Template(text).substitute(words)


def _jacobian(
    programs: Mapping[str, OfMembers], layers: LayersInC | None, words: Mapping[str, str], whole: bool
) -> str:
    """Column by column: the slopes of the layers are found once."""
    body = "\n".join(
        f"    {line}" for line in _pushed(programs, layers, whole, along="unit", inputs="still", to="v").split("\n")
    )
    text = f"""\
/* J = df/dx, row by row. */
static inline void ${{p}}_jacobian({_POINT}, ${{p}}_real *J)
{{
{_locals(programs, layers)}    ${{p}}_real unit[${{p}}_STATES] = {{0}}, still[${{p}}_INPUTS + 1] = {{0}}, v[${{p}}_STATES];
    int i, j, column;
    (void)j;
    (void)still;
$unused
{_sloped(layers)}    for (column = 0; column < ${{p}}_STATES; ++column) {{
        unit[column] = 1;
{body}
        for (i = 0; i < ${{p}}_STATES; ++i)
            J[i * ${{p}}_STATES + column] = v[i];
        unit[column] = 0;
    }}
}}"""
    return Template(text).substitute(words)


def _adjoint(programs: Mapping[str, OfMembers], layers: LayersInC | None, words: Mapping[str, str], whole: bool) -> str:
    body = [
        "    for (j = 0; j < ${p}_STATES; ++j)\n        wx[j] = 0;",
        "    for (j = 0; j < ${p}_INPUTS; ++j)\n        wu[j] = 0;",
    ]
    if not whole:
        body.append(
            "    for (i = 0; i < ${p}_STATES; ++i) {\n"
            "        for (j = 0; j < ${p}_STATES; ++j)\n            wx[j] += person->A[i * ${p}_STATES + j] * w[i];\n"
            "        for (j = 0; j < ${p}_INPUTS; ++j)\n            wu[j] += person->B[i * ${p}_INPUTS + j] * w[i];\n    }"
        )
    for name in programs:
        body += [
            "    ${p}_" + name + "_adjoint(person, x, u, w, term, more);",
            "    for (j = 0; j < ${p}_STATES; ++j)\n        wx[j] += term[j];",
            "    for (j = 0; j < ${p}_INPUTS; ++j)\n        wu[j] += more[j];",
        ]
    if layers is not None:
        body.append("    ${p}_layers_pull(person, " + ("slope" if layers.hidden else "0") + ", w, wx, wu);")
    more = "    ${p}_real more[${p}_INPUTS + 1];\n" if programs else ""
    text = f"""\
/* The derivative of sum w_i f_i: wx = J' w and wu = (df/du)' w. */
static inline void ${{p}}_adjoint({_POINT}, const ${{p}}_real *w,
    ${{p}}_real *wx, ${{p}}_real *wu)
{{
{_locals(programs, layers)}{more}    int i, j;
    (void)i;
    (void)w;
    (void)wu;
$unused
{_sloped(layers)}{chr(10).join(body)}
}}"""
    return Template(text).substitute(words)


def _pushed(
    programs: Mapping[str, OfMembers], layers: LayersInC | None, whole: bool, *, along: str, inputs: str, to: str
) -> str:
    """`to` = J `along` + (∂f/∂u) `inputs`, the slopes of the layers being in `slope`."""
    body = ["    for (i = 0; i < ${p}_STATES; ++i) {", f"        {to}[i] = 0;"]
    if not whole:
        body += [
            f"        for (j = 0; j < ${{p}}_STATES; ++j)\n            {to}[i] += person->A[i * ${{p}}_STATES + j] * {along}[j];",
            "        for (j = 0; j < ${p}_INPUTS; ++j)",
            f"            {to}[i] += person->B[i * ${{p}}_INPUTS + j] * {inputs}[j];",
        ]
    body.append("    }")
    for name in programs:
        body += [
            "    ${p}_" + f"{name}_directional(person, x, u, {along}, {inputs}, term);",
            Template(_ADD).safe_substitute(to=to),
        ]
    if layers is not None:
        slope = "slope" if layers.hidden else "0"
        body.append("    ${p}_layers_push(person, " + f"{slope}, {along}, {inputs}, {to});")
    return "\n".join(body)


def _locals(programs: Mapping[str, OfMembers], layers: LayersInC | None) -> str:
    term = "    ${p}_real term[${p}_STATES];\n" if programs else ""
    slope = f"    ${{p}}_real slope[{sum(layers.hidden)}];\n" if layers is not None and layers.hidden else ""
    return term + slope


def _sloped(layers: LayersInC | None) -> str:
    return "    ${p}_layers_slopes(person, x, u, slope);\n" if layers is not None and layers.hidden else ""
