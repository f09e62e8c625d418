/*
 * What a client does to a connection that costs weir and gets nobody anything: counted in points that time and useful
 * work take off again. No I/O; knows neither frames nor connections.
 */
#ifndef WEIR_H2_SCORE_H
#define WEIR_H2_SCORE_H

#include <stdbool.h>
#include <stdint.h>

#define H2_SCORE_MOST 10000     /* points; more is abuse */
#define H2_SCORE_DECAY 500      /* points a second that are forgiven */

enum h2_offence {
    H2_OFFENCE_RESET,           /* a stream was cancelled while weir was busy with it */
    H2_OFFENCE_RESET_LATE,      /* or when it was over */
    H2_OFFENCE_STREAM_ERROR,    /* the client made weir reset a stream */
    H2_OFFENCE_REFUSED,         /* one stream too many at once */
    H2_OFFENCE_PING,            /* or GOAWAY */
    H2_OFFENCE_SETTINGS,
    H2_OFFENCE_EMPTY_DATA,
    H2_OFFENCE_CLOSED_DATA,     /* content of a stream that is no more */
    H2_OFFENCE_CONTINUATION,
    H2_OFFENCE_EMPTY_BLOCK,     /* HEADERS or CONTINUATION with nothing in it, and more to follow */
    H2_OFFENCE_PRIORITY,
    H2_OFFENCE_WINDOW,
    H2_OFFENCE_SMALL_WINDOW,    /* a window is opened by next to nothing */
    H2_OFFENCE_UNKNOWN,         /* a frame of a type that nobody knows */
    H2_OFFENCE_LARGE_HEAD,      /* a head over the limits */
    H2_OFFENCE_BOMB,            /* far over: one is enough */
    H2_OFFENCES,
};

enum h2_merit {
    H2_MERIT_REQUEST,           /* a request was answered */
    H2_MERIT_DATA,              /* content moved */
};

struct h2_score {
    int64_t at_ms;              /* when it was last looked at */
    int64_t milli;              /* thousandths of points */
};

/* True: that was one too many. */
bool h2_score_add(struct h2_score *s, enum h2_offence what, int64_t now_ms);
void h2_score_credit(struct h2_score *s, enum h2_merit what);

/* For the log. */
const char *h2_score_word(enum h2_offence what);

#endif
