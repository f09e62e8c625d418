/*
 * Knows whose the file must be, who else may have it, and what becomes of one that is another than is wanted: what lies
 * in it is copied into one beside it, which then takes its place; what is no cache at all is moved out of the way.
 *
 * A file's space is reserved before it is mapped: a disk that is full later would be a signal in the middle of a write.
 */
#include "master/keep.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "master/files.h"
#include "master/values.h"
#include "worker/base/arena.h"

enum {
    PATIENCE = 20,              /* times */
    PAUSE = 50 * 1000 * 1000,   /* ns */
    FLAGS = O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC,
};

static bool
still_there(const struct stat *st, const char *path)
{
    struct stat other;

    return lstat(path, &other) == 0 && st->st_dev == other.st_dev && st->st_ino == other.st_ino;
}

static bool
is_ours(const struct stat *st, const char *path, struct reason *why)
{
    if (!S_ISREG(st->st_mode))
        return reason_set(why, "cache_memory.file: %s is no regular file", path);
    if (st->st_uid != geteuid())
        return reason_set(why, "cache_memory.file: %s is another user's", path);
    if ((st->st_mode & 07777) != 0600)
        return reason_set(why, "cache_memory.file: others may read or change %s: its mode is %04o, not 0600", path,
                          (unsigned)st->st_mode & 07777);
    return st->st_nlink <= 1 || reason_set(why, "cache_memory.file: %s has other names (hard links)", path);
}

static bool
lock(int fd, const struct keep_wish *w)
{
    const struct timespec pause = {0, PAUSE};
    int i;

    for (i = 0; flock(fd, LOCK_EX | LOCK_NB) != 0; i++) {
        if (errno != EWOULDBLOCK || !w->waits || i == PATIENCE)
            return false;
        nanosleep(&pause, NULL);
    }
    return true;
}

/* 1: there it is, locked, 0: try again, -1: why. */
static int
try(const struct keep_wish *w, int *fd, struct stat *st, struct reason *why)
{
    *fd = open(w->path, FLAGS, 0600);
    if (*fd < 0 || fstat(*fd, st) != 0) {
        reason_set(why, "cache_memory.file: cannot open %s: %m", w->path);
        return -1;
    }
    if (is_ours(st, w->path, why)) {
        if (lock(*fd, w)) {
            if (fstat(*fd, st) == 0 && still_there(st, w->path))
                return 1;
            close(*fd);
            return 0;
        }
        reason_set(why, errno == EWOULDBLOCK ? "cache_memory.file: %s is in use by another weir, or by workers of one "
                                               "that was killed, which still drain"
                                             : "cache_memory.file: cannot lock %s: %m", w->path);
    }
    close(*fd);
    return -1;
}

static bool
reserve(int fd, size_t size, const char *path, struct reason *why)
{
    struct arena *a;
    struct str text;
    int error;

    do
        error = posix_fallocate(fd, 0, (off_t)size);
    while (error == EINTR);
    if (error == 0)
        return true;
    a = arena_new();
    text = values_size_text((int64_t)size, a);
    errno = error;
    reason_set(why, "cache_memory.file: cannot reserve %.*s for %s: %m", STR_ARG(text), path);
    arena_free(a);
    return false;
}

/* In a file of our own, from nothing. */
static struct cache *
make(const struct keep_wish *w, int fd, const char *path, struct reason *why)
{
    size_t size = cache_file_size(&w->shape);
    struct cache *c;

    if (ftruncate(fd, 0) != 0) {
        reason_set(why, "cache_memory.file: cannot write to %s: %m", path);
        return NULL;
    }
    if (!reserve(fd, size, path, why))
        return NULL;
    c = ftruncate(fd, (off_t)size) == 0 ? cache_file_make(fd, &w->shape, w->slots) : NULL;
    if (c != NULL)
        cache_set_heads(c, w->heads);
    else
        reason_set(why, "cache_memory.file: cannot make a cache in %s: %m", path);
    return c;
}

/* Beside the old one, in whose place it is put; with what fits of that, where there is one. */
static struct cache *
make_beside(const struct keep_wish *w, const struct cache *old, struct cache_came *came, struct reason *why)
{
    struct cache *c = NULL;
    char *path;
    int fd;

    if (asprintf(&path, "%s.new", w->path) < 0)
        return NULL;
    unlink(path);
    fd = open(path, FLAGS | O_EXCL, 0600);
    if (fd < 0)
        reason_set(why, "cache_memory.file: cannot open %s: %m", path);
    else if (flock(fd, LOCK_EX | LOCK_NB) == 0)
        c = make(w, fd, path, why);
    if (c != NULL && ((old != NULL && !cache_file_copy(c, old, came)) || rename(path, w->path) != 0)) {
        reason_set(why, "cache_memory.file: cannot put %s in the place of %s: %m", path, w->path);
        cache_detach(c);
        c = NULL;
        fd = -1;
    }
    if (c == NULL)
        unlink(path);
    if (c == NULL && fd >= 0)
        close(fd);
    free(path);
    return c;
}

/* News */

static void
tell(struct reason *news, const struct keep_wish *w, const struct cache_came *came, const char *more)
{
    struct arena *a = arena_new();
    struct str bytes = values_size_text((int64_t)came->bytes, a);

    reason_set(news, "cache_memory.file: %s: kept %llu objects of %.*s in all, dropped %llu that were not whole%s",
               w->path, (unsigned long long)came->objects, STR_ARG(bytes), (unsigned long long)came->dropped, more);
    arena_free(a);
}

static void
tell_size(struct reason *news, const struct keep_wish *w, const struct cache_came *came)
{
    char text[96];

    snprintf(text, sizeof(text), ", and %llu that did not fit into another size or max_object",
             (unsigned long long)came->left);
    tell(news, w, came, text);
}

/* Starting */

/* It may be somebody's who wrote the wrong name: once. */
static bool
is_foreign(int fd, off_t size)
{
    static const char ours[] = "weircach", none[sizeof(ours)];
    char text[sizeof(ours) - 1];

    return size > 0 && (pread(fd, text, sizeof(text), 0) != sizeof(text) ||
                        (memcmp(text, ours, sizeof(text)) != 0 && memcmp(text, none, sizeof(text)) != 0));
}

/* Its new name, from malloc; NULL: it stays. */
static char *
move_away(const struct keep_wish *w, struct reason *news)
{
    char *path;

    if (asprintf(&path, "%s.old", w->path) < 0)
        return NULL;
    if (renameat2(AT_FDCWD, w->path, AT_FDCWD, path, RENAME_NOREPLACE) == 0) {
        reason_set(news, "cache_memory.file: %s was no cache: it is %s now, and the cache starts empty", w->path, path);
        return path;
    }
    free(path);
    return NULL;
}

static struct cache *
start_empty(const struct keep_wish *w, int fd, const struct stat *st, struct reason *news, struct reason *why)
{
    struct cache_came none = {0};
    char *away = is_foreign(fd, st->st_size) ? move_away(w, news) : NULL;
    struct cache *c;

    if (away != NULL) {
        c = make_beside(w, NULL, &none, why);
        if (c == NULL)
            rename(away, w->path);
        free(away);
        close(fd);
        return c;
    }
    if (st->st_size > 0)
        reason_set(news, "cache_memory.file: %s holds no cache of this version, or a torn one: it starts empty",
                   w->path);
    c = make(w, fd, w->path, why);
    if (c == NULL && st->st_size == 0)
        unlink(w->path);
    if (c == NULL)
        close(fd);
    return c;
}

static struct cache *
start_again(const struct keep_wish *w, struct cache *c, struct reason *news, struct reason *why)
{
    struct cache_came came;

    if (!reserve(cache_fd(c), cache_file_size(&w->shape), w->path, why)) {
        cache_detach(c);
        return NULL;
    }
    if (cache_file_adopt(c, w->slots, &came)) {
        tell(news, w, &came, "");
        return c;
    }
    reason_set(why, "cache_memory.file: cannot read %s: %m", w->path);
    cache_detach(c);
    return NULL;
}

/* In its own place, if the disk has room for that: else it stays as it was, for whoever writes another size. */
static struct cache *
make_instead(const struct keep_wish *w, struct cache *old, struct reason *why)
{
    struct cache_shape was = cache_shape(old);
    struct cache *c = NULL;

    if (reserve(cache_fd(old), cache_file_size(&w->shape), w->path, why))
        c = make(w, cache_fd(old), w->path, why);
    else if (ftruncate(cache_fd(old), (off_t)cache_file_size(&was)) != 0)
        unlink(w->path);
    if (c != NULL)
        cache_file_let(old);
    return c;
}

/* Where there is no room for two of them, what was stored goes. */
static struct cache *
start_resized(const struct keep_wish *w, struct cache *old, struct reason *news, struct reason *why)
{
    struct cache_came came = {0};
    struct cache *c = make_beside(w, old, &came, why);

    if (c != NULL) {
        tell_size(news, w, &came);
    } else {
        reason_set(news, "%s: the cache starts empty", why->text);
        c = make_instead(w, old, why);
    }
    cache_detach(old);
    return c;
}

struct cache *
keep_open(const struct keep_wish *w, struct reason *news, struct reason *why)
{
    struct cache_came none = {0};
    struct cache *c;
    struct stat st;
    int fd, got;

    *news = (struct reason){0};
    files_make_parent(w->path);
    if (w->replaces)
        return make_beside(w, NULL, &none, why);
    do
        got = try(w, &fd, &st, why);
    while (got == 0);
    if (got < 0)
        return NULL;
    c = cache_file_open(fd);
    if (c == NULL)
        return start_empty(w, fd, &st, news, why);
    if (cache_heads(c) != w->heads) {
        cache_file_let(c);
        cache_detach(c);
        return start_empty(w, fd, &st, news, why);
    }
    return cache_file_fits(c, &w->shape, w->slots) ? start_again(w, c, news, why) : start_resized(w, c, news, why);
}
