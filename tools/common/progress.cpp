// Implements the progress line.
#include "common/progress.h"

#include <cstdio>
#include <unistd.h>

namespace moray::tools {

Progress::Progress(bool quiet) : quiet(quiet), terminal(isatty(STDERR_FILENO) != 0) {}

void Progress::start(const std::string &jobName, uint64_t jobTotal) {
  clear();
  name = jobName;
  total = jobTotal;
  begin = last = Clock::now();
}

void Progress::update(uint64_t done) {
  Clock::time_point now = Clock::now();
  double pause = std::chrono::duration<double>(now - last).count();
  if (quiet || pause < (terminal ? 0.1 : 10.0))
    return;
  last = now;
  print(done, std::chrono::duration<double>(now - begin).count());
}

void Progress::print(uint64_t done, double seconds) {
  const char *begin = terminal ? "\r\033[K" : "";
  const char *end = terminal ? "" : "\n";
  if (total == 0 || done == 0)
    std::fprintf(stderr, "%s%s: %.0f s%s", begin, name.c_str(), seconds, end);
  else
    std::fprintf(stderr, "%s%s: %3.0f %%, %.0f s left%s", begin, name.c_str(), 100.0 * done / total,
                 seconds * (total > done ? total - done : 0) / done, end);
  std::fflush(stderr);
  shown = terminal;
}

void Progress::clear() {
  if (shown)
    std::fputs("\r\033[K", stderr);
  shown = false;
}

} // namespace moray::tools
