//===- Probe.cpp - kernels that measure the machine ---------------------------===//
// Read bandwidth (eight streams per task, as the matrix products read weights) and FMA peak (independent chains in
// registers).

#include "codegen/Emitter.h"
#include "codegen/X86/VectorBuilder.h"

using namespace mlir;
using namespace moray::codegen;

static constexpr unsigned readStreams = 8;
static constexpr unsigned fmaChains = 12;   // enough to cover latency, few enough for 16 ymm and 32 zmm registers
static constexpr int64_t fmaSteps = 100000; // of one iteration

/// One task per worker.
static LaunchPlan plan(const KernelSpec &spec, const Target &) {
  bool read = spec.as<ProbeBody>().kind == ProbeBody::ReadBandwidth;
  return {SizeExpr(Symbol::T), SizeExpr(64), read ? "streams=8" : "chains=12"};
}

/// Stores the work of the task and a checksum that keeps the loops alive.
static void storeResult(VectorBuilder &v, Value work, Value checksum) {
  Value sink = v.at(v.operand(1), v.mul(v.task(), 64));
  v.store(work, sink);
  v.store(checksum, v.at(sink, 32));
}

static void emitRead(VectorBuilder &v) {
  VectorType type = v.vec(8, v.i32);
  Value bytes = v.capacity(Symbol::B), stream = v.divu(bytes, readStreams);
  Value base = v.at(v.operand(0), v.mul(v.task(), bytes));
  VectorBuilder::Values sums(readStreams, v.constI(type, 0));
  sums = v.forLoop(0, v.layer(), 1, sums, [&](Value, ValueRange outer) {
    return v.forLoop(0, stream, 64, outer, [&](Value offset, ValueRange carried) {
      VectorBuilder::Values next;
      for (unsigned s = 0; s < readStreams; ++s) {
        Value address = v.at(v.at(base, v.mul(stream, s)), offset);
        v.prefetch(v.at(address, 1024));
        Value both = v.xori(v.load(type, address, 32), v.load(type, v.at(address, 32), 32));
        next.push_back(v.xori(carried[s], both));
      }
      return next;
    });
  });
  Value sum = sums[0];
  for (unsigned s = 1; s < readStreams; ++s)
    sum = v.xori(sum, sums[s]);
  storeResult(v, v.mul(bytes, v.layer()), sum);
}

static void emitFma(VectorBuilder &v) {
  unsigned lanes = v.target.floatLanes;
  Value factor = v.splat(v.load(v.f32, v.operand(0)), lanes),
        term = v.splat(v.load(v.f32, v.at(v.operand(0), 4)), lanes);
  VectorBuilder::Values sums;
  for (unsigned i = 0; i < fmaChains; ++i)
    sums.push_back(v.f(float(i), lanes));
  Value steps = v.mul(v.layer(), fmaSteps);
  sums = v.forLoop(0, steps, 1, sums, [&](Value, ValueRange carried) {
    VectorBuilder::Values next;
    for (Value chain : carried)
      next.push_back(v.fma(chain, factor, term));
    return next;
  });
  Value sum = sums[0];
  for (unsigned i = 1; i < fmaChains; ++i)
    sum = v.addf(sum, sums[i]);
  storeResult(v, v.mul(steps, int64_t(fmaChains) * lanes * 2), v.treeSum(sum));
}

static llvm::Error emit(const KernelSpec &spec, const Target &, VectorBuilder &v) {
  if (spec.as<ProbeBody>().kind == ProbeBody::ReadBandwidth)
    emitRead(v);
  else
    emitFma(v);
  return llvm::Error::success();
}

std::vector<std::pair<std::string, KernelSpec>> moray::codegen::probeKernels() {
  return {{"probe.read_bandwidth", {KernelClass::Probe, 2, std::make_shared<ProbeBody>(ProbeBody::ReadBandwidth)}},
          {"probe.fma_peak", {KernelClass::Probe, 2, std::make_shared<ProbeBody>(ProbeBody::FmaPeak)}}};
}

const Emitter moray::codegen::probeEmitter = {KernelClass::Probe, plan, emit};
