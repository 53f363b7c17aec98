"""Someone whose theta and c are held: the struct, and how it is filled."""

from string import Template

from exchange.c.model import Model
from exchange.c.numbers import Real, literal
from learned.seen_theta import SeenTheta


def person_in_c(made: Model) -> list[str]:
    """PREFIX_person, PREFIX_matrices, the tables and functions of the layers, and PREFIX_bind."""
    layers, matrices = made.layers, made.of("matrices")
    assert matrices is not None  # every model has them
    of_layers = [] if layers is None else [layers.tables, layers.functions]
    return [_struct(made), _matrices(made), *of_layers, _bind(made)]


def _struct(made: Model) -> str:
    p, layers, model = made.prefix, made.layers, made.selected.model
    n, m = len(model.backbone.states), len(model.backbone.inputs)
    q, r = max(1, len(model.backbone.physical)), max(1, model.sees)
    fields = f"\n{layers.fields}" if layers is not None and layers.fields else ""
    return f"""\
/* Someone whose theta and c are held under one member: A(theta), B(theta) and L (A, and of what is learned that which is
   linear in x), row by row, and the values of the layers at x = 0, u = 0. */
typedef struct {{
    int member;
    {p}_real theta[{q}], c[{r}], A[{n * n}], B[{max(1, n * m)}], L[{n * n}];{fields}
}} {p}_person;"""


def _matrices(made: Model) -> str:
    matrices = made.of("matrices")
    assert matrices is not None
    names = {"theta": "person->theta[{i}]", "A": "person->A[{i}]", "B": "person->B[{i}]"}
    text = made.function("matrices", matrices, "person", names, "A(theta) and B(theta).")
    return text.replace(f"const {made.prefix}_person *person", f"{made.prefix}_person *person")


def _bind(made: Model) -> str:
    layers, model = made.layers, made.selected.model
    n, q, r = len(model.backbone.states), len(model.backbone.physical), model.sees
    seen = ""
    if layers is not None and layers.context:  # c, and behind it theta where the layers see it
        seen = f"        {made.prefix}_real seen[{layers.context}];\n"
        standardised = model.residual.seen_theta
        for what, first, count in (("c", 0, r), ("theta", r, 0 if standardised else layers.context - r)):
            if count:
                seen += f"        for (i = 0; i < {count}; ++i)\n            seen[{first} + i] = person->{what}[i];\n"
        if standardised:
            seen += _standardised(standardised, r, made.real)
    layered = "" if layers is None else f"    {{\n{seen}{layers.binding()}\n    }}\n"
    return Template(_BIND).substitute(
        p=made.prefix,
        theta=_held("theta", q, made.prefix, "theta"),
        c=_held("c", r, made.prefix, "context"),
        plus=f" + {made.prefix}_skip[member][(i % {n}) * {n} + i / {n}]" if made.skip_in_linear else "",
        layered=layered,
    )


def _standardised(seen: SeenTheta, first: int, real: Real) -> str:
    """seen[first + k] = (log theta - centre)/half, as `SeenTheta` is; theta that has no logarithm is refused."""
    lines, f = [], "f" if real == "float" else ""
    for k, (at, logs, centre, half) in enumerate(seen.scales, first):
        value = f"log{f}(person->theta[{at}])" if logs else f"person->theta[{at}]"
        lines += [
            f"        seen[{k}] = ({value} - ({literal(centre, real)})) / {literal(half, real)};",
            f"        if (!isfinite(seen[{k}]))",
            "            return -1;",
        ]
    return "\n".join(lines) + "\n"


def _held(what: str, size: int, p: str, table: str) -> str:
    if not size:
        return f"    (void){what};\n    person->{what}[0] = 0;"
    return Template("""\
    for (i = 0; i < $size; ++i) {
        person->$what[i] = $what ? $what[i] : ${p}_default_$table[member][i];
        if (!isfinite(person->$what[i]))
            return -1;
    }""").substitute(size=size, what=what, p=p, table=table)


_BIND = """\
/* Hold theta and c (0: the defaults) under a member. 0, or -1: no such member, or a number that is not finite. */
static inline int ${p}_bind(${p}_person *person, int member, const ${p}_real *theta, const ${p}_real *c)
{
    int i, j;
    (void)j;
    if (member < 0 || member >= ${p}_MEMBERS)
        return -1;
    person->member = member;
$theta
$c
    ${p}_matrices(person);
    for (i = 0; i < ${p}_SQUARE; ++i) {
        person->L[i] = person->A[i]$plus;
        if (!isfinite(person->L[i]))
            return -1;
    }
$layered    return 0;
}"""
