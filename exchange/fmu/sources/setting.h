/* What may be set of an instance, and when; its states as bytes. Part of instance.h. */

/* why a number cannot be the value of what can be set, NULL where it can */
static const char *unfit(uint32_t reference, double number)
{
    if (!isfinite(number))
        return "a value is not finite";
    if (reference >= V_THETA && reference < V_CONTEXT) {
        const double *box = theta_boxes[reference - V_THETA];
        if (number < box[0] || number > box[1])
            return "a parameter theta is outside its min and max";
    }
    return reference == V_STEP && !(number > 0.0) ? "the parameter step is above 0" : NULL;
}

static int set_states(Instance *instance, const double *states)
{
    if (require_mode(instance, IN(EVENTS) | IN(CONTINUOUS)))
        return -1;
    for (int k = 0; k < MEMBERS * STATES; k++)
        if (!isfinite(states[k]))
            return failed(instance, "a continuous state is not finite");
    memcpy(instance->memory.value + V_STATE, states, sizeof(double) * MEMBERS * STATES);
    instance->memory.compared = 0;
    changed(instance, 0);
    return 0;
}

static int set_time(Instance *instance, double time)
{
    if (require_mode(instance, IN(EVENTS) | IN(CONTINUOUS)))
        return -1;
    if (!isfinite(time))
        return failed(instance, "the time is not finite");
    instance->memory.value[V_TIME] = time;
    return 0;
}

/* 0, or -1 with the reason said. More is taken than the standard asks for: in model exchange importers set states by their
   references at any time, and parameters while time goes on */
static int set_value(Instance *instance, uint32_t reference, double number)
{
    Memory *memory = &instance->memory;
    const char *why = unfit(reference, number);
    if (why)
        return failed(instance, why);
    if (memory->mode == TERMINATED)
        return failed(instance, "nothing is set after the end; reset it");
    if (reference >= V_INPUT && reference < V_THETA) {
        changed(instance, 0);
    } else if (reference >= V_STATE && reference < V_RATE) {
        if (memory->mode == STEPPING)
            return failed(instance, "in co-simulation a state's start is set before or while initialising");
        memory->compared = 0;
        changed(instance, 0);
    } else if (reference >= V_THETA && reference < V_ERROR) {
        changed(instance, reference != V_STEP);
    } else {
        return failed(instance, reference < V_COUNT ? "a variable that is computed cannot be set" : "there is no such variable");
    }
    memory->value[reference] = number;
    return 0;
}

static int get_value(Instance *instance, uint32_t reference, double *number)
{
    if (reference >= V_COUNT)
        return failed(instance, "there is no such variable");
    if (reference >= V_RATE && reference < V_INPUT && compute_rates(instance))
        return -1;
    if (reference >= V_OUTPUT && compute_outputs(instance))
        return -1;
    *number = instance->memory.value[reference];
    return 0;
}

/* a state as bytes: what model it is of, then the memory, in this processor's own order of bytes */
#define SERIALISED (sizeof(uint64_t) + sizeof(Memory))

static void serialise(const Memory *memory, unsigned char *bytes)
{
    const uint64_t model = MODEL_HASH;
    memcpy(bytes, &model, sizeof model);
    memcpy(bytes + sizeof model, memory, sizeof *memory);
}

static int deserialise(Instance *instance, const unsigned char *bytes, size_t size, Memory *memory)
{
    uint64_t model;
    if (size != SERIALISED)
        return failed(instance, "these bytes are no state of this model: their number differs");
    memcpy(&model, bytes, sizeof model);
    memcpy(memory, bytes + sizeof model, sizeof *memory);
    if (model != MODEL_HASH || memory->mode < INSTANTIATED || memory->mode > TERMINATED)
        return failed(instance, "these bytes are a state of another model");
    if (instance->exchange ? memory->mode == STEPPING : memory->mode == EVENTS || memory->mode == CONTINUOUS)
        return failed(instance, "these bytes are a state of the other kind: model exchange, or co-simulation");
    if ((memory->compared & ~1) || (memory->by_population & ~1) || !isfinite(memory->value[V_TIME]))
        return failed(instance, "these bytes are no state that this model wrote");
    for (uint32_t i = V_STATE; i < V_ERROR; i++) { /* the rest is computed anew, and rates are */
        const char *why = i >= V_RATE && i < V_INPUT ? NULL : unfit(i, memory->value[i]);
        if (why)
            return failed(instance, why);
    }
    for (uint32_t i = V_ERROR; i < V_OUTPUT; i++)
        if (!(memory->value[i] >= 0.0))
            return failed(instance, "an error of the steps is below 0 or no number");
    return 0;
}
