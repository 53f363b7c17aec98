"""Two steps of a fixed length in C: the classic Runge–Kutta method, and Krogstad's exponential one with its functions."""

from string import Template

from exchange.c.numbers import Real, literal

_TERMS = 16  # of the series of φ₃ for ‖Z‖ ≤ ½: the next one is ½¹⁶/19! < 1e-22

_RK4 = """\
/* One step of the classic Runge-Kutta method over the time h, inputs and infusions held. */
static inline void ${p}_step_rk4(const ${p}_person *person, const ${p}_real *x, const ${p}_real *u, const ${p}_real *infused,
    ${p}_real h, ${p}_real *after)
{
    ${p}_real k1[${p}_STATES], k2[${p}_STATES], k3[${p}_STATES], k4[${p}_STATES], at[${p}_STATES];
    int i;
    ${p}_field(person, x, u, infused, k1);
    for (i = 0; i < ${p}_STATES; ++i)
        at[i] = x[i] + $half * h * k1[i];
    ${p}_field(person, at, u, infused, k2);
    for (i = 0; i < ${p}_STATES; ++i)
        at[i] = x[i] + $half * h * k2[i];
    ${p}_field(person, at, u, infused, k3);
    for (i = 0; i < ${p}_STATES; ++i)
        at[i] = x[i] + h * k3[i];
    ${p}_field(person, at, u, infused, k4);
    for (i = 0; i < ${p}_STATES; ++i)
        after[i] = x[i] + h / $six * (k1[i] + $two * (k2[i] + k3[i]) + k4[i]);
}"""

_PLAN = """\
/* What an exponential step of the length h needs of a person: e^{hL}, and its functions put together for every stage. */
typedef struct {
    ${p}_real h, half[${p}_SQUARE], whole[${p}_SQUARE];
    ${p}_real s21[${p}_SQUARE], s31[${p}_SQUARE], s32[${p}_SQUARE], s41[${p}_SQUARE], s43[${p}_SQUARE];
    ${p}_real end1[${p}_SQUARE], end23[${p}_SQUARE], end4[${p}_SQUARE];
} ${p}_plan;

/* to += left right, n x n, row by row */
static inline void ${p}_add_product(const ${p}_real *left, const ${p}_real *right, ${p}_real *to)
{
    int i, j, k;
    for (i = 0; i < ${p}_STATES; ++i)
        for (k = 0; k < ${p}_STATES; ++k)
            for (j = 0; j < ${p}_STATES; ++j)
                to[i * ${p}_STATES + j] += left[i * ${p}_STATES + k] * right[k * ${p}_STATES + j];
}

/* to += matrix vector */
static inline void ${p}_add_times(const ${p}_real *matrix, const ${p}_real *vector, ${p}_real *to)
{
    int i, j;
    for (i = 0; i < ${p}_STATES; ++i) {
        ${p}_real sum = $zero;
        for (j = 0; j < ${p}_STATES; ++j)
            sum += matrix[i * ${p}_STATES + j] * vector[j];
        to[i] += sum;
    }
}

/* e, p1, p2, p3 at z become those at 2 z: phi_k(2z) = 2^-k (e^z phi_k(z) + sum over l <= k of phi_l(z)/(k-l)!) */
static inline void ${p}_double_phi(${p}_real *e, ${p}_real *p1, ${p}_real *p2, ${p}_real *p3)
{
    ${p}_real n1[${p}_SQUARE], n2[${p}_SQUARE], n3[${p}_SQUARE], square[${p}_SQUARE];
    int i;
    for (i = 0; i < ${p}_SQUARE; ++i) {
        n1[i] = p1[i];
        n2[i] = p1[i] + p2[i];
        n3[i] = $half * p1[i] + p2[i] + p3[i];
        square[i] = $zero;
    }
    ${p}_add_product(e, p1, n1);
    ${p}_add_product(e, p2, n2);
    ${p}_add_product(e, p3, n3);
    ${p}_add_product(e, e, square);
    for (i = 0; i < ${p}_SQUARE; ++i) {
        p1[i] = $half * n1[i];
        p2[i] = $quarter * n2[i];
        p3[i] = $eighth * n3[i];
        e[i] = square[i];
    }
}

/* below = identity / factorial + z above: from phi_{k+1} to phi_k */
static inline void ${p}_lower_phi(const ${p}_real *z, const ${p}_real *above, ${p}_real over_factorial, ${p}_real *below)
{
    int i;
    for (i = 0; i < ${p}_SQUARE; ++i)
        below[i] = i % (${p}_STATES + 1) == 0 ? over_factorial : $zero;
    ${p}_add_product(z, above, below);
}

/* e^Z and phi_1, phi_2, phi_3 of Z = 2^doublings z, by the Taylor series of phi_3 at z (norm 1/2 or less) and doubling */
static inline void ${p}_phi_functions(const ${p}_real *z, int doublings, ${p}_real *e, ${p}_real *p1, ${p}_real *p2,
    ${p}_real *p3)
{
    static const ${p}_real series[$terms] = {$series};
    ${p}_real next[${p}_SQUARE];
    int i, k;
    for (i = 0; i < ${p}_SQUARE; ++i)
        p3[i] = i % (${p}_STATES + 1) == 0 ? series[$terms - 1] : $zero;
    for (k = $terms - 2; k >= 0; --k) {
        ${p}_lower_phi(z, p3, series[k], next);
        for (i = 0; i < ${p}_SQUARE; ++i)
            p3[i] = next[i];
    }
    ${p}_lower_phi(z, p3, $half, p2);
    ${p}_lower_phi(z, p2, $one, p1);
    ${p}_lower_phi(z, p1, $one, e);
    for (k = 0; k < doublings; ++k)
        ${p}_double_phi(e, p1, p2, p3);
}

/* The plan of steps of the length h of this person. 0, or -1 where h L is not finite or larger than 2^60. */
static inline int ${p}_prepare(${p}_plan *plan, const ${p}_person *person, ${p}_real h)
{
    ${p}_real z[${p}_SQUARE], e[${p}_SQUARE], p1[${p}_SQUARE], p2[${p}_SQUARE], p3[${p}_SQUARE], norm = $zero, scale = $one;
    int i, j, doublings = 1;
    for (i = 0; i < ${p}_STATES; ++i) {
        ${p}_real row = $zero;
        for (j = 0; j < ${p}_STATES; ++j)
            row += $fabs(h * person->L[i * ${p}_STATES + j]);
        if (!(row <= $most))
            return -1;
        norm = row > norm ? row : norm;
    }
    plan->h = h;
    for (scale = $half; norm * scale > $half; scale *= $half)
        ++doublings;
    for (i = 0; i < ${p}_SQUARE; ++i)
        z[i] = scale * (h * person->L[i]);
    ${p}_phi_functions(z, doublings - 1, e, p1, p2, p3);
    for (i = 0; i < ${p}_SQUARE; ++i) { /* at hL/2 */
        plan->half[i] = e[i];
        plan->s21[i] = $half * h * p1[i];
        plan->s31[i] = h * ($half * p1[i] - p2[i]);
        plan->s32[i] = h * p2[i];
    }
    ${p}_double_phi(e, p1, p2, p3);
    for (i = 0; i < ${p}_SQUARE; ++i) { /* at hL */
        plan->whole[i] = e[i];
        plan->s41[i] = h * (p1[i] - $two * p2[i]);
        plan->s43[i] = h * ($two * p2[i]);
        plan->end1[i] = h * (p1[i] - $three * p2[i] + $four * p3[i]);
        plan->end23[i] = h * ($two * p2[i] - $four * p3[i]);
        plan->end4[i] = h * ($four * p3[i] - p2[i]);
    }
    return 0;
}

/* One step of Krogstad's exponential Runge-Kutta method over plan->h, inputs and infusions held: exact in L x. */
static inline void ${p}_step_exponential(const ${p}_plan *plan, const ${p}_person *person, const ${p}_real *x, const ${p}_real *u,
    const ${p}_real *infused, ${p}_real *after)
{
    ${p}_real g1[${p}_STATES], g2[${p}_STATES], g3[${p}_STATES], g4[${p}_STATES], at[${p}_STATES];
    int i;
    ${p}_beside(person, x, u, infused, g1);
    for (i = 0; i < ${p}_STATES; ++i)
        at[i] = $zero;
    ${p}_add_times(plan->half, x, at);
    ${p}_add_times(plan->s21, g1, at);
    ${p}_beside(person, at, u, infused, g2);
    for (i = 0; i < ${p}_STATES; ++i)
        at[i] = $zero;
    ${p}_add_times(plan->half, x, at);
    ${p}_add_times(plan->s31, g1, at);
    ${p}_add_times(plan->s32, g2, at);
    ${p}_beside(person, at, u, infused, g3);
    for (i = 0; i < ${p}_STATES; ++i)
        at[i] = $zero;
    ${p}_add_times(plan->whole, x, at);
    ${p}_add_times(plan->s41, g1, at);
    ${p}_add_times(plan->s43, g3, at);
    ${p}_beside(person, at, u, infused, g4);
    for (i = 0; i < ${p}_STATES; ++i) {
        after[i] = $zero;
        g2[i] += g3[i];
    }
    ${p}_add_times(plan->whole, x, after);
    ${p}_add_times(plan->end1, g1, after);
    ${p}_add_times(plan->end23, g2, after);
    ${p}_add_times(plan->end4, g4, after);
}"""


def steps_in_c(prefix: str, real: Real) -> str:
    """PREFIX_step_rk4, and the plan, PREFIX_prepare and PREFIX_step_exponential. They call PREFIX_field and PREFIX_beside.

    Source: Krogstad, J. Comput. Phys. 203 (2005) 72; Skaflestad & Wright, Appl. Numer. Math. 59 (2009) 783.
    """
    factorial, series = 2.0, []
    for k in range(_TERMS):
        factorial *= k + 3
        series.append(literal(1.0 / factorial, real))
    named = {
        "zero": 0.0, "one": 1.0, "two": 2.0, "three": 3.0, "four": 4.0, "six": 6.0, "half": 0.5, "quarter": 0.25, "eighth": 0.125,
        "most": 2.0**60,
    }  # fmt: skip
    numbers = {word: literal(value, real) for word, value in named.items()}
    fabs = "fabsf" if real == "float" else "fabs"
    return Template(f"{_RK4}\n\n{_PLAN}").substitute(
        numbers, p=prefix, series=", ".join(series), terms=_TERMS, fabs=fabs
    )
