/*
 * A cache's file that was torn. Input is a byte that says whether records are sealed again afterwards, as if seals held
 * by accident, and pieces of eight: where (three), what (one) and a number (four) to put there. Whatever stands in it,
 * it is opened or not; what is then found and holds against its seal is as it was stored, and when all of it is purged,
 * all space is free.
 */
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "shm/cache_file.h"
#include "shm/cache_parts.h"
#include "t/fuzz/must.h"

enum { SIZE = 1024 * 1024, OBJECTS = 60, PIECE = 8, STEPS = 8 };

static struct slots *slots;
static unsigned char image[SIZE];
static cache_address records[OBJECTS];

static uint64_t
mix(uint64_t x)
{
    x = (x + 1) * UINT64_C(0x9e3779b97f4a7c15);
    return x ^ x >> 29;
}

static struct cache_key
key_of(unsigned n)
{
    return (struct cache_key){{mix(n), mix(n + 1000)}};
}

static size_t
length_of(unsigned n)
{
    return n % 20 == 0 ? 30000 : n * 17;
}

static unsigned char
byte_of(unsigned n, size_t at)
{
    return (unsigned char)(n * 31 + at * 7 + at / 256);
}

static void
put(struct cache *c, unsigned n)
{
    struct cache_key key = key_of(n);
    struct iovec head = {&n, sizeof(n)}, room;
    struct cache_hold hold;
    size_t at = 0, i;

    MUST(cache_enter(c, &key, 0, (struct cache_hold){0, 0}, true, 1, &hold) == CACHE_BEGUN);
    MUST(cache_open(c, &hold, 0, &head, 1, n % 2 ? CACHE_LENGTH_UNKNOWN : length_of(n)) == CACHE_OK);
    while (at < length_of(n)) {
        MUST(cache_room(c, &hold, length_of(n) - at, &room) == CACHE_OK);
        for (i = 0; i < room.iov_len; i++)
            ((unsigned char *)room.iov_base)[i] = byte_of(n, at + i);
        cache_wrote(c, hold, room.iov_len);
        at += room.iov_len;
    }
    MUST(cache_finish(c, hold) == CACHE_OK);
    cache_leave(c, hold);
}

static void
find(struct cache *c, unsigned n, struct cache_hold *hold, int *answer)
{
    struct cache_lookup l = {.key = key_of(n), .n = 1};

    *answer = cache_find(c, &l, hold);
}

/* A new head, which lies elsewhere than the body. */
static void
refresh(struct cache *c, unsigned n)
{
    struct cache_key key = key_of(n);
    struct iovec head = {&n, sizeof(n)};
    struct cache_hold seen, hold;
    int answer;

    find(c, n, &seen, &answer);
    MUST(answer == CACHE_OK && cache_enter(c, &key, 0, seen, true, 1, &hold) == CACHE_BEGUN);
    MUST(cache_refresh(c, hold, seen, &head, 1) == CACHE_OK);
    cache_leave(c, hold);
    cache_leave(c, seen);
}

static const struct cache_shape shape = {SIZE, SIZE / 16};

static struct cache *
make(void)
{
    int fd = memfd_create("cache", MFD_CLOEXEC);
    struct cache *c;

    MUST(ftruncate(fd, SIZE) == 0 && (c = cache_file_make(fd, &shape, slots)) != NULL);
    return c;
}

static void
prepare(void)
{
    struct cache *c;
    unsigned n;

    slots = slots_create(8, 1);
    MUST(slots != NULL);
    c = make();
    c->head->key = (struct digest_key){{1, 2}};
    MUST(cache_begin(c, 1));
    for (n = 0; n < OBJECTS; n++)
        put(c, n);
    for (n = 0; n < OBJECTS; n += 5)
        refresh(c, n);
    for (n = 0; n < OBJECTS; n++) {
        struct cache_key key = key_of(n);

        records[n] = cache_index_same(c, cache_shard_small(c, &key), &key, 0, false);
        MUST(records[n] != 0);
    }
    for (n = 3; n < OBJECTS; n += 7) {
        struct cache_key key = key_of(n);

        MUST(cache_purge(c, &key, false) == CACHE_OK);
    }
    memcpy(image, c->segment.base, SIZE);
    cache_detach(c);
}

static void
spoil(unsigned char *bytes, const uint8_t *p)
{
    size_t at = (p[0] | (size_t)p[1] << 8 | (size_t)p[2] << 16) % (SIZE - 8);
    const unsigned char *object = image + ((size_t)records[p[0] % OBJECTS] << 3);
    uint32_t number;

    memcpy(&number, p + 4, sizeof(number));
    switch (p[3] % 6) {
    case 0: memcpy(bytes + at, p + 4, 4); break;
    case 1: memset(bytes + at / 4096 * 4096, p[4], 4096); break;
    case 2: memcpy(bytes + at / 4096 * 4096, image + number % SIZE / 4096 * 4096, 4096); break;
    case 3: number = records[number % OBJECTS]; memcpy(bytes + at / 4 * 4, &number, 4); break;
    case 4: memcpy(bytes + (object - image) + p[1] % 96, p + 4, 4); break;
    default: bytes[at] ^= p[4]; break;
    }
}

/* Of as many extents as the record says, if these are few. */
static void
seal(const struct cache *c, cache_address record)
{
    struct space_view v = cache_view(c, 0);
    struct cache_record *r = cache_record_at(c, record);
    cache_address a = record;
    struct digest d;
    unsigned steps;

    if (r->head_n > 4096 || (uint64_t)r->body << 3 > SIZE - 4096)
        return;
    cache_seal_of(c, r)->place = (cache_seal_of(c, r)->place >> 16 | 1) << 16;
    cache_seal_of(c, r)->head = cache_seal_head(c, record);
    cache_seal_extents(c, &d, record);
    for (steps = 0; steps < STEPS; steps++) {
        if (a == 0 && (r->body == record || steps > STEPS / 2))
            break;
        a = a != 0 ? a : r->body;
        if ((uint64_t)a << 3 > SIZE - 4096)
            break;
        cache_seal_extent(&d, a, space_units(&v, a));
        a = space_next(&v, a);
        if (a == 0 && r->body != record)
            steps = STEPS / 2 > steps ? STEPS / 2 : steps;
    }
    cache_seal_of(c, r)->chain = cache_seal_chain(&d);
}

static void
look_at(struct cache *c, unsigned n)
{
    struct cache_cursor at = {0};
    struct cache_hold hold;
    struct cache_view v;
    struct iovec iov;
    int answer;

    find(c, n, &hold, &answer);
    if (answer != CACHE_OK) {
        MUST(answer == CACHE_NONE || answer == CACHE_SPEC);
        if (answer == CACHE_SPEC)
            cache_leave(c, hold);
        return;
    }
    while ((answer = cache_verify(c, hold)) == CACHE_BUSY)
        continue;
    if (answer == CACHE_OK) {
        cache_look(c, hold, &v);
        MUST(v.length == v.ready);
        while (cache_read(c, hold, &at, SIZE, &iov, 1) == 1) {
            for (size_t i = 0; i < iov.iov_len && v.length == length_of(n); i++)
                MUST(((unsigned char *)iov.iov_base)[i] == byte_of(n, at.at + i));
            at.at += iov.iov_len;
        }
    }
    cache_leave(c, hold);
}

static void
go_on(struct cache *c)
{
    struct cache_totals t;
    unsigned n;

    for (n = 0; n < OBJECTS; n++)
        look_at(c, n);
    for (n = 0; n < OBJECTS; n++) {
        struct cache_key key = key_of(n);

        MUST(cache_purge(c, &key, false) == CACHE_OK);
    }
    cache_tick(c, 1000);
    cache_sum(c, &t);
    MUST(t.objects != 0 || t.used == 0);
    for (n = 0; n < OBJECTS && t.objects == 0; n++)
        put(c, n);
}

/* One of another shape is copied. */
static struct cache *
start(struct cache *c, struct cache_came *came)
{
    struct cache *copy;

    if (cache_file_fits(c, &shape, slots)) {
        MUST(cache_file_adopt(c, slots, came));
        return c;
    }
    copy = make();
    MUST(cache_file_copy(copy, c, came));
    cache_file_let(c);
    cache_detach(c);
    return copy;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static unsigned char *bytes;
    static int fd;
    struct cache_came came;
    struct cache *c;
    size_t i;

    if (slots == NULL) {
        prepare();
        fd = memfd_create("torn", MFD_CLOEXEC);
        MUST(ftruncate(fd, SIZE) == 0);
        bytes = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        MUST(bytes != MAP_FAILED);
    }
    memcpy(bytes, image, SIZE);
    for (i = 1; i + PIECE <= n; i += PIECE)
        spoil(bytes, data + i);
    c = cache_file_open(fd);
    if (c == NULL)
        return 0;
    for (i = 0; i < OBJECTS && n > 0 && data[0] % 2 == 1; i++)
        seal(c, records[i]);
    c = start(c, &came);
    MUST(cache_begin(c, 1));
    if (n < PIECE && (n == 0 || data[0] % 2 == 0))
        MUST(came.objects == OBJECTS - 9 && came.dropped == 0);
    go_on(c);
    if (cache_fd(c) == fd)
        cache_file_let(c);
    cache_detach(c);
    return 0;
}
