/*
 * Counts bytes from one head to the next.
 */
#include "worker/h2/frames.h"

#define PREFACE 24

void
h2_frames_init(struct h2_frames *f)
{
    *f = (struct h2_frames){.skip = PREFACE};
}

static void
take(struct str *bytes, size_t n)
{
    bytes->p += n;
    bytes->n -= n;
}

static uint32_t
big_endian(const uint8_t *p, int n)
{
    uint32_t value = 0;

    for (int i = 0; i < n; i++)
        value = value << 8 | p[i];
    return value;
}

bool
h2_frames_next(struct h2_frames *f, struct str *bytes, struct h2_frame_head *head)
{
    size_t n = f->skip < bytes->n ? f->skip : bytes->n;

    f->skip -= n;
    take(bytes, n);
    n = (size_t)(H2_FRAME_HEAD - f->n) < bytes->n ? (size_t)(H2_FRAME_HEAD - f->n) : bytes->n;
    if (n > 0)
        memcpy(f->head + f->n, bytes->p, n);
    f->n += (uint8_t)n;
    take(bytes, n);
    if (f->n < H2_FRAME_HEAD)
        return false;
    f->n = 0;
    *head = (struct h2_frame_head){.length = big_endian(f->head, 3), .type = f->head[3], .flags = f->head[4],
                                   .stream = (int32_t)(big_endian(f->head + 5, 4) & 0x7fffffff)};
    f->skip = head->length;
    return true;
}
