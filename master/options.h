/*
 * The command line.
 */
#ifndef WEIR_OPTIONS_H
#define WEIR_OPTIONS_H

#include <stdbool.h>

#include "master/explain.h"
#include "master/load.h"

enum action { ACTION_RUN, ACTION_CHECK, ACTION_EXPLAIN, ACTION_KEYS, ACTION_VERSION };

struct options {
    enum action action;
    bool foreground;
    const char *file;           /* an absolute path when it is to run; as it was given for -t and -T */
    struct str text;            /* instead of a file, from -l and -u */
    struct ask ask;             /* -T, -H, --from, --listen */
};

/*
 * Exits: 0 after -h, 2 after telling on stderr what is wrong with the arguments. The result lives as
 * long as the process.
 */
void options_parse(struct options *o, int argc, char **argv);

/* Reads what the options name: the file, or the text that stands for one. */
struct conf *options_load(const struct options *o, struct findings *findings);

const char *options_version(void);

#endif
