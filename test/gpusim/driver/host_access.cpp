// What libraries beside the simulator may do: reach device memory from host functions, report, ask about graphs.
#include "test/gpusim/driver/driver.h"

#include <algorithm>
#include <cstring>

using namespace gpusim;

namespace {

// Runs body(HostRange) under the lock.
template <typename Body> int onRange(const char *what, uint64_t address, size_t bytes, Body body) {
  Driver &driver = Driver::get();
  std::lock_guard<DriverMutex> lock(driver.mutex);
  if (!driver.primary)
    return CUDA_ERROR_CONTEXT_IS_DESTROYED;
  if (bytes != 0)
    if (HostRange range = driver.primary->resolve(what, address, bytes); range.bytes)
      body(range);
  return driver.primary->sticky;
}

} // namespace

int moray_gpusim_read(uint64_t address, size_t bytes, void *data, uint8_t *written) {
  return onRange("read by a host function", address, bytes, [&](HostRange range) {
    memcpy(data, range.bytes, bytes);
    memcpy(written, range.defined, bytes);
  });
}

int moray_gpusim_write(uint64_t address, size_t bytes, const void *data, const uint8_t *written) {
  return onRange("write by a host function", address, bytes, [&](HostRange range) {
    memcpy(range.bytes, data, bytes);
    memcpy(range.defined, written, bytes);
  });
}

void moray_gpusim_report(const char *text) { Driver::get().reports.add(text); }

size_t moray_gpusim_graphs_with(const void *userData) {
  Driver &driver = Driver::get();
  std::lock_guard<DriverMutex> lock(driver.mutex);
  size_t graphs = 0;
  if (!driver.primary)
    return 0;
  auto holds = [&](const Work &work) { return work.kind == Work::HostCall && work.userData == userData; };
  for (auto &[handle, graph] : driver.primary->graphs)
    graphs += std::any_of(graph->nodes.begin(), graph->nodes.end(), [&](const auto &node) { return holds(node.work); });
  for (auto &[handle, exec] : driver.primary->graphExecs)
    graphs += std::any_of(exec->order.begin(), exec->order.end(), holds);
  return graphs;
}
