// The CUDA driver of this machine, found at run time, and what its errors mean.
#pragma once
#include "runtime/base/status.h"
#include "runtime/device/cuda/driver_api.h"
#include <string>

namespace moray::rt::cuda {

// An opened driver library and one device with its primary context. Not copied; the library stays loaded for the life
// of the process.
class Driver {
public:
  Driver() = default;
  ~Driver();
  Driver(const Driver &) = delete;
  Driver &operator=(const Driver &) = delete;

  // Loads `library` (null: libcuda.so.1), initialises it and takes device `ordinal`. `hint` ends the messages: what
  // else can be done with the artifact. Errors: 5016 library, 5017 device, 5018 version, 5020 and 5021 from the driver.
  // `wraps`: modulo the number of devices.
  Status open(const char *library, unsigned ordinal, bool wraps, const std::string &hint);

  const DriverTable *operator->() const { return &table; }
  // Makes the context current on the calling thread.
  Status enter() const;

  // An error unless `result` is success. `what` completes "while ..."; `hint`, if any, ends the message.
  Status check(Result result, const char *what, const std::string &hint = {}) const;

  const char *name() const { return deviceName; }
  unsigned sm() const { return capability; }    // 10 * major + minor
  int version() const { return driverVersion; } // 1000 * major + 10 * minor of the CUDA version
  Status attribute(DeviceAttribute which, int &value) const;
  // Pinned memory of this device, as it is created to be mapped.
  MemoryProperties memoryProperties() const { return {kMemoryPinned, 0, {kLocationDevice, device}, nullptr, {}}; }
  // Of mapped memory; 0 where the device cannot map any.
  Status granularity(uint64_t &bytes) const;

private:
  Status load(const char *library, const std::string &hint);
  Status initialise(const std::string &hint);
  Status takeDevice(unsigned ordinal, bool wraps, const std::string &hint);

  DriverTable table = {};
  Device device = 0;
  Context context = nullptr;
  char deviceName[128] = {};
  unsigned capability = 0;
  int driverVersion = 0;
};

// Whether the context is lost after this result: no later call can work.
bool isSticky(Result result);

// The CUDA version (as Driver::version) that first understands PTX `version` (10 * major + minor).
int driverForPtx(unsigned version);

} // namespace moray::rt::cuda
