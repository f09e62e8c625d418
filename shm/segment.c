/*
 * Knows how shared memory comes to be: a sealed memfd or a file, mapped whole. Everything else in shm/ sees a
 * base and a size. The mapping is left out of core dumps, which it would swell.
 */
#include "shm/segment.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SEALS = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL };

size_t
segment_page(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

size_t
segment_pages(size_t n)
{
    size_t page = segment_page();

    return (n + page - 1) / page * page;
}

static bool
map(struct segment *s, int fd, size_t size)
{
    void *base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);

    if (base == MAP_FAILED)
        return false;
    madvise(base, size, MADV_DONTDUMP);
    *s = (struct segment){base, size, fd};
    return true;
}

static void
name(struct segment *s, const char *kind, uint32_t version)
{
    struct segment_head *head = s->base;

    memcpy(head->kind, kind, strnlen(kind, sizeof(head->kind)));
    head->version = version;
    head->size = s->size;
}

bool
segment_create(struct segment *s, const char *kind, uint32_t version, size_t size)
{
    int fd = memfd_create(kind, MFD_CLOEXEC | MFD_ALLOW_SEALING), error;

    if (fd < 0)
        return false;
    if (ftruncate(fd, (off_t)size) != 0 || fcntl(fd, F_ADD_SEALS, SEALS) != 0 || !map(s, fd, size)) {
        error = errno;
        close(fd);
        errno = error;
        return false;
    }
    name(s, kind, version);
    return true;
}

static bool
ours(const struct segment *s, const char *kind, uint32_t version)
{
    const struct segment_head *head = s->base;

    return strncmp(head->kind, kind, sizeof(head->kind)) == 0 && head->version == version &&
           head->size == s->size;
}

/* Nobody else can make it smaller: it is sealed, or a file that nobody else may write. */
static bool
is_steady(int fd, const struct stat *st)
{
    int seals = fcntl(fd, F_GET_SEALS);

    return (seals >= 0 && (seals & SEALS) == SEALS) ||
           (S_ISREG(st->st_mode) && st->st_uid == geteuid() && (st->st_mode & 077) == 0);
}

bool
segment_attach(struct segment *s, const char *kind, uint32_t version, int fd)
{
    struct stat st;

    if (fstat(fd, &st) != 0 || !is_steady(fd, &st) || st.st_size < (off_t)sizeof(struct segment_head)) {
        errno = EINVAL;
        return false;
    }
    if (!map(s, fd, (size_t)st.st_size))
        return false;
    if (!ours(s, kind, version)) {
        munmap(s->base, s->size);
        *s = (struct segment){NULL, 0, -1};
        errno = EINVAL;
        return false;
    }
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    return true;
}

void
segment_detach(struct segment *s)
{
    munmap(s->base, s->size);
    close(s->fd);
    *s = (struct segment){NULL, 0, -1};
}

void *
segment_make(const struct segment_kind *kind, size_t size)
{
    struct segment *s = calloc(1, kind->owner);

    if (s != NULL && segment_create(s, kind->name, kind->version, size)) {
        ((struct segment_head *)s->base)->layout = kind->layout;
        return s;
    }
    free(s);
    return NULL;
}

static bool
is_of(const struct segment *s, const struct segment_kind *kind)
{
    return s->size >= kind->head && ((struct segment_head *)s->base)->layout == kind->layout;
}

void *
segment_take(const struct segment_kind *kind, int fd, bool (*understand)(void *owner, unsigned rows), unsigned rows)
{
    struct segment *s = calloc(1, kind->owner);

    if (s != NULL && segment_attach(s, kind->name, kind->version, fd)) {
        if (is_of(s, kind) && understand(s, rows))
            return s;
        s->fd = -1;                             /* stays the caller's */
        segment_detach(s);
        errno = EINVAL;
    }
    free(s);
    return NULL;
}

void
segment_end(void *owner)
{
    segment_detach(owner);
    free(owner);
}

void *
segment_map(const struct segment_kind *kind, int fd)
{
    struct segment *s;
    struct stat st;

    if (fstat(fd, &st) != 0 || st.st_size < (off_t)kind->head) {
        errno = EINVAL;
        return NULL;
    }
    s = calloc(1, kind->owner);
    if (s != NULL && map(s, fd, (size_t)st.st_size))
        return s;
    free(s);
    return NULL;
}

void
segment_name(void *owner, const struct segment_kind *kind)
{
    struct segment *s = owner;

    name(s, kind->name, kind->version);
    ((struct segment_head *)s->base)->layout = kind->layout;
}

bool
segment_is(const void *owner, const struct segment_kind *kind)
{
    return ours(owner, kind->name, kind->version) && is_of(owner, kind);
}

void
segment_punch(const struct segment *s, size_t offset, size_t size)
{
    if (fallocate(s->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)size) != 0)
        memset((char *)s->base + offset, 0, size);
}
