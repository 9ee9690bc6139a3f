"""A system that fails on demand: a preloaded library that obeys a file in memory."""

from __future__ import annotations

import mmap
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from needs import require

SOURCE: Final = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile int64_t nothing[4];
static volatile int64_t *said = nothing;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("UNDERSTUDY_TEST_SHIM");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0) return;
    void *map = mmap(0, 4096, PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
    if (map != MAP_FAILED) said = map;
}

#define REAL(name) static __typeof__(&name) real; if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

static struct timespec later(struct timespec at, int64_t nanoseconds) {
    int64_t sum = (int64_t)at.tv_sec * 1000000000 + at.tv_nsec + nanoseconds;
    return (struct timespec){sum / 1000000000, sum % 1000000000};
}

int clock_gettime(clockid_t clock, struct timespec *at) {
    REAL(clock_gettime);
    int code = real(clock, at);
    if (!code && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) at->tv_sec += said[0];
    if (!code && (clock == CLOCK_MONOTONIC || clock == CLOCK_MONOTONIC_COARSE)) *at = later(*at, -said[3]);
    return code;
}

/* Whoever has reckoned with a clock that stood still waits by the kernel's, which did not. */
int sem_clockwait(sem_t *restrict sem, clockid_t clock, const struct timespec *restrict until) {
    REAL(sem_clockwait);
    struct timespec at = clock == CLOCK_MONOTONIC ? later(*until, said[3]) : *until;
    return real(sem, clock, &at);
}

int clock_nanosleep(clockid_t clock, int flags, const struct timespec *until, struct timespec *left) {
    REAL(clock_nanosleep);
    struct timespec at = clock == CLOCK_MONOTONIC && flags ? later(*until, said[3]) : *until;
    return real(clock, flags, &at, left);
}

int pthread_cond_timedwait(pthread_cond_t *restrict cond, pthread_mutex_t *restrict mutex,
                           const struct timespec *restrict until) {
    static __typeof__(&pthread_cond_timedwait) real;
    /* Where there is an older version of it, dlsym gives that. */
    if (!real) real = (__typeof__(real))dlvsym(RTLD_NEXT, "pthread_cond_timedwait", "GLIBC_2.3.2");
    if (!real) real = (__typeof__(real))dlsym(RTLD_NEXT, "pthread_cond_timedwait");
    /* A condition does not tell its clock; no machine has been up for so long. */
    struct timespec at = until->tv_sec < 1000000000 ? later(*until, said[3]) : *until;
    return real(cond, mutex, &at);
}

int gettimeofday(struct timeval *restrict at, void *restrict zone) {
    REAL(gettimeofday);
    int code = real(at, zone);
    if (!code) at->tv_sec += said[0];
    return code;
}

time_t time(time_t *at) {
    REAL(time);
    time_t now = real(0) + said[0];
    if (at) *at = now;
    return now;
}

int fdatasync(int fd) {
    REAL(fdatasync);
    if (said[1]) { errno = (int)said[1]; return -1; }
    return real(fd);
}

int fsync(int fd) {
    REAL(fsync);
    if (said[1]) { errno = (int)said[1]; return -1; }
    return real(fd);
}

pid_t fork(void) {
    REAL(fork);
    if (said[2]) { errno = (int)said[2]; return -1; }
    return real();
}
"""


class Shim:
    """The environment for processes that shall have the shim."""

    def __init__(self, folder: Path) -> None:
        library, control = folder / "shim.so", folder / "shim.said"
        control.write_bytes(bytes(4096))
        source = folder / "shim.c"
        source.write_text(SOURCE)
        subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
        self.environ = {"LD_PRELOAD": str(library), "UNDERSTUDY_TEST_SHIM": str(control)}
        with control.open("r+b") as file:
            self._said = mmap.mmap(file.fileno(), 4096)

    def set_clock(self, seconds: int) -> None:
        """Set the wall clock ahead by this much."""
        struct.pack_into("=q", self._said, 0, seconds)

    def hold_back(self, seconds: float) -> None:
        """Set the monotonic clock back by this much, as if it had stood still."""
        struct.pack_into("=q", self._said, 24, int(seconds * 1e9))

    def fail_sync(self, errno: int) -> None:
        """Let syncs of a file fail with this error; 0: no longer."""
        struct.pack_into("=q", self._said, 8, errno)

    def fail_fork(self, errno: int) -> None:
        """Let forks fail with this error; 0: no longer."""
        struct.pack_into("=q", self._said, 16, errno)

    def close(self) -> None:
        self._said.close()


@contextmanager
def shim(folder: Path) -> Iterator[Shim]:
    """Processes started inside the block have the shim; this one does not."""
    require(shutil.which("gcc"), "a C compiler")
    it = Shim(folder)
    before = {name: os.environ.get(name) for name in it.environ}
    os.environ.update(it.environ)
    try:
        yield it
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        it.close()
