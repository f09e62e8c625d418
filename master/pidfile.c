/*
 * Knows the races around a file that its owner removes: what was locked counts only if it is still
 * the file of that name.
 */
#include "master/pidfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "master/files.h"

static bool
still_there(int fd, const char *path)
{
    struct stat a, b;

    return fstat(fd, &a) == 0 && lstat(path, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

static bool
refuse(int fd, const char *path, struct reason *why)
{
    char text[32] = "";
    ssize_t n = pread(fd, text, sizeof(text) - 1, 0);
    long pid = n > 0 ? atol(text) : 0;

    if (pid > 0)
        return reason_set(why, "weir is running already, pid %ld (it holds %s)", pid, path);
    return reason_set(why, "weir is running already (it holds %s)", path);
}

/* 1: locked, 0: try again, -1: why. */
static int
try_lock(struct pidfile *p, struct reason *why)
{
    p->fd = open(p->path, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0644);
    if (p->fd < 0) {
        reason_set(why, "cannot open pid_file %s: %m", p->path);
        return -1;
    }
    if (flock(p->fd, LOCK_EX | LOCK_NB) == 0) {
        if (still_there(p->fd, p->path))
            return 1;
        close(p->fd);
        return 0;
    }
    if (errno == EWOULDBLOCK)
        refuse(p->fd, p->path, why);
    else
        reason_set(why, "cannot lock pid_file %s: %m", p->path);
    close(p->fd);
    return -1;
}

bool
pidfile_lock(struct pidfile *p, struct str path, struct reason *why)
{
    int locked;

    *p = (struct pidfile){NULL, -1};
    if (path.n == 0)
        return true;
    p->path = strndup(path.p, path.n);
    files_make_parent(p->path);
    do
        locked = try_lock(p, why);
    while (locked == 0);
    if (locked > 0)
        return true;
    p->fd = -1;
    pidfile_leave(p);
    return false;
}

bool
pidfile_inherit(struct pidfile *p, struct str path, int fd)
{
    *p = (struct pidfile){strndup(path.p, path.n), fd};
    if (still_there(fd, p->path))
        return true;
    free(p->path);
    *p = (struct pidfile){NULL, -1};
    return false;
}

bool
pidfile_is(const struct pidfile *p, struct str path)
{
    return str_eq(str_of(p->path), path);
}

void
pidfile_write(const struct pidfile *p, pid_t pid)
{
    char text[32];
    int n = snprintf(text, sizeof(text), "%ld\n", (long)pid);

    if (p->path != NULL && pwrite(p->fd, text, (size_t)n, 0) == n && ftruncate(p->fd, n) != 0)
        return;                         /* digits of a longer pid stay behind the line's end */
}

void
pidfile_leave(struct pidfile *p)
{
    if (p->fd >= 0)
        close(p->fd);
    free(p->path);
    *p = (struct pidfile){NULL, -1};
}

void
pidfile_remove(struct pidfile *p)
{
    if (p->path != NULL && still_there(p->fd, p->path))
        unlink(p->path);
    pidfile_leave(p);
}
