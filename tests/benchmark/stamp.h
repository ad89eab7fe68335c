/* What the benchmark's programs share: the clock, the pictures, and the stamp in each of them.

   A picture begins with FF D8 and a comment, FF FE 00 1D "RPICAMSTAMP", of which the last 16 bytes
   are two little-endian numbers: the frame's, and when it was captured (CLOCK_MONOTONIC, ns).
   stamping/sitecustomize.py knows the same. */
#include <glob.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define STAMP_MAGIC "\xff\xd8\xff\xfe\x00\x1dRPICAMSTAMP"
#define STAMP_OFFSET (sizeof STAMP_MAGIC - 1)
#define STAMP_END (STAMP_OFFSET + 16)

static inline uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static inline void stamp(unsigned char *jpeg, uint64_t sequence) {
    uint64_t fields[2] = {sequence, now_ns()};
    memcpy(jpeg + STAMP_OFFSET, fields, sizeof fields);
}

/* Return whether the picture's first STAMP_END bytes hold a stamp; if so, read it. */
static inline int read_stamp(const unsigned char *head, uint64_t *sequence, uint64_t *captured_ns) {
    memcpy(sequence, head + STAMP_OFFSET, 8);
    memcpy(captured_ns, head + STAMP_OFFSET + 8, 8);
    return memcmp(head, STAMP_MAGIC, STAMP_OFFSET) == 0;
}

struct picture {
    unsigned char *jpeg;
    size_t size;
};

/* Read a folder's JPEGs in the order of their names; without one that is usable, end the program. */
static inline struct picture *load_pictures(const char *folder, size_t *count) {
    char pattern[4096];
    snprintf(pattern, sizeof pattern, "%s/*.jpg", folder);
    glob_t names;
    if (glob(pattern, 0, NULL, &names) != 0) {
        fprintf(stderr, "%s: there is no picture\n", pattern);
        exit(1);
    }
    *count = names.gl_pathc;
    struct picture *pictures = calloc(*count, sizeof *pictures);
    for (size_t i = 0; i < *count; i++) {
        FILE *file = fopen(names.gl_pathv[i], "rb");
        unsigned char *jpeg = malloc(1 << 20);
        size_t size = file ? fread(jpeg, 1, 1 << 20, file) : 0;
        if (size < STAMP_END || memcmp(jpeg, STAMP_MAGIC, STAMP_OFFSET) != 0) {
            fprintf(stderr, "%s: has no place for a stamp\n", names.gl_pathv[i]);
            exit(1);
        }
        fclose(file);
        pictures[i] = (struct picture){jpeg, size};
    }
    globfree(&names);
    return pictures;
}
