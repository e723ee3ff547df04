// Printing and keeping of reports.
#include "test/gpusim/driver/report_log.h"

#include <algorithm>
#include <cstdio>
#include <cstring>

namespace gpusim {

void ReportLog::add(const std::string &text) {
  std::lock_guard<std::mutex> lock(mutex);
  std::string report = (text.rfind("gpusim: ", 0) == 0 ? "" : "gpusim: ") + text + "\n";
  fputs(report.c_str(), stderr);
  all += report;
  ++reports;
}

void ReportLog::clear() {
  std::lock_guard<std::mutex> lock(mutex);
  all.clear();
  reports = 0;
}

size_t ReportLog::copy(char *text, size_t size) const {
  std::lock_guard<std::mutex> lock(mutex);
  if (size > 0) {
    size_t length = std::min(size - 1, all.size());
    memcpy(text, all.data(), length);
    text[length] = 0;
  }
  return all.size() + 1;
}

} // namespace gpusim
