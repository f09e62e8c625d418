/*
 * Field lines that are ready to be sent: those of a response that was made before (struct message, `block`).
 */
#ifndef WEIR_BLOCK_H
#define WEIR_BLOCK_H

#include "worker/request.h"

/* The next line of a block: name and value. False at its end. */
bool block_next(struct str *block, struct str *name, struct str *value);

/* Letters that names begin with, for block_next_of. */
#define BLOCK_LETTER(c) (UINT32_C(1) << ((c) & 31))

/* The same, of the lines whose names begin with one of these letters, in any case: the others cost next to nothing. */
bool block_next_of(struct str *block, uint32_t letters, struct str *name, struct str *value);

/*
 * Before anyone looks at the response's fields, or changes them: its block becomes fields, in front of those that are
 * there. The slices point into the block.
 */
void block_unfold(struct request *r);

#endif
