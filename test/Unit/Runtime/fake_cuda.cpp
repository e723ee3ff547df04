// Implements the entry points of driver_api.h on the heap. Streams are synchronous; captured calls are kept as
// closures.
#include "fake_cuda.h"
#include "runtime/device/cuda/driver_api.h"
#include "toy_kernels.h"
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <string>
#include <vector>

using namespace moray::rt::cuda;
using moray::test::FakeCuda;

FakeCuda &moray::test::fakeCuda() {
  static FakeCuda fake;
  return fake;
}

namespace {

using Work = std::function<void()>;

bool capturing = false;
std::vector<Work> captured;
std::map<Address, size_t> blocks;

// What a handle points at.
struct FakeFunction {
  std::string name;
};

Result scripted(const char *name) {
  FakeCuda &fake = moray::test::fakeCuda();
  if (!fake.function || strcmp(fake.function, name) != 0 || fake.times <= 0)
    return kSuccess;
  if (fake.skip-- > 0)
    return kSuccess;
  --fake.times;
  fake.skip = 0;
  fake.failed = true;
  return fake.result;
}

#define FAKE(symbol, parameters)                                                                                       \
  extern "C" __attribute__((visibility("default"))) Result symbol parameters {                                         \
    if (const Result fake_result = scripted(#symbol))                                                                  \
      return fake_result;

// Runs now, or becomes part of the graph.
Result enqueue(Work work) {
  if (capturing)
    captured.push_back(std::move(work));
  else
    work();
  return kSuccess;
}

template <typename Handle> Result makeHandle(Handle *handle, void *object) {
  ++moray::test::fakeCuda().alive;
  *handle = static_cast<Handle>(object);
  return kSuccess;
}

// What a call frees is gone even where it reports a failure.
Result dropHandle(const char *name) {
  --moray::test::fakeCuda().alive;
  return scripted(name);
}

#define FAKE_FREE(symbol, parameters)                                                                                  \
  extern "C" __attribute__((visibility("default"))) Result symbol parameters {                                         \
    const char *const fake_name = #symbol;

// The C kernel, its operands, and whether its tasks are rows, outs or one.
struct ToyEntry {
  moray_kernel_fn function;
  size_t operands;
  int tasks; // index of a live count, -1: one task
};

const std::map<std::string, ToyEntry> &toyEntries() {
  static const std::map<std::string, ToyEntry> entries = {
      {"toy_embed", {toy_embed, 2, MORAY_LIVE_ROWS}},
      {"toy_append", {toy_append, 7, -1}},
      {"toy_attend_sum", {nullptr, 9, -1}}, // its work is done by the second stage
      {"toy_attend", {toy_attend, 9, MORAY_LIVE_ROWS}},
      {"toy_logits", {toy_logits, 4, MORAY_LIVE_OUTS}},
      {"toy_sample", {toy_sample, 3, -1}},
      {"toy_score", {toy_score, 3, MORAY_LIVE_OUTS}},
  };
  return entries;
}

// `values` are the 8-byte parameters of kernel_abi.h.
void runToy(const ToyEntry &entry, const std::vector<uint64_t> &values) {
  ++moray::test::fakeCuda().launches;
  if (!entry.function)
    return;
  std::vector<void *> operands;
  for (size_t i = 0; i < entry.operands; ++i)
    operands.push_back(reinterpret_cast<void *>(values[i]));
  const uint64_t *trailing = values.data() + entry.operands;
  const auto *live = reinterpret_cast<const int32_t *>(trailing[MORAY_GPU_LIVE]);
  uint32_t scratch[16] = {};
  const moray_kernel_args args = {operands.data(), live, trailing + MORAY_GPU_SYMBOLS, trailing[MORAY_GPU_LAYER]};
  const int32_t tasks = entry.tasks < 0 ? 1 : live[entry.tasks];
  for (int32_t task = 0; task < tasks; ++task)
    entry.function(&args, static_cast<uint64_t>(task), scratch,
                   reinterpret_cast<uint32_t *>(trailing[MORAY_GPU_FAULT]));
}

} // namespace

// ---- machine ----

FAKE(cuInit, (unsigned))
return moray::test::fakeCuda().devices == 0 ? kNoDevice : kSuccess;
}
FAKE(cuDriverGetVersion, (int *version))
*version = moray::test::fakeCuda().driverVersion;
return kSuccess;
}
FAKE(cuGetErrorName, (Result, const char **text))
*text = "CUDA_ERROR_SCRIPTED";
return kSuccess;
}
FAKE(cuGetErrorString, (Result, const char **text))
*text = "a scripted error";
return kSuccess;
}
FAKE(cuDeviceGetCount, (int *count))
*count = moray::test::fakeCuda().devices;
return kSuccess;
}
FAKE(cuDeviceGet, (Device * device, int ordinal))
*device = ordinal;
return kSuccess;
}
FAKE(cuDeviceGetName, (char *name, int bytes, Device))
strncpy(name, "Fake GPU", static_cast<size_t>(bytes));
return kSuccess;
}
FAKE(cuDeviceGetAttribute, (int *value, DeviceAttribute attribute, Device))
const FakeCuda &fake = moray::test::fakeCuda();
*value = attribute == kComputeMajor             ? fake.sm / 10
         : attribute == kComputeMinor           ? fake.sm % 10
         : attribute == kMaxSharedPerBlockOptin ? fake.sharedLimit
                                                : 1 << 20;
return kSuccess;
}
FAKE(cuDevicePrimaryCtxRetain, (Context * context, Device))
return makeHandle(context, &blocks);
}
FAKE_FREE(cuDevicePrimaryCtxRelease_v2, (Device))
return dropHandle(fake_name);
}
FAKE(cuCtxSetCurrent, (Context))
return kSuccess;
}

// ---- code ----

FAKE(cuModuleLoadDataEx, (Module * module, const void *image, unsigned, JitOption *, void **values))
FakeCuda &fake = moray::test::fakeCuda();
++fake.loads;
if (memcmp(image, "\177ELF", 4) == 0 && fake.refuseCubins)
  return kNoBinaryForGpu;
strcpy(static_cast<char *>(values[0]), "log of the compiler");
return makeHandle(module, const_cast<void *>(image));
}
FAKE_FREE(cuModuleUnload, (Module))
return dropHandle(fake_name);
}
FAKE(cuModuleGetFunction, (Function * function, Module, const char *name))
static std::map<std::string, FakeFunction> functions;
if (!toyEntries().count(name))
  return kNotFound;
*function = reinterpret_cast<Function>(&functions.emplace(name, FakeFunction{name}).first->second);
return kSuccess;
}
FAKE(cuFuncGetAttribute, (int *value, FunctionAttribute, Function))
*value = 1024;
return kSuccess;
}
FAKE(cuFuncSetAttribute, (Function, FunctionAttribute, int))
return kSuccess;
}

// ---- memory ----

FAKE(cuMemGetInfo_v2, (size_t *free, size_t *total))
const FakeCuda &fake = moray::test::fakeCuda();
*total = fake.memory;
*free = fake.memory - fake.allocated;
return kSuccess;
}
FAKE(cuMemAlloc_v2, (Address * address, size_t bytes))
FakeCuda &fake = moray::test::fakeCuda();
if (bytes > fake.memory - fake.allocated)
  return kOutOfMemory;
void *block = aligned_alloc(256, (bytes + 255) / 256 * 256);
memset(block, 0xA5, bytes);
*address = reinterpret_cast<Address>(block);
blocks[*address] = bytes;
fake.allocated += bytes;
++fake.alive;
return kSuccess;
}
FAKE_FREE(cuMemFree_v2, (Address address))
moray::test::fakeCuda().allocated -= blocks[address];
blocks.erase(address);
free(reinterpret_cast<void *>(address));
return dropHandle(fake_name);
}
// Mapped memory is for several ranks, which the simulator has.
#define FAKE_NOTHING(symbol, parameters)                                                                               \
  FAKE(symbol, parameters) return kNotSupported;                                                                       \
  }
FAKE_NOTHING(cuMemGetAllocationGranularity, (size_t *, const MemoryProperties *, int))
FAKE_NOTHING(cuMemAddressReserve, (Address *, size_t, size_t, Address, unsigned long long))
FAKE_NOTHING(cuMemAddressFree, (Address, size_t))
FAKE_NOTHING(cuMemCreate, (PhysicalMemory *, size_t, const MemoryProperties *, unsigned long long))
FAKE_NOTHING(cuMemRelease, (PhysicalMemory))
FAKE_NOTHING(cuMemMap, (Address, size_t, size_t, PhysicalMemory, unsigned long long))
FAKE_NOTHING(cuMemUnmap, (Address, size_t))
FAKE_NOTHING(cuMemSetAccess, (Address, size_t, const MemoryAccess *, size_t))
#undef FAKE_NOTHING
FAKE(cuMemAllocHost_v2, (void **address, size_t bytes))
return makeHandle(address, malloc(bytes));
}
FAKE_FREE(cuMemFreeHost, (void *address))
free(address);
return dropHandle(fake_name);
}
FAKE(cuMemcpyHtoDAsync_v2, (Address to, const void *from, size_t bytes, Stream))
++moray::test::fakeCuda().uploads;
return enqueue([=] { memcpy(reinterpret_cast<void *>(to), from, bytes); });
}
FAKE(cuMemcpyDtoHAsync_v2, (void *to, Address from, size_t bytes, Stream))
return enqueue([=] { memcpy(to, reinterpret_cast<const void *>(from), bytes); });
}
FAKE(cuMemcpyDtoDAsync_v2, (Address to, Address from, size_t bytes, Stream))
return enqueue([=] { memcpy(reinterpret_cast<void *>(to), reinterpret_cast<const void *>(from), bytes); });
}
FAKE(cuMemsetD8Async, (Address to, unsigned char value, size_t bytes, Stream))
return enqueue([=] { memset(reinterpret_cast<void *>(to), value, bytes); });
}

// ---- streams, events, graphs ----

FAKE(cuStreamCreate, (Stream * stream, unsigned))
return makeHandle(stream, &blocks);
}
FAKE_FREE(cuStreamDestroy_v2, (Stream))
return dropHandle(fake_name);
}
FAKE(cuStreamQuery, (Stream))
return kSuccess;
}

FAKE(cuStreamSynchronize, (Stream))
++moray::test::fakeCuda().synchronisations;
return kSuccess;
}
FAKE(cuEventCreate, (Event * event, unsigned))
return makeHandle(event, &blocks);
}
FAKE_FREE(cuEventDestroy_v2, (Event))
return dropHandle(fake_name);
}
FAKE(cuStreamWaitEvent, (Stream, Event, unsigned))
return kSuccess;
}
FAKE(cuEventRecord, (Event, Stream))
return kSuccess;
}
FAKE(cuEventSynchronize, (Event))
return kSuccess;
}
FAKE(cuEventElapsedTime, (float *ms, Event, Event))
*ms = 0.25f;
return kSuccess;
}
FAKE(cuStreamBeginCapture_v2, (Stream, CaptureMode))
capturing = true;
captured.clear();
return kSuccess;
}
extern "C" __attribute__((visibility("default"))) Result cuStreamEndCapture(Stream, Graph *graph) {
  capturing = false; // also where it fails
  if (const Result result = scripted("cuStreamEndCapture"))
    return result;
  return makeHandle(graph, new std::vector<Work>(captured));
}
FAKE(cuGraphInstantiateWithFlags, (GraphExec * exec, Graph graph, unsigned long long))
return makeHandle(exec, new std::vector<Work>(*reinterpret_cast<std::vector<Work> *>(graph)));
}
FAKE(cuGraphLaunch, (GraphExec exec, Stream))
++moray::test::fakeCuda().graphLaunches;
for (const Work &work : *reinterpret_cast<std::vector<Work> *>(exec))
  work();
return kSuccess;
}
FAKE_FREE(cuGraphExecDestroy, (GraphExec exec))
delete reinterpret_cast<std::vector<Work> *>(exec);
return dropHandle(fake_name);
}
FAKE_FREE(cuGraphDestroy, (Graph graph))
delete reinterpret_cast<std::vector<Work> *>(graph);
return dropHandle(fake_name);
}
FAKE(cuLaunchKernel, (Function function, unsigned grid, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned,
                      Stream, void **parameters, void **))
if (grid == 0)
  return kInvalidValue;
const ToyEntry &entry = toyEntries().at(reinterpret_cast<FakeFunction *>(function)->name);
std::vector<uint64_t> values;
for (size_t i = 0; i < entry.operands + MORAY_GPU_TRAILING; ++i)
  values.push_back(*static_cast<uint64_t *>(parameters[i]));
return enqueue([&entry, values] { runToy(entry, values); });
}
