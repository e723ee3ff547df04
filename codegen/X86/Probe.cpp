//===- Probe.cpp - kernels that measure the machine ---------------------------===//
// Read bandwidth (eight streams per task, as the matrix products read weights) and FMA peak (independent chains in registers).

#include "codegen/Emitter.h"
#include "codegen/X86/VectorBuilder.h"

using namespace mlir;
using namespace moray::codegen;

static constexpr unsigned readStreams = 8;
static constexpr unsigned fmaChains = 12; // 16-lane accumulators: enough to cover latency, few enough for 16 ymm and 32 zmm registers

static LaunchPlan plan(const KernelSpec &spec, const Target &) {
  const auto &body = spec.as<ProbeBody>();
  return {SizeExpr(body.tasks), SizeExpr(64), body.kind == ProbeBody::ReadBandwidth ? "streams=8" : "chains=12"};
}

static void emitRead(const ProbeBody &body, VectorBuilder &v) {
  VectorType type = v.vec(16, v.i32);
  uint64_t stream = body.bytesPerTask / readStreams;
  Value base = v.at(v.operand(0), v.mul(v.task(), int64_t(body.bytesPerTask)));
  VectorBuilder::Values init(readStreams, v.constI(type, 0));
  auto sums = v.forLoop(0, v.c64(stream), 64, init, [&](Value offset, ValueRange carried) {
    VectorBuilder::Values next;
    for (unsigned s = 0; s < readStreams; ++s) {
      Value address = v.at(v.at(base, offset), int64_t(s * stream));
      v.prefetch(v.at(address, 1024));
      next.push_back(v.xori(carried[s], v.load(type, address, 64)));
    }
    return next;
  });
  Value sum = sums[0];
  for (unsigned s = 1; s < readStreams; ++s)
    sum = v.xori(sum, sums[s]);
  v.store(sum, v.at(v.operand(1), v.mul(v.task(), 64)));
}

static void emitFma(const ProbeBody &body, VectorBuilder &v) {
  // Chains of one register each, so that both levels keep all of them in registers: 12 ymm, or 12 zmm.
  unsigned lanes = v.target.floatLanes;
  uint64_t steps = body.steps * 16 / lanes;
  Value factor = v.splat(v.load(v.f32, v.operand(0)), lanes), term = v.splat(v.load(v.f32, v.at(v.operand(0), 4)), lanes);
  VectorBuilder::Values init;
  for (unsigned i = 0; i < fmaChains; ++i)
    init.push_back(v.f(float(i), lanes));
  auto sums = v.forLoop(0, v.c64(steps), 1, init, [&](Value, ValueRange carried) {
    VectorBuilder::Values next;
    for (Value chain : carried)
      next.push_back(v.fma(chain, factor, term));
    return next;
  });
  Value sum = sums[0];
  for (unsigned i = 1; i < fmaChains; ++i)
    sum = v.addf(sum, sums[i]);
  v.store(v.treeSum(sum), v.at(v.operand(1), v.mul(v.task(), 64)));
}

static llvm::Error emit(const KernelSpec &spec, const Target &, VectorBuilder &v) {
  const auto &body = spec.as<ProbeBody>();
  if (body.kind == ProbeBody::ReadBandwidth)
    emitRead(body, v);
  else
    emitFma(body, v);
  return llvm::Error::success();
}

const Emitter moray::codegen::probeEmitter = {KernelClass::Probe, plan, emit};
