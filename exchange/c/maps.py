"""From a population to a person, from a baseline to a start, from a state to what is measured: programs as C functions."""

from string import Template

from exchange.c.model import Model
from exchange.program import directional

_HELD = {"theta": "person->theta[{i}]"}


def maps_in_c(made: Model) -> list[str]:
    """PREFIX_theta and PREFIX_context."""
    theta, context = made.of("theta"), made.of("context")
    assert theta is not None  # every model has them
    assert context is not None
    return [
        made.function(
            "theta",
            theta,
            "int member, const R *eta, const R *covariates, R *theta",
            {"theta": "theta[{i}]"},
            f"theta of someone of the population under a member, 0 to {made.prefix}_MEMBERS - 1: eta (0: the typical person) and "
            "covariates in their own units.",
        ),
        made.function(
            "context",
            context,
            "const R *latents, const R *covariates, R *c",
            {"c": "c[{i}]"},
            "c of someone: the standardised covariates, then the latents.",
        ),
    ]


def measured_in_c(made: Model) -> list[str]:
    """PREFIX_observe, _variance, the derivatives of both, _diffusion and _initial."""
    observe, variance, diffusion, initial = (made.of(part) for part in ("observe", "variance", "diffusion", "initial"))
    assert observe is not None  # every model has them
    assert variance is not None
    along = observe.each(lambda program: directional(program, ("x",), "y"))
    found = [
        made.function("observe", observe, "person, const R *x, R *y", _HELD, "The mean of what is measured."),
        made.function(
            "observe_directional",
            along,
            "person, const R *x, const R *vx, R *vy",
            {**_HELD, "x_dot": "vx[{i}]", "y_dot": "vy[{i}]"},
            "Its derivative along vx.",
        ),
        made.function(
            "variance",
            variance,
            "person, const R *y, const R *x, const R *u, R *variance",
            {},
            "The variance of a measurement with the mean y, each in its channel's unit squared.",
        ),
        made.function(
            "variance_directional",
            variance.each(lambda program: directional(program, ("y", "x", "u"), "variance")),
            "person, const R *y, const R *x, const R *u, const R *vy, const R *vx, const R *vu, R *v",
            {"y_dot": "vy[{i}]", "x_dot": "vx[{i}]", "u_dot": "vu[{i}]", "variance_dot": "v[{i}]"},
            "Its derivative along vy, vx and vu.",
        ),
    ]
    if diffusion is None:
        found.append(Template(_NO_DIFFUSION).substitute(p=made.prefix))
    else:
        said = "The diffusion of every state, in its unit per root of time."
        found.append(made.function("diffusion", diffusion, "person, const R *x, R *g", {}, said))
    if initial is None:
        return [*found, Template(_NO_START).substitute(p=made.prefix)]
    start = made.function("start", initial, "person, const R *baseline, R *x", _HELD)
    return [*found, f"{start}\n\n{Template(_START).substitute(p=made.prefix)}"]


_NO_DIFFUSION = """\
/* The diffusion of every state: this model has no process noise. */
static inline void ${p}_diffusion(const ${p}_person *person, const ${p}_real *x, ${p}_real *g)
{
    int i;
    (void)person;
    (void)x;
    for (i = 0; i < ${p}_STATES; ++i)
        g[i] = 0;
}"""

_NO_START = """\
/* -1: where someone starts is the solution of an equation, which is not in this header. */
static inline int ${p}_initial(const ${p}_person *person, const ${p}_real *baseline, ${p}_real *x)
{
    (void)person;
    (void)baseline;
    (void)x;
    return -1;
}"""

_START = """\
/* The state that someone starts from; baseline NAN: not measured. 0, or -1 where it is no number. */
static inline int ${p}_initial(const ${p}_person *person, const ${p}_real *baseline, ${p}_real *x)
{
    int i;
    ${p}_start(person, baseline, x);
    for (i = 0; i < ${p}_STATES; ++i)
        if (!isfinite(x[i]))
            return -1;
    return 0;
}"""
