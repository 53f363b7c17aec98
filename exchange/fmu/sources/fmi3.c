/* The 75 functions of FMI 3.0 over one instance: model exchange and co-simulation.

   What the standard has and this model has not (other types than Float64 and Boolean, clocks with intervals, configuration,
   scheduled execution) answers fmi3Error. The standard's own headers are used where the importer has included them; the types
   that are needed stand here otherwise, so that these sources build by themselves. */
#include <stdbool.h>
#include <stddef.h>

#include "instance.h"

#include "adjoint.h"

#ifndef fmi3PlatformTypes_h
typedef void *fmi3Instance, *fmi3InstanceEnvironment, *fmi3FMUState;
typedef uint32_t fmi3ValueReference;
typedef float fmi3Float32;
typedef double fmi3Float64;
typedef int8_t fmi3Int8;
typedef uint8_t fmi3UInt8, fmi3Byte;
typedef int16_t fmi3Int16;
typedef uint16_t fmi3UInt16;
typedef int32_t fmi3Int32;
typedef uint32_t fmi3UInt32;
typedef int64_t fmi3Int64;
typedef uint64_t fmi3UInt64;
typedef bool fmi3Boolean, fmi3Clock;
typedef const char *fmi3String;
typedef const uint8_t *fmi3Binary;
typedef enum { fmi3OK, fmi3Warning, fmi3Discard, fmi3Error, fmi3Fatal } fmi3Status;
typedef enum { fmi3Independent, fmi3Constant, fmi3Fixed, fmi3Tunable, fmi3Discrete, fmi3Dependent } fmi3DependencyKind;
typedef enum { fmi3IntervalNotYetKnown, fmi3IntervalUnchanged, fmi3IntervalChanged } fmi3IntervalQualifier;
typedef void (*fmi3LogMessageCallback)(fmi3InstanceEnvironment, fmi3Status, fmi3String, fmi3String);
typedef void (*fmi3ClockUpdateCallback)(fmi3InstanceEnvironment);
typedef void (*fmi3IntermediateUpdateCallback)(fmi3InstanceEnvironment, fmi3Float64, fmi3Boolean, fmi3Boolean, fmi3Boolean,
                                               fmi3Boolean, fmi3Boolean *, fmi3Float64 *);
typedef void (*fmi3LockPreemptionCallback)(void);
typedef void (*fmi3UnlockPreemptionCallback)(void);
#endif

#ifndef fmi3Functions_h
/* a prefix, for several models in one program, is the builder's to define */
#if defined(FMI3_FUNCTION_PREFIX) && !defined(FMI3_OVERRIDE_FUNCTION_PREFIX)
#define FMI3_PASTE(prefix, name) prefix##name
#define FMI3_NAMED(prefix, name) FMI3_PASTE(prefix, name)
#define FMI3(name) FMI3_NAMED(FMI3_FUNCTION_PREFIX, name)
#else
#define FMI3(name) name
#endif
#ifndef FMI3_Export
#if defined _WIN32
#define FMI3_Export __declspec(dllexport)
#elif defined __GNUC__
#define FMI3_Export __attribute__((visibility("default")))
#else
#define FMI3_Export
#endif
#endif
#else
#define FMI3(name) name
#endif

#define OF(handle) ((Instance *)(handle))
#define REFERENCES const fmi3ValueReference references[], size_t count
#define STATUS FMI3_Export fmi3Status
#define UNUSED(name) (void)(name)

static void say(Instance *instance, const char *message)
{
    fmi3LogMessageCallback logger;
    memcpy(&logger, &instance->logger, sizeof logger);
    if (logger)
        logger(instance->environment, fmi3Error, "error", message);
}

static fmi3Status answer(int failure)
{
    return failure ? fmi3Error : fmi3OK;
}

static fmi3Status enter(fmi3Instance handle, unsigned from, Mode mode)
{
    if (!handle || require_mode(OF(handle), from))
        return fmi3Error;
    OF(handle)->memory.mode = mode;
    return fmi3OK;
}

static fmi3Status lacking(fmi3Instance handle)
{
    return answer(handle ? failed(OF(handle), "this model has no part that this function is about") : -1);
}

static fmi3Instance made(fmi3String name, fmi3String token, fmi3InstanceEnvironment environment, fmi3LogMessageCallback logger,
                         int exchange)
{
    Instance *instance;
    if (!token || strcmp(token, TOKEN) != 0) {
        if (logger)
            logger(environment, fmi3Error, "error", "the instantiation token is that of another model");
        return NULL;
    }
    instance = calloc(1, sizeof *instance);
    if (!instance)
        return NULL;
    instance->environment = environment;
    memcpy(&instance->logger, &logger, sizeof logger);
    instance->say = say;
    instance->exchange = exchange;
    if (name)
        strncpy(instance->name, name, sizeof instance->name - 1);
    restart(instance);
    return instance;
}

FMI3_Export const char *FMI3(fmi3GetVersion)(void)
{
    return "3.0";
}

STATUS FMI3(fmi3SetDebugLogging)(fmi3Instance handle, fmi3Boolean on, size_t count, const fmi3String categories[])
{
    UNUSED(on), UNUSED(count), UNUSED(categories);
    return answer(handle ? 0 : -1);
}

FMI3_Export fmi3Instance FMI3(fmi3InstantiateModelExchange)(fmi3String name, fmi3String token, fmi3String resources,
                                                           fmi3Boolean visible, fmi3Boolean logging,
                                                           fmi3InstanceEnvironment environment, fmi3LogMessageCallback logger)
{
    UNUSED(resources), UNUSED(visible), UNUSED(logging);
    return made(name, token, environment, logger, 1);
}

FMI3_Export fmi3Instance FMI3(fmi3InstantiateCoSimulation)(
    fmi3String name, fmi3String token, fmi3String resources, fmi3Boolean visible, fmi3Boolean logging, fmi3Boolean events,
    fmi3Boolean early, const fmi3ValueReference required[], size_t count, fmi3InstanceEnvironment environment,
    fmi3LogMessageCallback logger, fmi3IntermediateUpdateCallback update)
{
    UNUSED(resources), UNUSED(visible), UNUSED(logging), UNUSED(early), UNUSED(required), UNUSED(count), UNUSED(update);
    if (events) {
        if (logger)
            logger(environment, fmi3Error, "error", "this model has no event mode in co-simulation");
        return NULL;
    }
    return made(name, token, environment, logger, 0);
}

FMI3_Export fmi3Instance FMI3(fmi3InstantiateScheduledExecution)(
    fmi3String name, fmi3String token, fmi3String resources, fmi3Boolean visible, fmi3Boolean logging,
    fmi3InstanceEnvironment environment, fmi3LogMessageCallback logger, fmi3ClockUpdateCallback update,
    fmi3LockPreemptionCallback lock, fmi3UnlockPreemptionCallback unlock)
{
    UNUSED(name), UNUSED(token), UNUSED(resources), UNUSED(visible), UNUSED(logging);
    UNUSED(update), UNUSED(lock), UNUSED(unlock);
    if (logger)
        logger(environment, fmi3Error, "error", "this model has no scheduled execution");
    return NULL;
}

FMI3_Export void FMI3(fmi3FreeInstance)(fmi3Instance handle)
{
    free(handle);
}

STATUS FMI3(fmi3EnterInitializationMode)(fmi3Instance handle, fmi3Boolean tolerant, fmi3Float64 tolerance, fmi3Float64 start,
                                         fmi3Boolean ends, fmi3Float64 stop)
{
    UNUSED(tolerant), UNUSED(tolerance), UNUSED(ends), UNUSED(stop);
    if (!handle || !isfinite(start) || require_mode(OF(handle), IN(INSTANTIATED)))
        return fmi3Error;
    OF(handle)->memory.value[V_TIME] = start;
    return enter(handle, IN(INSTANTIATED), INITIALISING);
}

STATUS FMI3(fmi3ExitInitializationMode)(fmi3Instance handle)
{
    if (!handle || require_mode(OF(handle), IN(INITIALISING)) || compute_rates(OF(handle)))
        return fmi3Error;
    return enter(handle, IN(INITIALISING), OF(handle)->exchange ? EVENTS : STEPPING);
}

STATUS FMI3(fmi3EnterEventMode)(fmi3Instance handle)
{
    return enter(handle, IN(CONTINUOUS), EVENTS);
}

STATUS FMI3(fmi3Terminate)(fmi3Instance handle)
{
    return enter(handle, IN(EVENTS) | IN(CONTINUOUS) | IN(STEPPING), TERMINATED);
}

STATUS FMI3(fmi3Reset)(fmi3Instance handle)
{
    if (handle)
        restart(OF(handle));
    return answer(handle ? 0 : -1);
}

STATUS FMI3(fmi3GetFloat64)(fmi3Instance handle, REFERENCES, fmi3Float64 values[], size_t size)
{
    if (!handle || size != count)
        return fmi3Error;
    for (size_t i = 0; i < count; i++)
        if (get_value(OF(handle), references[i], &values[i]))
            return fmi3Error;
    return fmi3OK;
}

STATUS FMI3(fmi3SetFloat64)(fmi3Instance handle, REFERENCES, const fmi3Float64 values[], size_t size)
{
    if (!handle || size != count)
        return fmi3Error;
    for (size_t i = 0; i < count; i++)
        if (set_value(OF(handle), references[i], values[i]))
            return fmi3Error;
    return fmi3OK;
}

STATUS FMI3(fmi3GetBoolean)(fmi3Instance handle, REFERENCES, fmi3Boolean values[], size_t size)
{
    if (!handle || size != count)
        return fmi3Error;
    for (size_t i = 0; i < count; i++) {
        if (!BY_POPULATION || references[i] != V_BY_POPULATION)
            return lacking(handle);
        values[i] = OF(handle)->memory.by_population != 0;
    }
    return fmi3OK;
}

STATUS FMI3(fmi3SetBoolean)(fmi3Instance handle, REFERENCES, const fmi3Boolean values[], size_t size)
{
    if (!handle || size != count || OF(handle)->memory.mode == TERMINATED)
        return fmi3Error;
    for (size_t i = 0; i < count; i++) {
        if (!BY_POPULATION || references[i] != V_BY_POPULATION)
            return lacking(handle);
        OF(handle)->memory.by_population = values[i];
        changed(OF(handle), 1);
    }
    return fmi3OK;
}

STATUS FMI3(fmi3GetFMUState)(fmi3Instance handle, fmi3FMUState *state)
{
    if (!handle || !state)
        return fmi3Error;
    if (!*state)
        *state = malloc(sizeof(Memory));
    if (!*state)
        return fmi3Error;
    memcpy(*state, &OF(handle)->memory, sizeof(Memory));
    return fmi3OK;
}

STATUS FMI3(fmi3SetFMUState)(fmi3Instance handle, fmi3FMUState state)
{
    if (!handle || !state)
        return fmi3Error;
    memcpy(&OF(handle)->memory, state, sizeof(Memory));
    changed(OF(handle), 1);
    return fmi3OK;
}

STATUS FMI3(fmi3FreeFMUState)(fmi3Instance handle, fmi3FMUState *state)
{
    if (!handle)
        return fmi3Error;
    if (state) {
        free(*state);
        *state = NULL;
    }
    return fmi3OK;
}

STATUS FMI3(fmi3SerializedFMUStateSize)(fmi3Instance handle, fmi3FMUState state, size_t *size)
{
    if (!handle || !state || !size)
        return fmi3Error;
    *size = SERIALISED;
    return fmi3OK;
}

STATUS FMI3(fmi3SerializeFMUState)(fmi3Instance handle, fmi3FMUState state, fmi3Byte bytes[], size_t size)
{
    if (!handle || !state || size < SERIALISED)
        return fmi3Error;
    serialise(state, bytes);
    return fmi3OK;
}

STATUS FMI3(fmi3DeserializeFMUState)(fmi3Instance handle, const fmi3Byte bytes[], size_t size, fmi3FMUState *state)
{
    Memory memory;
    if (!handle || !state || deserialise(OF(handle), bytes, size, &memory))
        return fmi3Error;
    if (!*state)
        *state = malloc(sizeof(Memory));
    if (!*state)
        return fmi3Error;
    memcpy(*state, &memory, sizeof(Memory));
    return fmi3OK;
}

STATUS FMI3(fmi3GetDirectionalDerivative)(fmi3Instance handle, const fmi3ValueReference unknowns[], size_t count,
                                          const fmi3ValueReference knowns[], size_t seeds, const fmi3Float64 seed[], size_t size,
                                          fmi3Float64 sensitivity[], size_t found)
{
    if (!handle || size != seeds || found != count)
        return fmi3Error;
    return answer(directional(OF(handle), unknowns, count, knowns, seeds, seed, sensitivity));
}

STATUS FMI3(fmi3GetAdjointDerivative)(fmi3Instance handle, const fmi3ValueReference unknowns[], size_t count,
                                      const fmi3ValueReference knowns[], size_t wanted, const fmi3Float64 seed[], size_t size,
                                      fmi3Float64 sensitivity[], size_t found)
{
    if (!handle || size != count || found != wanted)
        return fmi3Error;
    return answer(adjoint(OF(handle), unknowns, count, knowns, wanted, seed, sensitivity));
}

#include "fmi3_lacking.h"
#include "fmi3_running.h"
