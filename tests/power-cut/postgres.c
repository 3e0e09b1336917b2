// A disk that forgets, for a program of many processes: preloaded into PostgreSQL, it keeps a second copy of one folder
// that holds only what was synced. A test kills all processes and makes from the second copy what a power cut leaves.
//
//   RUCHE_CUT_DIR      folder to watch (real path)
//   RUCHE_CUT_SHADOW   folder for what was synced, on the same file system:
//     content/<id>     synced content of each file; the id is its inode with its time of birth, so that a name can move
//     tree/<path>      synced names: hard links to contents
//     lock             taken for each sync
//
// fsync of a file makes its content durable and its name, as the journals of ext4 and XFS do; fdatasync makes the content
// durable only; fsync of a folder makes its names durable: new ones, moved ones, and that others are gone. Nothing else
// makes anything durable. A file whose name is durable and whose content never was is empty. Content is that of the file
// at the time of the sync, whoever wrote it. One sync at a time; a kill inside one leaves a part of it, as a real cut does.
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static char watched[PATH_MAX], shadow[PATH_MAX];

static void die(const char *what) {
    perror(what);
    abort(); // A shim that lost track would make the test pass for the wrong reason.
}

__attribute__((constructor)) static void start(void) {
    const char *dir = getenv("RUCHE_CUT_DIR"), *copy = getenv("RUCHE_CUT_SHADOW");
    if (!dir || !copy) return;
    snprintf(watched, sizeof watched, "%s", dir);
    snprintf(shadow, sizeof shadow, "%s", copy);
}

__attribute__((format(printf, 2, 3))) static void path_of(char *out, const char *format, ...) {
    va_list args;
    va_start(args, format);
    if (vsnprintf(out, PATH_MAX, format, args) >= PATH_MAX) die("path too long");
    va_end(args);
}

// The content of a file in the shadow.
static void content_of(char *out, int at, const char *name) {
    struct statx st;
    if (statx(at, name, name[0] ? AT_SYMLINK_NOFOLLOW : AT_EMPTY_PATH, STATX_INO | STATX_BTIME, &st) != 0) {
        out[0] = 0; // Gone meanwhile.
        return;
    }
    if (!(st.stx_mask & STATX_BTIME)) die("the file system does not know when a file was made");
    path_of(out, "%s/content/%llu-%lld.%09u", shadow, (unsigned long long)st.stx_ino,
            (long long)st.stx_btime.tv_sec, st.stx_btime.tv_nsec);
}

// Makes the name durable; whatever had it before is replaced in one step.
static void keep_name(const char *relative, const char *content) {
    char name[PATH_MAX], temporary[PATH_MAX];
    path_of(name, "%s/tree/%s", shadow, relative);
    path_of(temporary, "%s/name-%d", shadow, getpid());
    for (char *slash = name + strlen(shadow) + 6; (slash = strchr(slash, '/')); slash++) {
        *slash = 0;
        if (mkdir(name, 0700) != 0 && errno != EEXIST) die(name);
        *slash = '/';
    }
    unlink(temporary);
    if (link(content, temporary) != 0) die(temporary);
    // Does nothing, and leaves the temporary name, where both are the same file already.
    if (rename(temporary, name) != 0) die(name);
    unlink(temporary);
}

static void keep_content(int fd, const char *content) {
    char block[65536];
    struct stat st;
    int in = fd, out = open(content, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (out < 0) die(content);
    off_t at = 0;
    ssize_t got;
    char own[64];
    snprintf(own, sizeof own, "/proc/self/fd/%d", fd);
    // The descriptor may be open for writing only.
    if ((fcntl(fd, F_GETFL) & O_ACCMODE) == O_WRONLY && (in = open(own, O_RDONLY | O_CLOEXEC)) < 0) die(own);
    while ((got = pread(in, block, sizeof block, at)) > 0) {
        if (pwrite(out, block, (size_t)got, at) != got) die(content);
        at += got;
    }
    if (got < 0 || fstat(fd, &st) != 0 || ftruncate(out, st.st_size) != 0) die(content);
    if (in != fd) close(in);
    close(out);
}

// Makes the names of a folder as they are now.
static void keep_folder(int fd, const char *relative) {
    char name[PATH_MAX], below[PATH_MAX], content[PATH_MAX];
    const char *slash = relative[0] ? "/" : "";
    int again = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = again < 0 ? NULL : fdopendir(again);
    if (!dir) die(relative);
    struct dirent *entry;
    struct stat st;
    while ((entry = readdir(dir))) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        path_of(below, "%s%s%s", relative, slash, entry->d_name);
        if (fstatat(fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0) continue;
        if (S_ISDIR(st.st_mode)) {
            path_of(name, "%s/tree/%s", shadow, below);
            if (mkdir(name, 0700) != 0 && errno != EEXIST) die(name);
        } else if (S_ISREG(st.st_mode)) {
            content_of(content, fd, entry->d_name);
            if (!content[0]) continue;
            int made = open(content, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
            if (made < 0) die(content);
            close(made);
            keep_name(below, content);
        }
    }
    closedir(dir);
    path_of(name, "%s/tree/%s", shadow, relative);
    if (!(dir = opendir(name))) return; // Nothing in it is durable.
    while ((entry = readdir(dir))) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        if (fstatat(fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0) continue;
        static unsigned gone;
        path_of(name, "%s/tree/%s%s%s", shadow, relative, slash, entry->d_name);
        path_of(below, "%s/gone-%d-%u", shadow, getpid(), gone++);
        if (rename(name, below) != 0) die(name);
    }
    closedir(dir);
}

static int sync_of(int fd, int with_name) {
    char own[64], path[PATH_MAX], content[PATH_MAX];
    if (!watched[0]) return 0;
    int saved = errno;
    snprintf(own, sizeof own, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(own, path, sizeof path - 1);
    if (length < 0) {
        errno = EBADF;
        return -1;
    }
    path[length] = 0;
    size_t prefix = strlen(watched);
    struct stat st;
    if (strncmp(path, watched, prefix) != 0 || (path[prefix] && path[prefix] != '/')) return 0;
    const char *relative = path[prefix] ? path + prefix + 1 : "";
    path_of(content, "%s/lock", shadow);
    // Opened anew, so that a process does not share the lock with its children.
    int lock = open(content, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (lock < 0 || flock(lock, LOCK_EX) != 0 || fstat(fd, &st) != 0) die("lock");
    if (S_ISDIR(st.st_mode)) {
        keep_folder(fd, relative);
    } else if (st.st_nlink > 0) {
        content_of(content, fd, "");
        if (!content[0]) die(path);
        keep_content(fd, content);
        if (with_name) keep_name(relative, content);
    }
    close(lock);
    errno = saved;
    return 0;
}

int fsync(int fd) {
    return sync_of(fd, 1);
}

int fdatasync(int fd) {
    return sync_of(fd, 0);
}
