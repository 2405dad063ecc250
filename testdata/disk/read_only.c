/* A disk that turns read-only beneath a program that has files open on it, as the kernel does it after a fault: put in front of libc by
 * LD_PRELOAD, this lets every change below READ_ONLY_DIR fail with EROFS while the file READ_ONLY_SWITCH exists. A mount cannot be made
 * read-only from outside while somebody has a file on it open for writing. Tests compile it. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int is_read_only(void) {
    int before = errno;
    const char *name = getenv("READ_ONLY_SWITCH");
    int found = name && access(name, F_OK) == 0;
    errno = before;
    return found;
}

static int is_below(const char *path) {
    const char *dir = getenv("READ_ONLY_DIR");
    return dir && strncmp(path, dir, strlen(dir)) == 0;
}

static int is_open_below(int fd) {
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return is_below(path);
}

#define REAL(name) __typeof__(&name) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)
#define REFUSE_IF(changes) \
    if ((changes) && is_read_only()) { \
        errno = EROFS; \
        return -1; \
    }
#define MODE_OF(flags) \
    va_list rest; \
    va_start(rest, flags); \
    mode_t mode = va_arg(rest, mode_t); \
    va_end(rest)
#define OPENS_TO_CHANGE(path, flags) (is_below(path) && ((flags) & O_ACCMODE) != O_RDONLY)

ssize_t write(int fd, const void *bytes, size_t count) {
    REAL(write);
    REFUSE_IF(is_open_below(fd));
    return real(fd, bytes, count);
}
ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t at) {
    REAL(pwrite64);
    REFUSE_IF(is_open_below(fd));
    return real(fd, bytes, count, at);
}
ssize_t pwrite(int fd, const void *bytes, size_t count, off_t at) {
    REAL(pwrite);
    REFUSE_IF(is_open_below(fd));
    return real(fd, bytes, count, at);
}
int ftruncate64(int fd, off64_t length) {
    REAL(ftruncate64);
    REFUSE_IF(is_open_below(fd));
    return real(fd, length);
}
int ftruncate(int fd, off_t length) {
    REAL(ftruncate);
    REFUSE_IF(is_open_below(fd));
    return real(fd, length);
}
int open64(const char *path, int flags, ...) {
    REAL(open64);
    MODE_OF(flags);
    REFUSE_IF(OPENS_TO_CHANGE(path, flags));
    return real(path, flags, mode);
}
int open(const char *path, int flags, ...) {
    REAL(open);
    MODE_OF(flags);
    REFUSE_IF(OPENS_TO_CHANGE(path, flags));
    return real(path, flags, mode);
}
int unlink(const char *path) {
    REAL(unlink);
    REFUSE_IF(is_below(path));
    return real(path);
}
int rename(const char *from, const char *to) {
    REAL(rename);
    REFUSE_IF(is_below(to));
    return real(from, to);
}
int linkat(int from_dir, const char *from, int to_dir, const char *to, int flags) {
    REAL(linkat);
    REFUSE_IF(is_below(to));
    return real(from_dir, from, to_dir, to, flags);
}
int mkdir(const char *path, mode_t mode) {
    REAL(mkdir);
    REFUSE_IF(is_below(path) && access(path, F_OK) != 0);
    return real(path, mode);
}
