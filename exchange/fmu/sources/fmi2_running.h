/* The functions of FMI 2.0 by which time goes on: events, model exchange, co-simulation. Part of fmi2.c. */

STATUS FMI2(fmi2EnterEventMode)(fmi2Component handle)
{
    return enter(handle, IN(CONTINUOUS), EVENTS);
}

STATUS FMI2(fmi2NewDiscreteStates)(fmi2Component handle, fmi2EventInfo *event)
{
    if (!handle || require_mode(OF(handle), IN(EVENTS)))
        return fmi2Error;
    memset(event, 0, sizeof *event);
    return fmi2OK;
}

STATUS FMI2(fmi2EnterContinuousTimeMode)(fmi2Component handle)
{
    return enter(handle, IN(EVENTS), CONTINUOUS);
}

STATUS FMI2(fmi2CompletedIntegratorStep)(fmi2Component handle, fmi2Boolean final, fmi2Boolean *events, fmi2Boolean *ends)
{
    UNUSED(final);
    *events = *ends = 0;
    return answer(handle ? require_mode(OF(handle), IN(CONTINUOUS)) : -1);
}

STATUS FMI2(fmi2SetTime)(fmi2Component handle, fmi2Real time)
{
    return answer(handle ? set_time(OF(handle), time) : -1);
}

STATUS FMI2(fmi2SetContinuousStates)(fmi2Component handle, const fmi2Real states[], size_t count)
{
    return answer(handle && count == MEMBERS * STATES ? set_states(OF(handle), states) : -1);
}

STATUS FMI2(fmi2GetDerivatives)(fmi2Component handle, fmi2Real rates[], size_t count)
{
    if (!handle || count != MEMBERS * STATES || compute_rates(OF(handle)))
        return fmi2Error;
    memcpy(rates, OF(handle)->memory.value + V_RATE, sizeof(double) * MEMBERS * STATES);
    return fmi2OK;
}

STATUS FMI2(fmi2GetEventIndicators)(fmi2Component handle, fmi2Real indicators[], size_t count)
{
    UNUSED(indicators);
    return answer(handle && count == 0 ? 0 : -1);
}

STATUS FMI2(fmi2GetContinuousStates)(fmi2Component handle, fmi2Real states[], size_t count)
{
    if (!handle || count != MEMBERS * STATES)
        return fmi2Error;
    memcpy(states, OF(handle)->memory.value + V_STATE, sizeof(double) * MEMBERS * STATES);
    return fmi2OK;
}

STATUS FMI2(fmi2GetNominalsOfContinuousStates)(fmi2Component handle, fmi2Real nominals[], size_t count)
{
    if (!handle || count != MEMBERS * STATES)
        return fmi2Error;
    for (size_t k = 0; k < count; k++)
        nominals[k] = state_nominals[k % STATES];
    return fmi2OK;
}

STATUS FMI2(fmi2SetRealInputDerivatives)(fmi2Component handle, REFERENCES, const fmi2Integer orders[], const fmi2Real values[])
{
    UNUSED(references), UNUSED(count), UNUSED(orders), UNUSED(values);
    return lacking(handle);
}

STATUS FMI2(fmi2GetRealOutputDerivatives)(fmi2Component handle, REFERENCES, const fmi2Integer orders[], fmi2Real values[])
{
    UNUSED(references), UNUSED(count), UNUSED(orders), UNUSED(values);
    return lacking(handle);
}

STATUS FMI2(fmi2DoStep)(fmi2Component handle, fmi2Real from, fmi2Real size, fmi2Boolean final)
{
    UNUSED(final);
    if (!handle || require_mode(OF(handle), IN(STEPPING)))
        return fmi2Error;
    return answer(step_to(OF(handle), from, size));
}

STATUS FMI2(fmi2CancelStep)(fmi2Component handle)
{
    return lacking(handle);
}

/* no step is ever pending: what is asked about one has no answer but the time that was reached */
STATUS FMI2(fmi2GetStatus)(fmi2Component handle, const fmi2StatusKind kind, fmi2Status *value)
{
    UNUSED(kind), UNUSED(value);
    return handle ? fmi2Discard : fmi2Error;
}

STATUS FMI2(fmi2GetRealStatus)(fmi2Component handle, const fmi2StatusKind kind, fmi2Real *value)
{
    if (!handle || !value)
        return fmi2Error;
    if (kind != fmi2LastSuccessfulTime)
        return fmi2Discard;
    *value = OF(handle)->memory.value[V_TIME];
    return fmi2OK;
}

STATUS FMI2(fmi2GetIntegerStatus)(fmi2Component handle, const fmi2StatusKind kind, fmi2Integer *value)
{
    UNUSED(kind), UNUSED(value);
    return handle ? fmi2Discard : fmi2Error;
}

STATUS FMI2(fmi2GetBooleanStatus)(fmi2Component handle, const fmi2StatusKind kind, fmi2Boolean *value)
{
    UNUSED(kind), UNUSED(value);
    return handle ? fmi2Discard : fmi2Error;
}

STATUS FMI2(fmi2GetStringStatus)(fmi2Component handle, const fmi2StatusKind kind, fmi2String *value)
{
    UNUSED(kind), UNUSED(value);
    return handle ? fmi2Discard : fmi2Error;
}
