// A time of day that a test sets: preloaded into a process, it moves the clock or makes it stand. Everything that is
// measured (CLOCK_MONOTONIC: timeouts, waits) goes on as it is.
//
//   RUCHE_CLOCK_FILE    16 bytes, two numbers of 64 bits in the byte order of the machine: µs that are added to the real
//                       time, and the time at which the clock stands, µs since 1970, or 0 where it goes
//
// Several processes may share a file: then they have one clock.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static int (*real_clock_gettime)(clockid_t, struct timespec *);
static const int64_t *set;

__attribute__((constructor)) static void open_clock(void) {
    real_clock_gettime = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    const char *path = getenv("RUCHE_CLOCK_FILE");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    void *at = fd < 0 ? MAP_FAILED : mmap(NULL, 16, PROT_READ, MAP_SHARED, fd, 0);
    if (!real_clock_gettime || at == MAP_FAILED) {
        fprintf(stderr, "RUCHE_CLOCK_FILE names no clock\n");
        abort(); // A clock that nobody sets would make a test pass or fail for the wrong reason.
    }
    close(fd);
    set = at;
}

int clock_gettime(clockid_t clock, struct timespec *to) {
    // Before the constructor nobody asks for the time of day.
    if (!real_clock_gettime) real_clock_gettime = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int result = real_clock_gettime(clock, to);
    if (result != 0 || !set || (clock != CLOCK_REALTIME && clock != CLOCK_REALTIME_COARSE)) return result;
    int64_t ahead = __atomic_load_n(&set[0], __ATOMIC_SEQ_CST);
    int64_t stands = __atomic_load_n(&set[1], __ATOMIC_SEQ_CST);
    int64_t us = stands ? stands : (int64_t)to->tv_sec * 1000000 + to->tv_nsec / 1000 + ahead;
    to->tv_sec = us / 1000000;
    to->tv_nsec = us % 1000000 * 1000;
    return 0;
}
