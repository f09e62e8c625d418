/*
 * The cache's store, one instruction after the other: a process is stopped, or killed, after each of many numbers of
 * them, and what others do meanwhile or afterwards finds everything as it has to be. WEIR_STEP_POINTS: how many
 * places in each piece of work. Where a process may not be traced nothing is shown.
 */
#include <check.h>
#include <signal.h>
#include <sys/ptrace.h>

#include "shm/cache_parts.h"
#include "t/unit/processes.h"
#include "t/unit/stored.h"
#include "t/unit/unit.h"

enum {
    ROWS = 8,
    FILLER = 1,
    READER,
    OTHER,
    CHILD,
    KEY = 1,
    STEPS_MOST = 1000 * 1000,
};

static struct slots *slots;
static struct cache *master, *filler, *reader, *other;

/* As two workers would have found it that looked for a moment each: no time passes here. */
static void
begin(struct cache_shape shape)
{
    slots = slots_create(ROWS, 1);
    master = cache_create(&shape, slots);
    ck_assert_ptr_nonnull(master);
    filler = stored_worker(master, slots, FILLER);
    reader = stored_worker(master, slots, READER);
    other = stored_worker(master, slots, OTHER);
}

static void
end(void)
{
    cache_detach(other);
    cache_detach(reader);
    cache_detach(filler);
    cache_detach(master);
    slots_detach(slots);
}

/* A process that stops before it does anything. */
static pid_t
hatch(void (*work)(struct cache *c))
{
    struct cache *c;
    pid_t pid = fork();

    ck_assert_int_ge(pid, 0);
    if (pid > 0)
        return pid;
    c = cache_attach(dup(cache_fd(master)), slots);
    if (c == NULL || !cache_begin(c, CHILD) || ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0)
        _exit(77);
    raise(SIGSTOP);
    work(c);
    raise(SIGSTOP);
    _exit(0);
}

/* False: it can't be traced. */
static bool
is_stopped(pid_t pid)
{
    int status;

    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(WIFSTOPPED(status) || (WIFEXITED(status) && WEXITSTATUS(status) == 77));
    return WIFSTOPPED(status);
}

/* So many instructions. False: it was done before. */
static bool
walk(pid_t pid, unsigned n)
{
    int status;

    while (n-- > 0) {
        ck_assert_int_eq(ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL), 0);
        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        ck_assert(WIFSTOPPED(status));
        if (WSTOPSIG(status) == SIGSTOP)
            return false;
        ck_assert_int_eq(WSTOPSIG(status), SIGTRAP);
    }
    return true;
}

static void
let_go(pid_t pid)
{
    int status;

    ck_assert_int_eq(ptrace(PTRACE_DETACH, pid, NULL, NULL), 0);
    ck_assert_int_eq(kill(pid, SIGCONT), 0);
    for (;;) {
        ck_assert_int_eq(waitpid(pid, &status, WUNTRACED), pid);
        if (!WIFSTOPPED(status))
            break;
        kill(pid, SIGCONT);
    }
    ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    cache_forget_row(master, CHILD);
}

static void
kill_it(pid_t pid)
{
    int status;

    ck_assert_int_eq(kill(pid, SIGKILL), 0);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(WIFSIGNALED(status));
    cache_forget_row(master, CHILD);
}

static unsigned
points(unsigned usual)
{
    const char *s = getenv("WEIR_STEP_POINTS");

    return s != NULL ? (unsigned)atoi(s) : usual;
}

/* How many instructions it takes, as it is now; 0: it can't be traced. */
static unsigned
length_of(void (*work)(struct cache *c))
{
    pid_t pid = hatch(work);
    unsigned n = 0;

    if (!is_stopped(pid))
        return 0;
    while (n < STEPS_MOST && walk(pid, 1))
        n++;
    let_go(pid);
    return n;
}

static uint32_t
place_of(const struct cache *c, struct cache_hold hold)
{
    return cache_hold_at(c, hold)->place;
}

static void
sweep(struct cache *c, unsigned shard)
{
    if (!cache_lock(c, shard))
        return;
    cache_hold_end_fetches(c, shard);
    cache_hold_sweep(c, shard, 100);
    cache_unlock(c, shard);
}

/* A fetch that went on among the large ones, and broke there: read by nobody but who has not followed yet. */
static void
make_chain(uint64_t n, struct cache_hold *from, struct cache_hold *to)
{
    struct cache_key key = stored_key(n);
    struct cache_hold hold;

    ck_assert_int_eq(cache_enter(filler, &key, 0, no_hold, false, 1000, &hold), CACHE_BEGUN);
    ck_assert_int_eq(cache_enter(reader, &key, 0, no_hold, false, 1000, from), CACHE_JOINED);
    ck_assert_int_eq(stored_open(filler, &hold, 0, n, n, CACHE_LENGTH_UNKNOWN), CACHE_OK);
    ck_assert_int_eq(stored_more(filler, &hold, n, 0, 300 * KIB), CACHE_OK);
    ck_assert_uint_ne(hold.shard, from->shard);
    *to = hold;
    cache_break(filler, hold);
    cache_leave(filler, hold);
    sweep(other, from->shard);
    sweep(other, to->shard);
}

static struct cache_hold chain_from, chain_to;

/* As short as can be. */
static void
sweep_gone(struct cache *c, unsigned shard)
{
    if (!cache_lock(c, shard))
        return;
    cache_hold_sweep(c, shard, 1);
    cache_unlock(c, shard);
}

static void
sweep_to(struct cache *c)
{
    sweep_gone(c, chain_to.shard);
}

static void
sweep_from(struct cache *c)
{
    sweep_gone(c, chain_from.shard);
}

static void
must_read(struct cache_hold hold, uint64_t seed)
{
    struct cache_cursor at = {0};
    bool good;

    ck_assert_uint_ne(place_of(master, hold), PLACE_FREE);
    ck_assert_uint_eq(stored_read(reader, hold, &at, seed, &good), 300 * KIB);
    ck_assert(good);
}

/* Somebody looks whether it is held, while its reader comes to it and what it came from is freed. */
START_TEST(followed_while_looked_at)
{
    struct cache_hold next;
    unsigned n, i;
    pid_t pid;

    begin((struct cache_shape){8 * MIB, 400 * KIB});
    make_chain(KEY, &chain_from, &chain_to);
    n = length_of(sweep_to);
    ck_assert(cache_follow(reader, chain_from, &next));
    cache_leave(reader, next);
    cache_leave(reader, chain_from);
    for (i = 0; i < n; i++) {
        sweep(other, chain_from.shard);
        sweep(other, chain_to.shard);
        make_chain(KEY + i, &chain_from, &chain_to);
        pid = hatch(sweep_to);
        ck_assert(is_stopped(pid));
        walk(pid, i);
        ck_assert(cache_follow(reader, chain_from, &next));
        cache_leave(reader, chain_from);
        sweep(other, chain_from.shard);
        let_go(pid);
        must_read(next, KEY + i);
        cache_leave(reader, next);
    }
    end();
}
END_TEST

/* Somebody frees what another goes on from, while that other is freed already, and is another's by now. */
START_TEST(reused_while_parted)
{
    struct cache_hold from, to, next;
    struct cache_key other_key;
    uint64_t key;
    unsigned n, i, stride;
    pid_t pid;

    begin((struct cache_shape){32 * MIB, 400 * KIB});
    ck_assert_uint_gt(master->at.class[CACHE_SMALL_CLASS].shards, 1);
    make_chain(KEY, &chain_from, &chain_to);
    for (key = 1000, other_key = stored_key(key); cache_shard_small(master, &other_key) == chain_from.shard;)
        other_key = stored_key(++key);
    cache_leave(reader, chain_from);
    n = length_of(sweep_from);
    sweep(other, chain_to.shard);
    /* each point is stepped to from the beginning: every run looks at others */
    stride = n / points(150) + 1;
    for (i = (unsigned)getpid() % stride; i < n; i += stride) {
        make_chain(KEY, &chain_from, &chain_to);
        cache_leave(reader, chain_from);
        pid = hatch(sweep_from);
        ck_assert(is_stopped(pid));
        walk(pid, i);
        sweep(other, chain_to.shard);
        make_chain(key, &from, &to);
        let_go(pid);
        sweep(other, to.shard);
        ck_assert(cache_follow(reader, from, &next));
        must_read(next, key);
        cache_leave(reader, from);
        cache_leave(reader, next);
        sweep(other, chain_from.shard);
        sweep(other, from.shard);
        sweep(other, chain_to.shard);
    }
    end();
}
END_TEST

/* Killed */

static void
fill_small(struct cache *c)
{
    stored_put(c, KEY, 0, 5, 300, true);
}

static void
refresh(struct cache *c)
{
    struct cache_key key = stored_key(KEY + 1);
    struct stored_head head = {.seed = 3, .key = KEY + 1};
    struct iovec iov = {&head, sizeof(head)};
    struct cache_hold seen, hold;

    if (stored_find(c, KEY + 1, 0, &seen) != CACHE_OK)
        return;
    if (cache_enter(c, &key, 0, seen, false, 1000, &hold) == CACHE_BEGUN) {
        cache_refresh(c, hold, seen, &iov, 1);
        cache_leave(c, hold);
    }
    cache_leave(c, seen);
}

static void
purge(struct cache *c)
{
    struct cache_key key = stored_key(KEY + 1);

    cache_purge(c, &key, false);
}

static void
refuse(struct cache *c)
{
    struct cache_key key = stored_key(KEY);
    struct cache_hold hold;

    if (cache_enter(c, &key, 0, no_hold, false, 1000, &hold) == CACHE_BEGUN) {
        cache_refuse(c, hold, 1000, 1000, true);
        cache_leave(c, hold);
    }
}

/* Nobody is left: everything is free, once quarantines are over, and can be had again. */
static void
account(void)
{
    struct cache_totals t;
    uint64_t i;

    cache_tick(other, 100000);
    cache_tick(other, 101000);
    for (i = 0; i < 4; i++) {
        struct cache_key key = stored_key(KEY + i);

        ck_assert_int_eq(cache_purge(other, &key, false), CACHE_OK);
    }
    cache_tick(other, 102000);
    cache_tick(other, 103000);
    t = stored_sum(other);
    ck_assert_uint_eq(t.objects, 0);
    ck_assert_uint_eq(t.bytes, 0);
    ck_assert_uint_eq(t.used, 0);
    ck_assert_int_eq(stored_put(other, KEY, 0, 1, 1000, true), CACHE_OK);
    ck_assert_int_eq(stored_put(other, KEY + 2, 0, 1, 390 * KIB, false), CACHE_OK);
}

/* What another has held since before is read whole, whatever becomes of its shard. */
static void
kill_at(void (*work)(struct cache *c), unsigned n)
{
    struct cache_hold held;
    pid_t pid;

    ck_assert_int_eq(stored_put(filler, KEY + 1, 0, 3, 300 * KIB, true), CACHE_OK);
    ck_assert_int_eq(stored_find(reader, KEY + 1, 0, &held), CACHE_OK);
    pid = hatch(work);
    ck_assert(is_stopped(pid));
    walk(pid, n);
    kill_it(pid);
    stored_put(other, KEY + 3, 0, 1, 350 * KIB, false);
    cache_tick(other, 99000);
    must_read(held, 3);
    cache_leave(reader, held);
    account();
}

static void
kill_everywhere(void (*work)(struct cache *c))
{
    unsigned n, i, all = points(8);

    begin((struct cache_shape){8 * MIB, 400 * KIB});
    ck_assert_int_eq(stored_put(filler, KEY + 1, 0, 3, 300 * KIB, true), CACHE_OK);
    n = length_of(work);
    account();
    for (i = 0; i < all && n > 0; i++)
        kill_at(work, (unsigned)((uint64_t)i * n / all + stored_mix(i) % (n / all + 1)));
    end();
}

static void (*const works[])(struct cache *c) = {fill_small, refresh, purge, refuse};

START_TEST(killed)
{
    kill_everywhere(works[_i]);
}
END_TEST

static Suite *
step_suite(void)
{
    Suite *s = suite_create("cache_step");
    TCase *t = tcase_create("cache_step");

    suite_add_tcase(s, t);
    tcase_set_timeout(t, 600);
    tcase_add_test(t, followed_while_looked_at);
    tcase_add_test(t, reused_while_parted);
    tcase_add_loop_test(t, killed, 0, (int)(sizeof(works) / sizeof(works[0])));
    return s;
}

#ifdef __SANITIZE_ADDRESS__
#define SKIPPED 77              /* nearly all the steps would be a sanitizer's, and take minutes */
#else
#define SKIPPED 0
#endif

int
main(void)
{
    if (SKIPPED != 0)
        return SKIPPED;
    return unit_run(step_suite());
}
