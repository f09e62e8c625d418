/*
 * Knows how a worker loses root. Names are looked up in the master, before the fork: a worker reads no
 * files. A worker that gave up root can't be traced or dumped by others of its new user: it inherited
 * what root could read.
 */
#include "master/privilege.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "worker/accept.h"
#include "worker/base/arena.h"

static void
find_groups(struct privilege *p, const char *user)
{
    int n = 32;

    p->groups = xmalloc((size_t)n * sizeof(*p->groups));
    while (getgrouplist(user, p->gid, p->groups, &n) < 0)
        p->groups = xrealloc(p->groups, (size_t)n * sizeof(*p->groups));
    p->group_count = n;
}

static bool
look_up(struct privilege *p, const char *user, const char *group, struct reason *why)
{
    const struct passwd *pw = getpwnam(user);
    const struct group *gr;

    if (pw == NULL)
        return reason_set(why, "user: there is no user %s", user);
    p->uid = pw->pw_uid;
    p->gid = pw->pw_gid;
    if (group[0] != '\0') {
        gr = getgrnam(group);
        if (gr == NULL)
            return reason_set(why, "user: there is no group %s", group);
        p->gid = gr->gr_gid;
    }
    find_groups(p, user);
    return true;
}

bool
privilege_find(struct privilege *p, const struct conf *conf, struct reason *why)
{
    char user[256], group[256];

    *p = (struct privilege){0};
    if (geteuid() != 0 || conf->user.n == 0)
        return true;
    if (conf->user.n >= sizeof(user) || conf->group.n >= sizeof(group))
        return reason_set(why, "user: too long a name");
    *(char *)mempcpy(user, conf->user.p, conf->user.n) = '\0';
    group[conf->group.n] = '\0';
    if (conf->group.n > 0)
        memcpy(group, conf->group.p, conf->group.n);
    if (!look_up(p, user, group, why))
        return false;
    p->drop = p->uid != 0 || p->gid != getegid();
    return true;
}

void
privilege_free(struct privilege *p)
{
    free(p->groups);
    *p = (struct privilege){0};
}

bool
privilege_drop(const struct privilege *p)
{
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    if (!p->drop)
        return true;
    if (setgroups((size_t)p->group_count, p->groups) != 0 || setresgid(p->gid, p->gid, p->gid) != 0 ||
        setresuid(p->uid, p->uid, p->uid) != 0)
        return false;
    return p->uid == 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0;
}

#ifdef __SANITIZE_ADDRESS__
#define TRACES_ITSELF 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define TRACES_ITSELF 1
#endif
#endif

void
privilege_hide(void)
{
#ifndef TRACES_ITSELF
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
#endif
}

/*
 * A connection each to the client and to a server are needed, a pipe of two descriptors to splice between
 * them is welcome; the rest is for logs and the like.
 */
enum { OTHERS = 256 };

bool
privilege_descriptors(const struct conf *conf, size_t listeners, size_t rows, struct reason *why)
{
    rlim_t connections = (rlim_t)conf->scope.policy.limits.connections;
    rlim_t want = 2 * connections + listeners + rows + OTHERS;
    rlim_t welcome = want + 2 * connections;
    struct rlimit now, more;

    if (getrlimit(RLIMIT_NOFILE, &now) != 0 || now.rlim_cur >= welcome)
        return true;
    more = (struct rlimit){welcome, now.rlim_max > welcome ? now.rlim_max : welcome};
    if (setrlimit(RLIMIT_NOFILE, &more) == 0)
        return true;
    more = (struct rlimit){now.rlim_max, now.rlim_max};
    if (setrlimit(RLIMIT_NOFILE, &more) == 0 && now.rlim_max >= want)
        return true;
    return reason_set(why,
                      "limits.connections: %llu a worker need %llu descriptors, but the hard limit (ulimit -Hn) "
                      "allows only %llu: a worker takes %zu",
                      (unsigned long long)connections, (unsigned long long)want, (unsigned long long)now.rlim_max,
                      accept_most(conf, listeners, rows));
}

struct reason
privilege_lack(size_t descriptors)
{
    int error = errno;
    struct reason r = {""};
    struct rlimit now;

    if (error == EMFILE && getrlimit(RLIMIT_NOFILE, &now) == 0)
        reason_set(&r, ": ulimit -n is %llu, and at least %zu are needed", (unsigned long long)now.rlim_cur,
                   descriptors + OTHERS);
    errno = error;
    return r;
}

void
privilege_room(size_t descriptors)
{
    rlim_t want = descriptors + OTHERS;
    struct rlimit now;

    if (getrlimit(RLIMIT_NOFILE, &now) != 0 || now.rlim_cur >= want)
        return;
    now.rlim_cur = want < now.rlim_max ? want : now.rlim_max;
    setrlimit(RLIMIT_NOFILE, &now);
}
