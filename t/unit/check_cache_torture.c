/*
 * Workers that find, fetch, join, refresh and purge over a cache too small for its objects, and are killed all the
 * time. Every body says what it has to be. WEIR_TORTURE_S: seconds that each takes, otherwise a few.
 */
#include <check.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <time.h>

#include "shm/cache_parts.h"
#include "t/unit/processes.h"
#include "t/unit/stored.h"
#include "t/unit/unit.h"

enum {
    WORKERS = 4,
    ROWS = 8,
    PATIENCE = 2000,            /* tries, of about a tenth of a millisecond */
    HANGS_MS = 20000,
};

static struct slots *slots;
static struct cache *master;

/* What a worker tells the master, without the cache. */
struct told {                   /* [0].steps: it is over */
    uint64_t steps, found, joined, filled, refreshed, purged, broken;
};

static struct told *told;
static uint64_t random_state;
static uint64_t keys;           /* about as many again as there is room for */

#define must(condition) \
    do { \
        if (!(condition)) { \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
            abort(); \
        } \
    } while (0)

static uint64_t
now_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static uint64_t
roll(uint64_t n)
{
    random_state = stored_mix(random_state);
    return random_state % n;
}

static void
rest(void)
{
    struct timespec ts = {0, 100000};

    nanosleep(&ts, NULL);
}

struct worker {
    struct cache *c;
    struct told *told;
    unsigned row;
};

/* Mostly small ones; some that are large; some that are larger than any object may be. */
static uint64_t
some_length(const struct worker *w)
{
    switch (roll(12)) {
    case 0: return roll(cache_shape(w->c).max_object - 400);
    case 1: return roll(2) ? roll(300000) : roll(4 * cache_shape(w->c).max_object);
    default: return roll(20000);
    }
}

static void
step(struct worker *w)
{
    __atomic_fetch_add(&w->told->steps, 1, __ATOMIC_RELAXED);
}

static void
fill(struct worker *w, struct cache_hold *hold, uint64_t key)
{
    uint64_t seed = roll(1 << 30), length = some_length(w), at = 0;
    bool known = roll(2) && length < cache_shape(w->c).max_object - 400;
    unsigned tries = 0;
    int answer;

    while ((answer = stored_open(w->c, hold, 0, key, seed, known ? length : CACHE_LENGTH_UNKNOWN)) == CACHE_BUSY &&
           tries++ < PATIENCE)
        rest();
    if (answer != CACHE_OK) {
        cache_refuse(w->c, *hold, now_ms(), 0, true);
        return;
    }
    while (at < length && tries < PATIENCE) {
        uint64_t n = roll(30000) + 1;
        struct iovec room;

        answer = cache_room(w->c, hold, n < length - at ? n : length - at, &room);
        if (answer == CACHE_FULL || roll(300) == 0)
            break;
        if (answer == CACHE_BUSY) {
            tries++;
            rest();
            continue;
        }
        must(answer == CACHE_OK);
        stored_write(room.iov_base, room.iov_len, seed, at);
        cache_wrote(w->c, *hold, room.iov_len);
        at += room.iov_len;
        step(w);
        if (roll(4) == 0)
            sched_yield();
    }
    while (at == length && (answer = cache_finish(w->c, *hold)) == CACHE_BUSY)
        rest();
    if (at == length)
        w->told->filled++;
    else
        cache_break(w->c, *hold);
}

/* Until something comes, or until it would have had to. */
static void
await(struct worker *w)
{
    struct pollfd p = {slots_eventfd(slots, w->row), POLLIN, 0};
    eventfd_t n;

    must(poll(&p, 1, HANGS_MS) == 1);
    eventfd_read(p.fd, &n);
    step(w);
}

/* Reads along what somebody else fetches. */
static void
join(struct worker *w, struct cache_hold *hold, uint64_t key)
{
    struct cache_cursor at = {0};
    struct cache_hold next;
    struct cache_view v;
    uint64_t seed = 0;
    bool good = true;

    w->told->joined++;
    for (;;) {
        cache_look(w->c, *hold, &v);
        if (v.head != NULL) {
            const struct stored_head *head = v.head;

            must(head->key == key);
            must(seed == 0 || seed == head->seed + 1 || v.state == CACHE_REFRESHED);
            seed = head->seed + 1;
            must(v.base <= at.at);
            stored_read(w->c, *hold, &at, head->seed, &good);
            must(good && at.at >= v.ready);
        }
        if (v.state == CACHE_CONTINUED) {
            must(cache_follow(w->c, *hold, &next));
            cache_leave(w->c, *hold);
            *hold = next;
            at = (struct cache_cursor){.at = at.at};
        } else if (v.state != CACHE_FETCHING && v.state != CACHE_STREAMING) {
            break;
        } else {
            if (roll(100) == 0 || cache_is_cut(w->c, *hold, 6000, true))
                return;
            await(w);
        }
    }
    if (v.state == CACHE_WHOLE)
        must(v.length == at.at && v.ready == at.at);
    else if (v.state == CACHE_BROKEN)
        w->told->broken++;
}

static void
refresh(struct worker *w, uint64_t n, struct cache_hold seen)
{
    struct cache_key key = stored_key(n);
    struct stored_head head;
    struct iovec iov = {&head, sizeof(head)};
    struct cache_hold hold;
    struct cache_view v;
    int answer = cache_enter(w->c, &key, 0, seen, false, now_ms(), &hold);

    if (answer == CACHE_BEGUN) {
        cache_look(w->c, seen, &v);
        memcpy(&head, v.head, sizeof(head));
        while ((answer = cache_refresh(w->c, hold, seen, &iov, 1)) == CACHE_BUSY)
            rest();
        if (answer == CACHE_OK)
            w->told->refreshed++;
        else
            cache_fail(w->c, hold, 502);
        cache_leave(w->c, hold);
    } else if (answer == CACHE_JOINED) {
        join(w, &hold, n);
        cache_leave(w->c, hold);
    }
}

static void
visit(struct worker *w, uint64_t n)
{
    struct cache_key key = stored_key(n);
    struct cache_hold hold;
    struct cache_view v;
    int answer = stored_find(w->c, n, 0, &hold);

    if (answer == CACHE_OK) {
        cache_look(w->c, hold, &v);
        must(stored_is_good(w->c, hold, n, v.length));
        w->told->found++;
        if (roll(10) == 0)
            refresh(w, n, hold);
        else if (roll(50) == 0)
            cache_drop(w->c, hold);
        must(stored_is_good(w->c, hold, n, v.length));
        cache_leave(w->c, hold);
    } else if (answer == CACHE_NONE) {
        answer = cache_enter(w->c, &key, 0, no_hold, roll(10) == 0, now_ms(), &hold);
        if (answer == CACHE_BEGUN && roll(10) == 0)
            cache_refuse(w->c, hold, now_ms(), roll(2) * 5, true);
        else if (answer == CACHE_BEGUN)
            fill(w, &hold, n);
        else if (answer == CACHE_JOINED)
            join(w, &hold, n);
        if (answer == CACHE_BEGUN || answer == CACHE_JOINED)
            cache_leave(w->c, hold);
    }
}

static void
work(unsigned row, uint64_t seed)
{
    struct worker w = {stored_worker(master, slots, row), &told[row], row};

    random_state = seed;
    while (__atomic_load_n(&told->steps, __ATOMIC_RELAXED) == 0) {
        uint64_t n = roll(3) ? roll(keys) : roll(5);
        struct cache_key key = stored_key(n);

        if (roll(40) == 0)
            w.told->purged += cache_purge(w.c, &key, roll(2)) == CACHE_OK;
        else if (roll(20) == 0)
            cache_tick(w.c, now_ms());
        else
            visit(&w, n);
        step(&w);
    }
    _exit(0);
}

static pid_t
begin(unsigned row)
{
    uint64_t seed = stored_mix(random_state += row);
    pid_t pid = fork();

    if (pid == 0)
        work(row, seed);
    ck_assert_int_gt(pid, 0);
    return pid;
}

static void
finish(pid_t pid, unsigned row)
{
    int status;

    kill(pid, SIGKILL);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    cache_forget_row(master, row);
}

/* Nobody is left: everything can be had again. */
static void
account(void)
{
    struct cache_totals t;
    uint64_t i;

    ck_assert(cache_begin(master, ROWS));
    for (i = 0; i < keys; i++) {
        struct cache_key key = stored_key(i);

        ck_assert_int_eq(cache_purge(master, &key, false), CACHE_OK);
    }
    cache_tick(master, now_ms());
    cache_tick(master, now_ms());
    t = stored_sum(master);
    ck_assert_uint_eq(t.objects, 0);
    ck_assert_uint_eq(t.bytes, 0);
    ck_assert_uint_eq(t.used, 0);
    for (i = 0; i < keys; i++) {
        ck_assert_int_eq(stored_put(master, i, 0, i, 1000, true), CACHE_OK);
        stored_put(master, i + 1000, 0, i, cache_shape(master).max_object - 400, false);
    }
}

static void
tell(uint64_t kills)
{
    struct cache_totals t = stored_sum(master);
    struct told sum = {0};
    unsigned i;

    for (i = 1; i <= WORKERS; i++) {
        sum.found += told[i].found;
        sum.joined += told[i].joined;
        sum.filled += told[i].filled;
        sum.refreshed += told[i].refreshed;
        sum.purged += told[i].purged;
        sum.broken += told[i].broken;
    }
    fprintf(stderr, "%lu kills, %lu resets; found %lu, filled %lu, joined %lu (%lu broken), refreshed %lu, purged %lu, "
            "evicted %lu, %lu objects\n", (unsigned long)kills, (unsigned long)t.resets, (unsigned long)sum.found,
            (unsigned long)sum.filled, (unsigned long)sum.joined, (unsigned long)sum.broken,
            (unsigned long)sum.refreshed, (unsigned long)sum.purged, (unsigned long)t.evicted,
            (unsigned long)t.objects);
}

/* One after the other, until the time is over: how many. */
static uint64_t
kill_some(pid_t *pid, uint64_t end, unsigned pause_us)
{
    uint64_t kills = 0;

    while (now_ms() < end) {
        unsigned row = 1 + (unsigned)(stored_mix(kills++) % WORKERS);
        struct timespec ts = {0, (long)(stored_mix(kills) % pause_us) * 1000};

        nanosleep(&ts, NULL);
        finish(pid[row], row);
        pid[row] = begin(row);
    }
    return kills;
}

/* Nobody is killed: whoever waits is woken, and all come to their end. */
static void
leave_alone(const pid_t *pid, uint64_t end)
{
    unsigned i;
    int status;

    while (now_ms() < end)
        rest();
    __atomic_store_n(&told->steps, 1, __ATOMIC_RELAXED);
    for (i = 1; i <= WORKERS; i++) {
        ck_assert_int_eq(waitpid(pid[i], &status, 0), pid[i]);
        ck_assert_int_eq(status, 0);
        cache_forget_row(master, i);
    }
}

/* pause_us: between two kills, at most; 0: there are none. */
static void
torture(struct cache_shape shape, unsigned pause_us)
{
    const char *s = getenv("WEIR_TORTURE_S");
    uint64_t end = now_ms() + (s != NULL ? (uint64_t)atoi(s) : 3) * 1000, kills = 0, i;
    pid_t pid[WORKERS + 1];

    keys = shape.size / 10000;
    slots = slots_create(ROWS, 1);
    master = cache_create(&shape, slots);
    ck_assert_ptr_nonnull(master);
    told = shared((ROWS + 1) * sizeof(*told));
    random_state = now_ms();
    for (i = 1; i <= WORKERS; i++)
        pid[i] = begin((unsigned)i);
    if (pause_us > 0) {
        kills = kill_some(pid, end, pause_us);
        for (i = 1; i <= WORKERS; i++)
            finish(pid[i], (unsigned)i);
    } else {
        leave_alone(pid, end);
    }
    tell(kills);
    account();
    cache_detach(master);
    slots_detach(slots);
}

START_TEST(one_shard)
{
    torture((struct cache_shape){MIB, 60 * KIB}, 20000);
}
END_TEST

START_TEST(two_classes)
{
    torture((struct cache_shape){6 * MIB, 300 * KIB}, 20000);
}
END_TEST

START_TEST(many_shards)
{
    torture((struct cache_shape){64 * MIB, MIB}, 20000);
}
END_TEST

START_TEST(many_kills)
{
    torture((struct cache_shape){6 * MIB, 300 * KIB}, 2000);
}
END_TEST

START_TEST(no_kills)
{
    torture((struct cache_shape){6 * MIB, 300 * KIB}, 0);
}
END_TEST

static Suite *
torture_suite(void)
{
    Suite *s = suite_create("cache_torture");
    TCase *t = tcase_create("cache_torture");

    suite_add_tcase(s, t);
    tcase_set_timeout(t, 600);
    tcase_add_test(t, one_shard);
    tcase_add_test(t, two_classes);
    tcase_add_test(t, many_shards);
    tcase_add_test(t, many_kills);
    tcase_add_test(t, no_kills);
    return s;
}

int
main(void)
{
    return unit_run(torture_suite());
}
