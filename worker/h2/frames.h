/*
 * The heads of the frames in a stream of bytes that begins with the client's preface (RFC 9113 3.4, 4.1), so that each
 * can be counted, those too that the library passes over. Nothing else is looked at. No I/O.
 */
#ifndef WEIR_H2_FRAMES_H
#define WEIR_H2_FRAMES_H

#include <stdbool.h>
#include <stdint.h>

#include "worker/base/str.h"

#define H2_FRAME_HEAD 9

struct h2_frame_head {
    uint32_t length;
    uint8_t type;
    uint8_t flags;
    int32_t stream;
};

struct h2_frames {
    size_t skip;                /* bytes until the next head */
    uint8_t head[H2_FRAME_HEAD];
    uint8_t n;                  /* of them here */
};

void h2_frames_init(struct h2_frames *f);

/* Takes bytes off the front, up to the end of the next head. False: they are used up. */
bool h2_frames_next(struct h2_frames *f, struct str *bytes, struct h2_frame_head *head);

#endif
