/*
 * Knows where keys come from. They are looked after at each turn of the master's loop, by the wall clock: a machine
 * that slept over the time gets its new key when it wakes.
 */
#include "master/rotation.h"

#include <openssl/rand.h>
#include <string.h>

#include "worker/base/clock.h"
#include "worker/base/log.h"

enum { COMPLAIN_MS = 60 * 1000 };

bool
rotation_check(struct tickets *t)
{
    static struct log_pace pace;
    unsigned long untold;
    struct ticket_key key;
    bool good = true;

    if (!tickets_due(t, clock_wall_ms()))
        return true;
    good = RAND_priv_bytes((unsigned char *)&key, sizeof(key)) == 1;
    if (good)
        tickets_rotate(t, &key, clock_wall_ms());
    else if (log_due(&pace, clock_ms(), COMPLAIN_MS, &untold))
        log_error("no random bytes for a new key of TLS session tickets: the last ones stay");
    explicit_bzero(&key, sizeof(key));
    return good;
}
