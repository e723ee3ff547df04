// A test program's access to libmoray_gpusim.so: as the runtime has it, by dlsym, with a fresh driver for each test.
#pragma once

#include "test/gpusim/driver/entry_points.h"
#include "test/gpusim/driver/gpusim_api.h"

#include <cstdlib>
#include <dlfcn.h>
#include <gtest/gtest.h>
#include <string>
#include <vector>

namespace gpusim {

/// All entry points by name; null where the library lacks one.
struct DriverTable {
#define GPUSIM_MEMBER(name, parameters) entry::name *name = nullptr;
  GPUSIM_ENTRY_POINTS(GPUSIM_MEMBER)
#undef GPUSIM_MEMBER
  decltype(&::moray_gpusim_counters) counters = nullptr;
  decltype(&::moray_gpusim_reports) reports = nullptr;
  decltype(&::moray_gpusim_report_count) reportCount = nullptr;
  decltype(&::moray_gpusim_reset) reset = nullptr;
};

/// Loaded once; ends the program if the library is missing.
const DriverTable &driverTable();

/// Kernels over u32 arrays: add_one(data, count), twice(data, count); with static shared memory, limits and faults.
extern const char *const testModule;

/// Compares results by name, so that a failure reads well.
std::string errorName(CUresult error);
#define EXPECT_CU(expected, call) EXPECT_EQ(errorName(expected), errorName(call))
#define ASSERT_CU(expected, call) ASSERT_EQ(errorName(expected), errorName(call))

class DriverTest : public ::testing::Test, public DriverTable {
protected:
  DriverTest() : DriverTable(driverTable()) {}
  void SetUp() override;
  void TearDown() override;

  /// Sets a variable for this test; to be followed by begin().
  void setVariable(const char *name, const char *value);
  /// Initialises the driver and makes the primary context current.
  void begin();
  /// Releases the primary context; a later begin() makes a new one.
  void end();
  CUmodule load(const char *text = testModule);
  CUfunction kernel(const char *name);
  CUdeviceptr allocate(const std::vector<uint32_t> &values);
  std::vector<uint32_t> read(CUdeviceptr address, size_t count);
  /// One block of 32 threads over `count` elements.
  CUresult launch(CUfunction function, CUdeviceptr data, uint32_t count, CUstream stream = nullptr);
  CUstream nonBlockingStream();
  CUevent event();
  /// Ends a capture that is expected to yield a graph, and makes it executable; the graph itself is destroyed.
  CUgraphExec finishCapture(CUstream stream);
  uint64_t counter(int which);
  std::string allReports();

  CUmodule module = nullptr;
  std::vector<std::string> variables;
};

} // namespace gpusim
