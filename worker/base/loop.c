/*
 * The event loop. It alone knows epoll. A turn: wait, note the readiness of every descriptor in the
 * batch, then call them; timers that are due; the tasks
 * that were posted by then; the worker's own turn; memory that was given up.
 *
 * Readiness is noted for the whole batch before the first callback, so that a callback that takes a
 * connection from a pool sees what the kernel said of it in this very turn.
 */
#include "worker/base/loop.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "worker/base/clock.h"
#include "worker/base/log.h"

#define BATCH 256

static int epfd = -1;
static bool stopping;
static uint64_t turns;
static struct task *tasks, **tasks_end = &tasks;
static unsigned task_count;
static struct deferred *graveyard;

void
loop_init(void)
{
    epfd = epoll_create1(EPOLL_CLOEXEC);
    check(epfd >= 0);
    stopping = false;
    clock_update();
    timers_init(clock_ms());
}

bool
loop_add(struct io *io)
{
    struct epoll_event ev = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = io};

    io->readable = io->writable = io->hangup = io->broken = false;
    return epoll_ctl(epfd, EPOLL_CTL_ADD, io->fd, &ev) == 0;
}

bool
loop_add_listener(struct io *io)
{
    struct epoll_event ev = {.events = EPOLLIN | EPOLLEXCLUSIVE, .data.ptr = io};

    io->readable = io->writable = io->hangup = io->broken = false;
    return epoll_ctl(epfd, EPOLL_CTL_ADD, io->fd, &ev) == 0;
}

/* The batch that is being worked through, so that a removed descriptor is not called any more. */
static struct epoll_event batch[BATCH];
static int batch_at, batch_n;

static void
forget(const struct io *io)
{
    for (int i = batch_at; i < batch_n; i++)
        if (batch[i].data.ptr == io)
            batch[i].data.ptr = NULL;
}

void
loop_remove(struct io *io)
{
    struct epoll_event ev = {0};

    epoll_ctl(epfd, EPOLL_CTL_DEL, io->fd, &ev);
    forget(io);
}

void
loop_close(struct io *io)
{
    close(io->fd);
    forget(io);
}

void
loop_post(struct task *t)
{
    if (t->posted)
        return;
    t->posted = true;
    t->next = NULL;
    *tasks_end = t;
    tasks_end = &t->next;
    task_count++;
}

void
loop_unpost(struct task *t)
{
    struct task **at = &tasks;

    if (!t->posted)
        return;
    while (*at != t)
        at = &(*at)->next;
    *at = t->next;
    if (tasks_end == &t->next)
        tasks_end = at;
    t->posted = false;
    task_count--;
}

void
loop_defer(struct deferred *d)
{
    d->next = graveyard;
    graveyard = d;
}

static void
bury(void)
{
    while (graveyard != NULL) {
        struct deferred *d = graveyard;

        graveyard = d->next;
        d->free(d);
    }
}

static void
note(const struct epoll_event *ev)
{
    struct io *io = ev->data.ptr;

    if (ev->events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        io->readable = io->fresh = true;
    if (ev->events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
        io->writable = true;
    if (ev->events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        io->hangup = true;
    if (ev->events & (EPOLLHUP | EPOLLERR))
        io->broken = true;
}

/* As many as there were at the start of the turn: one that posts itself again waits for the next. */
static void
run_tasks(void)
{
    for (unsigned n = task_count; n > 0 && tasks != NULL; n--) {
        struct task *t = tasks;

        loop_unpost(t);
        t->run(t);
    }
}

static int
wait_ms(void)
{
    return tasks != NULL ? 0 : timers_wait(clock_ms());
}

void
loop_turn(void (*turn)(void))
{
    sigset_t none;

    sigemptyset(&none);
    batch_n = epoll_pwait(epfd, batch, BATCH, wait_ms(), &none);
    check(batch_n >= 0 || errno == EINTR);
    turns++;
    clock_update();
    for (int i = 0; i < batch_n; i++)
        note(&batch[i]);
    for (batch_at = 0; batch_at < batch_n; batch_at++) {
        struct io *io = batch[batch_at].data.ptr;

        if (io != NULL)
            io->ready(io);
    }
    batch_at = batch_n = 0;
    timers_run(clock_ms());
    run_tasks();
    if (turn != NULL)
        turn();
    bury();
}

uint64_t
loop_turns(void)
{
    return turns;
}

void
loop_run(void (*turn)(void))
{
    while (!stopping)
        loop_turn(turn);
}

void
loop_stop(void)
{
    stopping = true;
}
