/* Writes docs/messages.md and docs/schemas/, or with --check says what in them is out of date. */
#include "common/wire/schema.h"

#include "common/base/check.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#define FILE_MAX (4U << 20)
#define PATH_LEN 4096

struct job {
    const char *docs;
    bool check;
    unsigned wrong;
};

static void read_all(const char *path, struct buf *out) {
    FILE *file = fopen(path, "re");
    if (!file)
        return;
    char piece[8192];
    for (size_t n; (n = fread(piece, 1, sizeof piece, file)) > 0;)
        buf_put(out, piece, n);
    fclose(file);
}

static void complain(struct job *job, const char *path, const char *what) {
    fprintf(stderr, "%s: %s\n", path, what);
    job->wrong++;
}

static void write_all(struct job *job, const char *path, struct str text) {
    FILE *file = fopen(path, "we");
    bool good = file && fwrite(text.at, 1, text.len, file) == text.len;
    if (file && fclose(file) != 0)
        good = false;
    if (!good)
        complain(job, path, strerror(errno));
}

static void emit(struct job *job, const char *path, struct str text) {
    if (!job->check) {
        write_all(job, path, text);
        return;
    }
    AUTO_BUF there = BUF(FILE_MAX);
    read_all(path, &there);
    if (!str_eq(buf_str(&there), text))
        complain(job, path, "is not what schemas/messages.def says");
}

static int print_piece(const char *at, size_t n, void *out) {
    return buf_put(out, at, n);
}

static void emit_schema(struct job *job, const struct msg_def *def) {
    char path[PATH_LEN];
    snprintf(path, sizeof path, "%s/schemas/%s.json", job->docs, def->name);
    AUTO_BUF text = BUF(FILE_MAX);
    json_auto_t *schema = schema_of_message(def);
    ASSERT(json_dump_callback(schema, print_piece, &text, JSON_INDENT(2)) == 0);
    buf_putc(&text, '\n');
    emit(job, path, buf_str(&text));
}

static bool is_message_file(struct str name) {
    struct str ending = STR(".json");
    for (unsigned id = 0; id < MSG_COUNT; id++) {
        struct str message = str_of(msg_def((enum msg_id)id)->name);
        if (name.len == message.len + ending.len && str_starts(name, message) &&
            str_eq(str_make(name.at + message.len, ending.len), ending))
            return true;
    }
    return false;
}

/* Files of messages that are no more. */
static void find_strays(struct job *job) {
    char path[PATH_LEN];
    snprintf(path, sizeof path, "%s/schemas", job->docs);
    DIR *folder = opendir(path);
    if (!folder) {
        complain(job, path, strerror(errno));
        return;
    }
    for (struct dirent *entry; (entry = readdir(folder));)
        if (entry->d_name[0] != '.' && !is_message_file(str_of(entry->d_name)))
            complain(job, entry->d_name, "there is no such message: remove its schema");
    closedir(folder);
}

int main(int argc, char **argv) {
    bool check = argc == 3 && strcmp(argv[1], "--check") == 0;
    if (!check && (argc != 2 || argv[1][0] == '-')) {
        fprintf(stderr, "usage: schema_export [--check] DOCS_FOLDER\n");
        return 2;
    }
    struct job job = {.docs = argv[argc - 1], .check = check};
    char path[PATH_LEN];
    snprintf(path, sizeof path, "%s/schemas", job.docs);
    if (!check)
        mkdir(path, 0777);
    for (unsigned id = 0; id < MSG_COUNT; id++)
        emit_schema(&job, msg_def((enum msg_id)id));
    snprintf(path, sizeof path, "%s/messages.md", job.docs);
    AUTO_BUF page = BUF(FILE_MAX);
    ASSERT(schema_put_page(&page) == 0);
    emit(&job, path, buf_str(&page));
    find_strays(&job);
    if (check && job.wrong)
        fprintf(stderr, "to make them anew: %s %s\n", argv[0], job.docs);
    return job.wrong ? 1 : 0;
}
