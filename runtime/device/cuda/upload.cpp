// Two pinned buffers take turns: threads fill one from the mapped file while the device reads the other.
#include "runtime/device/cuda/upload.h"
#include "runtime/artifact/checker.h"
#include "runtime/device/cpu/thread_pool.h"
#include "runtime/device/random_weights.h"
#include <algorithm>
#include <cstring>

namespace moray::rt::cuda {

namespace {

constexpr uint64_t kStagingBytes = 16u << 20;
constexpr uint64_t kShareBytes = 256u << 10; // less than this is not worth a second thread
constexpr uint64_t kLargestGap = 4096;       // between tensors that are copied together

class Uploader {
public:
  Uploader(const Driver &driver, const Artifact &artifact, const UploadSource &source)
      : driver(driver), artifact(artifact), source(source) {}
  ~Uploader();

  Status start();
  // Copies bytes [begin, begin + bytes) of a tensor. Tensors come in the order of their addresses; what lies closer
  // than `gap` to the one before may be copied with it, zeros between them.
  Status add(const RandomTensor &tensor, uint64_t begin, uint64_t bytes, Address to, uint64_t gap);
  Status finish();

private:
  Status flush();
  void fill(const RandomTensor &tensor, uint64_t begin, uint64_t bytes, uint8_t *out);

  const Driver &driver;
  const Artifact &artifact;
  const UploadSource &source;
  ThreadPool pool;
  Stream stream = nullptr;
  void *staging[2] = {};
  Event copied[2] = {};
  int turn = 0;
  bool finished = false;
  Address windowStart = 0; // what staging[turn] holds
  uint64_t windowBytes = 0;
};

Uploader::~Uploader() {
  if (stream && !finished)
    driver->streamSynchronize(stream); // the device may still read the buffers
  if (stream)
    driver->streamDestroy(stream);
  for (int i = 0; i < 2; ++i) {
    if (copied[i])
      driver->eventDestroy(copied[i]);
    if (staging[i])
      driver->memFreeHost(staging[i]);
  }
}

Status Uploader::start() {
  const char *what = "preparing the upload of the weights";
  MORAY_TRY(driver.check(driver->streamCreate(&stream, kStreamNonBlocking), what));
  for (int i = 0; i < 2; ++i) {
    MORAY_TRY(driver.check(driver->memAllocHost(&staging[i], kStagingBytes), what));
    MORAY_TRY(driver.check(driver->eventCreate(&copied[i], kEventDisableTiming), what));
  }
  return pool.start(source.threads);
}

Status Uploader::flush() {
  if (windowBytes == 0)
    return {};
  const char *what = "uploading weights";
  MORAY_TRY(driver.check(driver->memcpyHtoDAsync(windowStart, staging[turn], windowBytes, stream), what));
  MORAY_TRY(driver.check(driver->eventRecord(copied[turn], stream), what));
  windowBytes = 0;
  turn = 1 - turn;
  // Of an event that was never recorded, this returns at once.
  return driver.check(driver->eventSynchronize(copied[turn]), what);
}

Status Uploader::add(const RandomTensor &tensor, uint64_t begin, uint64_t bytes, Address to, uint64_t gap) {
  for (uint64_t done = 0; done < bytes;) {
    const Address place = to + done;
    const Address windowEnd = windowStart + windowBytes;
    if (windowBytes != 0 && (place < windowEnd || place - windowEnd > gap || place - windowStart >= kStagingBytes))
      MORAY_TRY(flush());
    if (windowBytes == 0)
      windowStart = place;
    auto *window = static_cast<uint8_t *>(staging[turn]);
    const uint64_t at = place - windowStart;
    const uint64_t size = std::min(bytes - done, kStagingBytes - at);
    memset(window + windowBytes, 0, at - windowBytes);
    fill(tensor, begin + done, size, window + at);
    windowBytes = at + size;
    done += size;
  }
  return {};
}

void Uploader::fill(const RandomTensor &tensor, uint64_t begin, uint64_t bytes, uint8_t *out) {
  const uint64_t offset = tensor.weight->offsets()->Get(tensor.number);
  const uint8_t *stored = source.random ? nullptr : artifact.section(MORAY_SECTION_WEIGHTS).data() + offset;
  auto part = [&](uint64_t first, uint64_t last) {
    if (stored) {
      memcpy(out + first, stored + begin + first, last - first);
      return;
    }
    memset(out + first, 0, last - first); // padding
    fillRandomRange(tensor, begin + first, begin + last, out + first);
  };
  if (bytes < kShareBytes) {
    part(0, bytes);
    return;
  }
  pool.run([&](uint32_t worker) {
    auto bound = [&](uint64_t index) {
      return std::min(bytes, alignUp(bytes * index / pool.size(), schema::kRowAlign));
    };
    part(bound(worker), bound(worker + 1));
  });
}

Status Uploader::finish() {
  MORAY_TRY(flush());
  MORAY_TRY(driver.check(driver->streamSynchronize(stream), "uploading weights"));
  finished = true;
  return {};
}

} // namespace

Status uploadWeights(const Driver &driver, const Artifact &artifact, const ExecPlan &plan, const DeviceMemory &memory,
                     const UploadSource &source, uint64_t &uploaded) {
  Uploader uploader(driver, artifact, source);
  MORAY_TRY(uploader.start());
  // Where each tensor is an allocation of its own, no copy covers two.
  const uint64_t gap = memory.isGuarded() ? 0 : kLargestGap;
  for (uint32_t w = 0; w < plan.gpuWeightFirst.size(); ++w) {
    const schema::Weight &weight = *artifact.metadata().weights()->Get(w);
    for (uint32_t i = 0; i < weight.offsets()->size() && !plan.isExpertWeight(w); ++i) {
      if (plan.weightOffset(artifact, w, i) == schema::kNoOffset)
        continue;
      uploaded += weight.bytes();
      MORAY_TRY(uploader.add({&weight, artifact.text(weight.name()), source.seed, i}, 0, weight.bytes(),
                             toAddress(memory.map().weight(w, i)), gap));
    }
  }
  return uploader.finish();
}

Status uploadExperts(const Driver &driver, const Artifact &artifact, const ExpertMemory &memory,
                     const UploadSource &source, uint64_t most, size_t &next, uint64_t &uploaded) {
  if (next == memory.fresh().size())
    return {};
  Uploader uploader(driver, artifact, source);
  MORAY_TRY(uploader.start());
  for (uint64_t done = 0; done < most && next < memory.fresh().size(); ++next) {
    const ExpertSlice &slice = memory.fresh()[next];
    done += slice.bytes;
    const schema::Weight &weight = *artifact.metadata().weights()->Get(slice.weight);
    uploaded += slice.bytes;
    MORAY_TRY(uploader.add({&weight, artifact.text(weight.name()), source.seed, slice.number}, slice.begin, slice.bytes,
                           memory.address() + slice.offset, 0));
  }
  return uploader.finish();
}

} // namespace moray::rt::cuda
