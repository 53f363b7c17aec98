/* The functions of FMI 3.0 by which time goes on: events, model exchange, co-simulation. Part of fmi3.c. */

STATUS FMI3(fmi3UpdateDiscreteStates)(fmi3Instance handle, fmi3Boolean *again, fmi3Boolean *ends, fmi3Boolean *nominals,
                                      fmi3Boolean *states, fmi3Boolean *timed, fmi3Float64 *next)
{
    if (!handle || require_mode(OF(handle), IN(EVENTS)))
        return fmi3Error;
    *again = *ends = *nominals = *states = *timed = false;
    *next = 0.0;
    return fmi3OK;
}

STATUS FMI3(fmi3EnterContinuousTimeMode)(fmi3Instance handle)
{
    return enter(handle, IN(EVENTS), CONTINUOUS);
}

STATUS FMI3(fmi3CompletedIntegratorStep)(fmi3Instance handle, fmi3Boolean final, fmi3Boolean *events, fmi3Boolean *ends)
{
    UNUSED(final);
    *events = *ends = false;
    return answer(handle ? require_mode(OF(handle), IN(CONTINUOUS)) : -1);
}

STATUS FMI3(fmi3SetTime)(fmi3Instance handle, fmi3Float64 time)
{
    return answer(handle ? set_time(OF(handle), time) : -1);
}

STATUS FMI3(fmi3SetContinuousStates)(fmi3Instance handle, const fmi3Float64 states[], size_t count)
{
    return answer(handle && count == MEMBERS * STATES ? set_states(OF(handle), states) : -1);
}

STATUS FMI3(fmi3GetContinuousStateDerivatives)(fmi3Instance handle, fmi3Float64 rates[], size_t count)
{
    if (!handle || count != MEMBERS * STATES || compute_rates(OF(handle)))
        return fmi3Error;
    memcpy(rates, OF(handle)->memory.value + V_RATE, sizeof(double) * MEMBERS * STATES);
    return fmi3OK;
}

STATUS FMI3(fmi3GetEventIndicators)(fmi3Instance handle, fmi3Float64 indicators[], size_t count)
{
    UNUSED(indicators);
    return answer(handle && count == 0 ? 0 : -1);
}

STATUS FMI3(fmi3GetContinuousStates)(fmi3Instance handle, fmi3Float64 states[], size_t count)
{
    if (!handle || count != MEMBERS * STATES)
        return fmi3Error;
    memcpy(states, OF(handle)->memory.value + V_STATE, sizeof(double) * MEMBERS * STATES);
    return fmi3OK;
}

STATUS FMI3(fmi3GetNominalsOfContinuousStates)(fmi3Instance handle, fmi3Float64 nominals[], size_t count)
{
    if (!handle || count != MEMBERS * STATES)
        return fmi3Error;
    for (size_t k = 0; k < count; k++)
        nominals[k] = state_nominals[k % STATES];
    return fmi3OK;
}

STATUS FMI3(fmi3GetNumberOfEventIndicators)(fmi3Instance handle, size_t *count)
{
    if (!handle || !count)
        return fmi3Error;
    *count = 0;
    return fmi3OK;
}

STATUS FMI3(fmi3GetNumberOfContinuousStates)(fmi3Instance handle, size_t *count)
{
    if (!handle || !count)
        return fmi3Error;
    *count = MEMBERS * STATES;
    return fmi3OK;
}

STATUS FMI3(fmi3DoStep)(fmi3Instance handle, fmi3Float64 from, fmi3Float64 size, fmi3Boolean final, fmi3Boolean *events,
                        fmi3Boolean *ends, fmi3Boolean *early, fmi3Float64 *reached)
{
    UNUSED(final);
    *events = *ends = *early = false;
    if (!handle || require_mode(OF(handle), IN(STEPPING)))
        return fmi3Error;
    *reached = OF(handle)->memory.value[V_TIME];
    if (step_to(OF(handle), from, size))
        return fmi3Error;
    *reached = OF(handle)->memory.value[V_TIME];
    return fmi3OK;
}
