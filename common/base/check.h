/* Asserts that stay on in release builds.
 *
 * ASSERT is for our own bugs only: a false condition prints where it stood and ends the process.
 * What a peer, a file or a user sent is never asserted about; it goes through a decoder that
 * returns a `struct err`. UNREACHABLE marks a branch that no input can reach. */
#pragma once

#define ASSERT(cond)                                                                               \
    do {                                                                                           \
        if (__builtin_expect(!(cond), 0))                                                          \
            check_failed(__FILE__, __LINE__, __func__, #cond);                                     \
    } while (0)
#define UNREACHABLE() check_failed(__FILE__, __LINE__, __func__, "unreachable")

/* Who is told first, so that it stands in the log; until then it is printed. */
typedef void check_tell_fn(const char *file, int line, const char *func, const char *what);
void check_tell(check_tell_fn *tell);

void check_failed(const char *file, int line, const char *func, const char *what)
    __attribute__((noreturn, cold));
