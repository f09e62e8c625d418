/*
 * Knows the plain form: tables wide enough for what is in them.
 */
#include "master/top_print.h"

#include <poll.h>
#include <stdio.h>

enum {
    PATIENCE = 3000,            /* ms */
    STEP = 20,
};

/* A column that nothing is known of is left out. */
static bool
is_empty(const struct top_table *t, unsigned column)
{
    size_t i;

    for (i = 0; i < t->count; i++) {
        if (t->row[i].v[column] >= 0)
            return false;
    }
    return true;
}

static void
print_row(const struct top_table *t, const struct top_row *row, const bool *shown)
{
    char text[32];
    unsigned c;

    printf("%s%*s", row->name, t->widest - row->width, "");
    for (c = 0; c < TOP_COLUMNS; c++) {
        if (!shown[c])
            continue;
        top_table_cell(text, sizeof(text), c, row->v[c]);
        printf(" %*s", TOP_COLUMN_WIDTH, text);
    }
    putchar('\n');
}

static void
print_table(const struct top_watch *w, enum top_group group)
{
    struct top_table t;
    bool shown[TOP_COLUMNS];
    unsigned c;
    size_t i;

    top_watch_table(w, &t, group);
    if (t.count > 0) {
        t.widest = t.widest > 9 ? t.widest : 9;         /* the title's */
        printf("\n%-*s", t.widest, top_table_group(group));
        for (c = 0; c < TOP_COLUMNS; c++) {
            shown[c] = top_table_has(group, c) && !is_empty(&t, c);
            if (shown[c])
                printf(" %*s", TOP_COLUMN_WIDTH, top_table_title(c));
        }
        putchar('\n');
        for (i = 0; i < t.count; i++)
            print_row(&t, &t.row[i], shown);
    }
    top_table_free(&t);
}

static void
wait_for_another(struct top_watch *w, int64_t delay_ms)
{
    int64_t began = top_watch_clock_ms(), passed = 0;

    for (; passed < delay_ms + PATIENCE; passed = top_watch_clock_ms() - began) {
        poll(NULL, 0, STEP);
        if (passed >= delay_ms && (top_watch_look(w) || w->now == NULL))
            return;
    }
}

int
top_print(struct top_watch *w, int64_t delay_ms)
{
    char line[TOP_WATCH_LINE], text[32];
    unsigned group;

    if (top_watch_look(w))
        wait_for_another(w, delay_ms);
    if (w->problem[0] != '\0')
        fprintf(stderr, "weir-top: %s\n", w->problem);
    if (w->now == NULL || w->now->samples == 0)
        return 1;
    top_watch_about(w, line);
    puts(line);
    top_table_duration(text, sizeof(text), w->before != NULL ? w->seconds + 0.5 : w->now->uptime);
    top_watch_total(w, line);
    printf("in %s%s: %s\n", text, w->before != NULL ? "" : " since the start", line);
    if (top_watch_cache(w, line))
        puts(line);
    for (group = TOP_ROUTES; group < TOP_GROUPS; group++)
        print_table(w, (enum top_group)group);
    return fflush(stdout) != 0;
}
