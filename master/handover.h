/*
 * What one master hands down to the next: descriptors, and a text that says what each is, in a sealed
 * memory file that an environment variable names.
 */
#ifndef WEIR_HANDOVER_H
#define WEIR_HANDOVER_H

#include <stdbool.h>
#include <stddef.h>

#include "master/listen.h"
#include "master/pidfile.h"
#include "master/reason.h"
#include "master/segments.h"

struct handover {
    struct listen listen;
    struct pidfile pidfile;
    struct segments shared;
    int socket;                 /* to the old master */
};

/* Old: the text, as a descriptor that only the new one gets. -1 with errno. */
int handover_write(const struct listen *l, const struct pidfile *p, const struct segments *s, int socket);

/* In the child, before exec: all that was named is inherited, and nothing else beyond stderr. */
void handover_expose(int text, const struct listen *l, const struct pidfile *p, const struct segments *s, int socket);

/* New: whether there is one. */
bool handover_exists(void);

/* New: believes only what each descriptor says of itself. False with *why where it is not understood. */
bool handover_read(struct handover *h, struct reason *why);

#endif
