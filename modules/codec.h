/*
 * Encoders and decoders, behind one face: bytes in, bytes out, in pieces of any size. The libraries' states are kept
 * for the next in a pool of the process, and what all of them have in memory is bounded: what is in use, pooled or
 * not, counts. The worker's alone. Decoders have half of the bound at most: their memory is what an origin asks for,
 * and nothing of that may keep encoders from being had. Encoders have three quarters: what clients keep of them may
 * not keep from decoders those who can't do without.
 */
#ifndef WEIR_CODEC_H
#define WEIR_CODEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "modules/coding.h"

#define CODEC_MEMORY_MOST ((size_t)256 * 1024 * 1024)   /* of one process, for all its states together */
#define CODEC_WINDOW_LOG 18     /* of what is encoded, zstd and br: 256 KiB. gzip's is 32 KiB */
#define CODEC_WINDOW_LOG_MOST 23        /* of zstd that is decoded: 8 MiB (RFC 9659); br's own bound is 16 MiB */

/*
 * Levels that may be asked for. Up to these a step with 64 KiB of input holds the loop for less than 10 ms, whatever
 * the content: 64 KiB of two or four letters at random took gzip's level 7 19 ms, its level 9 170, zstd's 15 27; br's
 * 8 and 9 would have 18 and 34 MiB a state.
 */
#define CODEC_ZSTD_MOST 12
#define CODEC_BR_MOST 7
#define CODEC_GZIP_MOST 6

struct codec;

enum codec_op {
    CODEC_GO,                   /* as it comes: an encoder may keep bytes back */
    CODEC_FLUSH,                /* all that went in can be decoded from what came out */
    CODEC_END,                  /* and nothing follows */
};

enum codec_result {
    CODEC_WANTS,                /* all input was taken, and with FLUSH all of it is out: come with more */
    CODEC_FULL,                 /* the output is full: come again, with the same op (and what is left of the input) */
    CODEC_DONE,                 /* END: all is out. Of a decoder: it was whole */
    CODEC_ERROR,                /* decoder: what comes is not of that coding, or ends in the middle (END), or goes on
                                   behind its end; or the library's memory is out. It stays so */
};

/* Moves on what it takes and gives. n: bytes left at p. */
struct codec_io {
    const char *in;
    size_t in_n;
    char *out;
    size_t out_n;
};

/*
 * An encoder at a level within its bounds (1, br 0, to the most above), or a decoder; `length` of what goes into an
 * encoder where that is known, or -1: small content takes a small state. NULL: what encoders may have is used up. The
 * caller's until codec_put.
 */
struct codec *codec_encoder(enum coding coding, int level, int64_t length);
struct codec *codec_decoder(enum coding coding);

/*
 * One step: takes of the input and fills the output as far as either goes. A decoder takes what RFC 1952 and RFC 8878
 * allow: several members, or frames, one after the other, skippable ones too; of no input at all (END) it makes
 * nothing, and is DONE. Zeros behind gzip's last member are passed over, as browsers do. In the steady state no
 * step takes anything from the heap, but those of a decoder whose content has a window of over a MiB.
 */
enum codec_result codec_run(struct codec *c, struct codec_io *io, enum codec_op op);

/* After CODEC_ERROR: there was no memory for it, which says nothing of what it was fed. */
bool codec_is_starved(const struct codec *c);

/* It goes back to the pool, whatever it is in the middle of. NULL: nothing. */
void codec_put(struct codec *c);

/* Bytes that all states have, the pool's too, and those that begun encoders are sure to take yet. */
size_t codec_memory(void);

/* Each second: states that nobody has wanted for a while are freed. And all that are not in use. */
void codec_tick(void);
void codec_flush(void);

#endif
