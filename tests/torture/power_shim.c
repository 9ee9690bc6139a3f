/* Records the operations of a process on the data file of a store, and on drafts that will replace it, in their order.

   Preloaded with LD_PRELOAD; appends records to $POWER_LOG: one byte of kind, then the file's inode, offset and length
   as 8 bytes each in the machine's order, and the data. W is a write, logged before it is done; S is a sync that has
   ended; T cuts or extends the file. A write to a descriptor that is opened with O_DSYNC is followed by a D, which is a
   sync of that write. R gives a file the name store.mdb; F is a sync of the folder $POWER_HOME that has ended. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static ssize_t (*real_writev)(int, const struct iovec *, int);

static int path_of(int fd, char path[PATH_MAX]) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return 1;
}

static int ends_with(const char *path, const char *end) {
    size_t length = strlen(path), wanted = strlen(end);
    return length >= wanted && strcmp(path + length - wanted, end) == 0;
}

/* The file's inode; 0 if the file is neither the data file nor a draft of it. */
static uint64_t store_of(int fd) {
    char path[PATH_MAX];
    struct stat found;
    if (!path_of(fd, path)) return 0;
    const char *name = strrchr(path, '/');
    if (!name || strncmp(name, "/store.", 7) || !(ends_with(name, ".mdb") || ends_with(name, ".draft"))) return 0;
    return fstat(fd, &found) ? 0 : found.st_ino;
}

static int is_home(int fd) {
    char path[PATH_MAX];
    return path_of(fd, path) && strcmp(path, getenv("POWER_HOME")) == 0;
}

static void record(char kind, uint64_t file, uint64_t offset, const struct iovec *data, int count) {
    static int log = -1;
    if (!real_writev) real_writev = dlsym(RTLD_NEXT, "writev");
    if (log < 0) log = open(getenv("POWER_LOG"), O_WRONLY | O_APPEND | O_CLOEXEC);
    char head[25];
    struct iovec parts[count + 1];
    uint64_t length = 0;
    for (int i = 0; i < count; i++) {
        parts[i + 1] = data[i];
        length += data[i].iov_len;
    }
    head[0] = kind;
    memcpy(head + 1, &file, 8);
    memcpy(head + 9, &offset, 8);
    memcpy(head + 17, &length, 8);
    parts[0].iov_base = head;
    parts[0].iov_len = sizeof head;
    if (log < 0 || real_writev(log, parts, count + 1) != (ssize_t)(length + sizeof head)) abort();
}

static void synced(int fd, uint64_t file, uint64_t offset, ssize_t done) {
    if (done >= 0 && fcntl(fd, F_GETFL) & O_DSYNC) record('D', file, offset, NULL, 0);
}

#define REAL(result, name, ...)                                                        \
    static result (*real)(__VA_ARGS__);                                                \
    if (!real) real = dlsym(RTLD_NEXT, #name)

#define PWRITE(name, off)                                                              \
    ssize_t name(int fd, const void *data, size_t size, off offset) {                  \
        REAL(ssize_t, name, int, const void *, size_t, off);                           \
        uint64_t file = store_of(fd);                                                  \
        if (!file) return real(fd, data, size, offset);                                \
        struct iovec one = {(void *)data, size};                                       \
        record('W', file, offset, &one, 1);                                            \
        ssize_t done = real(fd, data, size, offset);                                   \
        synced(fd, file, offset, done);                                                \
        return done;                                                                   \
    }

#define PWRITEV(name, off)                                                             \
    ssize_t name(int fd, const struct iovec *data, int count, off offset) {            \
        REAL(ssize_t, name, int, const struct iovec *, int, off);                      \
        uint64_t file = store_of(fd);                                                  \
        if (!file) return real(fd, data, count, offset);                               \
        record('W', file, offset, data, count);                                        \
        ssize_t done = real(fd, data, count, offset);                                  \
        synced(fd, file, offset, done);                                                \
        return done;                                                                   \
    }

#define SYNC(name)                                                                     \
    int name(int fd) {                                                                 \
        REAL(int, name, int);                                                          \
        int done = real(fd);                                                           \
        uint64_t file = store_of(fd);                                                  \
        if (done == 0 && file) record('S', file, 0, NULL, 0);                          \
        if (done == 0 && is_home(fd)) record('F', 0, 0, NULL, 0);                      \
        return done;                                                                   \
    }

#define TRUNCATE(name, off)                                                            \
    int name(int fd, off size) {                                                       \
        REAL(int, name, int, off);                                                     \
        uint64_t file = store_of(fd);                                                  \
        if (file) record('T', file, size, NULL, 0);                                    \
        return real(fd, size);                                                         \
    }

PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)
PWRITEV(pwritev, off_t)
PWRITEV(pwritev64, off64_t)
SYNC(fsync)
SYNC(fdatasync)
TRUNCATE(ftruncate, off_t)
TRUNCATE(ftruncate64, off64_t)

/* The offset of a write that names none. */
ssize_t write(int fd, const void *data, size_t size) {
    REAL(ssize_t, write, int, const void *, size_t);
    uint64_t file = store_of(fd);
    if (!file) return real(fd, data, size);
    struct iovec one = {(void *)data, size};
    uint64_t offset = lseek(fd, 0, SEEK_CUR);
    record('W', file, offset, &one, 1);
    ssize_t done = real(fd, data, size);
    synced(fd, file, offset, done);
    return done;
}

ssize_t writev(int fd, const struct iovec *data, int count) {
    if (!real_writev) real_writev = dlsym(RTLD_NEXT, "writev");
    uint64_t file = store_of(fd);
    if (!file) return real_writev(fd, data, count);
    uint64_t offset = lseek(fd, 0, SEEK_CUR);
    record('W', file, offset, data, count);
    ssize_t done = real_writev(fd, data, count);
    synced(fd, file, offset, done);
    return done;
}

int rename(const char *from, const char *to) {
    REAL(int, rename, const char *, const char *);
    struct stat found;
    if (ends_with(to, "/store.mdb") && !stat(from, &found)) record('R', found.st_ino, 0, NULL, 0);
    return real(from, to);
}

/* Writes through the memory map cannot be recorded, so the store must not use them. */
int msync(void *address, size_t length, int flags) {
    REAL(int, msync, void *, size_t, int);
    return real(address, length, flags);
}
