/* limit FOLDER: the least that a server can do. One thread, a timer, and for each frame one write()
   to each viewer; no HTTP worth the name, no access check, no camera. What is left is the kernel's
   copying, which no server on sockets can do without. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "stamp.h"

#define FPS 30
#define MOST 4096

static const char GREETING[] =
    "HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=frame\r\n\r\n--frame\r\n";

/* By file descriptor. The rest of a part that the socket did not take is kept until it does; until
   then the viewer is left out. */
static struct viewer {
    int watching;
    size_t left;
    unsigned char *rest;
} viewers[MOST];
static int highest;

static void leave(int fd) {
    viewers[fd].watching = 0;
    viewers[fd].left = 0;
    close(fd);
}

/* Write as much as the socket takes, and keep the rest: nothing else is sent before it. */
static void give(int fd, const unsigned char *data, size_t size) {
    struct viewer *viewer = &viewers[fd];
    ssize_t written = write(fd, data, size);
    if (written < 0 && errno != EAGAIN) {
        leave(fd);
        return;
    }
    if (written < 0) written = 0;
    viewer->left = 0;
    /* Nothing of a part that was not begun has to follow. */
    if (written == 0 && data != viewer->rest) return;
    if ((size_t)written < size) {
        viewer->left = size - (size_t)written;
        if (viewer->rest == NULL) viewer->rest = malloc(2 << 20);
        memmove(viewer->rest, data + written, viewer->left);
    }
}

static void welcome(int listener, int poller) {
    int fd, yes = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        if (fd >= MOST) {
            close(fd);
            continue;
        }
        if (fd > highest) highest = fd;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
        struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.fd = fd};
        epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event);
    }
}

/* Its request begins the stream, whatever it asks for; its end ends it. */
static void hear(int fd) {
    char request[4096];
    ssize_t got = read(fd, request, sizeof request);
    if (got == 0 || (got < 0 && errno != EAGAIN)) {
        leave(fd);
    } else if (got > 0 && !viewers[fd].watching) {
        viewers[fd].watching = 1;
        give(fd, (const unsigned char *)GREETING, sizeof GREETING - 1);
    } else if (viewers[fd].left > 0) {
        give(fd, viewers[fd].rest, viewers[fd].left);
    }
}

int main(int argc, char **argv) {
    size_t count;
    if (argc != 2) return 2;
    struct picture *pictures = load_pictures(argv[1], &count);
    /* Parts are made once: of each frame only the stamp is new. */
    size_t heads[count];
    for (size_t i = 0; i < count; i++) {
        unsigned char *part = malloc(pictures[i].size + 256);
        heads[i] = (size_t)sprintf(
            (char *)part, "Content-Type: image/jpeg\r\nContent-Length: %zu\r\n\r\n", pictures[i].size);
        memcpy(part + heads[i], pictures[i].jpeg, pictures[i].size);
        memcpy(part + heads[i] + pictures[i].size, "\r\n--frame\r\n", 11);
        pictures[i] = (struct picture){part, heads[i] + pictures[i].size + 11};
    }

    signal(SIGPIPE, SIG_IGN);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    if (bind(listener, (struct sockaddr *)&address, length) != 0 || listen(listener, MOST) != 0 ||
        getsockname(listener, (struct sockaddr *)&address, &length) != 0) {
        perror("limit");
        return 1;
    }
    fprintf(stderr, "http://127.0.0.1:%d/\n", ntohs(address.sin_port));

    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    struct itimerspec period = {{0, 1000000000 / FPS}, {0, 1000000000 / FPS}};
    timerfd_settime(timer, 0, &period, NULL);
    int poller = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener};
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event);
    event.data.fd = timer;
    epoll_ctl(poller, EPOLL_CTL_ADD, timer, &event);

    for (uint64_t sequence = 1;;) {
        struct epoll_event events[64];
        int ready = epoll_wait(poller, events, 64, -1);
        for (int i = 0; i < ready; i++) {
            int fd = events[i].data.fd;
            uint64_t ticks;
            if (fd == listener) {
                welcome(listener, poller);
            } else if (fd != timer) {
                hear(fd);
            } else if (read(timer, &ticks, sizeof ticks) == sizeof ticks) {
                struct picture *part = &pictures[sequence % count];
                stamp(part->jpeg + heads[sequence % count], sequence);
                sequence++;
                for (int viewer = 0; viewer <= highest; viewer++)
                    if (viewers[viewer].watching && viewers[viewer].left == 0)
                        give(viewer, part->jpeg, part->size);
            }
        }
    }
}
