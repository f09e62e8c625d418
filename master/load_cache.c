/*
 * What the cache's memory has to be to be of use. Knows that max_object depends on size, and that routes which
 * cache and no memory go badly together.
 */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "master/loader.h"
#include "master/values.h"

#define OBJECT_DEFAULT ((size_t)16 * 1024 * 1024)
#define OBJECT_SHARE 16         /* of size: that many must fit */

static const struct node *
place_of(const struct node *section, const char *key)
{
    const struct node *n = yaml_get(section, key);

    return n != NULL ? n : section;
}

static void
check_sizes(struct loader *l, const struct node *section, struct cache_memory *m)
{
    size_t most = m->size / OBJECT_SHARE;
    struct str text;

    if (m->max_object == 0)
        m->max_object = most < OBJECT_DEFAULT ? most : OBJECT_DEFAULT;
    if (m->max_object <= most)
        return;
    text = values_size_text((int64_t)most, l->scratch);
    load_error(l, place_of(section, "max_object"), "`max_object` wants at most 1/%d of `size`, which is %.*s",
               OBJECT_SHARE, STR_ARG(text));
}

/* What cannot be looked at may be there. */
static bool
is_no_folder(const char *path)
{
    struct stat st;

    if (stat(path, &st) == 0)
        return !S_ISDIR(st.st_mode);
    return errno == ENOENT || errno == ENOTDIR;
}

/* The master makes the last folder of its path where it is root. */
static bool
lacks_folder(struct loader *l, struct str path)
{
    char *folder = arena_cstr(l->scratch, path), *slash = strrchr(folder, '/');

    slash[slash == folder] = '\0';
    if (!is_no_folder(folder))
        return false;
    if (geteuid() != 0 || access(folder, F_OK) == 0)
        return true;
    slash = strrchr(folder, '/');
    slash[slash == folder] = '\0';
    return is_no_folder(folder);
}

static void
check_file(struct loader *l, const struct node *section, struct str path)
{
    const struct node *n = place_of(section, "file");
    struct str text = load_show(l, path);
    struct stat st;

    if (!l->users || path.n == 0)
        return;
    if (lacks_folder(l, path))
        load_error(l, n, "`file`: there is no folder for `%.*s`", STR_ARG(text));
    else if (path.p[path.n - 1] == '/' || (stat(arena_cstr(l->scratch, path), &st) == 0 && !S_ISREG(st.st_mode)))
        load_error(l, n, "`file`: `%.*s` is no file", STR_ARG(text));
}

static bool
is_off(const struct node *n)
{
    return n->kind == NODE_SCALAR && str_eq(n->text, STR("off"));
}

/* The `cache` of that level, unless it is off. */
static const struct node *
find_cache(const struct node *map)
{
    for (size_t i = 0; map != NULL && map->kind == NODE_MAP && i < map->n; i++)
        if (str_eq(map->keys[i]->text, STR("cache")) && !is_off(map->items[i]))
            return map->keys[i];
    return NULL;
}

static bool
is_known(void)
{
    for (size_t i = 0; modules[i] != NULL; i++)
        if (strcmp(modules[i]->key.name, "cache") == 0)
            return true;
    return false;
}

static const struct node *
first_cache(const struct node *root)
{
    const struct node *sites = yaml_get(root, "sites"), *found = find_cache(root);

    for (size_t i = 0; found == NULL && sites != NULL && i < yaml_count(sites); i++) {
        const struct node *site = yaml_item(sites, i), *routes = yaml_get(site, "routes");

        found = find_cache(site);
        for (size_t j = 0; found == NULL && routes != NULL && j < yaml_count(routes); j++)
            found = find_cache(yaml_item(routes, j));
    }
    return found;
}

/* The kernel takes such a size, and weir fills it. */
static void
check_room(struct loader *l, const struct node *section, const struct cache_memory *m)
{
    size_t there = (size_t)sysconf(_SC_PHYS_PAGES) * (size_t)sysconf(_SC_PAGESIZE);
    struct str size = values_size_text((int64_t)m->size, l->scratch);

    if (m->file.n == 0 && m->size > there)
        load_warning(l, place_of(section, "size"), "`size`: %.*s is more than the memory of this machine, which is "
                     "%zum", STR_ARG(size), there >> 20);
}

void
load_check_cache(struct loader *l, const struct node *root)
{
    struct cache_memory *m = &l->conf->cache_memory;
    const struct node *section = yaml_get(root, "cache_memory");
    const struct node *cache = is_known() ? first_cache(root) : NULL;

    if (m->size > 0) {
        check_sizes(l, section, m);
        check_file(l, section, m->file);
        check_room(l, section, m);
    } else if ((section == NULL || is_off(section)) && cache != NULL) {
        load_warning(l, cache, "`cache` without `cache_memory`: nothing is stored");
    }
}
