/*
 * Answers of our own: error pages, respond and redirect. A source whose content is there at once.
 */
#ifndef WEIR_ANSWER_H
#define WEIR_ANSWER_H

#include "worker/request.h"

/*
 * Makes the answer the request's source: status, content (bytes that live as long as the request;
 * empty is fine) and its type (empty: no Content-Type). Fields are added to r->response.fields afterwards by the
 * caller. A hook then returns HOOK_ANSWER.
 */
void answer(struct request *r, int status, struct str type, struct str content);

/* Adds Allow (RFC 9110 10.2.1): all that weir passes on of what it knows. */
void answer_allow(struct request *r);

/* weir's own short page for an error. */
void answer_error(struct request *r, int status);

#endif
