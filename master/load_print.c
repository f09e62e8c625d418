/*
 * The key reference, from the tables alone. Knows how a key's place is written: below a list name[],
 * below a name of one's own NAME. A key is a line with its path, a line with its type, default and
 * levels, and a line of help, those two indented.
 */
#include "master/load.h"
#include "master/loader.h"

static void print_table(FILE *to, struct arena *a, const char *path, const struct key *keys, unsigned levels);

static const char *
level_text(unsigned levels)
{
    return levels == KEY_POLICY               ? "; policy"
           : levels == (KEY_SITE | KEY_ROUTE) ? "; in sites and routes"
           : levels == (KEY_TOP | KEY_SITE)   ? "; at the top level and in sites"
           : levels == KEY_TOP                ? "; at the top level only"
                                              : "";
}

/* Levels are told of what may stand in more than one, and of what may not where its section may. */
static void
print_key(FILE *to, struct arena *a, const char *path, const struct key *k, unsigned levels)
{
    unsigned own = k->levels != 0 ? k->levels : levels;
    bool told = own == KEY_TOP && levels != KEY_POLICY;
    struct str wants = keys_wants(k, a);
    const char *name = arena_printf(a, "%s%s", path, k->name).p;

    fprintf(to, "%s\n    %.*s", name, STR_ARG(wants));
    if (k->def == NULL)
        fputs("; required", to);
    else if (k->def[0] != '\0')
        fprintf(to, "; default %s", k->def);
    fprintf(to, "%s\n    %s\n", told ? "" : level_text(own), k->help);
    if (k->keys == NULL)
        return;
    if (k->type == KEY_NAMED)
        name = arena_printf(a, "%s.NAME.", name).p;
    else
        name = arena_printf(a, "%s%s", name, k->type == KEY_SECTION ? "." : "[].").p;
    print_table(to, a, name, k->keys, own);
}

static void
print_table(FILE *to, struct arena *a, const char *path, const struct key *keys, unsigned levels)
{
    for (; keys->name != NULL; keys++)
        print_key(to, a, path, keys, levels);
}

/* What belongs to routes alone is printed below them. */
static void
print_modules(FILE *to, struct arena *a, bool routes)
{
    for (size_t i = 0; modules[i] != NULL; i++) {
        const struct key *k = &modules[i]->key;

        if ((k->levels == KEY_ROUTE) == routes)
            print_key(to, a, routes ? "sites[].routes[]." : "", k, k->levels);
    }
}

void
load_print_keys(FILE *to)
{
    struct arena *a = arena_new();

    print_table(to, a, "", keys_top, KEY_TOP);
    print_modules(to, a, true);
    print_table(to, a, "", keys_policy, KEY_POLICY);
    print_modules(to, a, false);
    arena_free(a);
}
