// Implements what every command line tool shares.
#include "common/cli.h"

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

namespace moray::tools {

static volatile std::sig_atomic_t interruptCount = 0, interruptSignal = 0;

int fail(const char *code, const std::string &message, const std::string &fix, int exitCode) {
  std::fprintf(stderr, "error[%s]: %s\n", code, message.c_str());
  if (!fix.empty())
    std::fprintf(stderr, "  fix: %s\n", fix.c_str());
  return exitCode;
}

// Reading from a stream that was closed finds its end, writing to stdout fails, messages vanish.
static void openStandardStreams() {
  for (int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO})
    if (fcntl(stream, F_GETFD) < 0 && errno == EBADF)
      (void)open("/dev/null", stream == STDERR_FILENO ? O_WRONLY : O_RDONLY); // takes the lowest free number
}

bool parseArguments(CLI::App &app, int argc, char **argv, int &exitCode) {
  openStandardStreams();
  try {
    app.parse(argc, argv);
    return true;
  } catch (const CLI::ParseError &error) {
    exitCode = kExitOk;
    if (error.get_exit_code() == static_cast<int>(CLI::ExitCodes::Success)) {
      app.exit(error); // prints help or version on stdout
      exitCode = flushOut();
    } else {
      exitCode = fail("E1001", error.what(), "see " + app.get_name() + " --help", kExitUsage);
    }
    return false;
  }
}

bool parseTokenIds(const std::string &text, std::vector<int32_t> &ids) {
  const char *cursor = text.c_str();
  while (true) {
    char *end = nullptr;
    errno = 0;
    long long value = std::strtoll(cursor, &end, 10);
    if (end == cursor || errno != 0 || value < 0 || value > INT32_MAX || (*end != ',' && *end != '\0')) {
      fail("E1004", "'" + text + "' is not a list of token ids (at '" + cursor + "')",
           "write ids from 0 on, separated by commas: 1,2,3", kExitUsage);
      return false;
    }
    ids.push_back(static_cast<int32_t>(value));
    if (*end == '\0')
      return true;
    cursor = end + 1;
  }
}

bool readFile(const std::string &path, std::string &content) {
  int file = path == "-" ? dup(STDIN_FILENO) : open(path.c_str(), O_RDONLY | O_CLOEXEC);
  char block[1 << 16];
  ssize_t got = -1;
  while (file >= 0 && (got = read(file, block, sizeof block)) != 0) {
    if (got < 0 && errno == EINTR && !interrupted())
      continue;
    if (got < 0)
      break;
    content.append(block, static_cast<size_t>(got));
  }
  int reason = errno;
  if (file >= 0)
    close(file);
  if (got == 0)
    return true;
  fail("E1002", "cannot read '" + path + "': " + std::strerror(reason), "name a file that exists and is readable",
       kExitUsage);
  return false;
}

// mpirun sends each signal twice, to a process and to its group: only what comes later is a second wish.
static void onInterrupt(int signal) {
  static struct timespec first;
  struct timespec now = {};
  clock_gettime(CLOCK_MONOTONIC, &now);
  if (interruptCount == 0)
    first = now;
  const long ms = 1000 * (now.tv_sec - first.tv_sec) + (now.tv_nsec - first.tv_nsec) / 1000000;
  interruptCount = 1;
  interruptSignal = signal;
  if (ms >= 200)
    _exit(128 + signal);
}

void installSignalHandlers() {
  struct sigaction action = {};
  action.sa_handler = onInterrupt; // without SA_RESTART: a read from a terminal ends, too
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
}

const volatile int *interruptFlag() { return &interruptCount; }

bool interrupted() { return interruptCount != 0; }

int interruptedExit() { return 128 + interruptSignal; }

int writeOut(const char *text, size_t bytes) {
  errno = 0;
  std::fwrite(text, 1, bytes, stdout); // a failure shows in the stream's state
  return flushOut();
}

int flushOut() {
  if (std::fflush(stdout) == 0 && !std::ferror(stdout))
    return kExitOk;
  if (errno == EPIPE)
    return kExitClosedPipe;
  return fail("E1003", std::string("cannot write the result to stdout: ") + std::strerror(errno ? errno : EIO),
              "check the free space where it goes", kExitResources);
}

CLI::Validator numberBetween(double least, double most, bool includingLeast) {
  return CLI::Validator(
      [=](std::string &text) {
        char *end = nullptr;
        double value = std::strtod(text.c_str(), &end);
        bool valid =
            end != text.c_str() && *end == '\0' && value <= most && (includingLeast ? value >= least : value > least);
        char range[96];
        std::snprintf(range, sizeof range, " not in range %s%g to %g", includingLeast ? "" : "above ", least, most);
        return valid ? std::string() : "Value " + text + range;
      },
      "");
}

CLI::Validator wholeNumber() {
  return CLI::Validator(
      [](std::string &text) {
        errno = 0;
        std::strtoull(text.c_str(), nullptr, 0);
        bool valid = errno == 0 && !text.empty() && text[0] >= '0' && text[0] <= '9';
        return valid ? std::string() : "Value " + text + " not in range 0 to 18446744073709551615";
      },
      "");
}

} // namespace moray::tools
