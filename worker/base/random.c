#include "worker/base/random.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include <sys/types.h>

#include "worker/base/log.h"

static unsigned char pool[4096];
static size_t at = sizeof pool;

/* Of more than 256 bytes a signal may leave some out. */
static void
fill(void)
{
    size_t n = 0;

    while (n < sizeof pool) {
        ssize_t got = getrandom(pool + n, sizeof pool - n, 0);

        check(got > 0 || (got < 0 && errno == EINTR));
        n += got > 0 ? (size_t)got : 0;
    }
}

void
random_bytes(void *to, size_t n)
{
    check(n <= 256);
    if (sizeof pool - at < n) {
        fill();
        at = 0;
    }
    memcpy(to, pool + at, n);
    memset(pool + at, 0, n);
    at += n;
}

void
random_forget(void)
{
    at = sizeof pool;
}
