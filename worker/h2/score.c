/*
 * What each thing costs. An honest client comes nowhere near: a browser that leaves a page cancels a hundred streams at
 * once, and has been sent as many responses before; whoever floods has its points in a fraction of a second.
 */
#include "worker/h2/score.h"

static const struct {
    const char *word;
    int64_t points;
} offences[H2_OFFENCES] = {
    [H2_OFFENCE_RESET] = {"rapid reset", 40},
    [H2_OFFENCE_RESET_LATE] = {"resets", 10},
    [H2_OFFENCE_STREAM_ERROR] = {"stream errors", 120},
    [H2_OFFENCE_REFUSED] = {"too many streams", 10},
    [H2_OFFENCE_PING] = {"PING or GOAWAY flood", 20},
    [H2_OFFENCE_SETTINGS] = {"SETTINGS flood", 100},
    [H2_OFFENCE_EMPTY_DATA] = {"empty DATA flood", 20},
    [H2_OFFENCE_CLOSED_DATA] = {"DATA on closed streams", 2},
    [H2_OFFENCE_CONTINUATION] = {"CONTINUATION flood", 20},
    [H2_OFFENCE_EMPTY_BLOCK] = {"empty header frames", 100},
    [H2_OFFENCE_PRIORITY] = {"PRIORITY flood", 10},
    [H2_OFFENCE_WINDOW] = {"WINDOW_UPDATE flood", 1},
    [H2_OFFENCE_SMALL_WINDOW] = {"window dribbling", 10},
    [H2_OFFENCE_UNKNOWN] = {"flood of unknown frames", 10},
    [H2_OFFENCE_LARGE_HEAD] = {"large heads", 50},
    [H2_OFFENCE_BOMB] = {"header bomb", H2_SCORE_MOST + 1},
};

static const int64_t merits[] = {
    [H2_MERIT_REQUEST] = 20,
    [H2_MERIT_DATA] = 30,
};

static void
take_off(struct h2_score *s, int64_t milli)
{
    s->milli -= milli < s->milli ? milli : s->milli;
}

bool
h2_score_add(struct h2_score *s, enum h2_offence what, int64_t now_ms)
{
    take_off(s, (now_ms - s->at_ms) * H2_SCORE_DECAY);
    s->at_ms = now_ms;
    s->milli += offences[what].points * 1000;
    return s->milli > (int64_t)H2_SCORE_MOST * 1000;
}

void
h2_score_credit(struct h2_score *s, enum h2_merit what)
{
    take_off(s, merits[what] * 1000);
}

const char *
h2_score_word(enum h2_offence what)
{
    return offences[what].word;
}
