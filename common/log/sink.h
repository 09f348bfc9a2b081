/* Where the lines of a log go. Whoever reads them, or does not, must not stop the program: a line
 * that cannot be written at once (a full pipe that nobody reads, a reader that has gone, a stopped
 * terminal, a full disk) is lost, and the caller counts it.
 *
 * A pipe or terminal is opened once more, without waiting: the one that was handed to us is shared
 * with others, for whom nothing may change.
 *
 * A file that was opened for appending is followed by its name: where another one has that name by
 * now, or none, the log goes on in a file of that name within a second. So it may be turned by
 * moving it away, and no process has to be told.
 *
 * sink_open before there are threads; the rest from any thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* Closed standard descriptors become /dev/null first, so that no file that is opened later is taken
 * for the log. */
void sink_open(int fd);
/* One line with its end, of at most PIPE_BUF bytes. False: it is lost. */
bool sink_write(const char *at, size_t len);
/* Looks for its name now. */
void sink_look(void);
