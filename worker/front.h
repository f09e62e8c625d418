/*
 * A front: a client protocol. It makes requests (pipeline_start) and sends their responses; the
 * pipeline knows it by this table alone. Whoever calls these may find, on return, that the response
 * was sent and the request is over: look at r->finished. Memory stays until the loop's turn ends.
 */
#ifndef WEIR_FRONT_H
#define WEIR_FRONT_H

#include "worker/request.h"

struct front {
    const char *name;
    bool splices;               /* it can send what a flow's pipe holds */

    /* A 1xx other than 101, with r->response.fields as they are; the response proper comes later. */
    void (*interim)(struct request *r, int status);

    /*
     * The head (the first call after r->started) and what there is in r->response.body; called again
     * when there is more, and when it ended or broke. When all is with the kernel, or the client is lost, the
     * front calls pipeline_sent or pipeline_client_lost.
     */
    void (*send)(struct request *r);

    /* There is room in r->request.body: read on. */
    void (*receive)(struct request *r);

    /* The client's time or rate is up, or weir is in trouble: end it so that it sees a truncation. */
    void (*cut)(struct request *r);
};

#endif
