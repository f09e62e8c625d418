/*
 * The variables of strings marked ($) in weir.yaml: one table of names and getters.
 */
#ifndef WEIR_VARIABLE_H
#define WEIR_VARIABLE_H

#include <stdint.h>

#include "worker/base/str.h"

struct request;

struct variable {
    const char *name;           /* "client_ip"; one that ends in "_" takes an argument: "http_" */
    struct str (*get)(struct request *r, struct str arg);   /* in the request's arena or longer; empty: unknown yet */
    const char *help;
    bool late;                  /* known only with the response */
};

/*
 * The variable of that name; for http_NAME and its like *arg is NAME as it has to be looked up
 * (http_, sent_http_: _ turned to - by the getter). NULL: there is none.
 */
const struct variable *variable_find(struct str name, struct str *arg);

/* The variable that other servers call so, or NULL. */
const char *variable_elsewhere(struct str name);

/* A number in the request's arena. */
struct str variable_decimal(struct request *r, uint64_t value);

/* The table, for suggestions and the manual; ends with a name of NULL. */
extern const struct variable variables[];

#endif
