// What a stream or a graph holds: one unit of work, queued and executed when somebody waits for it.
#pragma once

#include "test/gpusim/driver/cuda_abi.h"
#include "test/gpusim/exec/launch.h"

#include <chrono>
#include <memory>
#include <string>
#include <vector>

namespace gpusim {

/// A kernel of a loaded module with the attributes that its user has set.
struct Function {
  const Kernel *kernel = nullptr; // null once the module is unloaded
  std::string name;
  CUmodule module = nullptr;
  uint32_t maxDynamicShared = 0;
  int carveout = -1;
};

/// One recording of an event: done when its stream has come so far.
struct Marker {
  CUstream stream = nullptr;
  bool done = false;
  std::chrono::steady_clock::time_point time; // valid once done
};

struct Work {
  enum Kind { Launch, CopyToDevice, CopyToHost, CopyWithin, Fill, HostCall, Record, Wait };
  Kind kind = Launch;
  // Launch
  std::shared_ptr<Function> function;
  LaunchConfig launch;
  // Copies and fills: device or host addresses, as the kind says.
  uint64_t target = 0;
  uint64_t source = 0;
  uint64_t bytes = 0;
  std::shared_ptr<std::vector<uint8_t>> staged; // the source of a copy from pageable memory, taken when it was queued
  uint32_t pattern = 0;
  unsigned patternBytes = 1; // 1, 2 or 4
  // HostCall
  CUhostFn call = nullptr;
  void *userData = nullptr;
  // Record, Wait
  std::shared_ptr<Marker> marker;
};

/// The kind of graph node that holds the work; Record and Wait are never nodes.
GraphNodeType nodeType(Work::Kind kind);

struct GraphNode {
  Work work;
  std::vector<size_t> dependencies;    // indices of earlier nodes
  std::vector<void *> parameterValues; // filled on demand: pointers into work.launch.params
};

struct Graph {
  std::vector<GraphNode> nodes;
  std::vector<CUgraphNode> handles; // one per node
};

/// A graph ready to launch: its work in an order that its dependencies allow. Of several ready nodes the one captured
/// last comes first, so that a missing dependency shows.
struct GraphExec {
  explicit GraphExec(const Graph &graph);
  std::vector<Work> order;
  size_t kernels = 0;
};

} // namespace gpusim
