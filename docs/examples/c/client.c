/* A client of word_count.c.
 *
 *     client count FILE ...     counts all of them at once, and prints each as it comes
 *     client recite TEXT        prints a text as it is recited
 *
 *     cc -std=c11 client.c $(pkg-config --cflags --libs quern) -o client
 *
 * The broker is the one of $QUERN_DATA or $QUERN_BROKER, else of .quern. */
#include <inttypes.h>
#include <quern.h>
#include <stdio.h>
#include <stdlib.h>

static int complain(const char *what, const struct quern_error *error) {
    fprintf(stderr, "client: %s: %s: %s\n", what, error->name, error->text);
    return 1;
}

/* {"path": "..."}, with what JSON wants escaped. */
static void write_payload(char *to, size_t size, const char *name, const char *text) {
    size_t n = (size_t)snprintf(to, size, "{\"%s\": \"", name);
    for (; *text && n + 10 < size; text++) {
        unsigned char c = (unsigned char)*text;
        n += (size_t)snprintf(to + n, size - n, c < 32 || c == '"' || c == '\\' ? "\\u%04x" : "%c",
                              (unsigned)c);
    }
    snprintf(to + n, size - n, "\"}");
}

static int count_one(struct quern_client *client, const char *path) {
    char payload[8192];
    struct quern_error error;
    struct quern_spec job = quern_spec_make("words.count");
    write_payload(payload, sizeof payload, "path", path);
    job.payload_json = payload;
    job.attempts_max = 2;
    job.watch = true;
    return quern_submit(client, &job, &error) ? 0 : complain(path, &error);
}

static int print_one(struct quern_client *client) {
    char id[QUERN_ID_SIZE];
    struct quern_error error;
    struct quern_report *report = quern_wait_any(client, 60000, &error);
    if (!report)
        return complain("waiting", &error);
    int failed = quern_report_state(report) != QUERN_DONE;
    quern_id_show(quern_report_id(report), id);
    if (failed)
        complain(id, quern_report_error(report));
    else
        printf("%s %s\n", id, quern_report_result_json(report));
    quern_report_free(report);
    return failed;
}

static int count(struct quern_client *client, char **paths, int n) {
    int refused = 0, failed = 0;
    for (int i = 0; i < n; i++)
        refused += count_one(client, paths[i]);
    for (int i = refused; i < n; i++)
        failed += print_one(client);
    return refused + failed > 0;
}

/* What was printed cannot be taken back where another attempt begins anew: a line says so. */
static int print_stream(struct quern_stream *stream) {
    const struct quern_event *event;
    struct quern_error error;
    int more;
    while ((more = quern_stream_next(stream, 60000, &event, &error)) > 0) {
        if (event->type == QUERN_EVENT_TEXT)
            fwrite(event->bytes, 1, event->size, stdout);
        else if (event->type == QUERN_EVENT_RESET)
            printf("\n[again]\n");
        fflush(stdout);
    }
    if (more < 0)
        return complain("stream", &error);
    printf("\n%s %s\n", quern_state_name(quern_report_state(quern_stream_report(stream))),
           quern_report_result_json(quern_stream_report(stream)));
    return 0;
}

static int recite(struct quern_client *client, const char *text) {
    char payload[8192];
    struct quern_error error;
    struct quern_spec job = quern_spec_make("words.recite");
    write_payload(payload, sizeof payload, "text", text);
    job.payload_json = payload;
    uint64_t id = quern_submit(client, &job, &error);
    struct quern_stream *stream = id ? quern_stream_open(client, id, &error) : NULL;
    if (!stream)
        return complain("words.recite", &error);
    int status = print_stream(stream);
    quern_stream_close(stream);
    return status;
}

int main(int argc, char **argv) {
    struct quern_client_options options = quern_client_options_make();
    struct quern_error error;
    if (argc < 3) {
        fprintf(stderr, "usage: client count FILE ... | client recite TEXT\n");
        return 2;
    }
    options.role = QUERN_ROLE_GATEWAY; /* who may follow streams */
    struct quern_client *client = quern_connect(&options, &error);
    if (!client)
        return complain("connecting", &error);
    int status = argv[1][0] == 'c' ? count(client, argv + 2, argc - 2) : recite(client, argv[2]);
    quern_close(client);
    return status;
}
