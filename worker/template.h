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

/*
 * The same, into at most `most` bytes, else p is NULL; a value that is a piece of the client's own query, so
 * encoded as one, passes through from_query.
 */
struct str template_expand_most(const struct template *t, struct request *r, template_escape *escape,
                                template_escape *from_query, size_t most);

/*
 * Its parts in order, from 0: the text of one that stands there literally (a slice of the source, but for $$
 * which is one dollar), or p NULL for a value. False: there is no part i.
 */
bool template_part(const struct template *t, size_t i, struct str *literal);

/* Master: its first variable that is known only with the response, as "sent_http_x"; p NULL: it has none. */
struct str template_late(const struct template *t, struct arena *a);

/*
 * Master: cuts t at the first c of its literal text, so that neither half has it; false where there is none, and
 * before is all of it. The sources of the halves are those of the whole.
 */
bool template_cut(const struct template *t, char c, struct arena *a, struct template **before,
                  struct template **after);
/* Master, of a half of its own: takes a c off the end of its literal text; false where there is none. */
bool template_strip(struct template *t, char c);

/*
 * Master: the same template, but `***` for each variable that is secret and not empty. `arg` is what stands behind a
 * name that takes an argument ("http_": "cookie"), as written.
 */
typedef bool template_secret(struct str name, struct str arg);
struct template *template_mask(const struct template *t, template_secret *secret, struct arena *a);

/* As it was written. */
struct str template_source(const struct template *t);

#endif
