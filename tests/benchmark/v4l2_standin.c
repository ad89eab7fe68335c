/* A camera that gives MJPEG, made up for a program that reads one through V4L2.

   Preload it with STANDIN_DEVICE=FILE and STANDIN_PICTURES=FOLDER: FILE, which has to exist, opens as
   a capture device that gives the folder's pictures in a loop, 640x480 at 30 a second, each stamped
   when it is taken from the device. The device is a timer's file descriptor, so that select(), poll()
   and close() need no help: it is readable when a frame is due. One device at a time. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/videodev2.h>
#include <pthread.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "stamp.h"

#define FPS 30
#define BUFFER_BYTES (1u << 20)
#define MOST_BUFFERS 32

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int device = -1;
static struct picture *pictures;
static size_t picture_count;
static uint64_t sequence;
static unsigned char *memory[MOST_BUFFERS];
/* Those that the program has given back, the oldest first. */
static unsigned queue[MOST_BUFFERS], queued;

static int refuse(int error) {
    errno = error;
    return -1;
}

static void describe(struct v4l2_buffer *buffer) {
    buffer->length = BUFFER_BYTES;
    buffer->m.offset = buffer->index * BUFFER_BYTES;
    buffer->flags = V4L2_BUF_FLAG_MAPPED | V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC;
    buffer->field = V4L2_FIELD_NONE;
}

static int give_frame(struct v4l2_buffer *buffer) {
    uint64_t periods;
    if (queued == 0 || read(device, &periods, sizeof periods) != sizeof periods)
        return refuse(EAGAIN);
    /* What nobody came for in time is lost, as with a camera. */
    sequence += periods;
    struct picture *picture = &pictures[sequence % picture_count];
    buffer->index = queue[0];
    memmove(queue, queue + 1, --queued * sizeof *queue);
    describe(buffer);
    stamp(picture->jpeg, sequence);
    memcpy(memory[buffer->index], picture->jpeg, picture->size);
    uint64_t now = now_ns();
    buffer->timestamp.tv_sec = (time_t)(now / 1000000000);
    buffer->timestamp.tv_usec = (suseconds_t)(now / 1000 % 1000000);
    buffer->sequence = (uint32_t)sequence;
    buffer->bytesused = (uint32_t)picture->size;
    return 0;
}

static int run(int on) {
    long period = on ? 1000000000 / FPS : 0;
    struct itimerspec times = {{0, period}, {0, period}};
    queued = on ? queued : 0;
    return timerfd_settime(device, 0, &times, NULL);
}

static int answer(unsigned request, void *argument) {
    struct v4l2_capability *capability = argument;
    struct v4l2_format *format = argument;
    struct v4l2_streamparm *parameters = argument;
    struct v4l2_requestbuffers *wish = argument;
    struct v4l2_buffer *buffer = argument;
    switch (request) {
        case VIDIOC_QUERYCAP:
            memset(capability, 0, sizeof *capability);
            strcpy((char *)capability->driver, "standin");
            strcpy((char *)capability->card, "a camera that is made up");
            capability->device_caps = V4L2_CAP_VIDEO_CAPTURE | V4L2_CAP_STREAMING;
            capability->capabilities = capability->device_caps | V4L2_CAP_DEVICE_CAPS;
            return 0;
        case VIDIOC_S_INPUT:
            return *(int *)argument == 0 ? 0 : refuse(EINVAL);
        case VIDIOC_G_INPUT:
            *(int *)argument = 0;
            return 0;
        case VIDIOC_G_FMT:
        case VIDIOC_S_FMT:
        case VIDIOC_TRY_FMT:
            format->fmt.pix = (struct v4l2_pix_format){.width = 640,
                                                       .height = 480,
                                                       .pixelformat = V4L2_PIX_FMT_MJPEG,
                                                       .field = V4L2_FIELD_NONE,
                                                       .sizeimage = BUFFER_BYTES,
                                                       .colorspace = V4L2_COLORSPACE_JPEG};
            return 0;
        case VIDIOC_G_PARM:
        case VIDIOC_S_PARM:
            parameters->parm.capture =
                (struct v4l2_captureparm){.capability = V4L2_CAP_TIMEPERFRAME,
                                          .timeperframe = {1, FPS},
                                          .readbuffers = 2};
            return 0;
        case VIDIOC_REQBUFS:
            if (wish->memory != V4L2_MEMORY_MMAP) return refuse(EINVAL);
            if (wish->count > MOST_BUFFERS) wish->count = MOST_BUFFERS;
            queued = 0;
            return 0;
        case VIDIOC_QUERYBUF:
            if (buffer->index >= MOST_BUFFERS) return refuse(EINVAL);
            describe(buffer);
            return 0;
        case VIDIOC_QBUF:
            if (buffer->index >= MOST_BUFFERS || queued == MOST_BUFFERS) return refuse(EINVAL);
            queue[queued++] = buffer->index;
            return 0;
        case VIDIOC_DQBUF:
            return give_frame(buffer);
        case VIDIOC_STREAMON:
            return run(1);
        case VIDIOC_STREAMOFF:
            return run(0);
        default:
            return refuse(ENOTTY);
    }
}

int ioctl(int fd, unsigned long request, ...) {
    va_list arguments;
    va_start(arguments, request);
    void *argument = va_arg(arguments, void *);
    va_end(arguments);
    if (fd < 0 || fd != device) return (int)syscall(SYS_ioctl, fd, request, argument);
    pthread_mutex_lock(&lock);
    /* Programs that keep it in an int extend its sign. */
    int result = answer((unsigned)request, argument);
    pthread_mutex_unlock(&lock);
    return result;
}

int open(const char *path, int flags, ...) {
    va_list arguments;
    va_start(arguments, flags);
    mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(arguments, mode_t) : 0;
    va_end(arguments);
    const char *wanted = getenv("STANDIN_DEVICE"), *folder = getenv("STANDIN_PICTURES");
    if (!wanted || !folder || strcmp(path, wanted) != 0)
        return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
    if (!pictures) pictures = load_pictures(folder, &picture_count);
    device = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    return device;
}

void *mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset) {
    if (fd < 0 || fd != device)
        return (void *)syscall(SYS_mmap, address, length, protection, flags, fd, offset);
    unsigned index = (unsigned)((size_t)offset / BUFFER_BYTES);
    void *mapped = (void *)syscall(
        SYS_mmap, address, length, protection, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (mapped != MAP_FAILED && index < MOST_BUFFERS) memory[index] = mapped;
    return mapped;
}

/* The same where files may be larger than 2 GB, which is no difference on 64 bits. */
int open64(const char *path, int flags, ...) __attribute__((alias("open")));
void *mmap64(void *, size_t, int, int, int, off64_t) __attribute__((alias("mmap")));
