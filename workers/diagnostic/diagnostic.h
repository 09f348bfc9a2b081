/* Kinds that do nothing useful: for trying things out, for tests, for measuring.
 *
 *   echo    any payload; the result is the payload. Speculative and inline: what it measures is the
 *           queue.
 *   sleep   {ms = 1000, stubborn = false, busy = false}; the result is {"slept_ms": N}. Obeys a
 *           cancel, unless stubborn; tells its progress; computes instead of sleeping if busy.
 *   fail    {times = any, class = "temp" | "perm" | "hold", text, retry_after_ms}: fails so often,
 *           then succeeds with {"attempt": N}. A hold costs no attempt: those are counted by this
 *           process.
 *   crash   {signal = 6 | exit = N, times = any}: ends its process in so many attempts, then
 *           succeeds with {"attempt": N}.
 *   stream  {pieces = 100, bytes = 16, rate = 0, resets = 0, channels = 1, fail_after,
 *           times = any}: writes so many pieces of text of so many bytes to its stream, at
 *           `rate` a second (0: as fast as it can), to the channels in turn. Piece n is its
 *           number from 1 up, dots, and a blank: "17............. ". `resets`: so often it
 *           writes half of them first and says that they are void. Fails (temp) when
 *           `fail_after` pieces are written, in so many attempts. The result is {"pieces",
 *           "bytes": of all text, "xxh3": of all text as 16 hex digits, "text" if it has at
 *           most 48 KiB}. Obeys a cancel.
 *   spawn   {children = 1, kind = "echo", payload, then: {kind, payload}, depth = 1,
 *           fail_fast = false, now = false, delay_ms = 0, unique}: spawns so many children of that
 *           kind, and a then if one is described; with its result, or one by one while it runs if
 *           `now`. With a `depth` over 1 each child is one of kind `spawn`, with the same payload
 *           and a depth less. `fail_fast` is that of the children; child n has the unique key
 *           "UNIQUE/n", from 0, for an hour. The result is {"spawned": its own children}, and if it
 * is a then itself, how those ended that it waited for: {"parent_state", "siblings", "done",
 *           "dead", "cancelled", "expired", "broken"} too.
 *   note    {name = "note", value, for_ms = 10000, remove = false, absent = false, longer = false,
 *           await, gone = false, wait_ms = 10000}: sets a note where a value is given, or removes
 *           it; only if it is not there (`absent`) or none is that lasts as long (`longer`). Then
 *           waits until this process's copy of the notes has the value `await`, or has none
 *           (`gone`); fails with NOT_FOUND after `wait_ms`. The result is {"changed", "value",
 *           "left_ms", "version", "waited_ms"}. */
#pragma once

#include "workers/harness/job.h"

#define STREAM_PIECE_MAX 65536 /* bytes of a piece of kind `stream` */

job_run_fn run_echo, run_sleep, run_fail, run_crash, run_stream, run_spawn, run_note;
