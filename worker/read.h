/*
 * The READ phase: from fields and a target as they were sent to what the request means. Status of
 * what it refuses: 400, 405 (CONNECT), 417, 421 (https asked for where there is none).
 */
#ifndef WEIR_READ_H
#define WEIR_READ_H

#include "worker/request.h"

int read_request(struct request *r);

/* After ROUTE: 413 where the content is announced as longer than limits.request_body of the route. */
int read_content_limit(struct request *r);

#endif
