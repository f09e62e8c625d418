/*
 * The module interface: what the engine knows of a policy. A module is one file in modules/ that
 * defines one const struct module, and one line in the build's list, whose order is the order of the
 * hooks. The engine names no module.
 *
 * Lives: `ready` runs in the master when a configuration is loaded, once for each place where the key
 * applies; the structs are then constant, inherited by the workers over fork.
 */
#ifndef WEIR_MODULE_H
#define WEIR_MODULE_H

#include <stddef.h>

#include "worker/key.h"

struct request;
struct arena;

/* The phases of the pipeline at which modules are called, in order. */
enum phase {
    PHASE_REWRITE,
    PHASE_GUARD,
    PHASE_LOOKUP,
    PHASE_FORWARD,              /* in FETCH, once: r->forward is what goes to the upstream. HOOK_WAIT: the hook has set
                                   r->source, which has the request now; where that lets go of it (r->source NULL,
                                   pipeline_resume) it goes to the upstream after all */
    PHASE_INTERIM,              /* for each 1xx of an origin, whose fields r->response has; only HOOK_NEXT */
    PHASE_EDIT,                 /* while a hook waits there, content may come: it lies in the flow */
    PHASE_LOG,
    PHASES,
};

/* What a hook returns; a status (400 to 599) fails the request with that answer. */
enum {
    HOOK_NEXT = 0,              /* go on */
    HOOK_WAIT = 1,              /* the hook will call pipeline_resume(r); it is then called again */
    HOOK_ANSWER = 2,            /* r->source was set: on to EDIT */
    HOOK_RESTART = 3,           /* REWRITE's and GUARD's alone: back to ROUTE; counted, at most ten times */
};

typedef int module_hook(struct request *r, const void *conf);

/* Tells the loader of an error in the module's section: the message as printf. */
struct ready {
    struct arena *arena;        /* lives as long as the configuration */
    void (*error)(struct ready *ready, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
    /* About item i of a key of the section, where that is written: what came from an outer level was told there. */
    void (*wrong)(struct ready *ready, const char *key, size_t i, const char *fmt, ...)
        __attribute__((format(printf, 4, 5)));
    const struct regex *groups; /* the route's regex, or NULL */
    struct str place;           /* where it is written, by name: the same after a reload that moves it */
    int line;
};

struct module {
    struct key key;             /* name, type and table; levels say where it may stand */
    size_t conf_size;           /* of the struct that key.offset (0) counts from; inner levels start
                                   from a copy of the outer level's */
    bool site_edit;             /* its EDIT hook is called on all proxying routes of a site where any has the key: with
                                   NULL where it hasn't */
    bool answers;               /* it answers the request itself: a route has one such key, or proxy */
    void (*ready)(struct ready *ready, void *conf);
    module_hook *hook[PHASES];

    /* In each worker; NULL: of no use to it. */
    void (*begin)(void);        /* once, before its first request */
    void (*woken)(void);        /* another worker has woken this one (slots_wake), for whatever reason */
    void (*tick)(void);         /* each second */
};

/* The registry, generated from the list in Makefile.am. NULL-terminated. */
extern const struct module *const modules[];

/* A compiled list of hooks: what a request of one scope pays for. */
struct hook {
    module_hook *run;
    const void *conf;
    const struct module *module;
};

struct hooks {
    const struct hook *v;
    size_t n;
};

#endif
