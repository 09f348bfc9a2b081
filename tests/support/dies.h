/* Expecting the end of the process: for calls whose contract is to abort on our own bugs. */
#pragma once

/* Runs `what(arg)` in a child; the test fails unless the child ends by SIGABRT. */
void expect_abort(void (*what)(void *arg), void *arg);
