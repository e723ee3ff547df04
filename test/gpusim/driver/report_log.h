// What the simulator found so far: reports go to stderr at once and are kept for tests.
#pragma once

#include <atomic>
#include <cstddef>
#include <mutex>
#include <string>

namespace gpusim {

/// Safe to use from any thread.
class ReportLog {
public:
  /// Prints `text` on stderr and keeps it, with "gpusim: " before it unless it begins so.
  void add(const std::string &text);
  void clear();
  size_t count() const { return reports; }
  /// As moray_gpusim_reports.
  size_t copy(char *text, size_t size) const;

private:
  mutable std::mutex mutex;
  std::string all;
  std::atomic<size_t> reports{0};
};

} // namespace gpusim
