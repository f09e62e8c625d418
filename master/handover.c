/*
 * Knows the text: a line each, a word and the number of a descriptor. The eventfds of the slots are lines of
 * the first row, how many, and the first descriptor of as many that follow each other.
 *
 *     weir 1
 *     socket 7
 *     slots 5
 *     eventfds 1 256 9
 *     health 265
 *     limits 266
 *     peers 267
 *     tickets 268
 *     staples 269
 *     cache 270 /var/cache/weir/cache
 *     pid_file 6 /run/weir.pid
 *     listen 8
 *
 * It is written by another version of weir, and the variable could be anybody's: each descriptor has
 * to be open and not named twice, and to be by its own account what the text says.
 */
#include "master/handover.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "worker/base/arena.h"

static const char variable[] = "WEIR_HANDOVER";
static const char first_line[] = "weir 1\n";

enum {
    SEALS = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE,
    TEXT_MOST = 1 << 20,
};

/* Old */

static void
describe_segments(FILE *f, const struct segments *s)
{
    unsigned row, n, rows = slots_rows(s->slots);

    fprintf(f, "slots %d\n", slots_fd(s->slots));
    for (row = 1; row <= rows; row += n) {
        for (n = 1; row + n <= rows && slots_eventfd(s->slots, row + n) == slots_eventfd(s->slots, row) + (int)n;)
            n++;
        fprintf(f, "eventfds %u %u %d\n", row, n, slots_eventfd(s->slots, row));
    }
    fprintf(f, "health %d\nlimits %d\npeers %d\n", health_fd(s->health), limits_fd(s->limits), peers_fd(s->peers));
    fprintf(f, "tickets %d\nstaples %d\n", tickets_fd(s->tickets), staples_fd(s->staples));
    if (s->cache != NULL)
        fprintf(f, "cache %d %s\n", cache_fd(s->cache), s->cache_file != NULL ? s->cache_file : "");
}

static void
describe(FILE *f, const struct listen *l, const struct pidfile *p, const struct segments *s, int socket)
{
    size_t i, j;

    fputs(first_line, f);
    fprintf(f, "socket %d\n", socket);
    describe_segments(f, s);
    if (p->path != NULL)
        fprintf(f, "pid_file %d %s\n", p->fd, p->path);
    for (i = 0; i < l->n; i++) {
        for (j = 0; j < l->v[i].n; j++)
            fprintf(f, "listen %d\n", l->v[i].fds[j]);
    }
}

int
handover_write(const struct listen *l, const struct pidfile *p, const struct segments *s, int socket)
{
    int fd = memfd_create("weir-handover", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    char *text = NULL;
    size_t n;
    FILE *f;
    bool good;

    if (fd < 0 || (f = open_memstream(&text, &n)) == NULL)
        return -1;
    describe(f, l, p, s, socket);
    fclose(f);
    good = write(fd, text, n) == (ssize_t)n && fcntl(fd, F_ADD_SEALS, SEALS) == 0;
    free(text);
    if (good)
        return fd;
    close(fd);
    return -1;
}

static void
inherit(int fd)
{
    fcntl(fd, F_SETFD, 0);
}

static void
inherit_segments(const struct segments *s)
{
    unsigned row;

    inherit(slots_fd(s->slots));
    for (row = 1; row <= slots_rows(s->slots); row++)
        inherit(slots_eventfd(s->slots, row));
    inherit(health_fd(s->health));
    inherit(limits_fd(s->limits));
    inherit(peers_fd(s->peers));
    inherit(tickets_fd(s->tickets));
    inherit(staples_fd(s->staples));
    if (s->cache != NULL)
        inherit(cache_fd(s->cache));
}

void
handover_expose(int text, const struct listen *l, const struct pidfile *p, const struct segments *s, int socket)
{
    char number[16];
    size_t i, j;

    inherit(text);
    inherit(socket);
    inherit_segments(s);
    if (p->path != NULL)
        inherit(p->fd);
    for (i = 0; i < l->n; i++) {
        for (j = 0; j < l->v[i].n; j++)
            inherit(l->v[i].fds[j]);
    }
    snprintf(number, sizeof(number), "%d", text);
    setenv(variable, number, 1);
}

/* New */

bool
handover_exists(void)
{
    return getenv(variable) != NULL;
}

/* Takes a number off a line; -1 where there is none of a sensible size. */
static int
take_number(struct str *line)
{
    struct str digits = *line;
    const char *space = memchr(line->p, ' ', line->n);
    long long number;

    if (space != NULL)
        digits.n = (size_t)(space - line->p);
    number = str_decimal(digits);
    line->p += digits.n + (space != NULL);
    line->n -= digits.n + (space != NULL);
    return number >= 0 && number <= 1 << 20 ? (int)number : -1;
}

/* Open and inherited: what is close-on-exec was not handed down, or is taken. */
static bool
adopt(int fd)
{
    if (fd <= STDERR_FILENO || fcntl(fd, F_GETFD) != 0)
        return false;
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    return true;
}

static int
take_fd(struct str *line)
{
    int fd = take_number(line);

    return adopt(fd) ? fd : -1;
}

static bool
is_pair(int fd)
{
    int type = 0;
    socklen_t n = sizeof(type);

    return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &n) == 0 && type == SOCK_SEQPACKET;
}

/* A segment of another version is no error: a new one is made, and what it counts begins at zero. */
static void
take_slots(struct handover *h, int fd)
{
    h->shared.slots = slots_attach(fd);
    if (h->shared.slots == NULL)
        close(fd);
}

/* Those that count by row are of use only together with the slots. */
static void
take_health(struct handover *h, int fd)
{
    if (h->shared.slots != NULL)
        h->shared.health = health_attach(fd, slots_rows(h->shared.slots));
    if (h->shared.health == NULL)
        close(fd);
}

static void
take_limits(struct handover *h, int fd)
{
    h->shared.limits = limits_attach(fd);
    if (h->shared.limits != NULL)
        return;
    h->shared.buckets_lost = true;
    close(fd);
}

static void
take_peers(struct handover *h, int fd)
{
    if (h->shared.slots != NULL)
        h->shared.peers = peers_attach(fd, slots_rows(h->shared.slots));
    if (h->shared.peers == NULL)
        close(fd);
}

static void
take_tickets(struct handover *h, int fd)
{
    h->shared.tickets = tickets_attach(fd);
    if (h->shared.tickets == NULL)
        close(fd);
}

static void
take_staples(struct handover *h, int fd)
{
    h->shared.staples = staples_attach(fd);
    if (h->shared.staples == NULL)
        close(fd);
}

/* With the path of its file, if it was to have one; that is of interest where the cache isn't understood, too. */
static void
take_cache(struct handover *h, struct str path, int fd)
{
    if (h->shared.slots != NULL)
        h->shared.cache = cache_attach(fd, h->shared.slots);
    if (path.n > 0)
        h->shared.cache_file = strndup(path.p, path.n);
    if (h->shared.cache != NULL)
        return;
    h->shared.cache_lost = true;
    close(fd);
}

static bool
take_eventfds(struct handover *h, struct str *line)
{
    int row = take_number(line), n = take_number(line), fd = take_number(line), i;

    if (row < 1 || n < 1 || fd < 0 || line->n > 0)
        return false;
    for (i = 0; i < n; i++) {
        if (!adopt(fd + i))
            return false;
        if (h->shared.slots == NULL || !slots_take_eventfd(h->shared.slots, (unsigned)(row + i), fd + i))
            close(fd + i);
    }
    return true;
}

static void
take_pidfile(struct handover *h, struct str path, int fd)
{
    if (!pidfile_inherit(&h->pidfile, path, fd))
        close(fd);
}

static bool
word(struct str *line, struct str w)
{
    if (!str_starts(*line, w))
        return false;
    line->p += w.n;
    line->n -= w.n;
    return true;
}

/* False: the line is about no segment, or about one that there is already. */
static bool
take_segment(struct handover *h, struct str *line, bool *good)
{
    static const struct {
        struct str word;
        void (*take)(struct handover *h, int fd);
    } kinds[] = {
        {STR("slots "), take_slots},
        {STR("health "), take_health},
        {STR("limits "), take_limits},
        {STR("peers "), take_peers},
        {STR("tickets "), take_tickets},
        {STR("staples "), take_staples},
    };
    const bool there[] = {h->shared.slots != NULL, h->shared.health != NULL, h->shared.limits != NULL,
                          h->shared.peers != NULL, h->shared.tickets != NULL, h->shared.staples != NULL};
    size_t i;
    int fd;

    for (i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
        if (there[i] || !word(line, kinds[i].word))
            continue;
        fd = take_fd(line);
        *good = fd >= 0 && line->n == 0;
        if (fd >= 0)
            kinds[i].take(h, fd);
        return true;
    }
    return false;
}

static bool
take_line(struct handover *h, struct str line)
{
    struct str all = line;
    bool good;
    int fd;

    if (word(&line, STR("socket "))) {
        fd = take_fd(&line);
        h->socket = fd;
        return fd >= 0 && line.n == 0 && is_pair(fd);
    }
    if (word(&line, STR("listen "))) {
        fd = take_fd(&line);
        return fd >= 0 && line.n == 0 && listen_inherit(&h->listen, fd);
    }
    if (word(&line, STR("eventfds ")))
        return take_eventfds(h, &line);
    if (take_segment(h, &line, &good))
        return good;
    if (word(&line, STR("cache ")) && h->shared.cache == NULL) {
        fd = take_fd(&line);
        if (fd >= 0)
            take_cache(h, line, fd);
        return fd >= 0;
    }
    if (word(&line, STR("pid_file ")) && h->pidfile.path == NULL) {
        fd = take_fd(&line);
        if (fd >= 0)
            take_pidfile(h, line, fd);
        return fd >= 0 && line.n > 0;
    }
    return all.n == 0;
}

/* The whole text, from malloc; NULL where the descriptor is not such a file. */
static char *
read_text(int fd)
{
    struct stat st;
    char *text;
    int seals = fcntl(fd, F_GET_SEALS);

    if (seals < 0 || (seals & SEALS) != SEALS || fstat(fd, &st) != 0 || st.st_size > TEXT_MOST)
        return NULL;
    text = xcalloc(1, (size_t)st.st_size + 1);
    if (pread(fd, text, (size_t)st.st_size, 0) == st.st_size)
        return text;
    free(text);
    return NULL;
}

static bool
parse(struct handover *h, const char *text, struct reason *why)
{
    struct str rest = str_of(text), line;

    if (!word(&rest, str_of(first_line)))
        return reason_set(why, "the old master speaks another language: restart instead");
    while (rest.n > 0) {
        const char *end = memchr(rest.p, '\n', rest.n);

        line = (struct str){rest.p, end != NULL ? (size_t)(end - rest.p) : rest.n};
        if (!take_line(h, line))
            return reason_set(why, "the old master's `%.*s` is not understood", STR_ARG(line));
        rest.n -= line.n + (end != NULL);
        rest.p += line.n + (end != NULL);
    }
    return h->socket >= 0 || reason_set(why, "the old master gave no socket");
}

bool
handover_read(struct handover *h, struct reason *why)
{
    struct str number = str_of(getenv(variable));
    int fd = take_fd(&number);
    char *text;
    bool good;

    *h = (struct handover){.pidfile = {NULL, -1}, .socket = -1};
    unsetenv(variable);
    text = fd >= 0 ? read_text(fd) : NULL;
    if (text == NULL)
        return reason_set(why, "%s names no handover of an old master", variable);
    close(fd);
    good = parse(h, text, why);
    free(text);
    return good;
}
