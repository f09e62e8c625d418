/*
 * A request target made of a string with variables, for the policies that write one. Values come from
 * clients: they are encoded so that nothing but the literal text says where the path ends, and what comes
 * out is as canonical as what a client's target becomes (uri.h).
 */
#ifndef WEIR_TARGET_H
#define WEIR_TARGET_H

#include "worker/template.h"

#define TARGET_MOST (8 * 1024)  /* bytes of a path, and of a query */

struct target {
    struct template *path;
    struct template *query;     /* behind the first literal ?; NULL: none is made */
    bool drops;                 /* it ended in a ?: the client's query is not appended */
};

/*
 * Master: why the literal text cannot be part of a target, or NULL: it has to begin with /, and holds no
 * byte, no escape and no dot segment that a request may not. *offset: where in the source.
 */
const char *target_refuse(const struct template *t, size_t *offset);

/*
 * Worker, a template_escape for a string that is a whole URI reference, as of a redirection: of a value only
 * what may stand nowhere in one is escaped, and # which would end what goes to a server.
 */
size_t target_escape_uri(char *to, struct str value);

/* Master. */
void target_compile(struct target *to, const struct template *t, struct arena *a);

/*
 * Worker: *path and *query (with its ?, or empty) are what they were before, and become what the target says, in
 * the request's arena. Bytes of values that may not stand in a path or a query are escaped, and so are ? in a path
 * and & + ; in a query, but for those of $query and $arg_NAME; escapes that are in them stay.
 *
 * 0; or 400 where the path holds what is refused in a client's, a dot segment that values made, or an encoded slash
 * where the scope refuses them; or 500 where it does not begin with / or is too long. *why says it.
 */
int target_expand(const struct target *to, struct request *r, struct str *path, struct str *query,
                  const char **why);

#endif
