/*
 * Where a filter comes into a response's path, and where it leaves it.
 */
#include "worker/filter.h"

#include "worker/base/log.h"
#include "worker/front.h"
#include "worker/pipeline.h"

void
filter_begin(struct request *r, const struct filter *filter, void *state)
{
    struct flow *body = &r->response.body, *in = arena_alloc(r->arena, sizeof(*in));

    check(r->filter == NULL && !r->started && body->pipe == NULL);
    *in = *body;
    flow_init(body, in->high);
    r->inflow = in;
    r->filter = filter;
    r->filter_state = state;
}

void
filter_go_on(struct request *r)
{
    uint64_t eaten;

    if (r->filter == NULL || !r->started || r->finished)
        return;
    eaten = r->inflow->passed - r->inflow->bytes;
    r->filter->run(r);
    r->front->send(r);
    /* a source that waits for the last bytes to be gone is asked where some went, not again and again */
    if (!r->finished && r->inflow->passed - r->inflow->bytes != eaten && flow_resumes(r->inflow))
        pipeline_room(r);
}

void
filter_end(struct request *r)
{
    const struct filter *filter = r->filter;

    if (filter == NULL)
        return;
    r->filter = NULL;
    filter->stop(r);
    flow_clear(r->inflow);
    r->inflow = &r->response.body;
}
