// How a CPU takes part in distributed steps: the communicator of host memory and its collectives.
#include "runtime/artifact/checker.h"
#include "runtime/device/cpu/cpu_executor.h"
#include <algorithm>

namespace moray::rt {

static unsigned long long number(uint64_t value) { return value; }

Status CpuExecutor::openExchange(const ExchangeSetup &setup) {
  loads.assign(uint64_t{artifact.model().layers()} * artifact.model().experts(), 0);
  placement = setup.placement;
  return comm::makeCommunicator(*setup.group, setup.placement, setup.channel, communicator);
}

Status CpuExecutor::closeExchange() { return communicator->close(); }

void CpuExecutor::beginStep(const comm::StepDecision &decision) { communicator->beginStep(decision.step); }

// Weights are used where they are in the file, so all that a rank lacks is in the page cache or on a disk.
std::vector<Bytes> CpuExecutor::missingWeights(const comm::ModelPlacement &next) const {
  std::vector<Bytes> parts;
  if (!artifact.metadata().weights_embedded())
    return parts;
  for (int32_t layer = 0; layer < static_cast<int32_t>(next.layers()); ++layer) {
    const Span<const uint32_t> now = placement.layer(layer).expertsOn(communicator->rank());
    for (uint32_t expert : next.layer(layer).expertsOn(communicator->rank())) {
      if (std::binary_search(now.begin(), now.end(), expert))
        continue;
      for (const schema::Weight *weight : *artifact.metadata().weights()) {
        const uint64_t offset = artifact.ofExperts(*weight) && static_cast<uint32_t>(layer) < sizeOf(weight->offsets())
                                    ? weight->offsets()->Get(static_cast<uint32_t>(layer))
                                    : schema::kNoOffset;
        const uint64_t bytes = weight->bytes() / next.experts();
        if (offset != schema::kNoOffset)
          parts.push_back({artifact.section(MORAY_SECTION_WEIGHTS).data() + offset + expert * bytes, bytes});
      }
    }
  }
  return parts;
}

Status CpuExecutor::preparePlacement(const comm::ModelPlacement &next, bool &ready) {
  if (!fetcher.started())
    fetcher.start(missingWeights(next));
  ready = fetcher.done();
  return {};
}

Status CpuExecutor::setPlacement(const comm::ModelPlacement &next) {
  fetcher.stop();
  placement = next;
  return communicator->setPlacement(next);
}

Status CpuExecutor::addExpertLoads(uint64_t *sums) {
  std::transform(loads.begin(), loads.end(), sums, sums, [](uint64_t load, uint64_t sum) { return load + sum; });
  std::fill(loads.begin(), loads.end(), 0);
  return {};
}

Status CpuExecutor::runCollective(const CollectiveCall &call) {
  using schema::CollectivePhase;
  if (call.phase != CollectivePhase::Wait) {
    MORAY_TRY(call.kind == schema::CollectiveKind::Combine ? startCombine(call) : startDispatch(call));
    ++inFlight;
  }
  if (call.phase == CollectivePhase::Start)
    return {};
  --inFlight;
  return communicator->wait(call.batch);
}

Status CpuExecutor::startCombine(const CollectiveCall &call) {
  const CollectiveCall::Area(&args)[kDispatchArgs] = call.args;
  comm::CombineArgs combine;
  combine.layer = call.layer;
  combine.rowBytes = call.rowBytes;
  combine.er = args[0].address;
  combine.erRows = args[0].bytes / call.rowBytes;
  combine.e = args[1].address;
  combine.eRows = args[1].bytes / call.rowBytes;
  combine.type = call.type;
  combine.gatesOut = static_cast<float *>(args[2].address);
  return communicator->startCombine(call.batch, combine);
}

Status CpuExecutor::startDispatch(const CollectiveCall &call) {
  const CollectiveCall::Area(&args)[kDispatchArgs] = call.args;
  auto indices = [&args](size_t i) { return static_cast<int32_t *>(args[i].address); };
  const uint32_t experts = artifact.model().experts();
  comm::DispatchArgs dispatch;
  dispatch.layer = call.layer;
  dispatch.rowBytes = call.rowBytes;
  dispatch.x = args[0].address;
  dispatch.rows = symbolsOf(call.batch)[static_cast<size_t>(schema::SymbolId::Rows)];
  // Kernels of a step without rows need not have written anything.
  if (dispatch.rows == 0)
    std::fill_n(indices(2), experts + 1, 0);
  dispatch.tokens = indices(1);
  dispatch.offsets = indices(2);
  if (dispatch.offsets[experts] < 0 ||
      static_cast<uint64_t>(dispatch.offsets[experts]) > args[1].bytes / sizeof(int32_t))
    return fail(kE5013, "a step gives %d rows to experts, its list has room for %llu; compile the model again",
                dispatch.offsets[experts], number(args[1].bytes / sizeof(int32_t)));
  uint64_t *counts = loads.data() + static_cast<size_t>(std::max(call.layer, 0)) * experts;
  for (uint32_t e = 0; e < experts; ++e)
    counts[e] += static_cast<uint64_t>(dispatch.offsets[e + 1]) - static_cast<uint64_t>(dispatch.offsets[e]);
  dispatch.gates = static_cast<const float *>(args[3].address);
  dispatch.xr = args[4].address;
  dispatch.xrRows = args[4].bytes / call.rowBytes;
  dispatch.tokensR = indices(5);
  dispatch.tokensRCount = args[5].bytes / sizeof(int32_t);
  dispatch.offsetsR = indices(6);
  dispatch.scaleBytes = call.scaleBytes;
  dispatch.scales = args[7].address;
  dispatch.scalesR = args[8].address;
  return communicator->startDispatch(call.batch, dispatch);
}

} // namespace moray::rt
