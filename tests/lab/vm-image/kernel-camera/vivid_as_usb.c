/*
 * Preloaded into a container of the tests, so that libcamera takes `vivid`, a camera made up by the
 * kernel, for one on USB, and everything else about it is true: nodes, permissions, udev's records,
 * pictures. libcamera knows a camera on USB by
 *
 *   - its driver's name and its default entity, which the media device tells;
 *   - idVendor and idProduct, which lie beside the device in sysfs;
 *   - the place of its controller in the firmware's tree, to which a link `of_node` in sysfs leads.
 *     It leads nowhere where a container sees nothing of /sys/firmware, and so it does here.
 *
 * The kernel is asked first, and what it does not refuse is its answer.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <linux/media.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define PARENT "/sys/devices/platform"
#define FIRMWARE "/sys/firmware"

static bool ends_with(const char *text, const char *end)
{
	size_t length = strlen(text), wanted = strlen(end);

	return length >= wanted && strcmp(text + length - wanted, end) == 0;
}

int ioctl(int fd, unsigned long request, ...)
{
	int (*next)(int, unsigned long, ...) = dlsym(RTLD_NEXT, "ioctl");
	va_list arguments;
	void *argument;
	int result;

	va_start(arguments, request);
	argument = va_arg(arguments, void *);
	va_end(arguments);
	result = next(fd, request, argument);
	if (result < 0)
		return result;
	if ((unsigned int)request == MEDIA_IOC_DEVICE_INFO) {
		struct media_device_info *info = argument;

		if (strcmp(info->driver, "vivid") == 0)
			strcpy(info->driver, "uvcvideo");
	}
	if ((unsigned int)request == MEDIA_IOC_G_TOPOLOGY) {
		struct media_v2_topology *topology = argument;
		struct media_v2_entity *entities = (struct media_v2_entity *)topology->ptr_entities;

		for (unsigned int i = 0; entities && i < topology->num_entities; i++)
			if (ends_with(entities[i].name, "-vid-cap"))
				entities[i].flags |= MEDIA_ENT_FL_DEFAULT;
	}
	return result;
}

FILE *fopen64(const char *path, const char *mode)
{
	FILE *(*next)(const char *, const char *) = dlsym(RTLD_NEXT, "fopen64");
	FILE *file = next(path, mode);

	if (file || (!ends_with(path, "/../idVendor") && !ends_with(path, "/../idProduct")))
		return file;
	file = fdopen(memfd_create("id", MFD_CLOEXEC), "w+");
	if (file) {
		fputs("1a2b\n", file);
		rewind(file);
	}
	return file;
}

FILE *fopen(const char *path, const char *mode) __attribute__((alias("fopen64")));

/* The folders of /sys/firmware, unless something empty lies over it. */
static bool shows_firmware(void)
{
	struct stat found;

	return lstat(FIRMWARE, &found) == 0 && found.st_nlink > 2;
}

int stat(const char *path, struct stat *found)
{
	int (*next)(const char *, struct stat *) = dlsym(RTLD_NEXT, "stat");
	int result = next(path, found);

	if (result < 0 && strcmp(path, PARENT "/of_node") == 0 && shows_firmware())
		return next(FIRMWARE, found);
	return result;
}

int stat64(const char *path, struct stat64 *found) __attribute__((alias("stat")));

char *realpath(const char *path, char *resolved)
{
	char *(*next)(const char *, char *) = dlsym(RTLD_NEXT, "realpath");

	if (strcmp(path, PARENT "/of_node") == 0 && shows_firmware())
		return strdup(FIRMWARE "/devicetree/base/lab");
	return next(path, resolved);
}
