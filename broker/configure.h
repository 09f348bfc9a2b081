/* From settings to what the broker's parts want to know, at the start and at a reload. */
#pragma once

#include "broker/core/core.h"
#include "broker/journal/journal.h"
#include "broker/peers.h"
#include "broker/relay_thread.h"
#include "common/config/settings.h"

struct core_config configure_core(const struct settings *s, uint64_t seed);
/* `dir` is borrowed. */
struct journal_options configure_journal(const struct settings *s, const char *dir);
struct peers_options configure_peers(const struct settings *s);
struct relay_thread_options configure_relay(const struct settings *s);
void configure_log(const struct settings *s);
/* Whether the largest record fits into the journal as it is. */
int configure_check(const struct core_config *config, uint32_t journal_body_max, struct err *e);

/* Tells the core of all kinds, queues, tenants and pools that are listed. */
void configure_names(struct core *c, const struct settings *s);
/* A reload: logs every difference, and tells the core of those that apply while it runs. */
void configure_again(struct core *c, const struct settings *old, const struct settings *new);
