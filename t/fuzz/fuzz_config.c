/*
 * Any bytes as a configuration: it loads, or there is an error, and each finding is one line. The
 * modules are weir's own.
 */
#include <stdint.h>
#include <stdlib.h>

#include "master/load.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
must(bool holds)
{
    if (!holds)
        abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct findings f = {.arena = arena_new()};
    struct conf *conf = load_text("f", (struct str){(const char *)data, size}, &f);

    must((conf == NULL) == (f.errors > 0));
    for (size_t i = 0; i < f.n; i++) {
        must(str_starts(f.v[i].text, STR("f:")));
        must(memchr(f.v[i].text.p, '\n', f.v[i].text.n) == NULL);
    }
    conf_free(conf);
    arena_free(f.arena);
    return 0;
}
