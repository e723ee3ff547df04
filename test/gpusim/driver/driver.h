// The simulated driver of this process, and the checks that every exported entry point begins with.
#pragma once

#include "test/gpusim/driver/context.h"
#include "test/gpusim/driver/entry_points.h"
#include "test/gpusim/driver/gpusim_api.h"
#include "test/gpusim/driver/report_log.h"

#include <chrono>

namespace gpusim {

/// The one device is number 0, its one context the primary one. Made on first use and never destroyed, as entry points
/// may be called while the process ends.
class Driver {
public:
  static Driver &get();

  /// cuInit: reads the environment.
  CUresult initialise();
  /// Reports what an unreleased context holds; when the process or the library ends.
  void finish();
  void reset();

  DriverMutex mutex; // held by every entry point for its whole duration, but while others execute work
  bool initialised = false;
  Settings settings;
  ReportLog reports;
  uint64_t counters[GPUSIM_COUNTERS] = {};
  std::shared_ptr<Context> primary; // null while nobody retains it
};

/// The contexts this thread has pushed; the last one is current.
std::vector<CUcontext> &contextStack();

/// What a call means while a stream is captured and after a fault.
enum class Call {
  Plain,   // harmless
  Unsafe,  // may wait for the device or move memory: forbidden while captured
  Query,   // as Unsafe, but answers NOT_READY rather than wait for a thread that executes work
  Destroy, // destroys an object: does so after a fault, too
};

/// Runs body(Driver &) under the lock, for calls that need no context.
template <typename Body> CUresult inDriver(Body body, bool patient = true) {
  if (inHostFunction())
    return CUDA_ERROR_NOT_PERMITTED;
  Driver &driver = Driver::get();
  std::unique_lock<DriverMutex> lock(driver.mutex, std::defer_lock);
  if (patient)
    lock.lock();
  else if (!lock.try_lock_for(std::chrono::milliseconds(2)))
    return CUDA_ERROR_NOT_READY;
  return driver.initialised ? body(driver) : CUresult(CUDA_ERROR_NOT_INITIALIZED);
}

/// Runs body(Context &) under the lock with the current context. A fault that happened before or inside answers
/// instead.
template <typename Body> CUresult inContext(Call call, Body body) {
  return inDriver(
      [&](Driver &driver) -> CUresult {
        CUcontext current = contextStack().empty() ? nullptr : contextStack().back();
        if (!current)
          return CUDA_ERROR_INVALID_CONTEXT;
        if (!driver.primary || driver.primary->handle != current)
          return CUDA_ERROR_CONTEXT_IS_DESTROYED;
        std::shared_ptr<Context> kept = driver.primary; // others may release it while this one waits
        Context &context = *kept;
        if (context.sticky && call != Call::Destroy)
          return context.sticky;
        if (call == Call::Unsafe || call == Call::Query)
          if (CUresult error = context.checkUnsafe())
            return error;
        CUresult result = body(context);
        return context.sticky ? context.sticky : result;
      },
      call != Call::Query);
}

} // namespace gpusim

// Declared once for all sources, so that definitions and entry_points.h agree.
namespace gpusim {
#define GPUSIM_DECLARE(name, parameters) GPUSIM_EXPORT CUresult name parameters;
GPUSIM_ENTRY_POINTS(GPUSIM_DECLARE)
#undef GPUSIM_DECLARE
} // namespace gpusim
