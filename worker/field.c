/*
 * Field lists, and which names have an id.
 *
 * The ids are found by a perfect hash over the length and three characters of a name. Its table is
 * filled before main() from FIELD_LIST, the one list, with the first factor that gives every name a
 * slot of its own; a name's characters are folded to lower case with one OR, which may take a wrong
 * name to a right one's slot, and str_ieq has the last word.
 */
#include "worker/field.h"

#include <assert.h>

#include "worker/base/scan.h"

#define FIRST_CAP 24            /* what nearly every message gets by with */
#define SLOT_BITS 8

static const struct str names[FIELD_IDS] = {
#define X(id, name) [FIELD_##id] = {name, sizeof(name) - 1},
    FIELD_LIST(X)
#undef X
};

static uint8_t slots[1 << SLOT_BITS];
static uint32_t factor;

static inline unsigned
slot(struct str name)
{
    uint32_t key = (uint32_t)name.n | (uint32_t)(uint8_t)name.p[0] << 8 |
                   (uint32_t)(uint8_t)name.p[name.n / 2] << 16 |
                   (uint32_t)(uint8_t)name.p[name.n - 1] << 24 | UINT32_C(0x20202000);

    return key * factor >> (32 - SLOT_BITS);
}

static bool
fill(void)
{
    memset(slots, FIELD_OTHER, sizeof(slots));
    for (int id = FIELD_OTHER + 1; id < FIELD_IDS; id++) {
        uint8_t *s = &slots[slot(names[id])];

        if (*s != FIELD_OTHER)
            return false;
        *s = (uint8_t)id;
    }
    return true;
}

static void __attribute__((constructor))
find_factor(void)
{
    unsigned tries = 0;

    factor = UINT32_C(0x9e3779b1);
    while (!fill()) {
        factor += UINT32_C(0x3c6ef362);
        tries++;
        assert(tries < 1000000);
    }
}

/* The length keeps nearly every name that has no id from the comparison. */
static inline enum field_id
look_up(struct str name)
{
    enum field_id id;

    if (name.n == 0)
        return FIELD_OTHER;
    id = slots[slot(name)];
    return names[id].n == name.n && str_ieq(name, names[id]) ? id : FIELD_OTHER;
}

enum field_id
field_id(struct str name)
{
    return look_up(name);
}

struct str
field_name(enum field_id id)
{
    assert(id > FIELD_OTHER && id < FIELD_IDS);
    return names[id];
}

bool
field_is_token(struct str s)
{
    return s.n > 0 && scan_token(s.p, s.p + s.n) == s.p + s.n;
}

static unsigned char
read_byte(char c)
{
    unsigned char b = (unsigned char)c;

    if (b == '_')
        return '-';
    return b >= 'A' && b <= 'Z' ? b | 0x20 : b;
}

bool
field_reads_as(struct str a, struct str b)
{
    if (a.n != b.n)
        return false;
    for (size_t i = 0; i < a.n; i++)
        if (read_byte(a.p[i]) != read_byte(b.p[i]))
            return false;
    return true;
}

bool
field_is_value(struct str s)
{
    return s.n == 0 || scan_value(s.p, s.p + s.n) == s.p + s.n;
}

void
fields_init(struct fields *f, struct arena *a)
{
    *f = (struct fields){.arena = a};
}

static void
grow(struct fields *f)
{
    size_t cap = f->cap > 0 ? 2 * f->cap : FIRST_CAP;
    struct field *v = arena_alloc(f->arena, cap * sizeof(*v));

    if (f->n > 0)
        memcpy(v, f->v, f->n * sizeof(*v));
    f->v = v;
    f->cap = cap;
}

static inline struct field *
append(struct fields *f, enum field_id id, struct str name, struct str value)
{
    struct field *field;

    if (f->n == f->cap)
        grow(f);
    field = &f->v[f->n++];
    *field = (struct field){.name = name, .value = value, .id = id};
    f->seen |= UINT64_C(1) << id;
    return field;
}

struct field *
fields_add(struct fields *f, struct str name, struct str value)
{
    return append(f, look_up(name), name, value);
}

struct field *
fields_add_id(struct fields *f, enum field_id id, struct str value)
{
    return append(f, id, field_name(id), value);
}

struct field *
fields_add_known(struct fields *f, const struct field *known)
{
    struct field *field = append(f, known->id, known->name, known->value);

    field->secret = known->secret;
    return field;
}

void
fields_copy(struct fields *to, const struct fields *from)
{
    for (size_t i = 0; i < from->n; i++)
        if (!from->v[i].gone)
            append(to, from->v[i].id, arena_copy(to->arena, from->v[i].name), arena_copy(to->arena, from->v[i].value))
                ->secret = from->v[i].secret;
}

static bool
is(const struct field *field, enum field_id id, struct str name)
{
    return field->id == id && !field->gone && (id != FIELD_OTHER || str_ieq(field->name, name));
}

/* A name with an id needs no second look. */
static struct field *
find_id(const struct fields *f, enum field_id id)
{
    if ((f->seen >> id & 1) != 0)
        for (struct field *field = f->v, *end = f->v + f->n; field < end; field++)
            if (field->id == id && !field->gone)
                return field;
    return NULL;
}

static struct field *
find(const struct fields *f, enum field_id id, struct str name)
{
    if ((f->seen >> id & 1) == 0)
        return NULL;
    for (size_t i = 0; i < f->n; i++)
        if (is(&f->v[i], id, name))
            return &f->v[i];
    return NULL;
}

static void
remove_all(struct fields *f, enum field_id id, struct str name)
{
    if ((f->seen >> id & 1) == 0)
        return;
    for (size_t i = 0; i < f->n; i++)
        if (is(&f->v[i], id, name))
            f->v[i].gone = true;
}

struct field *
fields_find(const struct fields *f, struct str name)
{
    return find(f, field_id(name), name);
}

struct field *
fields_find_id(const struct fields *f, enum field_id id)
{
    assert(id > FIELD_OTHER && id < FIELD_IDS);
    return find_id(f, id);
}

struct str
fields_value(const struct fields *f, enum field_id id)
{
    const struct field *field = fields_find_id(f, id);

    return field != NULL ? field->value : STR_NONE;
}

void
fields_remove(struct fields *f, struct str name)
{
    remove_all(f, field_id(name), name);
}

void
fields_remove_id(struct fields *f, enum field_id id)
{
    remove_all(f, id, field_name(id));
}

void
fields_set_id(struct fields *f, enum field_id id, struct str value)
{
    fields_remove_id(f, id);
    fields_add_id(f, id, value);
}

bool
fields_list_has(const struct fields *f, enum field_id id, struct str member)
{
    if ((f->seen >> id & 1) == 0)
        return false;
    for (size_t i = 0; i < f->n; i++) {
        struct str list = f->v[i].value, got;

        if (f->v[i].id != id || f->v[i].gone)
            continue;
        while (str_list_next(&list, &got))
            if (str_ieq(got, member))
                return true;
    }
    return false;
}
