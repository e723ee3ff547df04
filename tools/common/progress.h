// Shows how far a long job is: a line with percentage and time left on a terminal, one line per ten seconds elsewhere.
#pragma once
#include <chrono>
#include <cstdint>
#include <string>

namespace moray::tools {

/// Progress of one job after another on stderr. Not thread safe; the caller serialises updates.
class Progress {
public:
  explicit Progress(bool quiet);
  ~Progress() { clear(); }

  /// Starts the job `name`; `total` is in any unit, 0 when unknown.
  void start(const std::string &name, uint64_t total);
  void update(uint64_t done);
  /// Removes the line from the terminal, for a message or the end.
  void clear();

private:
  using Clock = std::chrono::steady_clock;
  void print(uint64_t done, double seconds);

  bool quiet, terminal, shown = false;
  std::string name;
  uint64_t total = 0;
  Clock::time_point begin, last;
};

} // namespace moray::tools
