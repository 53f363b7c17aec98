/* The functions of FMI 2.0 over one instance: model exchange and co-simulation.

   The standard's own headers are used where the importer has included them; the types that are needed stand here otherwise, so
   that these sources build by themselves. */
#include <stddef.h>

#include "instance.h"

#ifndef fmi2TypesPlatform_h
typedef void *fmi2Component, *fmi2ComponentEnvironment, *fmi2FMUstate;
typedef unsigned int fmi2ValueReference;
typedef double fmi2Real;
typedef int fmi2Integer, fmi2Boolean;
typedef const char *fmi2String;
typedef char fmi2Byte;
typedef enum { fmi2OK, fmi2Warning, fmi2Discard, fmi2Error, fmi2Fatal, fmi2Pending } fmi2Status;
typedef enum { fmi2ModelExchange, fmi2CoSimulation } fmi2Type;
typedef enum { fmi2DoStepStatus, fmi2PendingStatus, fmi2LastSuccessfulTime, fmi2Terminated } fmi2StatusKind;
typedef void (*fmi2CallbackLogger)(fmi2ComponentEnvironment, fmi2String, fmi2Status, fmi2String, fmi2String, ...);
typedef struct {
    fmi2CallbackLogger logger;
    void *(*allocateMemory)(size_t, size_t);
    void (*freeMemory)(void *);
    void (*stepFinished)(fmi2ComponentEnvironment, fmi2Status);
    fmi2ComponentEnvironment componentEnvironment;
} fmi2CallbackFunctions;
typedef struct {
    fmi2Boolean newDiscreteStatesNeeded, terminateSimulation, nominalsOfContinuousStatesChanged, valuesOfContinuousStatesChanged,
        nextEventTimeDefined;
    fmi2Real nextEventTime;
} fmi2EventInfo;
#endif

#ifndef fmi2Functions_h
/* a prefix, for several models in one program, is the builder's to define */
#ifdef FMI2_FUNCTION_PREFIX
#define FMI2_PASTE(prefix, name) prefix##name
#define FMI2_NAMED(prefix, name) FMI2_PASTE(prefix, name)
#define FMI2(name) FMI2_NAMED(FMI2_FUNCTION_PREFIX, name)
#else
#define FMI2(name) name
#endif
#ifndef FMI2_Export
#if defined _WIN32
#define FMI2_Export __declspec(dllexport)
#elif defined __GNUC__
#define FMI2_Export __attribute__((visibility("default")))
#else
#define FMI2_Export
#endif
#endif
#else
#define FMI2(name) name
#endif

#define OF(handle) ((Instance *)(handle))
#define REFERENCES const fmi2ValueReference references[], size_t count
#define STATUS FMI2_Export fmi2Status
#define UNUSED(name) (void)(name)

static void say(Instance *instance, const char *message)
{
    fmi2CallbackLogger logger;
    memcpy(&logger, &instance->logger, sizeof logger);
    if (logger)
        logger(instance->environment, instance->name, fmi2Error, "error", "%s", message);
}

static fmi2Status answer(int failure)
{
    return failure ? fmi2Error : fmi2OK;
}

static fmi2Status enter(fmi2Component handle, unsigned from, Mode mode)
{
    if (!handle || require_mode(OF(handle), from))
        return fmi2Error;
    OF(handle)->memory.mode = mode;
    return fmi2OK;
}

static fmi2Status lacking(fmi2Component handle)
{
    return answer(handle ? failed(OF(handle), "this model has no part that this function is about") : -1);
}

FMI2_Export const char *FMI2(fmi2GetTypesPlatform)(void)
{
    return "default";
}

FMI2_Export const char *FMI2(fmi2GetVersion)(void)
{
    return "2.0";
}

STATUS FMI2(fmi2SetDebugLogging)(fmi2Component handle, fmi2Boolean on, size_t count, const fmi2String categories[])
{
    UNUSED(on), UNUSED(count), UNUSED(categories);
    return answer(handle ? 0 : -1);
}

FMI2_Export fmi2Component FMI2(fmi2Instantiate)(fmi2String name, fmi2Type type, fmi2String token, fmi2String resources,
                                               const fmi2CallbackFunctions *functions, fmi2Boolean visible, fmi2Boolean logging)
{
    Instance *instance = calloc(1, sizeof *instance);
    UNUSED(resources), UNUSED(visible), UNUSED(logging);
    if (!instance)
        return NULL;
    if (functions) {
        instance->environment = functions->componentEnvironment;
        memcpy(&instance->logger, &functions->logger, sizeof functions->logger);
    }
    instance->say = say;
    instance->exchange = type == fmi2ModelExchange;
    if (name)
        strncpy(instance->name, name, sizeof instance->name - 1);
    if (!token || strcmp(token, TOKEN) != 0) {
        failed(instance, "the guid is that of another model");
        free(instance);
        return NULL;
    }
    restart(instance);
    return instance;
}

FMI2_Export void FMI2(fmi2FreeInstance)(fmi2Component handle)
{
    free(handle);
}

STATUS FMI2(fmi2SetupExperiment)(fmi2Component handle, fmi2Boolean tolerant, fmi2Real tolerance, fmi2Real start, fmi2Boolean ends,
                                 fmi2Real stop)
{
    UNUSED(tolerant), UNUSED(tolerance), UNUSED(ends), UNUSED(stop);
    if (!handle || !isfinite(start) || require_mode(OF(handle), IN(INSTANTIATED)))
        return fmi2Error;
    OF(handle)->memory.value[V_TIME] = start;
    return fmi2OK;
}

STATUS FMI2(fmi2EnterInitializationMode)(fmi2Component handle)
{
    return enter(handle, IN(INSTANTIATED), INITIALISING);
}

STATUS FMI2(fmi2ExitInitializationMode)(fmi2Component handle)
{
    if (!handle || require_mode(OF(handle), IN(INITIALISING)) || compute_rates(OF(handle)))
        return fmi2Error;
    return enter(handle, IN(INITIALISING), OF(handle)->exchange ? EVENTS : STEPPING);
}

STATUS FMI2(fmi2Terminate)(fmi2Component handle)
{
    return enter(handle, IN(EVENTS) | IN(CONTINUOUS) | IN(STEPPING), TERMINATED);
}

STATUS FMI2(fmi2Reset)(fmi2Component handle)
{
    if (handle)
        restart(OF(handle));
    return answer(handle ? 0 : -1);
}

STATUS FMI2(fmi2GetReal)(fmi2Component handle, REFERENCES, fmi2Real values[])
{
    if (!handle)
        return fmi2Error;
    for (size_t i = 0; i < count; i++)
        if (get_value(OF(handle), references[i], &values[i]))
            return fmi2Error;
    return fmi2OK;
}

STATUS FMI2(fmi2SetReal)(fmi2Component handle, REFERENCES, const fmi2Real values[])
{
    if (!handle)
        return fmi2Error;
    for (size_t i = 0; i < count; i++)
        if (set_value(OF(handle), references[i], values[i]))
            return fmi2Error;
    return fmi2OK;
}

STATUS FMI2(fmi2GetBoolean)(fmi2Component handle, REFERENCES, fmi2Boolean values[])
{
    if (!handle)
        return fmi2Error;
    for (size_t i = 0; i < count; i++) {
        if (!BY_POPULATION || references[i] != V_BY_POPULATION)
            return lacking(handle);
        values[i] = OF(handle)->memory.by_population != 0;
    }
    return fmi2OK;
}

STATUS FMI2(fmi2SetBoolean)(fmi2Component handle, REFERENCES, const fmi2Boolean values[])
{
    if (!handle || OF(handle)->memory.mode == TERMINATED)
        return fmi2Error;
    for (size_t i = 0; i < count; i++) {
        if (!BY_POPULATION || references[i] != V_BY_POPULATION)
            return lacking(handle);
        OF(handle)->memory.by_population = values[i] != 0;
        changed(OF(handle), 1);
    }
    return fmi2OK;
}

/* types that no variable of this model has: asked for none of them, all is well */
#define NO_VARIABLE(type)                                                                                                        \
    STATUS FMI2(fmi2Get##type)(fmi2Component handle, REFERENCES, fmi2##type values[])                                            \
    {                                                                                                                            \
        UNUSED(references), UNUSED(values);                                                                                      \
        return count ? lacking(handle) : fmi2OK;                                                                                 \
    }                                                                                                                            \
    STATUS FMI2(fmi2Set##type)(fmi2Component handle, REFERENCES, const fmi2##type values[])                                      \
    {                                                                                                                            \
        UNUSED(references), UNUSED(values);                                                                                      \
        return count ? lacking(handle) : fmi2OK;                                                                                 \
    }
NO_VARIABLE(Integer)
NO_VARIABLE(String)

STATUS FMI2(fmi2GetFMUstate)(fmi2Component handle, fmi2FMUstate *state)
{
    if (!handle || !state)
        return fmi2Error;
    if (!*state)
        *state = malloc(sizeof(Memory));
    if (!*state)
        return fmi2Error;
    memcpy(*state, &OF(handle)->memory, sizeof(Memory));
    return fmi2OK;
}

STATUS FMI2(fmi2SetFMUstate)(fmi2Component handle, fmi2FMUstate state)
{
    if (!handle || !state)
        return fmi2Error;
    memcpy(&OF(handle)->memory, state, sizeof(Memory));
    changed(OF(handle), 1);
    return fmi2OK;
}

STATUS FMI2(fmi2FreeFMUstate)(fmi2Component handle, fmi2FMUstate *state)
{
    if (!handle)
        return fmi2Error;
    if (state) {
        free(*state);
        *state = NULL;
    }
    return fmi2OK;
}

STATUS FMI2(fmi2SerializedFMUstateSize)(fmi2Component handle, fmi2FMUstate state, size_t *size)
{
    if (!handle || !state || !size)
        return fmi2Error;
    *size = SERIALISED;
    return fmi2OK;
}

STATUS FMI2(fmi2SerializeFMUstate)(fmi2Component handle, fmi2FMUstate state, fmi2Byte bytes[], size_t size)
{
    if (!handle || !state || size < SERIALISED)
        return fmi2Error;
    serialise(state, (unsigned char *)bytes);
    return fmi2OK;
}

STATUS FMI2(fmi2DeSerializeFMUstate)(fmi2Component handle, const fmi2Byte bytes[], size_t size, fmi2FMUstate *state)
{
    Memory memory;
    if (!handle || !state || deserialise(OF(handle), (const unsigned char *)bytes, size, &memory))
        return fmi2Error;
    if (!*state)
        *state = malloc(sizeof(Memory));
    if (!*state)
        return fmi2Error;
    memcpy(*state, &memory, sizeof(Memory));
    return fmi2OK;
}

STATUS FMI2(fmi2GetDirectionalDerivative)(fmi2Component handle, const fmi2ValueReference unknowns[], size_t count,
                                          const fmi2ValueReference knowns[], size_t seeds, const fmi2Real seed[],
                                          fmi2Real sensitivity[])
{
    if (!handle)
        return fmi2Error;
    return answer(directional(OF(handle), unknowns, count, knowns, seeds, seed, sensitivity));
}

#include "fmi2_running.h"
