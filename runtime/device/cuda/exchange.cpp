// Buffers and tables of an exchange, its kernels, and how the host waits for them.
#include "runtime/device/cuda/exchange.h"
#include "runtime/artifact/checker.h"
#include "runtime/base/clock.h"
#include "runtime/comm/exchange_table.h"
#include <algorithm>
#include <cstring>
#include <sched.h>
#include <time.h>

namespace moray::rt::cuda {

using comm::Operation;
using schema::CollectiveKind;

namespace {

constexpr uint64_t kWatchNs = 1000000, kSpinNs = 50000, kRestNs = 1000000000;

void *pointer(Address address) { return toPointer(address); }
Address addressOf(const CollectiveCall &call, size_t index) { return toAddress(call.args[index].address); }

} // namespace

// ---- opening ----

Status Exchange::findKernels() {
  static const char *const names[kKernels] = {"exchange.plan",  "exchange.pack",   "exchange.check",
                                              "exchange.merge", "exchange.return", "exchange.finish"};
  const auto &list = *plan.code.target->kernels();
  for (size_t k = 0; k < kKernels; ++k) {
    auto found = [&] {
      const moray_string name = artifact.text(list.Get(kernels[k])->name());
      return name.size == strlen(names[k]) && memcmp(name.data, names[k], name.size) == 0;
    };
    for (kernels[k] = 0; kernels[k] < list.size() && !found();)
      ++kernels[k];
    if (kernels[k] == list.size())
      return fail(kE5012, "the target has no kernel '%s' to exchange rows between GPUs; compile the model again",
                  names[k]);
  }
  return {};
}

Status Exchange::makeTransfers() {
  const char *what = "creating the stream of transfers";
  if (plan.exchange.batches == 1)
    return {};
  MORAY_TRY(driver.check(driver->streamCreate(&transfers, kStreamNonBlocking), what));
  MORAY_TRY(driver.check(driver->eventCreate(&forked, kEventDisableTiming), what));
  for (Batch &batch : batches)
    MORAY_TRY(driver.check(driver->eventCreate(&batch.ended, kEventDisableTiming), what));
  return {};
}

Status Exchange::copyUp(Address to, const void *from, uint64_t bytes) {
  return driver.check(driver->memcpyHtoDAsync(to, from, bytes, stream), "uploading tables of the exchange");
}

Status Exchange::makeBuffers(DeviceMemory &memory) {
  const ExchangePlan &sizes = plan.exchange;
  auto take = [&](uint64_t bytes, Address &address) {
    MORAY_TRY(memory.takeExchange(bytes, address));
    // What lies beyond the live counts is sent as well.
    return bytes == 0 ? Status()
                      : driver.check(driver->memsetD8Async(address, 0, bytes, stream), "clearing exchange buffers");
  };
  for (uint32_t b = 0; b < sizes.batches; ++b) {
    Batch &batch = batches[b];
    const struct {
      uint64_t bytes;
      Address *address;
    } parts[] = {{plan.alignment, &batch.step},       {sizes.meta, &batch.sendMeta},
                 {sizes.meta, &batch.recvMeta},       {sizes.rows, &batch.sendRows},
                 {sizes.scales, &batch.sendScales},   {sizes.results, &batch.sendResults},
                 {sizes.results, &batch.recvResults}, {sizes.handle, &batch.handle}};
    for (const auto &part : parts)
      MORAY_TRY(take(part.bytes, *part.address));
  }
  MORAY_TRY(take(artifact.model().layers() * sizes.table, tables));
  MORAY_TRY(take(sizes.loads, loads));
  MORAY_TRY(take(sizes.marks, marks));
  std::vector<uint32_t> values(2 * (artifact.model().layers() + 1));
  for (uint32_t i = 0; i < values.size(); ++i)
    values[i] = i + 1;
  MORAY_TRY(copyUp(marks, values.data(), values.size() * sizeof(uint32_t)));
  return driver.check(driver->streamSynchronize(stream), "clearing exchange buffers");
}

// A dispatch and the combine that follows it in its micro-batch share their parameters.
Status Exchange::makeSites(Span<const CollectiveCall> calls, DeviceMemory &memory, uint32_t slotsPerRank) {
  const schema::ModelConfig &model = artifact.model();
  Address next = 0;
  MORAY_TRY(memory.takeExchange(plan.exchange.sites, next));
  uint32_t open[comm::kMicroBatches] = {};
  for (const CollectiveCall &call : calls) {
    program.push_back(&call);
    if (call.kind == CollectiveKind::Dispatch && call.phase != schema::CollectivePhase::Wait) {
      const moray_exchange_params params = {static_cast<int32_t>(rank),
                                            static_cast<int32_t>(plan.capacities.ranks),
                                            static_cast<int32_t>(model.experts()),
                                            static_cast<int32_t>(model.experts_per_token()),
                                            static_cast<int32_t>(slotsPerRank),
                                            static_cast<int32_t>(call.rowBytes),
                                            static_cast<int32_t>(call.scaleBytes),
                                            0};
      open[call.batch] = static_cast<uint32_t>(sites.size());
      sites.push_back({params, 0});
    } else if (call.phase != schema::CollectivePhase::Wait) {
      sites[open[call.batch]].params.result_bytes = static_cast<int32_t>(call.rowBytes);
    }
    siteOf.push_back(open[call.batch]);
  }
  // Layers that are alike share a block.
  for (size_t i = 0; i < sites.size(); ++i) {
    size_t same = 0;
    while (memcmp(&sites[same].params, &sites[i].params, sizeof(sites[i].params)) != 0)
      ++same;
    sites[i].address = same < i ? sites[same].address : next;
    if (same < i)
      continue;
    next += plan.alignment;
    MORAY_TRY(copyUp(sites[i].address, &sites[i].params, sizeof(sites[i].params)));
  }
  return driver.check(driver->streamSynchronize(stream), "uploading parameters of the exchange");
}

Status Exchange::open(const ExchangeSetup &setup, DeviceMemory &memory, Span<const CollectiveCall> calls) {
  const moray_group &group = *setup.group;
  channel = setup.channel;
  rank = group.found.rank;
  deadlineMs = group.deadlineMs;
  for (uint32_t b = 0; b < plan.exchange.batches; ++b)
    liveAddresses[b] = memory.live(b);
  faultAddress = memory.fault();
  MORAY_TRY(findKernels());
  MORAY_TRY(makeTransfers());
  void *block = nullptr;
  MORAY_TRY(driver.check(driver->memAllocHost(&block, sizeof(Pinned)), "allocating pinned memory of the host"));
  pinned = static_cast<Pinned *>(block);
  memset(pinned, 0, sizeof(*pinned));
  MORAY_TRY(makeBuffers(memory));
  MORAY_TRY(makeSites(calls, memory, setup.placement.slotsPerRank()));
  MORAY_TRY(setPlacement(setup.placement));
  if (group.found.ranks == 1 && group.comm != comm::CommKind::Nccl)
    return {};
  auto made = std::make_unique<comm::NcclLink>();
  const comm::NcclOptions options = {rank, group.found.ranks, deadlineMs,
                                     group.ncclLibrary.empty() ? nullptr : group.ncclLibrary.c_str()};
  MORAY_TRY(made->open(options, *channel));
  link = std::move(made);
  return {};
}

Status Exchange::setPlacement(const comm::ModelPlacement &placement) {
  if (!sites.empty() && placement.slotsPerRank() != static_cast<uint32_t>(sites[0].params.slots_per_rank))
    return fail(kE5112,
                "the placement has %u slots on a rank, GPUs keep the %d that they started with; make one for "
                "these",
                placement.slotsPerRank(), sites[0].params.slots_per_rank);
  std::vector<int32_t> table;
  for (uint32_t layer = 0; layer < artifact.model().layers(); ++layer) {
    comm::fillExchangeTable(placement.layer(static_cast<int32_t>(layer)), rank, table);
    MORAY_TRY(copyUp(tableOf(static_cast<int32_t>(layer)), table.data(), table.size() * sizeof(int32_t)));
    MORAY_TRY(driver.check(driver->streamSynchronize(stream), "uploading the placement"));
  }
  return {};
}

Status Exchange::addLoads(uint64_t *sums) {
  std::vector<uint64_t> counts(plan.exchange.loads / sizeof(uint64_t));
  const char *what = "reading the loads of experts";
  MORAY_TRY(driver.check(driver->memcpyDtoHAsync(counts.data(), loads, plan.exchange.loads, stream), what));
  MORAY_TRY(driver.check(driver->memsetD8Async(loads, 0, plan.exchange.loads, stream), what));
  MORAY_TRY(driver.check(driver->streamSynchronize(stream), what));
  for (uint64_t i = 0; i < uint64_t{artifact.model().layers()} * artifact.model().experts(); ++i)
    sums[i] += counts[i];
  return {};
}

// ---- a step ----

Status Exchange::beginRun(const uint64_t (&mostRows)[comm::kMicroBatches]) {
  pinned->progress = 0;
  for (uint32_t b = 0; b < plan.exchange.batches; ++b) {
    moray_exchange_step &next = pinned->steps[b];
    next = {static_cast<uint32_t>(step), static_cast<uint32_t>(step >> 32), static_cast<int32_t>(mostRows[b]), 0};
    MORAY_TRY(copyUp(batches[b].step, &next, sizeof(next)));
  }
  return {};
}

Status Exchange::run(size_t index, uint64_t mostRows, bool empty) {
  using schema::CollectivePhase;
  const char *what = "ordering the transfers of micro-batches";
  const CollectiveCall &call = *program[index];
  const Site &site = sites[siteOf[index]];
  const Event ended = batches[call.batch].ended; // null: of one micro-batch, on the same stream
  if (call.phase != CollectivePhase::Wait) {
    if (ended) {
      MORAY_TRY(driver.check(driver->eventRecord(forked, stream), what));
      MORAY_TRY(driver.check(driver->streamWaitEvent(transfers, forked, 0), what));
    }
    MORAY_TRY(call.kind == CollectiveKind::Dispatch ? dispatch(call, site, mostRows, empty)
                                                    : combine(call, site, mostRows));
    if (ended)
      MORAY_TRY(driver.check(driver->eventRecord(ended, transfers), what));
  }
  if (ended && call.phase != CollectivePhase::Start)
    return driver.check(driver->streamWaitEvent(stream, ended, 0), what);
  return {};
}

Status Exchange::launch(Kernel kernel, uint64_t grid, Span<Address> operands, const CollectiveCall &call) {
  const schema::Stage &stage = *plan.code.variants[kernels[kernel]]->stages()->Get(0);
  Address live = liveAddresses[call.batch], fault = faultAddress, none = 0;
  uint64_t number = static_cast<uint64_t>(std::max(call.layer, 0));
  void *values[16 + MORAY_GPU_TRAILING];
  size_t count = 0;
  for (Address &operand : operands)
    values[count++] = &operand;
  values[count++] = &live;
  values[count++] = &none; // scratch
  values[count++] = &fault;
  for (size_t s = 0; s < MORAY_GPU_LAYER - MORAY_GPU_SYMBOLS; ++s)
    values[count++] = &none;
  values[count] = &number;
  return driver.check(driver->launchKernel(modules.stage(kernels[kernel], 0), static_cast<unsigned>(grid), 1, 1,
                                           stage.threads(), 1, 1, stage.dynamic_shared(), transfers, values, nullptr),
                      "launching a kernel of the exchange");
}

// Tells the host how far the step has come.
Status Exchange::mark(const comm::Place &place) {
  const auto number = static_cast<uint64_t>(2 * (place.layer + 1)) + (place.operation == Operation::Combine);
  return driver.check(
      driver->memcpyDtoHAsync(&pinned->progress, marks + number * sizeof(uint32_t), sizeof(uint32_t), transfers),
      "reporting progress");
}

comm::Place Exchange::placeOf(uint32_t mark) const {
  if (mark == 0)
    return {step, -1, Operation::Dispatch};
  return {step, static_cast<int32_t>((mark - 1) / 2) - 1, (mark - 1) % 2 ? Operation::Combine : Operation::Dispatch};
}

Status Exchange::dispatch(const CollectiveCall &call, const Site &site, uint64_t mostRows, bool empty) {
  const moray_exchange_params &p = site.params;
  Batch &batch = batches[call.batch];
  const auto ranks = static_cast<uint64_t>(p.ranks), experts = static_cast<uint64_t>(p.experts);
  const Address offsets = addressOf(call, 2), xr = addressOf(call, 4), scalesR = addressOf(call, 8);
  const Address table = tableOf(call.layer);
  const comm::Place place = {step, call.layer, Operation::Dispatch};
  if (empty)
    MORAY_TRY(driver.check(driver->memsetD8Async(offsets, 0, (experts + 1) * sizeof(int32_t), transfers),
                           "clearing the slots of a rank without rows"));
  batch.gates = addressOf(call, 3); // lives until the combine
  const Address layerLoads = loads + static_cast<uint64_t>(std::max(call.layer, 0)) * experts * sizeof(uint64_t);
  Address plans[] = {site.address, batch.step,     addressOf(call, 1),
                     offsets,      table,          layerLoads,
                     batch.handle, batch.sendMeta, own(batch.sendMeta, batch.recvMeta)};
  static_assert(sizeof(plans) / sizeof(*plans) == MORAY_PLAN_OPERANDS, "exchange_abi.h");
  MORAY_TRY(launch(Plan, ranks, {plans, MORAY_PLAN_OPERANDS}, call));
  Address packs[] = {site.address,
                     batch.step,
                     batch.handle,
                     addressOf(call, 0),
                     addressOf(call, 7),
                     batch.sendRows,
                     batch.sendScales,
                     own(batch.sendRows, xr),
                     own(batch.sendScales, scalesR)};
  static_assert(sizeof(packs) / sizeof(*packs) == MORAY_PACK_OPERANDS, "exchange_abi.h");
  MORAY_TRY(launch(Pack, moray_exchange_grid(ranks * mostRows), {packs, MORAY_PACK_OPERANDS}, call));
  if (link) {
    MORAY_TRY(mark(place));
    const comm::NcclLink::Blocks blocks[] = {
        {pointer(batch.sendMeta), pointer(batch.recvMeta), moray_exchange_meta_bytes(&p, mostRows)},
        {pointer(batch.sendRows), pointer(xr), moray_exchange_rows_bytes(&p, mostRows)},
        {pointer(batch.sendScales), pointer(scalesR), moray_exchange_scales_bytes(&p, mostRows)}};
    MORAY_TRY(link->exchange({blocks, p.scale_bytes ? 3u : 2u}, transfers, place));
  }
  Address checks[] = {site.address, batch.step, table, batch.recvMeta, batch.handle};
  static_assert(sizeof(checks) / sizeof(*checks) == MORAY_CHECK_OPERANDS, "exchange_abi.h");
  MORAY_TRY(launch(Check, ranks, {checks, MORAY_CHECK_OPERANDS}, call));
  Address merges[] = {site.address, batch.step, batch.recvMeta, batch.handle, addressOf(call, 5), addressOf(call, 6)};
  static_assert(sizeof(merges) / sizeof(*merges) == MORAY_MERGE_OPERANDS, "exchange_abi.h");
  return launch(Merge, experts, {merges, MORAY_MERGE_OPERANDS}, call);
}

Status Exchange::combine(const CollectiveCall &call, const Site &site, uint64_t mostRows) {
  const moray_exchange_params &p = site.params;
  const Batch &batch = batches[call.batch];
  const auto ranks = static_cast<uint64_t>(p.ranks);
  const comm::Place place = {step, call.layer, Operation::Combine};
  Address returns[] = {site.address,       batch.step,        batch.handle,
                       addressOf(call, 0), batch.sendResults, own(batch.sendResults, batch.recvResults)};
  static_assert(sizeof(returns) / sizeof(*returns) == MORAY_RETURN_OPERANDS, "exchange_abi.h");
  MORAY_TRY(launch(Return, moray_exchange_grid(ranks * moray_exchange_slots(&p, mostRows)),
                   {returns, MORAY_RETURN_OPERANDS}, call));
  if (link) {
    MORAY_TRY(mark(place));
    const comm::NcclLink::Blocks blocks = {pointer(batch.sendResults), pointer(batch.recvResults),
                                           moray_exchange_results_bytes(&p, mostRows)};
    MORAY_TRY(link->exchange({&blocks, 1}, transfers, place));
  }
  Address finishes[] = {site.address, batch.step,         batch.handle,      batch.recvResults,
                        batch.gates,  addressOf(call, 1), addressOf(call, 2)};
  static_assert(sizeof(finishes) / sizeof(*finishes) == MORAY_FINISH_OPERANDS, "exchange_abi.h");
  return launch(Finish, moray_exchange_grid(mostRows * static_cast<uint64_t>(p.top)), {finishes, MORAY_FINISH_OPERANDS},
                call);
}

// ---- waiting ----

Status Exchange::await(Result &result) {
  const uint64_t begun = nowNs(), deadlineNs = uint64_t{1000000} * deadlineMs;
  uint64_t since = begun, watched = begun;
  uint32_t seen = 0;
  for (;;) {
    result = driver->streamQuery(stream);
    if (result != kNotReady)
      return {};
    const uint64_t now = nowNs();
    if (now - watched >= kWatchNs && link) {
      watched = now;
      const uint32_t mark = *static_cast<const volatile uint32_t *>(&pinned->progress);
      since = mark == seen ? since : now;
      seen = mark;
      MORAY_TRY(link->poll(placeOf(mark)));
      MORAY_TRY(link->watch(placeOf(mark), since, now - since >= deadlineNs));
    }
    const struct timespec pause = {0, 20000};
    if (now - begun >= kSpinNs)
      nanosleep(&pause, nullptr);
    else
      sched_yield();
  }
}

Status Exchange::faultError(uint32_t word) const {
  const uint32_t source = moray_exchange_fault_source(word), layer = moray_exchange_fault_layer(word);
  switch (moray_exchange_fault_reason(word)) {
  case MORAY_EXCHANGE_TOO_MANY:
    return fail(kE5013, "layer %u has more rows than all ranks agreed on for this step; report this", layer);
  case MORAY_EXCHANGE_DISAGREE:
    return fail(kE5108,
                "rank %u and rank %u exchange rows of another layer, step, placement or size, in layer %u; all ranks "
                "must run the same step of the same artifact",
                source, rank, layer);
  default:
    return fail(kE5113, "what rank %u sent in layer %u of step %llu is no list of rows and experts", source, layer,
                static_cast<unsigned long long>(step));
  }
}

// ---- the end ----

Status Exchange::close() {
  closed = true;
  return link ? link->close() : Status();
}

bool Exchange::abandon() {
  closed = true;
  if (link)
    link->abort();
  for (const uint64_t begun = nowNs();
       driver->streamQuery(stream) == kNotReady || driver->streamQuery(transfers) == kNotReady;) {
    if (nowNs() - begun > kRestNs)
      return false;
    const struct timespec pause = {0, 1000000};
    nanosleep(&pause, nullptr);
  }
  return true;
}

Exchange::~Exchange() {
  if (forked)
    driver->eventDestroy(forked);
  for (const Batch &batch : batches)
    if (batch.ended)
      driver->eventDestroy(batch.ended);
  if (transfers && transfers != stream)
    driver->streamDestroy(transfers);
  if (pinned)
    driver->memFreeHost(pinned);
}

} // namespace moray::rt::cuda
