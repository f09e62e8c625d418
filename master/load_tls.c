/*
 * `tls` of a listener, and the files that are named anywhere under a `tls`. Knows that the master alone opens them,
 * each time that it reads the configuration; that what was read is wiped once OpenSSL has it; and at which place in the
 * configuration trouble with a certificate is told.
 */
#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <sys/stat.h>
#include <unistd.h>

#include "master/loader.h"
#include "master/privilege.h"
#include "worker/tls/server.h"

#define FILE_MOST (1024 * 1024) /* bytes */

struct telling {
    struct loader *l;
    const struct node *tls;
};

static void
wipe(void *data)
{
    struct tls_pem *pem = data;

    OPENSSL_cleanse((char *)pem->p, pem->n);
}

/* Until the end, or one byte more than there should be; -1 with errno. */
static ssize_t
read_whole(int fd, char *to, size_t most)
{
    size_t at = 0;
    ssize_t got = 1;

    while (at < most && got != 0) {
        got = read(fd, to + at, most - at);
        if (got < 0 && errno != EINTR)
            return -1;
        at += got > 0 ? (size_t)got : 0;
    }
    return (ssize_t)at;
}

/* NULL, or why it cannot be. The bytes live as long as the loading. */
static const char *
read_open(struct loader *l, int fd, struct stat *st, struct tls_pem *pem)
{
    struct tls_pem *kept;
    ssize_t n;
    char *p;

    if (fd < 0 || fstat(fd, st) != 0)
        return strerror(errno);
    if (!S_ISREG(st->st_mode))
        return S_ISDIR(st->st_mode) ? "it is a folder" : "it is no file";
    if (st->st_size > FILE_MOST)
        return "it is longer than 1 MiB";
    if (st->st_size == 0)
        return "it is empty";
    p = arena_zalloc(l->scratch, (size_t)st->st_size + 1);
    kept = arena_alloc(l->scratch, sizeof(*kept));
    *kept = (struct tls_pem){p, (size_t)st->st_size};
    arena_cleanup(l->scratch, wipe, kept);
    n = read_whole(fd, p, (size_t)st->st_size);
    if (n < 0)
        return strerror(errno);
    *pem = (struct tls_pem){p, (size_t)n};
    return NULL;
}

bool
load_tls_file(struct loader *l, const struct node *n, const char *key, struct str path, struct tls_pem *pem)
{
    struct str shown = load_show(l, path);
    struct stat st;
    const char *why;
    int fd;

    *pem = (struct tls_pem){NULL, 0};
    if (path.n == 0)
        return true;
    if (strcmp(key, "key") == 0)
        privilege_hide();
    fd = open(arena_cstr(l->scratch, path), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    why = read_open(l, fd, &st, pem);
    if (why != NULL)
        load_error(l, n, "`%s`: `%.*s` cannot be read: %s", key, STR_ARG(shown), why);
    else if (strcmp(key, "key") == 0 && (st.st_mode & S_IROTH) != 0)
        load_warning(l, n, "`key`: everybody on this machine can read `%.*s`", STR_ARG(shown));
    if (fd >= 0)
        close(fd);
    return why == NULL;
}

static const struct node *
place_of(const struct node *map, const char *key)
{
    const struct node *n = map->kind == NODE_MAP ? yaml_get(map, key) : NULL;

    return n != NULL ? n : map;
}

static void
tell(void *with, const struct tls_trouble *t)
{
    const struct telling *telling = with;
    const struct node *n = telling->tls;

    if (t->certificate >= 0)
        n = yaml_item(yaml_get(n, "certificates"), (size_t)t->certificate);
    n = place_of(n, t->what);
    (t->fatal ? load_error : load_warning)(telling->l, n, "`%s`: %s", t->what, t->text);
}

static void
read_files(struct loader *l, const struct listener_tls *tls, const struct node *n, struct tls_server_files *files)
{
    const struct node *list = yaml_get(n, "certificates");

    files->v = arena_zalloc(l->scratch, (tls->certificate_count + 1) * sizeof(*files->v));
    for (size_t i = 0; i < tls->certificate_count; i++) {
        const struct certificate *c = &tls->certificates[i];
        const struct node *item = yaml_item(list, i);

        load_tls_file(l, place_of(item, "cert"), "cert", c->cert, &files->v[i].cert);
        load_tls_file(l, place_of(item, "key"), "key", c->key, &files->v[i].key);
        load_tls_file(l, place_of(item, "ocsp"), "ocsp", c->ocsp, &files->v[i].ocsp);
    }
    load_tls_file(l, place_of(n, "client_ca"), "client_ca", tls->client_ca, &files->client_ca);
}

/* `off` is a path that is not there, but these have to be. */
static void
check_paths(struct loader *l, const struct listener_tls *tls, const struct node *n)
{
    const struct node *list = yaml_get(n, "certificates");

    for (size_t i = 0; i < tls->certificate_count; i++) {
        static const char *const keys[] = {"cert", "key"};

        for (size_t k = 0; k < 2; k++) {
            const struct node *at = place_of(yaml_item(list, i), keys[k]);

            if (at->kind == NODE_SCALAR && str_eq(at->text, STR("off")))
                load_error(l, at, "`%s` cannot be off", keys[k]);
        }
    }
}

int
load_alpn(struct loader *l, const struct key *k, const struct node *n, void *at)
{
    struct listener_tls *tls = at;
    struct str_list list;

    if (!load_strings(l, k, n, &list))
        return -1;
    if (list.n == 0)
        load_error(l, n, "`%s` is an empty list", k->name);
    tls->alpn_offers = 0;
    tls->alpn = (struct str_list){.v = list.v};
    for (size_t i = 0; i < list.n; i++) {
        unsigned bit = str_eq(list.v[i], STR("h2")) ? ALPN_H2 : str_eq(list.v[i], STR("http/1.1")) ? ALPN_HTTP_1_1 : 0;

        if (bit == 0 && list.v[i].n > 0)
            load_wrong(l, k, yaml_item(n, i));
        else if ((tls->alpn_offers & bit) != 0)
            load_error(l, yaml_item(n, i), "`%s`: `%.*s` stands there twice", k->name, STR_ARG(list.v[i]));
        else if (bit != 0)
            list.v[tls->alpn.n++] = list.v[i];
        tls->alpn_offers |= bit;
    }
    return 0;
}

static void
make_server(struct loader *l, struct listener_tls *tls, const struct node *n)
{
    struct telling telling = {l, n};
    struct tls_server_files files;

    check_paths(l, tls, n);
    read_files(l, tls, n, &files);
    if (tls->certificate_count > 0)
        tls->server = tls_server_new(tls, &files, l->arena, tell, &telling);
}

void
load_check_listeners_tls(struct loader *l, const struct node *listen)
{
    struct conf *conf = l->conf;

    for (size_t i = 0; i < conf->listener_count; i++) {
        struct listener *at = &conf->listeners[i];
        const struct node *element = yaml_item(listen, i);
        const struct node *tls = element->kind == NODE_MAP ? yaml_get(element, "tls") : NULL;

        if (tls == NULL || tls->kind != NODE_MAP)
            continue;
        at->tls.on = true;
        if (at->h2c)
            load_error(l, yaml_get(element, "h2c"), "`h2c` is HTTP/2 in the clear: with `tls`, `alpn` says h2");
        if (l->users)           /* for `weir -T`, and of text that stands for a file, no others are read */
            make_server(l, &at->tls, tls);
    }
}
