/* load [--rate BYTES_PER_SECOND] PORT PATH VIEWERS WARM_UP SECONDS: many viewers of one MJPEG stream.

   Waits until each viewer has had a frame, then for WARM_UP seconds, then says `begin`, measures for
   SECONDS, says `end`, stays connected until its standard input ends, and prints what it saw as JSON.
   A frame is a part whose JPEG has a stamp (stamp.h) with a number that the viewer has not had yet;
   its latency is the time from there to the JPEG's last byte. With --rate each viewer reads no
   faster than that, and the latency is how old the picture is that it sees. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "stamp.h"

#define SECOND 1000000000ull
#define PATIENCE (60 * SECOND)
#define READ_BYTES (64 * 1024)
#define SLOW_READ_BYTES 2048
#define SLOW_TURN_NS 10000000

struct line {
    char text[1024];
    size_t used;
};

static struct viewer {
    int fd;
    /* The answer: its head, then the body as it is or in chunks. */
    enum { HEAD, PLAIN, CHUNK_SIZE, CHUNK } at;
    bool chunked;
    size_t chunk_left;
    /* The part: its header's lines, then so many bytes of JPEG, of which the first are kept. */
    size_t part_size, part_left, head_used;
    unsigned char head[STAMP_END];
    struct line outer, inner;
    uint64_t sequence;
    size_t frames;
    double credit;
} *viewers;

static size_t count, waiting, frames, missed, repeated, unstamped, gone;
static bool measuring;
/* All latencies of the run in ns; sorted at its end. */
static uint64_t *latencies;
static size_t room;

static void fail(const char *what) {
    fprintf(stderr, "load: %s\n", what);
    exit(1);
}

static void frame(struct viewer *viewer) {
    uint64_t sequence, captured_ns, latency;
    if (viewer->part_size < STAMP_END || !read_stamp(viewer->head, &sequence, &captured_ns)) {
        unstamped += measuring;
        return;
    }
    latency = now_ns() - captured_ns;
    if (viewer->sequence == 0) {
        waiting--;
    } else if (sequence <= viewer->sequence) {
        repeated += measuring;
        return;
    }
    if (measuring) {
        missed += sequence - viewer->sequence - 1;
        viewer->frames++;
        if (frames == room) {
            room = room ? 2 * room : 1 << 16;
            latencies = realloc(latencies, room * sizeof *latencies);
        }
        latencies[frames++] = latency;
    }
    viewer->sequence = sequence;
}

/* Take bytes up to a line's end; return whether it was reached. The line is without CR and LF. */
static bool take_line(struct line *line, const unsigned char **data, size_t *size) {
    const unsigned char *end = memchr(*data, '\n', *size);
    size_t taken = end ? (size_t)(end - *data) + 1 : *size;
    if (line->used + taken >= sizeof line->text) fail("a line is too long");
    memcpy(line->text + line->used, *data, taken);
    line->used += taken;
    *data += taken;
    *size -= taken;
    if (!end) return false;
    while (line->used && strchr("\r\n", line->text[line->used - 1])) line->used--;
    line->text[line->used] = 0;
    line->used = 0;
    return true;
}

static void take_multipart(struct viewer *viewer, const unsigned char *data, size_t size) {
    while (size) {
        if (viewer->part_left == 0) {
            if (!take_line(&viewer->inner, &data, &size)) continue;
            if (strncasecmp(viewer->inner.text, "Content-Length:", 15) == 0)
                viewer->part_size = strtoul(viewer->inner.text + 15, NULL, 10);
            else if (viewer->inner.text[0] == 0)
                viewer->part_left = viewer->part_size;
            viewer->head_used = 0;
            continue;
        }
        size_t taken = size < viewer->part_left ? size : viewer->part_left;
        size_t kept = STAMP_END - viewer->head_used;
        if (kept > taken) kept = taken;
        memcpy(viewer->head + viewer->head_used, data, kept);
        viewer->head_used += kept;
        viewer->part_left -= taken;
        data += taken;
        size -= taken;
        if (viewer->part_left == 0) {
            frame(viewer);
            viewer->part_size = 0;
        }
    }
}

static void take(struct viewer *viewer, const unsigned char *data, size_t size) {
    while (size) {
        const char *text = viewer->outer.text;
        if (viewer->at == PLAIN) {
            take_multipart(viewer, data, size);
            return;
        }
        if (viewer->at == CHUNK) {
            size_t taken = size < viewer->chunk_left ? size : viewer->chunk_left;
            take_multipart(viewer, data, taken);
            data += taken;
            size -= taken;
            viewer->chunk_left -= taken;
            if (viewer->chunk_left == 0) viewer->at = CHUNK_SIZE;
        } else if (!take_line(&viewer->outer, &data, &size)) {
            continue;
        } else if (viewer->at == CHUNK_SIZE) {
            /* A chunk ends with an empty line. */
            viewer->chunk_left = strtoul(text, NULL, 16);
            if (viewer->chunk_left) viewer->at = CHUNK;
        } else if (strncmp(text, "HTTP/", 5) == 0) {
            if (strncmp(text + 8, " 200", 4) != 0) fail(text);
        } else if (strncasecmp(text, "Transfer-Encoding: chunked", 26) == 0) {
            viewer->chunked = true;
        } else if (text[0] == 0) {
            viewer->at = viewer->chunked ? CHUNK_SIZE : PLAIN;
        }
    }
}

/* Read once; return the number of bytes, 0 if there is nothing to read or the viewer is gone. */
static size_t read_some(struct viewer *viewer, size_t most) {
    static unsigned char data[READ_BYTES];
    ssize_t got = read(viewer->fd, data, most);
    if (got == 0 || (got < 0 && errno != EAGAIN)) {
        close(viewer->fd);
        viewer->fd = -1;
        if (++gone == count) fail("the server has ended every stream");
    }
    if (got <= 0) return 0;
    take(viewer, data, (size_t)got);
    return (size_t)got;
}

static void turn_fast(int poller) {
    struct epoll_event events[256];
    int ready = epoll_wait(poller, events, 256, 50);
    for (int i = 0; i < ready; i++) read_some(events[i].data.ptr, READ_BYTES);
}

/* Each viewer gets its turn's worth of bytes, and does not save up what it found no use for. */
static void turn_slow(double rate) {
    nanosleep(&(struct timespec){0, SLOW_TURN_NS}, NULL);
    static uint64_t last;
    uint64_t now = now_ns();
    double earned = last ? rate * (double)(now - last) / SECOND : 0;
    last = now;
    for (size_t i = 0; i < count; i++) {
        struct viewer *viewer = &viewers[i];
        viewer->credit += earned;
        while (viewer->fd >= 0 && viewer->credit >= SLOW_READ_BYTES) {
            size_t got = read_some(viewer, SLOW_READ_BYTES);
            viewer->credit = got ? viewer->credit - (double)got : 0;
        }
    }
}

static void join(int poller, uint16_t port, const char *path) {
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                                  .sin_port = htons(port)};
    char request[2048];
    int size = snprintf(
        request, sizeof request, "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n", path, port);
    for (size_t i = 0; i < count; i++) {
        struct viewer *viewer = &viewers[i];
        viewer->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (viewer->fd < 0 || connect(viewer->fd, (struct sockaddr *)&address, sizeof address) ||
            write(viewer->fd, request, (size_t)size) != size)
            fail(strerror(errno));
        fcntl(viewer->fd, F_SETFL, O_NONBLOCK);
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = viewer};
        epoll_ctl(poller, EPOLL_CTL_ADD, viewer->fd, &event);
    }
}

static double cpu_seconds(void) {
    struct timespec used;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    return (double)used.tv_sec + (double)used.tv_nsec / SECOND;
}

static int by_size(const void *left, const void *right) {
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
    return (a > b) - (a < b);
}

static double milliseconds(size_t rank) { return frames ? (double)latencies[rank] / 1e6 : 0; }

int main(int argc, char **argv) {
    double rate = 0;
    if (argc > 2 && strcmp(argv[1], "--rate") == 0) {
        rate = atof(argv[2]);
        argv += 2;
        argc -= 2;
    }
    if (argc != 6) fail("[--rate BYTES_PER_SECOND] PORT PATH VIEWERS WARM_UP SECONDS");
    count = waiting = strtoul(argv[3], NULL, 10);
    uint64_t warm_up = (uint64_t)(atof(argv[4]) * SECOND), length = (uint64_t)(atof(argv[5]) * SECOND);
    viewers = calloc(count, sizeof *viewers);
    int poller = epoll_create1(0);
    join(poller, (uint16_t)atoi(argv[1]), argv[2]);

    double used = 0;
    uint64_t began = now_ns(), end = began + PATIENCE, now;
    enum { WAITING, WARMING, MEASURING } phase = WAITING;
    while ((now = now_ns()) < end || phase == WARMING) {
        if (phase == WAITING && waiting == 0) {
            phase = WARMING;
            end = now + warm_up;
        }
        if (phase == WARMING && now >= end) {
            phase = MEASURING;
            began = now;
            end = now + length;
            measuring = true;
            used = cpu_seconds();
            puts("begin");
            fflush(stdout);
        }
        rate > 0 ? turn_slow(rate) : turn_fast(poller);
    }
    if (phase == WAITING) fail("not every viewer got a frame");
    double seconds = (double)(now_ns() - began) / SECOND;
    used = cpu_seconds() - used;
    puts("end");
    fflush(stdout);
    while (getchar() != EOF) continue;

    qsort(latencies, frames, sizeof *latencies, by_size);
    size_t least = viewers[0].frames;
    for (size_t i = 1; i < count; i++)
        if (viewers[i].frames < least) least = viewers[i].frames;
    printf("{\"viewers\": %zu, \"seconds\": %.3f, \"frames\": %zu, \"fps_min\": %.2f, "
           "\"fps_mean\": %.2f, \"missed\": %zu, \"repeated\": %zu, \"unstamped\": %zu, "
           "\"gone\": %zu, \"cpu_seconds\": %.3f, "
           "\"latency_ms\": {\"p50\": %.3f, \"p99\": %.3f, \"max\": %.3f}}\n",
           count, seconds, frames, (double)least / seconds,
           (double)frames / seconds / (double)count, missed, repeated, unstamped, gone, used,
           milliseconds(frames / 2), milliseconds(frames * 99 / 100),
           milliseconds(frames ? frames - 1 : 0));
    return 0;
}
