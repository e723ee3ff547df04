// A scripted CUDA driver for the tests of the runtime: it keeps device memory on the heap, runs the toy kernels as C
// code and returns any error on request. Built as a library that the runtime opens by its path.
#pragma once
#include <cstddef>
#include <cstdint>

namespace moray::test {

// The machine that it pretends to be. Changes hold from the next call on.
struct FakeCuda {
  int sm = 80, driverVersion = 13000, devices = 1, sharedLimit = 163 << 10;
  size_t memory = size_t{1} << 30;
  bool refuseCubins = false; // 209, as on a chip they were not made for

  // The call of `function` (its exported name) after `skip` further ones returns `result`, as do the `times` - 1 calls
  // after it.
  const char *function = nullptr;
  int result = 0, skip = 0, times = 1;
  bool failed = false; // the scripted failure has happened

  // What has happened.
  size_t launches = 0, graphLaunches = 0, synchronisations = 0, uploads = 0, loads = 0;
  // What exists now: contexts, modules, memory, streams, events, graphs.
  int alive = 0;
  size_t allocated = 0; // device bytes
};

// The one machine.
FakeCuda &fakeCuda();

} // namespace moray::test
