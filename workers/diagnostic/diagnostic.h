/* Kinds that do nothing useful: for trying things out, for tests, for measuring.
 *
 *     echo   any payload; the result is the payload. Speculative and inline: what it measures is
 * the queue. sleep  {ms = 1000, stubborn = false, busy = false}; the result is {"slept_ms": N}.
 * Obeys a cancel, unless stubborn; tells its progress; computes instead of sleeping if busy. fail
 * {times = any, class = "temp" | "perm" | "hold", text, retry_after_ms}: fails so often, then
 * succeeds with {"attempt": N}. A hold costs no attempt: those are counted by this process. crash
 * {signal = 6 | exit = N, times = any}: ends its process in so many attempts, then succeeds with
 * {"attempt": N}. */
#pragma once

#include "workers/harness/job.h"

job_run_fn run_echo, run_sleep, run_fail, run_crash;
