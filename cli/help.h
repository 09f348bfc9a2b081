/* The words of the command table: `quern help`, `--help`, docs/cli.md, completion. */
#pragma once

#include "cli/commands.h"
#include "common/base/buf.h"

#define HELP_MAX (1U << 20)

void help_overview(struct buf *out);
void help_command(const struct command *c, struct buf *out);
void help_family(const struct family *f, struct buf *out);
/* "quern submit KIND [OPTION ...]" */
void help_usage(const struct command *c, struct buf *out);
void help_markdown(struct buf *out);
void help_bash(struct buf *out);
