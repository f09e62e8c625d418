/*
 * What somebody most likely did wrong where libyaml stopped: of what is wrong to YAML and looks right to whoever
 * writes addresses, patterns and variables. Pure; runs in the master.
 */
#ifndef WEIR_YAML_HINT_H
#define WEIR_YAML_HINT_H

#include "worker/base/arena.h"
#include "worker/base/str.h"

/* Where reading stopped, and why, in libyaml's words. */
struct yaml_trouble {
    struct str text;            /* the whole file */
    int line, column;           /* from 1; columns are characters */
    int context;                /* the line on which begins what was being read; 0: unknown */
    const char *problem;
};

/*
 * "; a word that begins with @ has to be quoted", or empty. Where the cause stands on an earlier line than the
 * trouble, *t's place is moved to it.
 */
struct str yaml_hint(struct yaml_trouble *t, struct arena *a);

#endif
