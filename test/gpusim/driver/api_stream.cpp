// Entry points for streams, events and captures.
#include "test/gpusim/driver/driver.h"

#include <algorithm>

using namespace gpusim;

GPUSIM_EXPORT CUresult cuStreamCreateWithPriority(CUstream *stream, unsigned flags, int priority) {
  return inContext(Call::Plain, [&](Context &context) -> CUresult {
    if (!stream || flags > CU_STREAM_NON_BLOCKING)
      return CUDA_ERROR_INVALID_VALUE;
    auto made = std::make_shared<Stream>();
    made->nonBlocking = flags == CU_STREAM_NON_BLOCKING;
    made->priority = priority;
    made->handle = context.streams.insert(made);
    *stream = made->handle;
    return CUDA_SUCCESS;
  });
}

GPUSIM_EXPORT CUresult cuStreamCreate(CUstream *stream, unsigned flags) {
  return cuStreamCreateWithPriority(stream, flags, 0);
}

GPUSIM_EXPORT CUresult cuStreamDestroy_v2(CUstream handle) {
  return inContext(Call::Destroy, [&](Context &context) -> CUresult {
    std::shared_ptr<Stream> stream = context.streams.find(handle);
    if (!stream)
      return CUDA_ERROR_INVALID_HANDLE;
    if (stream->capture) {
      stream->capture->invalid = true;
      return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    }
    context.drain(*stream);
    context.streams.erase(handle);
    return CUDA_SUCCESS;
  });
}

namespace {

// Runs body(Context &, Stream &) for a call that waits for or asks after a stream.
template <typename Body> CUresult onIdleStream(Call call, CUstream handle, Body body) {
  return inContext(call, [&](Context &context) -> CUresult {
    std::shared_ptr<Stream> stream = context.stream(handle);
    if (!stream)
      return CUDA_ERROR_INVALID_HANDLE;
    if (CUresult error = context.checkLegacy(*stream))
      return error;
    if (stream->capture) { // of another thread, or relaxed
      stream->capture->invalid = true;
      return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    }
    return body(context, stream);
  });
}

} // namespace

GPUSIM_EXPORT CUresult cuStreamSynchronize(CUstream handle) {
  return onIdleStream(Call::Unsafe, handle, [](Context &context, const std::shared_ptr<Stream> &stream) -> CUresult {
    ++context.counters[GPUSIM_SYNCHRONISATIONS];
    context.drainForWait(*stream);
    return CUDA_SUCCESS;
  });
}

// The first query of a busy stream makes it work: whoever asks once only has a bug.
GPUSIM_EXPORT CUresult cuStreamQuery(CUstream handle) {
  return onIdleStream(Call::Query, handle, [](Context &context, const std::shared_ptr<Stream> &stream) -> CUresult {
    if (!context.isBusy(*stream))
      return CUDA_SUCCESS;
    context.runLater(stream.get(), [&context, stream] { context.drainForWait(*stream); });
    return CUDA_ERROR_NOT_READY;
  });
}

GPUSIM_EXPORT CUresult cuStreamGetPriority(CUstream handle, int *priority) {
  return inContext(Call::Plain, [&](Context &context) -> CUresult {
    std::shared_ptr<Stream> stream = context.stream(handle);
    if (!stream)
      return CUDA_ERROR_INVALID_HANDLE;
    if (!priority)
      return CUDA_ERROR_INVALID_VALUE;
    *priority = stream->priority;
    return CUDA_SUCCESS;
  });
}

GPUSIM_EXPORT CUresult cuEventCreate(CUevent *event, unsigned flags) {
  return inContext(Call::Plain, [&](Context &context) -> CUresult {
    if (!event || flags > (CU_EVENT_BLOCKING_SYNC | CU_EVENT_DISABLE_TIMING))
      return CUDA_ERROR_INVALID_VALUE;
    auto made = std::make_shared<Event>();
    made->timing = !(flags & CU_EVENT_DISABLE_TIMING);
    *event = context.events.insert(made);
    return CUDA_SUCCESS;
  });
}

GPUSIM_EXPORT CUresult cuEventDestroy_v2(CUevent handle) {
  return inContext(Call::Destroy, [&](Context &context) -> CUresult {
    if (!context.events.find(handle))
      return CUDA_ERROR_INVALID_HANDLE;
    context.events.erase(handle);
    return CUDA_SUCCESS;
  });
}

GPUSIM_EXPORT CUresult cuEventRecord(CUevent eventHandle, CUstream streamHandle) {
  return inContext(Call::Plain, [&](Context &context) -> CUresult {
    std::shared_ptr<Event> event = context.events.find(eventHandle);
    std::shared_ptr<Stream> stream = context.stream(streamHandle);
    if (!event || !stream)
      return CUDA_ERROR_INVALID_HANDLE;
    if (stream->capture) {
      if (stream->capture->invalid)
        return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
      event->capture = stream->capture;
      event->nodes = stream->tail;
      event->marker = nullptr;
      return CUDA_SUCCESS;
    }
    auto marker = std::make_shared<Marker>();
    marker->stream = stream->handle;
    Work work;
    work.kind = Work::Record;
    work.marker = marker;
    if (CUresult error = context.enqueue(*stream, std::move(work)))
      return error;
    event->marker = marker;
    event->capture = nullptr;
    event->nodes.clear();
    return CUDA_SUCCESS;
  });
}

namespace {

// Waiting in a stream for an event of a capture draws the stream into the capture.
CUresult waitForCaptured(Context &context, Stream &stream, const Event &event) {
  Capture &capture = *event.capture;
  if (capture.ended)
    return CUDA_ERROR_CAPTURED_EVENT;
  if (capture.invalid)
    return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
  if (stream.handle == CU_STREAM_LEGACY) {
    capture.invalid = true;
    return CUDA_ERROR_STREAM_CAPTURE_IMPLICIT;
  }
  if (stream.capture && stream.capture != event.capture) {
    capture.invalid = stream.capture->invalid = true;
    return CUDA_ERROR_STREAM_CAPTURE_MERGE;
  }
  stream.capture = event.capture;
  for (size_t node : event.nodes)
    if (std::find(stream.tail.begin(), stream.tail.end(), node) == stream.tail.end())
      stream.tail.push_back(node);
  return CUDA_SUCCESS;
}

} // namespace

GPUSIM_EXPORT CUresult cuStreamWaitEvent(CUstream streamHandle, CUevent eventHandle, unsigned flags) {
  return inContext(Call::Plain, [&](Context &context) -> CUresult {
    std::shared_ptr<Event> event = context.events.find(eventHandle);
    std::shared_ptr<Stream> stream = context.stream(streamHandle);
    if (!event || !stream)
      return CUDA_ERROR_INVALID_HANDLE;
    if (flags != 0)
      return CUDA_ERROR_INVALID_VALUE;
    if (event->capture)
      return waitForCaptured(context, *stream, *event);
    if (!event->marker)
      return CUDA_SUCCESS; // never recorded
    if (stream->capture) {
      stream->capture->invalid = true;
      return CUDA_ERROR_STREAM_CAPTURE_ISOLATION;
    }
    Work work;
    work.kind = Work::Wait;
    work.marker = event->marker;
    return context.enqueue(*stream, std::move(work));
  });
}

namespace {

// Runs body(Context &, Event &) for a call that waits for or asks after an event.
template <typename Body> CUresult onEvent(Call call, CUevent handle, Body body) {
  return inContext(call, [&](Context &context) -> CUresult {
    std::shared_ptr<Event> event = context.events.find(handle);
    if (!event)
      return CUDA_ERROR_INVALID_HANDLE;
    if (event->capture) {
      event->capture->invalid = true;
      return CUDA_ERROR_CAPTURED_EVENT;
    }
    return body(context, *event);
  });
}

} // namespace

GPUSIM_EXPORT CUresult cuEventSynchronize(CUevent handle) {
  return onEvent(Call::Unsafe, handle, [](Context &context, Event &event) -> CUresult {
    ++context.counters[GPUSIM_SYNCHRONISATIONS];
    if (std::shared_ptr<Marker> marker = event.marker)
      context.drainTo(*marker);
    return CUDA_SUCCESS;
  });
}

GPUSIM_EXPORT CUresult cuEventQuery(CUevent handle) {
  return onEvent(Call::Query, handle, [](Context &context, Event &event) -> CUresult {
    std::shared_ptr<Marker> marker = event.marker;
    if (!marker || marker->done)
      return CUDA_SUCCESS;
    context.runLater(marker.get(), [&context, marker] { context.drainTo(*marker); }); // as in cuStreamQuery
    return CUDA_ERROR_NOT_READY;
  });
}

GPUSIM_EXPORT CUresult cuEventElapsedTime(float *milliseconds, CUevent startHandle, CUevent endHandle) {
  return inContext(Call::Plain, [&](Context &context) -> CUresult {
    std::shared_ptr<Event> start = context.events.find(startHandle);
    std::shared_ptr<Event> end = context.events.find(endHandle);
    if (!milliseconds)
      return CUDA_ERROR_INVALID_VALUE;
    if (!start || !end || !start->timing || !end->timing || !start->marker || !end->marker)
      return CUDA_ERROR_INVALID_HANDLE;
    if (!start->marker->done || !end->marker->done)
      return CUDA_ERROR_NOT_READY;
    *milliseconds = std::chrono::duration<float, std::milli>(end->marker->time - start->marker->time).count();
    return CUDA_SUCCESS;
  });
}

GPUSIM_EXPORT CUresult cuEventElapsedTime_v2(float *milliseconds, CUevent start, CUevent end) {
  return cuEventElapsedTime(milliseconds, start, end);
}

GPUSIM_EXPORT CUresult cuThreadExchangeStreamCaptureMode(int *mode) {
  if (!mode || *mode < CU_CAPTURE_GLOBAL || *mode > CU_CAPTURE_RELAXED)
    return CUDA_ERROR_INVALID_VALUE;
  CaptureMode before = threadCaptureMode();
  threadCaptureMode() = CaptureMode(*mode);
  *mode = before;
  return CUDA_SUCCESS;
}

GPUSIM_EXPORT CUresult cuStreamBeginCapture_v2(CUstream handle, int mode) {
  return inContext(Call::Plain, [&](Context &context) -> CUresult {
    std::shared_ptr<Stream> stream = context.stream(handle);
    if (!stream)
      return CUDA_ERROR_INVALID_HANDLE;
    if (mode < CU_CAPTURE_GLOBAL || mode > CU_CAPTURE_RELAXED)
      return CUDA_ERROR_INVALID_VALUE;
    if (stream->handle == CU_STREAM_LEGACY)
      return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    if (stream->capture)
      return CUDA_ERROR_ILLEGAL_STATE;
    auto capture = std::make_shared<Capture>();
    capture->origin = handle;
    capture->mode = CaptureMode(mode);
    capture->thread = std::this_thread::get_id();
    capture->id = ++context.captureCount;
    context.captures.push_back(capture);
    stream->capture = capture;
    stream->tail.clear();
    return CUDA_SUCCESS;
  });
}

namespace {

// Whether the origin's next work would wait for everything that the other streams of the capture did.
bool isJoined(const Context &context, const Stream &origin) {
  const std::vector<GraphNode> &nodes = origin.capture->graph.nodes;
  std::vector<bool> reached(nodes.size());
  std::vector<size_t> todo = origin.tail;
  while (!todo.empty()) {
    size_t node = todo.back();
    todo.pop_back();
    if (reached[node])
      continue;
    reached[node] = true;
    todo.insert(todo.end(), nodes[node].dependencies.begin(), nodes[node].dependencies.end());
  }
  for (auto &[handle, stream] : context.streams)
    if (stream->capture == origin.capture)
      for (size_t node : stream->tail)
        if (!reached[node])
          return false;
  return true;
}

} // namespace

GPUSIM_EXPORT CUresult cuStreamEndCapture(CUstream handle, CUgraph *graph) {
  return inContext(Call::Destroy, [&](Context &context) -> CUresult {
    std::shared_ptr<Stream> stream = context.stream(handle);
    if (!stream)
      return CUDA_ERROR_INVALID_HANDLE;
    if (!graph)
      return CUDA_ERROR_INVALID_VALUE;
    *graph = nullptr;
    std::shared_ptr<Capture> capture = stream->capture;
    if (!capture)
      return CUDA_ERROR_ILLEGAL_STATE;
    if (capture->mode != CU_CAPTURE_RELAXED && capture->thread != std::this_thread::get_id())
      return CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD;
    if (capture->origin != handle) {
      capture->invalid = true;
      return CUDA_ERROR_STREAM_CAPTURE_UNMATCHED;
    }
    bool joined = isJoined(context, *stream);
    context.endCapture(capture);
    if (capture->invalid)
      return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    if (!joined)
      return CUDA_ERROR_STREAM_CAPTURE_UNJOINED;
    auto made = std::make_shared<Graph>(std::move(capture->graph));
    *graph = context.graphs.insert(made);
    for (size_t node = 0; node < made->nodes.size(); ++node)
      made->handles.push_back(context.graphNodes.insert(std::make_shared<std::pair<CUgraph, size_t>>(*graph, node)));
    return CUDA_SUCCESS;
  });
}

namespace {

CUresult captureInfo(CUstream handle, int *status, uint64_t *id) {
  return inContext(Call::Plain, [&](Context &context) -> CUresult {
    std::shared_ptr<Stream> stream = context.stream(handle);
    if (!stream)
      return CUDA_ERROR_INVALID_HANDLE;
    if (!status)
      return CUDA_ERROR_INVALID_VALUE;
    if (CUresult error = context.checkLegacy(*stream))
      return error;
    const Capture *capture = stream->capture.get();
    *status = !capture ? CU_CAPTURE_NONE : capture->invalid ? CU_CAPTURE_INVALIDATED : CU_CAPTURE_ACTIVE;
    if (id && capture)
      *id = capture->id;
    return CUDA_SUCCESS;
  });
}

} // namespace

GPUSIM_EXPORT CUresult cuStreamIsCapturing(CUstream stream, int *status) {
  return captureInfo(stream, status, nullptr);
}

GPUSIM_EXPORT CUresult cuStreamGetCaptureInfo(CUstream stream, int *status, uint64_t *id) {
  return captureInfo(stream, status, id);
}
