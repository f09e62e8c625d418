/*
 * weir-top starts here. It reads the stats file and nothing else of weir's, so anybody who may read that
 * file may run it.
 */
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "config.h"
#include "master/top_print.h"
#include "master/top_screen.h"

static const char usage[] =
    "usage: weir-top [-1] [-d SECONDS] [-f FILE]\n"
    "       weir-top -V | -h\n"
    "\n"
    "  -1            print once, as plain text; so also where the output is no terminal\n"
    "  -d SECONDS    between two looks, from 0.1 to 3600; default 1\n"
    "  -f FILE       weir's stats_file; default /run/weir/weir.prom\n"
    "  -V            print the version\n"
    "  -h            print this\n";

struct options {
    const char *file;
    double delay;               /* seconds; 0: not given */
    bool once;
};

static _Noreturn void
refuse(const char *why, const char *what)
{
    fprintf(stderr, "weir-top: %s%s\nTry `weir-top -h`.\n", what, why);
    exit(2);
}

static double
delay(const char *text)
{
    char *end;
    double v = strtod(text, &end);

    if (end == text || *end != '\0' || !(v >= 0.1 && v <= 3600))
        refuse("-d wants seconds, from 0.1 to 3600", "");
    return v;
}

static void
parse(struct options *o, int argc, char **argv)
{
    int option;
    char name[] = "-?";

    while ((option = getopt(argc, argv, ":1d:f:Vh")) != -1) {
        switch (option) {
        case '1': o->once = true; break;
        case 'd': o->delay = delay(optarg); break;
        case 'f': o->file = optarg; break;
        case 'V': printf("weir-top %s\n", PACKAGE_VERSION); exit(0);
        case 'h': fputs(usage, stdout); exit(0);
        default:
            name[1] = optopt > ' ' && optopt < 127 ? (char)optopt : '?';
            refuse(option == ':' ? " needs a value" : ": there is no such option", name);
        }
    }
    if (optind < argc)
        refuse("only options are taken", "");
}

int
main(int argc, char **argv)
{
    struct options o = {.file = "/run/weir/weir.prom"};
    struct top_watch w;
    int status;

    setlocale(LC_CTYPE, "");
    parse(&o, argc, argv);
    top_watch_start(&w, o.file);
    if (o.once || !isatty(STDOUT_FILENO) || !isatty(STDIN_FILENO))
        status = top_print(&w, (int64_t)(o.delay * 1000));
    else
        status = top_screen(&w, (int64_t)((o.delay > 0 ? o.delay : 1) * 1000));
    top_watch_end(&w);
    return status;
}
