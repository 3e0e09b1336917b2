// A disk that forgets: preloaded into a process, it keeps a second copy of every file of one folder that holds only
// what was synced. A test kills the process at any instant and puts the second copy in the place of the first: that is
// what a power cut leaves if the disk throws away everything that was not flushed.
//
//   RUCHE_CUT_DIR      folder to watch (real path)
//   RUCHE_CUT_SHADOW   folder for the synced copies
//
// Writes are noted as ranges; fsync and fdatasync copy the noted ranges. A kill inside such a copy leaves a part of it,
// as a real cut inside a flush does. Shared-memory files (-shm) and the lock file are not data and are left out.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FDS 4096
#define FILES 64

struct range { off_t from, to; };
struct file {
    char name[256];
    struct range *ranges;
    size_t count, room;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct file files[FILES];
static struct file *by_fd[FDS];

#define REAL(ret, name, ...) \
    static ret (*real_##name)(__VA_ARGS__); \
    if (!real_##name) real_##name = (ret (*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name)

static void die(const char *what) {
    perror(what);
    abort(); // A shim that lost track would make the test pass for the wrong reason.
}

static const char *watched_name(const char *path) {
    const char *dir = getenv("RUCHE_CUT_DIR");
    if (!dir || !path) return NULL;
    const char *base = strrchr(path, '/');
    if (!base) return NULL;
    size_t len = strlen(dir);
    if ((size_t)(base - path) != len || strncmp(path, dir, len) != 0) return NULL;
    base++;
    size_t n = strlen(base);
    if (n == 0 || strcmp(base, "lock") == 0 || (n > 4 && strcmp(base + n - 4, "-shm") == 0)) return NULL;
    return base;
}

static void shadow_path(char *out, size_t size, const char *name) {
    const char *dir = getenv("RUCHE_CUT_SHADOW");
    if (!dir) die("RUCHE_CUT_SHADOW");
    if (snprintf(out, size, "%s/%s", dir, name) >= (int)size) die("shadow path");
}

static struct file *file_of(const char *name) {
    for (int i = 0; i < FILES; i++) {
        if (files[i].name[0] == 0) snprintf(files[i].name, sizeof files[i].name, "%s", name);
        if (strcmp(files[i].name, name) == 0) return &files[i];
    }
    die("too many files");
    return NULL;
}

static int opened(int fd, const char *path) {
    const char *name = fd >= 0 && fd < FDS ? watched_name(path) : NULL;
    if (fd >= 0 && fd < FDS) {
        pthread_mutex_lock(&lock);
        by_fd[fd] = name ? file_of(name) : NULL;
        pthread_mutex_unlock(&lock);
    }
    return fd;
}

static void wrote(int fd, off_t from, ssize_t bytes) {
    if (bytes <= 0 || fd < 0 || fd >= FDS || !by_fd[fd]) return;
    pthread_mutex_lock(&lock);
    struct file *f = by_fd[fd];
    struct range *last = f->count ? &f->ranges[f->count - 1] : NULL;
    if (last && last->to == from) {
        last->to += bytes;
    } else {
        if (f->count == f->room) {
            f->room = f->room ? 2 * f->room : 256;
            f->ranges = realloc(f->ranges, f->room * sizeof *f->ranges);
            if (!f->ranges) die("realloc");
        }
        f->ranges[f->count++] = (struct range){ from, from + bytes };
    }
    pthread_mutex_unlock(&lock);
}

static ssize_t plain_pwrite(int fd, const void *data, size_t count, off_t at) {
    REAL(ssize_t, pwrite64, int, const void *, size_t, off_t);
    return real_pwrite64(fd, data, count, at);
}

static void synced(int fd) {
    if (fd < 0 || fd >= FDS || !by_fd[fd]) return;
    pthread_mutex_lock(&lock);
    struct file *f = by_fd[fd];
    char path[4096], block[65536];
    shadow_path(path, sizeof path, f->name);
    REAL(int, open64, const char *, int, ...);
    int out = real_open64(path, O_WRONLY | O_CREAT, 0600);
    if (out < 0) die(path);
    for (size_t i = 0; i < f->count; i++) {
        off_t at = f->ranges[i].from;
        while (at < f->ranges[i].to) {
            size_t want = (size_t)(f->ranges[i].to - at);
            ssize_t got = pread(fd, block, want < sizeof block ? want : sizeof block, at);
            if (got <= 0) break; // Truncated meanwhile.
            if (plain_pwrite(out, block, (size_t)got, at) != got) die("shadow write");
            at += got;
        }
    }
    struct stat st;
    REAL(int, ftruncate64, int, off_t);
    if (fstat(fd, &st) != 0 || real_ftruncate64(out, st.st_size) != 0) die("shadow truncate");
    REAL(int, close, int);
    real_close(out);
    f->count = 0;
    pthread_mutex_unlock(&lock);
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
    if (fd >= 0 && fd < FDS) by_fd[fd] = NULL;
    return real_close(fd);
}

#define PWRITE(name) \
    ssize_t name(int fd, const void *data, size_t count, off_t at) { \
        REAL(ssize_t, name, int, const void *, size_t, off_t); \
        ssize_t done = real_##name(fd, data, count, at); \
        wrote(fd, at, done); \
        return done; \
    }
PWRITE(pwrite)
PWRITE(pwrite64)

ssize_t write(int fd, const void *data, size_t count) {
    REAL(ssize_t, write, int, const void *, size_t);
    off_t at = fd >= 0 && fd < FDS && by_fd[fd] ? lseek(fd, 0, SEEK_CUR) : 0;
    ssize_t done = real_write(fd, data, count);
    wrote(fd, at, done);
    return done;
}

int fsync(int fd) {
    synced(fd);
    return 0;
}

int fdatasync(int fd) {
    synced(fd);
    return 0;
}

int unlink(const char *path) {
    REAL(int, unlink, const char *);
    const char *name = watched_name(path);
    int done = real_unlink(path);
    if (done == 0 && name) {
        char shadow[4096];
        shadow_path(shadow, sizeof shadow, name);
        real_unlink(shadow);
        pthread_mutex_lock(&lock);
        file_of(name)->count = 0;
        pthread_mutex_unlock(&lock);
    }
    return done;
}
