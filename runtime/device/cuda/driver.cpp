// Opens the driver library by name and turns its codes into sentences.
#include "runtime/device/cuda/driver.h"
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <dlfcn.h>

namespace moray::rt::cuda {

namespace {

// Stream capture of the second interface and everything else in the table.
constexpr int kOldestDriver = 11040;

struct Meaning {
  Result result;
  Code code;
  const char *sentence;
};

const Meaning kMeanings[] = {
    {kInvalidValue, kE5021, "the driver refuses an argument; compile the model again, and report this if it stays"},
    {kOutOfMemory, kE5001, "the device has no memory left; use a shorter context, fewer sequences or fewer rows"},
    {kNotInitialized, kE5021, "the driver is not initialised; start again"},
    {kDeinitialized, kE5021, "the driver is shutting down with the process"},
    {kStubLibrary, kE5016,
     "this is the stub library of the CUDA toolkit, not a driver; give the path of the driver's libcuda.so.1 with "
     "--cuda-library"},
    {kNewerDriverNeeded, kE5018, "the driver is too old for this call; update it"},
    {kDeviceUnavailable, kE5017, "the device is unavailable or used by another process alone; see nvidia-smi"},
    {kNoDevice, kE5017, "the driver finds no GPU; check nvidia-smi and CUDA_VISIBLE_DEVICES"},
    {kInvalidDevice, kE5017, "there is no such device; nvidia-smi -L lists them"},
    {kInvalidImage, kE5019, "the driver takes the code for damaged; copy the artifact again or compile it again"},
    {kInvalidContext, kE5021, "the context is gone; start again"},
    {kNoBinaryForGpu, kE4026, "the code is for other chips; compile the model for this one"},
    {kEccUncorrectable, kE5020, "the device found a memory error that it cannot correct; reset or replace it"},
    {kInvalidPtx, kE5019, "the driver's compiler rejects the PTX; compile the model again"},
    {kNvlinkUncorrectable, kE5020, "the link between GPUs failed; reset the device"},
    {kJitCompilerNotFound, kE5019,
     "the driver's PTX compiler is not installed; install libnvidia-ptxjitcompiler, or compile the model where ptxas "
     "is "
     "found, so that the artifact has cubins"},
    {kUnsupportedPtxVersion, kE5018,
     "the PTX is newer than the driver; update the driver, or compile the model where ptxas is found, so that the "
     "artifact has cubins"},
    {kJitCompilationDisabled, kE5019,
     "compilation of PTX is switched off; unset CUDA_DISABLE_PTX_JIT, or compile the model where ptxas is found"},
    {kContained, kE5020, "the device contained a memory error; end this process and start again"},
    {kOperatingSystem, kE5021, "a call of the operating system failed; check the access to /dev/nvidia*"},
    {kInvalidHandle, kE5021, "a handle is not valid; report this with the artifact"},
    {kNotFound, kE5019, "a name is missing in the code; compile the model again"},
    {kNotReady, kE5021, "the device has not finished; report this"},
    {kIllegalAddress, kE5020, "a kernel used memory that it does not own; the context is lost, start again"},
    {kLaunchOutOfResources, kE5021,
     "a kernel needs more registers or shared memory than the device has; compile the model for this chip"},
    {kLaunchTimeout, kE5020, "a kernel ran longer than the display's watchdog allows; the context is lost"},
    {kContextIsDestroyed, kE5020, "the context was destroyed by someone else; start again"},
    {kAssert, kE5020, "an assertion in a kernel failed; the context is lost, start again"},
    {kHardwareStackError, kE5020, "a kernel's stack overflowed or is damaged; the context is lost, start again"},
    {kIllegalInstruction, kE5020, "a kernel met an illegal instruction; the context is lost, start again"},
    {kMisalignedAddress, kE5020, "a kernel used an address that is not aligned; the context is lost, start again"},
    {kInvalidAddressSpace, kE5020, "a kernel used an address of the wrong state space; the context is lost"},
    {kInvalidPc, kE5020, "a kernel jumped to an invalid place; the context is lost, start again"},
    {kLaunchFailed, kE5020, "a kernel failed on the device; the context is lost, start again"},
    {kTensorMemoryLeak, kE5020, "a kernel left tensor memory behind; the context is lost, start again"},
    {kNotSupported, kE5021, "device or driver do not support this call; update the driver"},
    {kSystemNotReady, kE5017, "the system is not ready; start the fabric manager (nvidia-fabricmanager)"},
    {kSystemDriverMismatch, kE5018, "library and kernel module of the driver differ; reboot after the driver's update"},
    {kCompatNotSupported, kE5018, "the compatibility driver does not support this device; update the driver"},
    {kStreamCaptureUnsupported, kE5021, "a call cannot be captured; switch graphs off (cuda_graphs 0)"},
    {kStreamCaptureInvalidated, kE5021, "the capture of a graph broke off; switch graphs off (cuda_graphs 0)"},
    {kExternalDevice, kE5020, "a device outside of this process failed; start again"},
    {kUnknown, kE5021, "the driver does not say more; see dmesg for a line that starts with NVRM"},
};

const Meaning *findMeaning(Result result) {
  for (const Meaning &meaning : kMeanings)
    if (meaning.result == result)
      return &meaning;
  return nullptr;
}

} // namespace

bool isSticky(Result result) {
  const Meaning *meaning = findMeaning(result);
  return meaning && meaning->code == kE5020;
}

int driverForPtx(unsigned version) {
  if (version <= 78) // 7.0 came with CUDA 11.0, and so on
    return version < 70 ? kOldestDriver : std::max(kOldestDriver, 11000 + 10 * static_cast<int>(version - 70));
  if (version <= 85)
    return 12000 + 10 * static_cast<int>(version - 80);
  if (version < 90) // 8.6 came with CUDA 12.7
    return 12000 + 10 * static_cast<int>(version - 79);
  return 13000 + 10 * static_cast<int>(version - 90);
}

Driver::~Driver() {
  if (context)
    table.primaryCtxRelease(device); // nothing is left to do about a failure
}

Status Driver::open(const char *library, unsigned ordinal, bool wraps, const std::string &hint) {
  MORAY_TRY(load(library ? library : "libcuda.so.1", hint));
  MORAY_TRY(initialise(hint));
  return takeDevice(ordinal, wraps, hint);
}

Status Driver::load(const char *library, const std::string &hint) {
  void *handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
  if (!handle) {
    const char *reason = dlerror();
    return fail(kE5016,
                "the CUDA driver library cannot be loaded: %s; install the NVIDIA driver or give its path with "
                "--cuda-library; %s",
                reason ? reason : library, hint.c_str());
  }
  const char *missing = nullptr;
  void *address = nullptr;
#define MORAY_CUDA_LOAD(member, symbol, result, parameters)                                                            \
  address = dlsym(handle, #symbol);                                                                                    \
  missing = address || missing ? missing : #symbol;                                                                    \
  memcpy(&table.member, &address, sizeof(address));
  MORAY_CUDA_SYMBOLS(MORAY_CUDA_LOAD)
#undef MORAY_CUDA_LOAD
  if (missing)
    return fail(kE5018,
                "'%s' has no function %s: it is no CUDA driver, or older than CUDA %d.%d; update the driver, or give "
                "its path with --cuda-library; %s",
                library, missing, kOldestDriver / 1000, kOldestDriver % 1000 / 10, hint.c_str());
  return {};
}

Status Driver::initialise(const std::string &hint) {
  // The version is known without a device, and tells more than the failure of an old driver does.
  MORAY_TRY(check(table.driverGetVersion(&driverVersion), "asking for its version"));
  if (driverVersion < kOldestDriver)
    return fail(kE5018, "the driver is of CUDA %d.%d, this runtime needs %d.%d; update the driver; %s",
                driverVersion / 1000, driverVersion % 1000 / 10, kOldestDriver / 1000, kOldestDriver % 1000 / 10,
                hint.c_str());
  return check(table.init(0), "initialising the driver", hint);
}

Status Driver::takeDevice(unsigned ordinal, bool wraps, const std::string &hint) {
  int count = 0, major = 0, minor = 0;
  MORAY_TRY(check(table.deviceGetCount(&count), "counting devices"));
  if (count < 1)
    return fail(kE5017, "the driver finds no GPU; check nvidia-smi and CUDA_VISIBLE_DEVICES; %s", hint.c_str());
  if (wraps)
    ordinal %= static_cast<unsigned>(count);
  if (ordinal >= static_cast<unsigned>(count))
    return fail(kE5017, "device cuda:%u was asked for, %s%d; nvidia-smi -L lists them", ordinal,
                count == 1 ? "there is only cuda:" : "there are cuda:0 to cuda:", count - 1);
  MORAY_TRY(check(table.deviceGet(&device, static_cast<int>(ordinal)), "opening the device"));
  MORAY_TRY(check(table.deviceGetName(deviceName, sizeof(deviceName) - 1, device), "asking for the device's name"));
  MORAY_TRY(attribute(kComputeMajor, major));
  MORAY_TRY(attribute(kComputeMinor, minor));
  capability = static_cast<unsigned>(10 * major + minor);
  Context taken = nullptr;
  MORAY_TRY(check(table.primaryCtxRetain(&taken, device), "taking the device's context"));
  context = taken;
  return enter();
}

Status Driver::enter() const { return check(table.ctxSetCurrent(context), "entering the device's context"); }

Status Driver::attribute(DeviceAttribute which, int &value) const {
  return check(table.deviceGetAttribute(&value, which, device), "asking for an attribute of the device");
}

Status Driver::granularity(uint64_t &bytes) const {
  const MemoryProperties properties = memoryProperties();
  size_t granule = 0;
  int supported = 0;
  MORAY_TRY(attribute(kVirtualMemory, supported));
  if (supported)
    MORAY_TRY(check(table.memGranularity(&granule, &properties, 0), "asking for the granularity of its memory"));
  bytes = granule;
  return {};
}

Status Driver::check(Result result, const char *what, const std::string &hint) const {
  if (result == kSuccess)
    return {};
  const char *symbol = nullptr, *text = nullptr;
  if (table.getErrorName(result, &symbol) != kSuccess || !symbol)
    symbol = "unknown CUDA error";
  if (table.getErrorString(result, &text) != kSuccess || !text)
    text = "no text";
  const std::string end = hint.empty() ? hint : "; " + hint;
  if (const Meaning *meaning = findMeaning(result))
    return fail(meaning->code, "%s (%d) while %s: %s%s", symbol, result, what, meaning->sentence, end.c_str());
  return fail(kE5021, "%s (%d) while %s: the driver says '%s'%s", symbol, result, what, text, end.c_str());
}

} // namespace moray::rt::cuda
