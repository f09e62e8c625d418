/* Runs a suite of Check and says how it went: what main() of each unit test returns. */
#ifndef WEIR_UNIT_H
#define WEIR_UNIT_H

#include <check.h>

static inline int
unit_run(Suite *suite)
{
    SRunner *runner = srunner_create(suite);
    int failed;

    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}

#endif
