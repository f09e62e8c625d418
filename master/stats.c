/*
 * Knows when the stats file is written and how a reader never sees half of it. What a turn costs is
 * measured, and the interval stretched to a hundred times that: under 1 % of a core.
 */
#include "master/stats.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "master/files.h"
#include "master/metrics.h"
#include "worker/base/clock.h"
#include "worker/base/log.h"

enum {
    COST = 100,                 /* the interval is at least so many times what a turn costs */
    SKIP_MOST = 3,              /* then rows are in a fold that nobody ends, and the sums have to do */
    SUM_AGAIN = 3,
};

static int64_t
cpu_us(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

/* Into memory first, so that sums which rows were moved under can be thrown away. */
static bool
make_text(struct stats *st, const struct segments *s, const struct generation *current, char **text, size_t *n)
{
    unsigned i;
    bool good = false;

    for (i = 0; i < SUM_AGAIN && !good; i++) {
        uint64_t begun = slots_sum_begin(s->slots);
        FILE *f;

        free(*text);
        *text = NULL;
        f = open_memstream(text, n);
        if (f == NULL)
            return false;
        metrics_write(f, s, current);
        fclose(f);
        good = slots_sum_good(s->slots, begun);
    }
    st->skipped = good ? 0 : st->skipped + 1;
    return good || st->skipped > SKIP_MOST;
}

static bool
put(int fd, const char *p, size_t n)
{
    while (n > 0) {
        ssize_t done = write(fd, p, n);

        if (done < 0 && errno != EINTR)
            return false;
        if (done > 0) {
            p += done;
            n -= (size_t)done;
        }
    }
    return true;
}

static bool
replace(const char *path, const char *text, size_t n)
{
    char *new;
    int fd, error;
    bool good;

    if (asprintf(&new, "%s.tmp", path) < 0)
        return false;
    unlink(new);                        /* of one that was killed while it wrote */
    fd = open(new, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
    good = fd >= 0 && fchmod(fd, 0644) == 0 && put(fd, text, n);
    error = errno;
    if (fd >= 0 && close(fd) != 0 && good) {
        good = false;
        error = errno;
    }
    if (good && rename(new, path) != 0) {
        good = false;
        error = errno;
    }
    if (!good && fd >= 0)
        unlink(new);
    free(new);
    errno = error;
    return good;
}

static void
write_file(struct stats *st, const char *path, const char *text, size_t n)
{
    bool good = replace(path, text, n);

    if (!good && errno == ENOENT) {
        files_make_parent(path);
        good = replace(path, text, n);
    }
    if (!good && !st->failing)
        log_error("cannot write stats_file %s: %s", path, strerror(errno));
    if (good && st->failing)
        log_notice("stats_file %s is written again", path);
    st->failing = !good;
}

void
stats_run(struct stats *st, const struct segments *s, const struct generation *current)
{
    const struct conf *conf = current->conf;
    int64_t began, least;
    char *text = NULL, *path;
    size_t n;

    if (conf->stats_file.n == 0 || clock_ms() < st->next)
        return;
    began = cpu_us();
    path = strndup(conf->stats_file.p, conf->stats_file.n);
    if (make_text(st, s, current, &text, &n))
        write_file(st, path, text, n);
    free(text);
    free(path);
    least = (cpu_us() - began) * COST / 1000;
    st->next = clock_ms() + (conf->stats_interval > least ? conf->stats_interval : least);
}

int64_t
stats_due(const struct stats *st, const struct generation *current)
{
    return current->conf->stats_file.n == 0 ? NEVER : st->next;
}

void
stats_remove(const struct generation *current)
{
    char *path = strndup(current->conf->stats_file.p, current->conf->stats_file.n);

    if (path != NULL && path[0] != '\0')
        unlink(path);
    free(path);
}
