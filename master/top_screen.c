/*
 * Knows the terminal: keys, sizes, and what fits. It waits in poll and not in curses, so that a terminal
 * that has gone ends the program instead of turning it in a circle.
 */
#include "master/top_screen.h"

#include <curses.h>
#include <errno.h>
#include <math.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    NAME_LEAST = 12,
    FRUITLESS = 16,             /* times that input was promised and none came */
};

enum { PLAIN, BAD, GOOD };

struct screen {
    struct top_watch *w;
    enum top_group group;
    unsigned sort;
    bool reverse, paused, over;
    size_t first;               /* row that is shown first */
    size_t rows;                /* of the table last drawn */
    int heading;                /* lines above them, with the titles' */
    unsigned fruitless;
};

/* Drawing */

/* A clean text, up to the edge. */
static void
put(int y, int x, int columns, const char *text)
{
    int taken;
    size_t n;

    if (y < 0 || y >= LINES || x >= COLS)
        return;
    if (columns > COLS - x)
        columns = COLS - x;
    n = top_table_fit(text, columns, &taken);
    mvaddnstr(y, x, text, (int)n);
}

/* How many columns fit beside a name, which gets the rest. */
static unsigned
choose(const struct screen *s, const struct top_table *t, unsigned *shown, int *name)
{
    int least = t->widest < NAME_LEAST ? NAME_LEAST : t->widest, room;
    unsigned c, n = 0, most;

    if (least > COLS / 3)
        least = COLS / 3 > NAME_LEAST ? COLS / 3 : NAME_LEAST;
    room = COLS - least;
    most = room > 0 ? (unsigned)room / (TOP_COLUMN_WIDTH + 1) : 0;
    for (c = 0; c < TOP_COLUMNS && n < most; c++) {
        if (top_table_has(s->group, c))
            shown[n++] = c;
    }
    *name = COLS - (int)n * (TOP_COLUMN_WIDTH + 1);
    if (*name > t->widest + 1)
        *name = t->widest + 1 > least ? t->widest + 1 : least;
    return n;
}

static void
draw_titles(const struct screen *s, const unsigned *shown, unsigned n, int name)
{
    char text[32];
    unsigned i;

    attrset(A_REVERSE);
    mvhline(s->heading - 1, 0, ' ', COLS);
    if (s->sort == TOP_BY_NAME)
        attron(A_UNDERLINE | A_BOLD);
    put(s->heading - 1, 0, name - 1, top_table_group(s->group));
    for (i = 0; i < n; i++) {
        attrset(s->sort == shown[i] ? A_REVERSE | A_UNDERLINE | A_BOLD : A_REVERSE);
        snprintf(text, sizeof(text), "%*s", TOP_COLUMN_WIDTH, top_table_title(shown[i]));
        put(s->heading - 1, name + (int)i * (TOP_COLUMN_WIDTH + 1) + 1, TOP_COLUMN_WIDTH, text);
    }
    attrset(A_NORMAL);
}

static attr_t
mood(unsigned column, double v)
{
    if (column == TOP_COLUMN_HEALTH && v == 0)
        return A_BOLD | (attr_t)COLOR_PAIR(BAD);
    if (column == TOP_COLUMN_HEALTH && v > 0)
        return (attr_t)COLOR_PAIR(GOOD);
    if ((column == TOP_COLUMN_5XX || column == TOP_COLUMN_ERRORS) && v > 0)
        return (attr_t)COLOR_PAIR(BAD);
    return A_NORMAL;
}

static void
draw_row(int y, const struct top_row *row, const unsigned *shown, unsigned n, int name)
{
    char cell[32], text[64];
    unsigned i;

    put(y, 0, name - 1, row->name);
    for (i = 0; i < n; i++) {
        top_table_cell(cell, sizeof(cell), shown[i], row->v[shown[i]]);
        snprintf(text, sizeof(text), "%*s", TOP_COLUMN_WIDTH, cell);
        attrset(mood(shown[i], row->v[shown[i]]));
        put(y, name + (int)i * (TOP_COLUMN_WIDTH + 1) + 1, TOP_COLUMN_WIDTH, text);
    }
    attrset(A_NORMAL);
}

/* Lines for rows: all but the headings and the last. */
static size_t
page(const struct screen *s)
{
    return LINES > s->heading + 1 ? (size_t)(LINES - s->heading - 1) : 0;
}

static void
draw_table(struct screen *s)
{
    unsigned shown[TOP_COLUMNS], n;
    struct top_table t;
    size_t i;
    int name;

    top_watch_table(s->w, &t, s->group);
    top_table_sort(&t, s->sort, s->reverse);
    s->rows = t.count;
    if (s->first + page(s) > t.count)
        s->first = t.count > page(s) ? t.count - page(s) : 0;
    n = choose(s, &t, shown, &name);
    draw_titles(s, shown, n, name);
    for (i = 0; i < page(s) && s->first + i < t.count; i++)
        draw_row(s->heading + (int)i, &t.row[s->first + i], shown, n, name);
    top_table_free(&t);
}

static void
draw_total(const struct top_watch *w)
{
    char line[TOP_WATCH_LINE];
    int x = w->before == NULL ? 17 : 0;

    top_watch_total(w, line);
    if (x > 0)
        put(1, 0, COLS, "since the start:");
    put(1, x, COLS, line);
    if (top_watch_cache(w, line))
        put(2, 0, COLS, line);
}

static void
draw(struct screen *s)
{
    static const char help[] = "q quit   tab view   left/right sort   r reverse   up/down scroll   p pause";
    char line[TOP_WATCH_LINE];

    erase();
    if (s->w->now != NULL) {
        top_watch_about(s->w, line);
        attrset(A_BOLD);
        put(0, 0, COLS, line);
        attrset(A_NORMAL);
        draw_total(s->w);
        s->heading = top_watch_cache(s->w, line) ? 4 : 3;
        draw_table(s);
    }
    if (s->w->problem[0] != '\0') {
        attrset(A_BOLD | (attr_t)COLOR_PAIR(BAD));
        put(s->w->now != NULL ? 1 : 0, 0, COLS, s->w->problem);
        clrtoeol();
        attrset(A_NORMAL);
    }
    if (LINES > s->heading)
        put(LINES - 1, 0, COLS, s->paused ? "PAUSED   p go on   q quit" : help);
    move(LINES - 1, 0);
    refresh();
}

/* Keys */

/* The next column of this view in that direction, the name being one of them. */
static void
turn_sort(struct screen *s, int by)
{
    do
        s->sort = (s->sort + TOP_BY_NAME + 1 + (unsigned)by) % (TOP_BY_NAME + 1);
    while (s->sort != TOP_BY_NAME && !top_table_has(s->group, s->sort));
}

static void
view(struct screen *s, unsigned group)
{
    s->group = (enum top_group)group;
    s->first = 0;
    if (s->sort != TOP_BY_NAME && !top_table_has(s->group, s->sort))
        s->sort = TOP_COLUMN_REQUESTS;
}

static void
scroll_by(struct screen *s, long rows)
{
    if (rows < 0)
        s->first -= s->first < (size_t)-rows ? s->first : (size_t)-rows;
    else if (s->first + page(s) < s->rows)
        s->first += (size_t)rows;       /* draw_table knows the end */
}

static void
press(struct screen *s, int key)
{
    switch (key) {
    case 'q': s->over = true; break;
    case 'l' & 0x1f: clearok(stdscr, TRUE); break;      /* whatever others wrote over it */
    case 'p': s->paused = !s->paused; break;
    case '\t': view(s, s->group % TOP_SERVERS + 1); break;
    case KEY_BTAB: view(s, s->group == TOP_ROUTES ? TOP_SERVERS : s->group - 1); break;
    case '1': view(s, TOP_ROUTES); break;
    case '2': view(s, TOP_UPSTREAMS); break;
    case '3': view(s, TOP_SERVERS); break;
    case KEY_LEFT: turn_sort(s, -1); break;
    case KEY_RIGHT: turn_sort(s, 1); break;
    case 'r': s->reverse = !s->reverse; break;
    case KEY_UP: scroll_by(s, -1); break;
    case KEY_DOWN: scroll_by(s, 1); break;
    case KEY_PPAGE: scroll_by(s, -(long)page(s)); break;
    case KEY_NPAGE: scroll_by(s, (long)page(s)); break;
    case KEY_HOME: s->first = 0; break;
    case KEY_END: s->first = s->rows; break;
    }
}

static void
take_keys(struct screen *s, bool promised)
{
    int key, taken = 0;

    while (!s->over && taken < 100 && (key = getch()) != ERR) {
        press(s, key);
        taken++;
    }
    s->fruitless = promised && taken == 0 ? s->fruitless + 1 : 0;
    if (s->fruitless == FRUITLESS)
        s->over = true;
}

/* Until the time, a key, or another size. */
static void
wait_until(struct screen *s, int64_t until)
{
    struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};
    int64_t left = until - top_watch_clock_ms();
    int n = poll(&in, 1, left < 0 ? 0 : (int)left);

    if (n > 0 && (in.revents & (POLLHUP | POLLERR | POLLNVAL)))
        s->over = true;
    else if (n > 0 || (n < 0 && errno == EINTR))
        take_keys(s, n > 0);
}

static void
run(struct screen *s, int64_t delay_ms)
{
    int64_t next = 0;

    while (!s->over) {
        if (top_watch_clock_ms() >= next) {
            if (!s->paused)
                top_watch_look(s->w);
            next = top_watch_clock_ms() + delay_ms;
        }
        draw(s);
        wait_until(s, next);
    }
}

int
top_screen(struct top_watch *w, int64_t delay_ms)
{
    struct screen s = {.w = w, .group = TOP_ROUTES, .sort = TOP_COLUMN_REQUESTS, .heading = 3};
    SCREEN *terminal = newterm(NULL, stdout, stdin);

    if (terminal == NULL) {
        fprintf(stderr, "weir-top: this terminal (TERM) is not known: try -1\n");
        return 1;
    }
    cbreak();
    noecho();
    nonl();
    keypad(stdscr, TRUE);
    nodelay(stdscr, TRUE);
    curs_set(0);
    if (start_color() == OK && use_default_colors() == OK) {
        init_pair(BAD, COLOR_RED, -1);
        init_pair(GOOD, COLOR_GREEN, -1);
    }
    run(&s, delay_ms);
    endwin();
    delscreen(terminal);
    return 0;
}
