// A disk that fails: preloaded into a process, it makes one call on the files of one folder fail, or several in a row.
//
//   RUCHE_FAULT_DIR     folder to watch (real path); everything below it but the lock file
//   RUCHE_FAULT_CALL    "write" or "sync": which calls are counted
//   RUCHE_FAULT_AT      the first one that fails, counted from 1
//   RUCHE_FAULT_COUNT   how many fail in a row
//   RUCHE_FAULT_ERRNO   with which number of errno
//   RUCHE_FAULT_HIT     file that is made when the first one fails
//
// A write that fails with EIO leaves the first half of its bytes, as a torn sector does. Nothing is flushed for real:
// the process dies here, not the machine.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FDS 4096

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static long calls;
static char watched[FDS];

#define REAL(ret, name, ...) \
    static ret (*real_##name)(__VA_ARGS__); \
    if (!real_##name) real_##name = (ret (*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name)

static const char *setting(const char *name) {
    const char *value = getenv(name);
    if (!value) {
        fprintf(stderr, "%s is not set\n", name);
        abort(); // A shim that fails nothing would make the test pass for the wrong reason.
    }
    return value;
}

static int opened(int fd, const char *path) {
    if (fd < 0 || fd >= FDS) return fd;
    const char *dir = setting("RUCHE_FAULT_DIR");
    size_t len = strlen(dir);
    const char *base = path ? strrchr(path, '/') : NULL;
    watched[fd] = base && strncmp(path, dir, len) == 0 && path[len] == '/' && strcmp(base, "/lock") != 0;
    return fd;
}

// Whether this call on `fd` is one that fails; then errno is set.
static int fails(int fd, const char *call) {
    if (fd < 0 || fd >= FDS || !watched[fd] || strcmp(call, setting("RUCHE_FAULT_CALL")) != 0) return 0;
    pthread_mutex_lock(&lock);
    long n = ++calls, at = atol(setting("RUCHE_FAULT_AT"));
    pthread_mutex_unlock(&lock);
    if (n < at || n >= at + atol(setting("RUCHE_FAULT_COUNT"))) return 0;
    if (n == at) {
        REAL(int, open64, const char *, int, ...);
        REAL(int, close, int);
        int hit = real_open64(setting("RUCHE_FAULT_HIT"), O_WRONLY | O_CREAT, 0600);
        if (hit < 0) abort();
        real_close(hit);
    }
    errno = atoi(setting("RUCHE_FAULT_ERRNO"));
    return 1;
}

#define OPEN(name) \
    int name(const char *path, int flags, ...) { \
        REAL(int, name, const char *, int, ...); \
        va_list args; va_start(args, flags); \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(args, mode_t) : 0; \
        va_end(args); \
        return opened(real_##name(path, flags, mode), path); \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name) \
    int name(int at, const char *path, int flags, ...) { \
        REAL(int, name, int, const char *, int, ...); \
        va_list args; va_start(args, flags); \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(args, mode_t) : 0; \
        va_end(args); \
        return opened(real_##name(at, path, flags, mode), path); \
    }
OPENAT(openat)
OPENAT(openat64)

int close(int fd) {
    REAL(int, close, int);
    if (fd >= 0 && fd < FDS) watched[fd] = 0;
    return real_close(fd);
}

#define PWRITE(name) \
    ssize_t name(int fd, const void *data, size_t count, off_t at) { \
        REAL(ssize_t, name, int, const void *, size_t, off_t); \
        if (!fails(fd, "write")) return real_##name(fd, data, count, at); \
        int error = errno; \
        if (error == EIO && real_##name(fd, data, count / 2, at) < 0) abort(); \
        errno = error; \
        return -1; \
    }
PWRITE(pwrite)
PWRITE(pwrite64)

ssize_t write(int fd, const void *data, size_t count) {
    REAL(ssize_t, write, int, const void *, size_t);
    return fails(fd, "write") ? -1 : real_write(fd, data, count);
}

int fsync(int fd) {
    return fails(fd, "sync") ? -1 : 0;
}

int fdatasync(int fd) {
    return fails(fd, "sync") ? -1 : 0;
}
