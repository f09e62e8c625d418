/*
 * How windows grow. A reader keeps up where a whole window was eaten since the last growth and little of it stands
 * unread.
 */
#include "worker/h2/window.h"

void
h2_window_init(struct h2_window *w)
{
    *w = (struct h2_window){.size = H2_WINDOW_FIRST};
}

size_t
h2_window_spare(unsigned streams)
{
    return H2_HOLDS_MOST - (size_t)streams * H2_WINDOW_FIRST;
}

static bool
grow(struct h2_window *w, size_t by, size_t *spare)
{
    if (w->size + by > H2_WINDOW_MOST || by > *spare)
        return false;
    *spare -= by;
    w->size += by;
    w->grown_at = w->eaten;
    return true;
}

size_t
h2_window_eaten(struct h2_window *w, uint64_t eaten, size_t unread, size_t *spare, bool *grows)
{
    size_t n = eaten > w->eaten ? (size_t)(eaten - w->eaten) : 0;

    *grows = false;
    if (n == 0)
        return 0;
    w->eaten = eaten;
    *grows = eaten - w->grown_at >= w->size && unread <= w->size / 4 && grow(w, w->size, spare);
    return n;
}

bool
h2_window_extend(struct h2_window *w, size_t *spare)
{
    return grow(w, H2_WINDOW_FIRST, spare);
}

void
h2_window_return(struct h2_window *w, size_t *spare)
{
    *spare += w->size - H2_WINDOW_FIRST;
    w->size = H2_WINDOW_FIRST;
}
