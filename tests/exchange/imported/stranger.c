/* A stranger's FMU of FMI 2.0, Model Exchange and Co-Simulation: x0' = x1, x1' = mu (1 - x0^2) x1 - x0 + u, y = x0.
   EXTRA is added to x1': "time" makes a model that reads the clock. */
#include <stdlib.h>
#include <string.h>

#ifndef EXTRA
#define EXTRA 0.0
#endif
#define OK 0
#define ERROR 3

typedef struct { double t, x[2], mu, u; } Model;
typedef void *Component;
typedef unsigned int Ref;
typedef struct { int needed, terminate, nominals, values, timed; double next; } EventInfo;

static void rate(const Model *m, const double *x, double *dx) {
    double time = m->t;
    (void)time;
    dx[0] = x[1];
    dx[1] = m->mu * (1.0 - x[0] * x[0]) * x[1] - x[0] + m->u + (EXTRA);
}

const char *fmi2GetTypesPlatform(void) { return "default"; }
const char *fmi2GetVersion(void) { return "2.0"; }
int fmi2SetDebugLogging(Component c, int on, size_t n, const char *const k[]) { (void)c; (void)on; (void)n; (void)k; return OK; }
int fmi2Reset(Component c) {
    Model *m = c;
    m->t = 0.0; m->x[0] = 2.0; m->x[1] = 0.0; m->mu = 1.0; m->u = 0.0;
    return OK;
}
Component fmi2Instantiate(const char *name, int type, const char *guid, const char *where, const void *f, int visible, int log) {
    (void)name; (void)type; (void)where; (void)f; (void)visible; (void)log;
    Model *m = strcmp(guid, "vdp") ? NULL : malloc(sizeof *m);
    if (m) fmi2Reset(m);
    return m;
}
void fmi2FreeInstance(Component c) { free(c); }
int fmi2SetupExperiment(Component c, int td, double tol, double start, int sd, double stop) {
    (void)td; (void)tol; (void)sd; (void)stop; ((Model *)c)->t = start; return OK;
}
int fmi2EnterInitializationMode(Component c) { (void)c; return OK; }
int fmi2ExitInitializationMode(Component c) { (void)c; return OK; }
int fmi2Terminate(Component c) { (void)c; return OK; }
int fmi2GetReal(Component c, const Ref r[], size_t n, double v[]) {
    Model *m = c; double dx[2];
    rate(m, m->x, dx);
    for (size_t i = 0; i < n; i++) switch (r[i]) {
        case 0: v[i] = m->t; break;
        case 1: case 7: v[i] = m->x[0]; break;
        case 2: v[i] = dx[0]; break;
        case 3: v[i] = m->x[1]; break;
        case 4: v[i] = dx[1]; break;
        case 5: v[i] = m->mu; break;
        case 6: v[i] = m->u; break;
        default: return ERROR;
    }
    return OK;
}
int fmi2SetReal(Component c, const Ref r[], size_t n, const double v[]) {
    Model *m = c;
    for (size_t i = 0; i < n; i++) switch (r[i]) {
        case 1: m->x[0] = v[i]; break;
        case 3: m->x[1] = v[i]; break;
        case 5: m->mu = v[i]; break;
        case 6: m->u = v[i]; break;
        default: return ERROR;
    }
    return OK;
}
#define NONE(name, type) \
    int fmi2Get##name(Component c, const Ref r[], size_t n, type v[]) { (void)c; (void)r; (void)v; return n ? ERROR : OK; } \
    int fmi2Set##name(Component c, const Ref r[], size_t n, const type v[]) { (void)c; (void)r; (void)v; return n ? ERROR : OK; }
NONE(Integer, int)
NONE(Boolean, int)
NONE(String, char *)
int fmi2GetFMUstate(Component c, void **s) { (void)c; (void)s; return ERROR; }
int fmi2SetFMUstate(Component c, void *s) { (void)c; (void)s; return ERROR; }
int fmi2FreeFMUstate(Component c, void **s) { (void)c; (void)s; return ERROR; }
int fmi2SerializedFMUstateSize(Component c, void *s, size_t *n) { (void)c; (void)s; (void)n; return ERROR; }
int fmi2SerializeFMUstate(Component c, void *s, char b[], size_t n) { (void)c; (void)s; (void)b; (void)n; return ERROR; }
int fmi2DeSerializeFMUstate(Component c, const char b[], size_t n, void **s) { (void)c; (void)s; (void)b; (void)n; return ERROR; }
int fmi2GetDirectionalDerivative(Component c, const Ref z[], size_t nz, const Ref v[], size_t nv, const double dv[], double dz[]) {
    Model *m = c; double x0 = m->x[0], x1 = m->x[1];
    for (size_t i = 0; i < nz; i++) {
        dz[i] = 0.0;
        for (size_t j = 0; j < nv; j++) {
            double J = z[i] == 2 ? (v[j] == 3) :
                v[j] == 1 ? -2.0 * m->mu * x0 * x1 - 1.0 : v[j] == 3 ? m->mu * (1.0 - x0 * x0) : v[j] == 6;
            dz[i] += J * dv[j];
        }
    }
    return OK;
}
int fmi2EnterEventMode(Component c) { (void)c; return OK; }
int fmi2NewDiscreteStates(Component c, EventInfo *e) { (void)c; memset(e, 0, sizeof *e); return OK; }
int fmi2EnterContinuousTimeMode(Component c) { (void)c; return OK; }
int fmi2CompletedIntegratorStep(Component c, int no, int *event, int *stop) { (void)c; (void)no; *event = *stop = 0; return OK; }
int fmi2SetTime(Component c, double t) { ((Model *)c)->t = t; return OK; }
int fmi2SetContinuousStates(Component c, const double x[], size_t n) { memcpy(((Model *)c)->x, x, n * sizeof *x); return OK; }
int fmi2GetDerivatives(Component c, double dx[], size_t n) { (void)n; rate(c, ((Model *)c)->x, dx); return OK; }
int fmi2GetEventIndicators(Component c, double z[], size_t n) { (void)c; (void)z; (void)n; return OK; }
int fmi2GetContinuousStates(Component c, double x[], size_t n) { memcpy(x, ((Model *)c)->x, n * sizeof *x); return OK; }
int fmi2GetNominalsOfContinuousStates(Component c, double x[], size_t n) { (void)c; while (n) x[--n] = 1.0; return OK; }
int fmi2SetRealInputDerivatives(Component c, const Ref r[], size_t n, const int o[], const double v[]) {
    (void)c; (void)r; (void)n; (void)o; (void)v; return ERROR;
}
int fmi2GetRealOutputDerivatives(Component c, const Ref r[], size_t n, const int o[], double v[]) {
    (void)c; (void)r; (void)n; (void)o; (void)v; return ERROR;
}
int fmi2DoStep(Component c, double t, double h, int no) {
    Model *m = c; (void)no;
    int pieces = (int)(h / 1e-3) + 1;
    double s = h / pieces;
    m->t = t;
    for (int k = 0; k < pieces; k++) {
        double a[2], b[2], d[2], e[2], x[2], *y = m->x;
        rate(m, y, a);
        for (int i = 0; i < 2; i++) x[i] = y[i] + 0.5 * s * a[i];
        rate(m, x, b);
        for (int i = 0; i < 2; i++) x[i] = y[i] + 0.5 * s * b[i];
        rate(m, x, d);
        for (int i = 0; i < 2; i++) x[i] = y[i] + s * d[i];
        rate(m, x, e);
        for (int i = 0; i < 2; i++) y[i] += s / 6.0 * (a[i] + 2.0 * b[i] + 2.0 * d[i] + e[i]);
        m->t += s;
    }
    return OK;
}
int fmi2CancelStep(Component c) { (void)c; return ERROR; }
#define STATUS(name, type) int fmi2Get##name(Component c, int k, type *v) { (void)c; (void)k; (void)v; return ERROR; }
STATUS(Status, int)
STATUS(RealStatus, double)
STATUS(IntegerStatus, int)
STATUS(BooleanStatus, int)
STATUS(StringStatus, const char *)
