/*
 * Strings with variables: "https://$host$uri". Compiled in the master when the configuration is
 * loaded, so that an unknown variable is an error of the file; expanded in the worker with one
 * allocation, of a length computed once.
 */
#ifndef WEIR_TEMPLATE_H
#define WEIR_TEMPLATE_H

#include "worker/base/arena.h"
#include "worker/base/str.h"
#include "worker/regex.h"

struct request;
struct template;

/*
 * Master. `groups` is the regex whose captures $1 and ${name} mean, or NULL where there is none. On
 * an error NULL, with a message in *why and its offset in the text. A group's name wins over a
 * variable's.
 */
struct template *template_compile(struct str text, const struct regex *groups, struct arena *a,
                                  struct str *why, size_t *offset);

/* Worker. In the request's arena, or a slice of the template where it has no variables. */
struct str template_expand(const struct template *t, struct request *r);

/*
 * The same, but each value passes through `escape`, which returns how many bytes it writes for the
 * value (to == NULL: only counts).
 */
typedef size_t template_escape(char *to, struct str value);
struct str template_expand_escaped(const struct template *t, struct request *r, template_escape *escape);

/* As it was written. */
struct str template_source(const struct template *t);

#endif
