/*
 * weir starts here.
 */
#include <stdio.h>

#include "master/explain.h"
#include "master/load.h"
#include "master/master.h"
#include "master/options.h"
#include "master/privilege.h"
#include "master/title.h"
#include "worker/tls/wiping.h"

/* What a start would find wrong beyond the file: a user that is not there. */
static bool
check_user(const struct options *o, const struct conf *conf)
{
    struct privilege p;
    struct reason why;

    if (privilege_find(&p, conf, &why)) {
        privilege_free(&p);
        return true;
    }
    fprintf(stderr, "%s: %s\n", o->file, why.text);
    return false;
}

/* Says all that is wrong with the configuration; NULL where it has an error. */
static struct conf *
load(const struct options *o)
{
    struct findings f = {.arena = arena_new()};
    struct conf *conf = options_load(o, &f);

    for (size_t i = 0; i < f.n; i++)
        fprintf(stderr, "%.*s\n", STR_ARG(f.v[i].text));
    arena_free(f.arena);
    return conf;
}

static int
check_configuration(const struct options *o)
{
    struct conf *conf = load(o);
    bool good = conf != NULL && check_user(o, conf);

    if (good)
        fprintf(stderr, "%s: ok\n", o->text.n > 0 ? "the options" : o->file);
    conf_free(conf);
    return !good;
}

static int
explain_request(const struct options *o)
{
    struct conf *conf = load(o);
    int status = conf != NULL ? explain(conf, &o->ask) : 1;

    conf_free(conf);
    return status;
}

int
main(int argc, char **argv)
{
    struct options o;

    wiping_begin();
    argv = title_init(argc, argv);
    options_parse(&o, argc, argv);
    switch (o.action) {
    case ACTION_CHECK:
        return check_configuration(&o);
    case ACTION_EXPLAIN:
        return explain_request(&o);
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
