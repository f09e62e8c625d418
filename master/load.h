/*
 * YAML to config. Runs in the master. Every error of a file is found in one go, each as
 * "FILE:LINE:COLUMN: message"; a file with an error yields no configuration.
 */
#ifndef WEIR_LOAD_H
#define WEIR_LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "worker/conf.h"

/* What was found wrong, in the order of the file. */
struct finding {
    bool warning;
    struct str text;            /* FILE:LINE:COLUMN: message, or warning: message */
    struct str place, message;  /* of a warning, for a log that has levels: the parts before and after that word */
};

struct findings {
    struct arena *arena;
    struct finding *v;
    size_t n;
    size_t errors;
};

/*
 * Reads and checks a file, its `user` included where one is root (or text that stands for one, called `name` in
 * messages): the config in an arena of its own, or NULL where findings->errors is not 0. Warnings come with a config
 * too. Series and descriptors are not in it yet: they are the caller's. Findings live in findings->arena, which the
 * caller made.
 */
struct conf *load_file(const char *path, struct findings *findings);

/* As if nothing was there but this file: neither users nor certificates, keys and other files are looked at. */
struct conf *load_file_alone(const char *path, struct findings *findings);

struct conf *load_text(const char *name, struct str text, struct findings *findings);

void conf_free(struct conf *conf);

/* weir -k: the key reference from the key tables. */
void load_print_keys(FILE *to);

#endif
