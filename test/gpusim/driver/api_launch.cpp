// Entry points for launches, host functions and graphs.
#include "test/gpusim/driver/driver.h"

#include <algorithm>
#include <cstring>

using namespace gpusim;

namespace {

// The shape of a launch against the device, the kernel and its attributes.
CUresult checkShape(const Settings &settings, const Function &function, const LaunchConfig &launch) {
  const Dim3 &grid = launch.grid, &block = launch.block;
  const KernelInfo &info = function.kernel->info;
  if (grid.x == 0 || grid.y == 0 || grid.z == 0 || grid.x > 0x7fffffff || grid.y > 65535 || grid.z > 65535)
    return CUDA_ERROR_INVALID_VALUE;
  if (block.x == 0 || block.y == 0 || block.z == 0 || block.x > 1024 || block.y > 1024 || block.z > 64)
    return CUDA_ERROR_INVALID_VALUE;
  uint64_t threads = uint64_t(block.x) * block.y * block.z;
  if (threads > settings.device.maxThreads)
    return CUDA_ERROR_INVALID_VALUE;
  if (info.requiredThreads[0] && info.requiredThreads != std::array<uint32_t, 3>{block.x, block.y, block.z})
    return CUDA_ERROR_INVALID_VALUE;
  if (threads > info.maxThreads)
    return CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES;
  if (launch.dynamicShared > function.maxDynamicShared ||
      uint64_t(launch.dynamicShared) + info.staticShared > settings.device.sharedOptIn)
    return CUDA_ERROR_INVALID_VALUE;
  return CUDA_SUCCESS;
}

// Parameters given as one packed buffer.
CUresult readPackedParams(const KernelInfo &info, void **extra, std::vector<uint8_t> &params) {
  const uint8_t *buffer = nullptr;
  const size_t *bytes = nullptr;
  for (; *extra != CU_LAUNCH_PARAM_END; extra += 2) {
    if (extra[0] == CU_LAUNCH_PARAM_BUFFER_POINTER)
      buffer = static_cast<const uint8_t *>(extra[1]);
    else if (extra[0] == CU_LAUNCH_PARAM_BUFFER_SIZE)
      bytes = static_cast<const size_t *>(extra[1]);
    else
      return CUDA_ERROR_INVALID_VALUE;
  }
  if (!bytes || *bytes != info.paramBytes || (!buffer && *bytes > 0))
    return CUDA_ERROR_INVALID_VALUE;
  params.assign(buffer, buffer + *bytes);
  return CUDA_SUCCESS;
}

// Copies the parameters now: the caller's may be gone when the kernel runs.
CUresult readParams(const KernelInfo &info, void **values, void **extra, std::vector<uint8_t> &params) {
  if (values && extra)
    return CUDA_ERROR_INVALID_VALUE;
  if (extra)
    return readPackedParams(info, extra, params);
  if (!values && !info.params.empty())
    return CUDA_ERROR_INVALID_VALUE;
  params.assign(info.paramBytes, 0);
  for (size_t i = 0; i < info.params.size(); ++i) {
    if (!values[i])
      return CUDA_ERROR_INVALID_VALUE;
    memcpy(params.data() + info.params[i].offset, values[i], info.params[i].size);
  }
  return CUDA_SUCCESS;
}

} // namespace

GPUSIM_EXPORT CUresult cuLaunchKernel(CUfunction handle, unsigned gridX, unsigned gridY, unsigned gridZ,
                                      unsigned blockX, unsigned blockY, unsigned blockZ, unsigned sharedBytes,
                                      CUstream streamHandle, void **values, void **extra) {
  return inContext(Call::Plain, [&](Context &context) -> CUresult {
    std::shared_ptr<Function> function = context.functions.find(handle);
    std::shared_ptr<Stream> stream = context.stream(streamHandle);
    if (!function || !stream)
      return CUDA_ERROR_INVALID_HANDLE;
    Work work;
    work.kind = Work::Launch;
    work.function = function;
    work.launch.grid = {gridX, gridY, gridZ};
    work.launch.block = {blockX, blockY, blockZ};
    work.launch.dynamicShared = sharedBytes;
    if (CUresult error = checkShape(context.settings, *function, work.launch))
      return error;
    if (CUresult error = readParams(function->kernel->info, values, extra, work.launch.params))
      return error;
    bool captured = stream->capture != nullptr;
    CUresult result = context.enqueue(*stream, std::move(work));
    if (!result && !captured)
      ++context.counters[GPUSIM_DIRECT_LAUNCHES];
    return result;
  });
}

GPUSIM_EXPORT CUresult cuLaunchHostFunc(CUstream streamHandle, CUhostFn call, void *userData) {
  return inContext(Call::Plain, [&](Context &context) -> CUresult {
    std::shared_ptr<Stream> stream = context.stream(streamHandle);
    if (!stream)
      return CUDA_ERROR_INVALID_HANDLE;
    if (!call)
      return CUDA_ERROR_INVALID_VALUE;
    Work work;
    work.kind = Work::HostCall;
    work.call = call;
    work.userData = userData;
    return context.enqueue(*stream, std::move(work));
  });
}

GPUSIM_EXPORT CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, CUfunction handle, int blockSize,
                                                                   size_t dynamicShared) {
  return inContext(Call::Plain, [&](Context &context) -> CUresult {
    std::shared_ptr<Function> function = context.functions.find(handle);
    if (!function)
      return CUDA_ERROR_INVALID_HANDLE;
    if (!blocks || blockSize <= 0)
      return CUDA_ERROR_INVALID_VALUE;
    const KernelInfo &info = function->kernel->info;
    const DeviceModel &device = context.settings.device;
    *blocks = 0;
    if (uint32_t(blockSize) > info.maxThreads || dynamicShared > function->maxDynamicShared)
      return CUDA_SUCCESS;
    uint64_t warps = (uint64_t(blockSize) + 31) / 32;
    uint64_t shared = info.staticShared + dynamicShared + Settings::reservedShared;
    uint64_t registers = std::max<uint64_t>(1, warps * 32 * ((info.registers + 7) / 8 * 8));
    uint64_t most =
        std::min<uint64_t>(context.settings.residentBlocks(), context.settings.residentThreads() / 32 / warps);
    most = std::min(most, (device.sharedOptIn + Settings::reservedShared) / shared);
    *blocks = int(std::min(most, 65536 / registers));
    return CUDA_SUCCESS;
  });
}

// Of the flags only priorities (8) matter to nobody here and are taken; the others are not modelled.
GPUSIM_EXPORT CUresult cuGraphInstantiateWithFlags(CUgraphExec *exec, CUgraph handle, unsigned long long flags) {
  return inContext(Call::Unsafe, [&](Context &context) -> CUresult {
    std::shared_ptr<Graph> graph = context.graphs.find(handle);
    if (!exec || (flags & ~8ull))
      return CUDA_ERROR_INVALID_VALUE;
    if (!graph)
      return CUDA_ERROR_INVALID_HANDLE;
    *exec = context.graphExecs.insert(std::make_shared<GraphExec>(*graph));
    return CUDA_SUCCESS;
  });
}

GPUSIM_EXPORT CUresult cuGraphLaunch(CUgraphExec handle, CUstream streamHandle) {
  return inContext(Call::Plain, [&](Context &context) -> CUresult {
    std::shared_ptr<GraphExec> exec = context.graphExecs.find(handle);
    std::shared_ptr<Stream> stream = context.stream(streamHandle);
    if (!exec || !stream)
      return CUDA_ERROR_INVALID_HANDLE;
    if (stream->capture) { // a graph inside a graph
      stream->capture->invalid = true;
      return CUDA_ERROR_NOT_SUPPORTED;
    }
    for (const Work &work : exec->order)
      if (CUresult error = context.enqueue(*stream, work))
        return error;
    ++context.counters[GPUSIM_GRAPH_LAUNCHES];
    context.counters[GPUSIM_LAST_GRAPH_KERNELS] = exec->kernels;
    context.counters[GPUSIM_LAST_GRAPH_NODES] = exec->order.size();
    return CUDA_SUCCESS;
  });
}

GPUSIM_EXPORT CUresult cuGraphUpload(CUgraphExec handle, CUstream streamHandle) {
  return inContext(Call::Plain, [&](Context &context) -> CUresult {
    bool valid = context.graphExecs.find(handle) && context.stream(streamHandle);
    return valid ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
  });
}

GPUSIM_EXPORT CUresult cuGraphExecDestroy(CUgraphExec handle) {
  return inContext(Call::Destroy, [&](Context &context) -> CUresult {
    if (!context.graphExecs.find(handle))
      return CUDA_ERROR_INVALID_HANDLE;
    context.graphExecs.erase(handle);
    return CUDA_SUCCESS;
  });
}

GPUSIM_EXPORT CUresult cuGraphDestroy(CUgraph handle) {
  return inContext(Call::Destroy, [&](Context &context) -> CUresult {
    std::shared_ptr<Graph> graph = context.graphs.find(handle);
    if (!graph)
      return CUDA_ERROR_INVALID_HANDLE;
    for (CUgraphNode node : graph->handles)
      context.graphNodes.erase(node);
    context.graphs.erase(handle);
    return CUDA_SUCCESS;
  });
}

// With `nodes` null only the count is told.
GPUSIM_EXPORT CUresult cuGraphGetNodes(CUgraph handle, CUgraphNode *nodes, size_t *count) {
  return inContext(Call::Plain, [&](Context &context) -> CUresult {
    std::shared_ptr<Graph> graph = context.graphs.find(handle);
    if (!graph)
      return CUDA_ERROR_INVALID_HANDLE;
    if (!count)
      return CUDA_ERROR_INVALID_VALUE;
    if (nodes)
      for (size_t i = 0; i < *count; ++i)
        nodes[i] = i < graph->handles.size() ? graph->handles[i] : nullptr;
    *count = nodes ? std::min(*count, graph->handles.size()) : graph->handles.size();
    return CUDA_SUCCESS;
  });
}

namespace {

GraphNode *findNode(Context &context, CUgraphNode handle) {
  std::shared_ptr<std::pair<CUgraph, size_t>> place = context.graphNodes.find(handle);
  return place ? &context.graphs.find(place->first)->nodes[place->second] : nullptr;
}

} // namespace

GPUSIM_EXPORT CUresult cuGraphNodeGetType(CUgraphNode handle, int *type) {
  return inContext(Call::Plain, [&](Context &context) -> CUresult {
    GraphNode *node = findNode(context, handle);
    if (!node)
      return CUDA_ERROR_INVALID_HANDLE;
    if (!type)
      return CUDA_ERROR_INVALID_VALUE;
    *type = nodeType(node->work.kind);
    return CUDA_SUCCESS;
  });
}

// The parameter values belong to the graph and live as long as it.
GPUSIM_EXPORT CUresult cuGraphKernelNodeGetParams_v2(CUgraphNode handle, CUDA_KERNEL_NODE_PARAMS_v2 *params) {
  return inContext(Call::Plain, [&](Context &context) -> CUresult {
    GraphNode *node = findNode(context, handle);
    if (!node)
      return CUDA_ERROR_INVALID_HANDLE;
    if (!params || node->work.kind != Work::Launch || !node->work.function->kernel)
      return CUDA_ERROR_INVALID_VALUE;
    LaunchConfig &launch = node->work.launch;
    node->parameterValues.clear();
    for (const KernelParam &param : node->work.function->kernel->info.params)
      node->parameterValues.push_back(launch.params.data() + param.offset);
    *params = {};
    for (auto &[candidate, function] : context.functions)
      if (function == node->work.function)
        params->func = candidate;
    params->gridDimX = launch.grid.x;
    params->gridDimY = launch.grid.y;
    params->gridDimZ = launch.grid.z;
    params->blockDimX = launch.block.x;
    params->blockDimY = launch.block.y;
    params->blockDimZ = launch.block.z;
    params->sharedMemBytes = launch.dynamicShared;
    params->kernelParams = node->parameterValues.data();
    params->ctx = context.handle;
    return CUDA_SUCCESS;
  });
}
