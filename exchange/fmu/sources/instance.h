/* One instance of the model, as both versions of FMI need it: values by value reference, what follows of them, one step.

   A value reference is a place in `value`. In the order of model.h: time, states, their rates, inputs, infusion rates, theta,
   context, eta, covariates, the internal step, the errors of the steps taken, then everything that is computed of the states.
   An ensemble has the states, rates, theta, context and eta of each member after one another. */
#ifndef HOMEOSTAT_INSTANCE_H
#define HOMEOSTAT_INSTANCE_H

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model.h"

/* arrays of size 0 are no C */
#define SIZE(count) ((count) > 0 ? (count) : 1)

#define AT_STATE(member) (V_STATE + (member) * STATES)
#define AT_RATE(member) (V_RATE + (member) * STATES)
#define AT_THETA(member) (V_THETA + (member) * PARAMETERS)
#define AT_CONTEXT(member) (V_CONTEXT + (member) * CONTEXT)
#define AT_ETA(member) (V_ETA + (member) * PERSONAL)
#define AT_ERROR(member) (V_ERROR + (member) * STATES)
#define AT_OF_MEMBER(member) (V_OF_MEMBER + (member) * CHANNELS)

/* more internal steps than this within one communication step are a slip of units */
#define MOST_STEPS 1e8

typedef enum { INSTANTIATED, INITIALISING, EVENTS, CONTINUOUS, STEPPING, TERMINATED } Mode;

/* all that a later call depends on, and so what an FMU state is */
typedef struct {
    double value[V_COUNT];
    double whole[MEMBERS * STATES];        /* co-simulation by steps twice as long, to compare with; see advance */
    int32_t compared;                      /* does it begin where the states do? */
    int32_t by_population;
    int32_t mode;
    int32_t unused;                        /* no byte without a value: what is serialised is the same each time */
} Memory;

typedef struct Instance {
    Memory memory;
    MODEL(person) person[MEMBERS];
#if EXPONENTIAL
    MODEL(plan) whole[MEMBERS], half[MEMBERS];
#endif
    double planned;                        /* the step that the plans are of, 0 for none */
    int bound, rates, outputs;             /* are persons, rates and outputs those of the values? */
    double seed[V_COUNT], sensitivity[V_COUNT];
    int exchange;                          /* model exchange, or co-simulation? */
    void *environment;
    void (*say)(struct Instance *, const char *);
    void *logger;
    char name[128];
} Instance;

static void changed(Instance *instance, int parameters)
{
    instance->rates = instance->outputs = 0;
    if (parameters) {
        instance->bound = 0;
        instance->planned = 0.0;
    }
}

/* whatever an instance begins with, as modelDescription.xml states it */
static void restart(Instance *instance)
{
    memset(&instance->memory, 0, sizeof(Memory));
    memcpy(instance->memory.value, start_values, sizeof start_values);
    instance->memory.mode = INSTANTIATED;
    changed(instance, 1);
}

static int failed(Instance *instance, const char *why)
{
    if (instance->say)
        instance->say(instance, why);
    return -1;
}

/* 0 where this mode is one of those in which a function has its place, written IN(EVENTS) | IN(CONTINUOUS), else -1 */
#define IN(mode) (1u << (mode))
static int require_mode(Instance *instance, unsigned modes)
{
    return modes & IN(instance->memory.mode) ? 0 : failed(instance, "this function has no place in the mode of the instance");
}

/* theta and c, stated or by the population's map, folded into what the field reads; 0, or -1 where a number is none */
static int bind_people(Instance *instance)
{
    double *value = instance->memory.value;
    if (instance->bound)
        return 0;
    for (int member = 0; member < MEMBERS; member++) {
        const double *theta = value + AT_THETA(member), *context = value + AT_CONTEXT(member);
#if BY_POPULATION
        double mapped[SIZE(PARAMETERS)], seen[SIZE(CONTEXT)];
        if (instance->memory.by_population) {
            const double *eta = value + AT_ETA(member);
            MODEL(theta)(member, eta, value + V_COVARIATE, mapped);
            MODEL(context)(eta + DIMENSION, value + V_COVARIATE, seen);
            theta = mapped;
            context = seen;
        }
#endif
        if (MODEL(bind)(&instance->person[member], member, theta, context) != 0)
            return failed(instance, "the parameters, or the covariates that they are mapped of, are not finite or out of range");
    }
    instance->bound = 1;
    return 0;
}

static int compute_rates(Instance *instance)
{
    double *value = instance->memory.value;
    if (instance->rates)
        return 0;
    if (bind_people(instance))
        return -1;
    for (int member = 0; member < MEMBERS; member++)
        MODEL(field)(&instance->person[member], value + AT_STATE(member), value + V_INPUT, value + V_INFUSED, value + AT_RATE(member));
    instance->rates = 1;
    return 0;
}

/* channels of the one member; or of each, their mean, the mean of their variances and the variance of their means */
static int compute_outputs(Instance *instance)
{
    double *value = instance->memory.value;
    if (instance->outputs)
        return 0;
    if (bind_people(instance))
        return -1;
#if MEMBERS == 1
    MODEL(observe)(&instance->person[0], value + V_STATE, value + V_OUTPUT);
    MODEL(variance)(&instance->person[0], value + V_OUTPUT, value + V_STATE, value + V_INPUT, value + V_VARIANCE);
#else
    double variance[SIZE(CHANNELS)];
    for (int j = 0; j < CHANNELS; j++)
        value[V_OUTPUT + j] = value[V_VARIANCE + j] = value[V_EPISTEMIC + j] = 0.0;
    for (int member = 0; member < MEMBERS; member++) {
        double *y = value + AT_OF_MEMBER(member);
        MODEL(observe)(&instance->person[member], value + AT_STATE(member), y);
        MODEL(variance)(&instance->person[member], y, value + AT_STATE(member), value + V_INPUT, variance);
        for (int j = 0; j < CHANNELS; j++) {
            value[V_OUTPUT + j] += y[j] / MEMBERS;
            value[V_VARIANCE + j] += variance[j] / MEMBERS;
        }
    }
    for (int member = 0; member < MEMBERS; member++)
        for (int j = 0; j < CHANNELS; j++) {
            double off = value[AT_OF_MEMBER(member) + j] - value[V_OUTPUT + j];
            value[V_EPISTEMIC + j] += off * off / MEMBERS;
        }
#endif
    instance->outputs = 1;
    return 0;
}

static int is_known(uint32_t reference)
{
    return (reference >= V_STATE && reference < V_RATE) || (reference >= V_INPUT && reference < V_THETA);
}

static int is_unknown(uint32_t reference)
{
    return (reference >= V_RATE && reference < V_INPUT) || (reference >= V_OUTPUT && reference < V_COUNT);
}

static int require_pairs(Instance *instance, const uint32_t *unknowns, size_t count, const uint32_t *knowns, size_t seeds)
{
    for (size_t i = 0; i < count; i++)
        if (!is_unknown(unknowns[i]))
            return failed(instance, "derivatives are of rates and outputs");
    for (size_t i = 0; i < seeds; i++)
        if (!is_known(knowns[i]))
            return failed(instance, "derivatives are by states, inputs and infusion rates");
    return 0;
}

/* J v of everything, for the seed v: exact, by the chain rule */
static int push_forward(Instance *instance, int with_outputs)
{
    const double *value = instance->memory.value, *seed = instance->seed;
    double *found = instance->sensitivity;
    if (bind_people(instance) || (with_outputs && compute_outputs(instance)))
        return -1;
    for (int member = 0; member < MEMBERS; member++) {
        MODEL(directional)(&instance->person[member], value + AT_STATE(member), value + V_INPUT, seed + AT_STATE(member),
                           seed + V_INPUT, found + AT_RATE(member));
        for (int k = 0; k < STATES; k++)
            found[AT_RATE(member) + k] += seed[V_INFUSED + k];
    }
    if (!with_outputs)
        return 0;
#if MEMBERS == 1
    MODEL(observe_directional)(&instance->person[0], value + V_STATE, seed + V_STATE, found + V_OUTPUT);
    MODEL(variance_directional)(&instance->person[0], value + V_OUTPUT, value + V_STATE, value + V_INPUT, found + V_OUTPUT,
                                seed + V_STATE, seed + V_INPUT, found + V_VARIANCE);
#else
    double variance[SIZE(CHANNELS)];
    for (int j = 0; j < CHANNELS; j++)
        found[V_OUTPUT + j] = found[V_VARIANCE + j] = found[V_EPISTEMIC + j] = 0.0;
    for (int member = 0; member < MEMBERS; member++) {
        const double *x = value + AT_STATE(member), *y = value + AT_OF_MEMBER(member);
        double *slope = found + AT_OF_MEMBER(member);
        MODEL(observe_directional)(&instance->person[member], x, seed + AT_STATE(member), slope);
        MODEL(variance_directional)(&instance->person[member], y, x, value + V_INPUT, slope, seed + AT_STATE(member),
                                    seed + V_INPUT, variance);
        for (int j = 0; j < CHANNELS; j++) {
            found[V_OUTPUT + j] += slope[j] / MEMBERS;
            found[V_VARIANCE + j] += variance[j] / MEMBERS;
            /* the mean's own slope drops out, for the distances from it sum to 0 */
            found[V_EPISTEMIC + j] += 2.0 * (y[j] - value[V_OUTPUT + j]) * slope[j] / MEMBERS;
        }
    }
#endif
    return 0;
}

static int directional(Instance *instance, const uint32_t *unknowns, size_t count, const uint32_t *knowns, size_t seeds,
                       const double *seed, double *sensitivity)
{
    int with_outputs = 0;
    if (require_pairs(instance, unknowns, count, knowns, seeds))
        return -1;
    memset(instance->seed, 0, sizeof instance->seed);
    for (size_t i = 0; i < seeds; i++)
        instance->seed[knowns[i]] += seed[i]; /* a known that is named twice counts twice */
    for (size_t i = 0; i < count; i++)
        with_outputs = with_outputs || unknowns[i] >= V_OUTPUT;
    if (push_forward(instance, with_outputs))
        return -1;
    for (size_t i = 0; i < count; i++)
        sensitivity[i] = instance->sensitivity[unknowns[i]];
    return 0;
}

/* Two solutions go on side by side from the same start, one by internal steps of h, one by twice as many of h/2, which is kept.
   Twice the largest distance between them so far stands beside each state: it holds what an error of one state has become in
   another. The error of what is kept is a 30th of it where the order 4 is reached, and half of it where halving a step only halves
   the error (Richardson 1911; Hairer, Norsett & Wanner 1993, II.4). An estimate, and no bound. */
static int advance(Instance *instance, double until)
{
    double *value = instance->memory.value, left = until - value[V_TIME];
    double count = ceil(left / value[V_STEP] * (1.0 - 1e-12)), step, *infused = value + V_INFUSED;
    double once[STATES], twice[STATES], middle[STATES];
    if (!(left >= 0.0) || !(count <= MOST_STEPS))
        return failed(instance, "a step goes forward, and in no more than 1e8 internal steps; see the parameter step");
    if (bind_people(instance))
        return -1;
    step = count > 0.0 ? left / count : 0.0;
#if EXPONENTIAL
    if (count > 0.0 && step != instance->planned) {
        instance->planned = 0.0;
        for (int member = 0; member < MEMBERS; member++)
            if (MODEL(prepare)(&instance->whole[member], &instance->person[member], step) ||
                MODEL(prepare)(&instance->half[member], &instance->person[member], step / 2))
                return failed(instance, "the exponential of the internal step is not finite; make the parameter step smaller");
        instance->planned = step;
    }
#endif
    if (!instance->memory.compared)
        memcpy(instance->memory.whole, value + V_STATE, sizeof instance->memory.whole);
    instance->memory.compared = 1;
    for (int member = 0; count > 0.0 && member < MEMBERS; member++) {
        const MODEL(person) *person = &instance->person[member];
        double *x = value + AT_STATE(member), *whole = instance->memory.whole + member * STATES;
        for (double k = 0.0; k < count; k += 1.0) {
#if EXPONENTIAL
            MODEL(step_exponential)(&instance->whole[member], person, whole, value + V_INPUT, infused, once);
            MODEL(step_exponential)(&instance->half[member], person, x, value + V_INPUT, infused, middle);
            MODEL(step_exponential)(&instance->half[member], person, middle, value + V_INPUT, infused, twice);
#else
            MODEL(step_rk4)(person, whole, value + V_INPUT, infused, step, once);
            MODEL(step_rk4)(person, x, value + V_INPUT, infused, step / 2, middle);
            MODEL(step_rk4)(person, middle, value + V_INPUT, infused, step / 2, twice);
#endif
            for (int i = 0; i < STATES; i++) {
                double off = 2.0 * fabs(twice[i] - once[i]), *error = value + AT_ERROR(member) + i;
                if (!(off <= *error)) /* where the longer steps end in no number, nothing is known */
                    *error = isfinite(off) ? off : INFINITY;
                whole[i] = once[i];
                x[i] = twice[i];
                if (!isfinite(x[i]))
                    return failed(instance, "a state is not finite any more; make the parameter step smaller");
            }
        }
    }
    value[V_TIME] = until;
    changed(instance, 0);
    return 0;
}

/* a communication step, which begins where the last one ended */
static int step_to(Instance *instance, double from, double size)
{
    double time = instance->memory.value[V_TIME];
    if (!(fabs(from - time) <= 1e-9 * (fabs(time) + fabs(size))))
        return failed(instance, "a step begins where the last one ended");
    return advance(instance, from + size);
}

#include "setting.h"

#endif
