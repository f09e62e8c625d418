/*
 * Knows what a block looks like: `Name: value` CRLF, as weir itself has written it, nothing else.
 */
#include "worker/block.h"

#include "worker/base/log.h"

bool
block_next(struct str *block, struct str *name, struct str *value)
{
    const char *colon, *end;

    if (block->n == 0)
        return false;
    colon = memchr(block->p, ':', block->n);
    check(colon != NULL);
    end = memchr(colon, '\r', block->n - (size_t)(colon - block->p));
    check(end != NULL && colon + 2 <= end);
    *name = (struct str){block->p, (size_t)(colon - block->p)};
    *value = (struct str){colon + 2, (size_t)(end - colon) - 2};
    block->n -= (size_t)(end - block->p) + 2;
    block->p = end + 2;
    return true;
}

bool
block_next_of(struct str *block, uint32_t letters, struct str *name, struct str *value)
{
    while (block->n > 0 && (letters >> (block->p[0] & 31) & 1) == 0) {
        const char *end = memchr(block->p, '\n', block->n);

        check(end != NULL);
        block->n -= (size_t)(end - block->p) + 1;
        block->p = end + 1;
    }
    return block_next(block, name, value);
}

void
block_unfold(struct request *r)
{
    struct message *m = &r->response;
    struct fields behind = m->fields;
    struct str block = m->block, name, value;

    if (block.n == 0)
        return;
    fields_init(&m->fields, r->arena);
    while (block_next(&block, &name, &value))
        fields_add(&m->fields, name, value);
    for (size_t i = 0; i < behind.n; i++)
        if (!behind.v[i].gone)
            fields_add_known(&m->fields, &behind.v[i]);
    m->block = STR_NONE;
}
