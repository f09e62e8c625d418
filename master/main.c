/*
 * weir starts here.
 */
#include <stdio.h>

#include "master/load.h"
#include "master/master.h"
#include "master/options.h"
#include "master/title.h"

/* Says all that is wrong with the configuration. */
static int
check_configuration(const struct options *o)
{
    struct findings f = {.arena = arena_new()};
    struct conf *conf = options_load(o, &f);
    size_t i;

    for (i = 0; i < f.n; i++)
        fprintf(stderr, "%.*s\n", STR_ARG(f.v[i].text));
    if (conf != NULL)
        fprintf(stderr, "%s: ok\n", o->text.n > 0 ? "the options" : o->file);
    arena_free(f.arena);
    if (conf == NULL)
        return 1;
    conf_free(conf);
    return 0;
}

int
main(int argc, char **argv)
{
    struct options o;

    argv = title_init(argc, argv);
    options_parse(&o, argc, argv);
    switch (o.action) {
    case ACTION_CHECK:
        return check_configuration(&o);
    case ACTION_KEYS:
        load_print_keys(stdout);
        return 0;
    case ACTION_VERSION:
        printf("weir %s\n", options_version());
        return 0;
    case ACTION_RUN:
        break;
    }
    return master_run(&o, argv);
}
