/*
 * Knows which signals the master handles. They are blocked and read from a signalfd, so that nothing
 * ever runs in a signal's context.
 */
#include "master/signals.h"

#include <signal.h>
#include <stddef.h>
#include <sys/signalfd.h>
#include <unistd.h>

static const int handled[] = {SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR1, SIGUSR2, SIGCHLD};

/* Sent to the whole group (a terminal's Ctrl-\, killall) they must not end a worker. */
static const int masters_own[] = {SIGQUIT, SIGHUP, SIGUSR1, SIGUSR2, SIGPIPE, SIGXFSZ};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

int
signals_open(void)
{
    sigset_t set;
    size_t i;

    sigemptyset(&set);
    for (i = 0; i < COUNT(handled); i++) {
        signal(handled[i], SIG_DFL);
        sigaddset(&set, handled[i]);
    }
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);   /* a file that may not grow is an error to tell, no death */
    sigprocmask(SIG_SETMASK, &set, NULL);
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

int
signals_next(int fd)
{
    struct signalfd_siginfo info;

    return read(fd, &info, sizeof(info)) == sizeof(info) ? (int)info.ssi_signo : 0;
}

static void
unblock(void)
{
    sigset_t none;

    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

void
signals_worker(void)
{
    size_t i;

    for (i = 0; i < COUNT(masters_own); i++)
        signal(masters_own[i], SIG_IGN);
    unblock();
}

void
signals_reset(void)
{
    signal(SIGPIPE, SIG_DFL);
    signal(SIGXFSZ, SIG_DFL);
    unblock();
}
