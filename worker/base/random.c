#include "worker/base/random.h"

#include <string.h>
#include <sys/random.h>

#include "worker/base/log.h"

static unsigned char pool[4096];
static size_t at = sizeof pool;

void
random_bytes(void *to, size_t n)
{
    check(n <= 256);            /* as much as getrandom gives in one piece */
    if (sizeof pool - at < n) {
        for (size_t i = 0; i < sizeof pool; i += 256)
            check(getrandom(pool + i, 256, 0) == 256);
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
