// Temporary file, fsync, rename.
#include "codegen/Package/AtomicFile.h"

#include "llvm/Support/Errc.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/Signals.h"
#include <cerrno>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <iterator>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include <utility>

using namespace moray::codegen;

static llvm::Error ioError(const char *code, const std::string &what, const std::string &path) {
  return llvm::createStringError(llvm::errc::io_error, "%s: cannot %s '%s': %s", code, what.c_str(), path.c_str(),
                                 std::strerror(errno));
}

static std::string directoryOf(const std::string &path) {
  llvm::StringRef parent = llvm::sys::path::parent_path(path);
  return parent.empty() ? "." : parent.str();
}

/// Of the whole process, as signals are.
static void (*interruptFunction)() = nullptr;

void moray::codegen::keepIgnoredSignals(void (*onInterrupt)()) {
  if (onInterrupt)
    interruptFunction = onInterrupt;
  const int signals[] = {SIGHUP, SIGINT, SIGTERM, SIGQUIT};
  struct sigaction before[std::size(signals)];
  for (size_t i = 0; i < std::size(signals); ++i)
    sigaction(signals[i], nullptr, &before[i]);
  llvm::sys::SetInterruptFunction(interruptFunction); // makes LLVM install its handlers, too
  for (size_t i = 0; i < std::size(signals); ++i)
    if (before[i].sa_handler == SIG_IGN)
      sigaction(signals[i], &before[i], nullptr);
}

llvm::Error AtomicFile::check(const std::string &path) {
  struct stat old;
  if (stat(path.c_str(), &old) == 0 && !S_ISREG(old.st_mode))
    return llvm::createStringError(llvm::errc::invalid_argument,
                                   "E3411: '%s' is %s, expected a file that may be replaced: choose another -o",
                                   path.c_str(), S_ISDIR(old.st_mode) ? "a directory" : "a device or a pipe");
  std::string directory = directoryOf(path);
  if (access(directory.c_str(), W_OK | X_OK) != 0)
    return ioError("E3411", "write to directory", directory);
  return llvm::Error::success();
}

llvm::Expected<AtomicFile> AtomicFile::create(const std::string &path, uint64_t bytes) {
  if (llvm::Error problem = check(path))
    return std::move(problem);
  std::string directory = directoryOf(path);
  struct statvfs space;
  if (statvfs(directory.c_str(), &space) != 0)
    return ioError("E3411", "write to directory", directory);
  uint64_t available = uint64_t(space.f_bavail) * space.f_frsize;
  if (available < bytes)
    return llvm::createStringError(
        llvm::errc::no_space_on_device,
        "E3412: '%s' has %llu MiB free, the artifact needs %llu MiB: free space or choose another -o",
        directory.c_str(), static_cast<unsigned long long>(available >> 20),
        static_cast<unsigned long long>((bytes >> 20) + 1));
  std::string temporary = path + ".tmp-XXXXXX";
  int descriptor = mkostemp(temporary.data(), O_CLOEXEC);
  if (descriptor < 0)
    return ioError("E3411", "create a file beside", path);
  keepIgnoredSignals();
  llvm::sys::RemoveFileOnSignal(temporary);
  return AtomicFile(path, std::move(temporary), descriptor);
}

AtomicFile::AtomicFile(AtomicFile &&other)
    : path(std::move(other.path)), temporary(std::move(other.temporary)),
      descriptor(std::exchange(other.descriptor, -1)) {}

AtomicFile::~AtomicFile() {
  if (descriptor < 0)
    return;
  close(descriptor);
  unlink(temporary.c_str());
  llvm::sys::DontRemoveFileOnSignal(temporary);
}

llvm::Error AtomicFile::fail(const char *what) const { return ioError("E3413", what, path); }

llvm::Error AtomicFile::writeAt(uint64_t offset, llvm::ArrayRef<uint8_t> bytes) {
  while (!bytes.empty()) {
    ssize_t written = pwrite(descriptor, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (written < 0 && errno == EINTR)
      continue;
    if (written <= 0)
      return fail("write");
    offset += written;
    bytes = bytes.drop_front(written);
  }
  return llvm::Error::success();
}

llvm::Error AtomicFile::commit(uint64_t size) {
  mode_t mask = umask(0);
  umask(mask);
  if (ftruncate(descriptor, static_cast<off_t>(size)) != 0 || fchmod(descriptor, 0666 & ~mask) != 0 ||
      fsync(descriptor) != 0)
    return fail("finish");
  if (rename(temporary.c_str(), path.c_str()) != 0)
    return fail("rename to");
  llvm::sys::DontRemoveFileOnSignal(temporary);
  close(std::exchange(descriptor, -1));
  int folder = open(directoryOf(path).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder >= 0) {
    fsync(folder);
    close(folder);
  }
  return llvm::Error::success();
}
