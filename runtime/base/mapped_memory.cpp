// mmap of files and anonymous memory, and the estimate of what is left.
#include "runtime/base/mapped_memory.h"
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

namespace moray::rt {

Mapping::~Mapping() {
  if (length)
    munmap(start, length);
}

MappedFile::~MappedFile() {
  if (descriptor >= 0)
    close(descriptor);
}

Status MappedFile::open(const char *path) {
  descriptor = ::open(path, O_RDONLY | O_CLOEXEC);
  if (descriptor < 0)
    return fail(kE4001, "cannot open '%s': %s; give the path of a .moray file", path, strerror(errno));
  struct stat info;
  if (fstat(descriptor, &info) != 0)
    return fail(kE4001, "cannot read the size of '%s': %s", path, strerror(errno));
  if (!S_ISREG(info.st_mode))
    return fail(kE4001, "'%s' is not a regular file; give the path of a .moray file", path);
  if (info.st_size == 0)
    return {};
  const size_t size = static_cast<size_t>(info.st_size);
  void *address = mmap(nullptr, size, PROT_READ, MAP_SHARED, descriptor, 0);
  if (address == MAP_FAILED)
    return fail(kE4001, "cannot map '%s' (%zu bytes): %s", path, size, strerror(errno));
  mapping = Mapping(address, size);
  return {};
}

Status MappedFile::mapExecutable(uint64_t offset, uint64_t size, Mapping &code) const {
  void *address = mmap(nullptr, size, PROT_READ | PROT_EXEC, MAP_PRIVATE, descriptor, static_cast<off_t>(offset));
  if (address == MAP_FAILED)
    return fail(kE5015,
                "cannot map %llu bytes of code as executable: %s; put the artifact on a file system mounted without "
                "'noexec'",
                static_cast<unsigned long long>(size), strerror(errno));
  code = Mapping(address, size);
  return {};
}

bool allocatePages(uint64_t bytes, Mapping &memory) {
  if (bytes == 0)
    return true;
  void *address = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (address == MAP_FAILED)
    return false;
  madvise(address, bytes, MADV_HUGEPAGE); // a hint: failure changes speed only
  memory = Mapping(address, bytes);
  return true;
}

// The number after `key` in a small text file of the kernel, in its unit; ~0 where there is none.
static uint64_t readNumber(const char *path, const char *key) {
  char text[4096];
  FILE *file = fopen(path, "re");
  if (!file)
    return ~uint64_t{0};
  const size_t size = fread(text, 1, sizeof(text) - 1, file);
  fclose(file);
  text[size] = 0;
  const char *at = strstr(text, key);
  if (!at)
    return ~uint64_t{0};
  char *end = nullptr;
  const unsigned long long value = strtoull(at + strlen(key), &end, 10);
  return end == at + strlen(key) ? ~uint64_t{0} : value;
}

uint64_t availableMemory() {
  uint64_t available = readNumber("/proc/meminfo", "MemAvailable:");
  if (available != ~uint64_t{0})
    available *= 1024;
  // Of a control group, what is used includes page cache that can be dropped; the limit alone is an upper bound that is
  // certain.
  const uint64_t groupLimit = readNumber("/sys/fs/cgroup/memory.max", "");
  if (groupLimit < available)
    available = groupLimit;
  struct rlimit limit;
  if (getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY && limit.rlim_cur < available)
    available = limit.rlim_cur;
  return available;
}

} // namespace moray::rt
