// Captures: which calls they forbid, how they end, and the order in which a captured graph runs.
#include "test/gpusim/driver/context.h"

#include <algorithm>

namespace gpusim {

CaptureMode &threadCaptureMode() {
  thread_local CaptureMode mode = CU_CAPTURE_GLOBAL;
  return mode;
}

CUresult Context::checkUnsafe() {
  CaptureMode mine = threadCaptureMode();
  if (mine == CU_CAPTURE_RELAXED)
    return CUDA_SUCCESS;
  bool forbidden = false;
  for (const std::shared_ptr<Capture> &capture : captures) {
    bool own = capture->thread == std::this_thread::get_id() && capture->mode != CU_CAPTURE_RELAXED;
    bool everybodys = capture->mode == CU_CAPTURE_GLOBAL && mine == CU_CAPTURE_GLOBAL;
    if (own || everybodys)
      capture->invalid = forbidden = true;
  }
  return forbidden ? CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED : CUDA_SUCCESS;
}

CUresult Context::checkLegacy(const Stream &stream) {
  if (&stream != legacy.get())
    return CUDA_SUCCESS;
  bool forbidden = false;
  for (auto &[handle, other] : streams)
    if (other->capture && !other->nonBlocking)
      other->capture->invalid = forbidden = true;
  return forbidden ? CUDA_ERROR_STREAM_CAPTURE_IMPLICIT : CUDA_SUCCESS;
}

void Context::endCapture(const std::shared_ptr<Capture> &capture) {
  for (auto &[handle, stream] : streams)
    if (stream->capture == capture) {
      stream->capture = nullptr;
      stream->tail.clear();
    }
  capture->ended = true;
  captures.erase(std::remove(captures.begin(), captures.end(), capture), captures.end());
}

GraphExec::GraphExec(const Graph &graph) {
  size_t count = graph.nodes.size();
  std::vector<size_t> missing(count);
  std::vector<std::vector<size_t>> users(count);
  std::vector<size_t> ready;
  for (size_t node = 0; node < count; ++node) {
    missing[node] = graph.nodes[node].dependencies.size();
    for (size_t dependency : graph.nodes[node].dependencies)
      users[dependency].push_back(node);
    if (missing[node] == 0)
      ready.push_back(node);
  }
  while (!ready.empty()) {
    auto latest = std::max_element(ready.begin(), ready.end());
    size_t node = *latest;
    ready.erase(latest);
    order.push_back(graph.nodes[node].work);
    kernels += graph.nodes[node].work.kind == Work::Launch;
    for (size_t user : users[node])
      if (--missing[user] == 0)
        ready.push_back(user);
  }
}

} // namespace gpusim
