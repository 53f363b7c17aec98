/* The functions of FMI 3.0 about what this model has not: they answer fmi3Error, or fmi3OK where nothing is asked. Part of fmi3.c. */

/* types that no variable of this model has: asked for none of them, all is well */
#define NO_VARIABLE(type)                                                                                                        \
    STATUS FMI3(fmi3Get##type)(fmi3Instance handle, REFERENCES, fmi3##type values[], size_t size)                                \
    {                                                                                                                            \
        UNUSED(references), UNUSED(values), UNUSED(size);                                                                        \
        return count ? lacking(handle) : fmi3OK;                                                                                 \
    }                                                                                                                            \
    STATUS FMI3(fmi3Set##type)(fmi3Instance handle, REFERENCES, const fmi3##type values[], size_t size)                          \
    {                                                                                                                            \
        UNUSED(references), UNUSED(values), UNUSED(size);                                                                        \
        return count ? lacking(handle) : fmi3OK;                                                                                 \
    }
NO_VARIABLE(Float32)
NO_VARIABLE(Int8)
NO_VARIABLE(UInt8)
NO_VARIABLE(Int16)
NO_VARIABLE(UInt16)
NO_VARIABLE(Int32)
NO_VARIABLE(UInt32)
NO_VARIABLE(Int64)
NO_VARIABLE(UInt64)
NO_VARIABLE(String)

STATUS FMI3(fmi3GetBinary)(fmi3Instance handle, REFERENCES, size_t sizes[], fmi3Binary values[], size_t size)
{
    UNUSED(references), UNUSED(sizes), UNUSED(values), UNUSED(size);
    return count ? lacking(handle) : fmi3OK;
}

STATUS FMI3(fmi3SetBinary)(fmi3Instance handle, REFERENCES, const size_t sizes[], const fmi3Binary values[], size_t size)
{
    UNUSED(references), UNUSED(sizes), UNUSED(values), UNUSED(size);
    return count ? lacking(handle) : fmi3OK;
}

STATUS FMI3(fmi3GetClock)(fmi3Instance handle, REFERENCES, fmi3Clock values[])
{
    UNUSED(references), UNUSED(values);
    return count ? lacking(handle) : fmi3OK;
}

STATUS FMI3(fmi3SetClock)(fmi3Instance handle, REFERENCES, const fmi3Clock values[])
{
    UNUSED(references), UNUSED(values);
    return count ? lacking(handle) : fmi3OK;
}

STATUS FMI3(fmi3GetNumberOfVariableDependencies)(fmi3Instance handle, fmi3ValueReference reference, size_t *dependencies)
{
    UNUSED(reference), UNUSED(dependencies);
    return lacking(handle);
}

STATUS FMI3(fmi3GetVariableDependencies)(fmi3Instance handle, fmi3ValueReference dependent, size_t elements[],
                                         fmi3ValueReference independents[], size_t indices[], fmi3DependencyKind kinds[],
                                         size_t count)
{
    UNUSED(dependent), UNUSED(elements), UNUSED(independents), UNUSED(indices), UNUSED(kinds), UNUSED(count);
    return lacking(handle);
}

STATUS FMI3(fmi3EnterConfigurationMode)(fmi3Instance handle)
{
    return lacking(handle);
}

STATUS FMI3(fmi3ExitConfigurationMode)(fmi3Instance handle)
{
    return lacking(handle);
}

STATUS FMI3(fmi3GetIntervalDecimal)(fmi3Instance handle, REFERENCES, fmi3Float64 intervals[], fmi3IntervalQualifier qualifiers[])
{
    UNUSED(references), UNUSED(count), UNUSED(intervals), UNUSED(qualifiers);
    return lacking(handle);
}

STATUS FMI3(fmi3GetIntervalFraction)(fmi3Instance handle, REFERENCES, fmi3UInt64 counters[], fmi3UInt64 resolutions[],
                                     fmi3IntervalQualifier qualifiers[])
{
    UNUSED(references), UNUSED(count), UNUSED(counters), UNUSED(resolutions), UNUSED(qualifiers);
    return lacking(handle);
}

STATUS FMI3(fmi3GetShiftDecimal)(fmi3Instance handle, REFERENCES, fmi3Float64 shifts[])
{
    UNUSED(references), UNUSED(count), UNUSED(shifts);
    return lacking(handle);
}

STATUS FMI3(fmi3GetShiftFraction)(fmi3Instance handle, REFERENCES, fmi3UInt64 counters[], fmi3UInt64 resolutions[])
{
    UNUSED(references), UNUSED(count), UNUSED(counters), UNUSED(resolutions);
    return lacking(handle);
}

STATUS FMI3(fmi3SetIntervalDecimal)(fmi3Instance handle, REFERENCES, const fmi3Float64 intervals[])
{
    UNUSED(references), UNUSED(count), UNUSED(intervals);
    return lacking(handle);
}

STATUS FMI3(fmi3SetIntervalFraction)(fmi3Instance handle, REFERENCES, const fmi3UInt64 counters[], const fmi3UInt64 resolutions[])
{
    UNUSED(references), UNUSED(count), UNUSED(counters), UNUSED(resolutions);
    return lacking(handle);
}

STATUS FMI3(fmi3SetShiftDecimal)(fmi3Instance handle, REFERENCES, const fmi3Float64 shifts[])
{
    UNUSED(references), UNUSED(count), UNUSED(shifts);
    return lacking(handle);
}

STATUS FMI3(fmi3SetShiftFraction)(fmi3Instance handle, REFERENCES, const fmi3UInt64 counters[], const fmi3UInt64 resolutions[])
{
    UNUSED(references), UNUSED(count), UNUSED(counters), UNUSED(resolutions);
    return lacking(handle);
}

STATUS FMI3(fmi3EvaluateDiscreteStates)(fmi3Instance handle)
{
    return lacking(handle);
}

STATUS FMI3(fmi3EnterStepMode)(fmi3Instance handle)
{
    return lacking(handle);
}

STATUS FMI3(fmi3GetOutputDerivatives)(fmi3Instance handle, REFERENCES, const fmi3Int32 orders[], fmi3Float64 values[], size_t size)
{
    UNUSED(references), UNUSED(count), UNUSED(orders), UNUSED(values), UNUSED(size);
    return lacking(handle);
}

STATUS FMI3(fmi3ActivateModelPartition)(fmi3Instance handle, fmi3ValueReference clock, fmi3Float64 time)
{
    UNUSED(clock), UNUSED(time);
    return lacking(handle);
}
