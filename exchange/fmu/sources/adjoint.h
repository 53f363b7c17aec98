/* Adjoint derivatives, which FMI 3.0 alone has. Part of fmi3.c. */

/* w J of everything, for the seed w of rates and outputs: rates by their adjoint, outputs column by column */
static int adjoint(Instance *instance, const uint32_t *unknowns, size_t count, const uint32_t *knowns, size_t wanted,
                   const double *seed, double *sensitivity)
{
    const double *value = instance->memory.value;
    double rates[V_COUNT], by_state[STATES], by_input[SIZE(INPUTS)];
    int with_outputs = 0;
    if (require_pairs(instance, unknowns, count, knowns, wanted) || bind_people(instance))
        return -1;
    memset(rates, 0, sizeof rates);
    for (size_t i = 0; i < count; i++) {
        with_outputs = with_outputs || unknowns[i] >= V_OUTPUT;
        if (unknowns[i] < V_OUTPUT)
            rates[unknowns[i]] += seed[i];
    }
    for (int member = 0; member < MEMBERS; member++) {
        const double *w = rates + AT_RATE(member);
        MODEL(adjoint)(&instance->person[member], value + AT_STATE(member), value + V_INPUT, w, by_state, by_input);
        for (int k = 0; k < STATES; k++) {
            rates[AT_STATE(member) + k] = by_state[k];
            rates[V_INFUSED + k] += w[k];
        }
        for (int k = 0; k < INPUTS; k++)
            rates[V_INPUT + k] += by_input[k];
    }
    for (size_t j = 0; j < wanted; j++) {
        sensitivity[j] = rates[knowns[j]];
        if (!with_outputs)
            continue;
        memset(instance->seed, 0, sizeof instance->seed);
        instance->seed[knowns[j]] = 1.0;
        if (push_forward(instance, 1))
            return -1;
        for (size_t i = 0; i < count; i++)
            if (unknowns[i] >= V_OUTPUT)
                sensitivity[j] += seed[i] * instance->sensitivity[unknowns[i]];
    }
    return 0;
}
