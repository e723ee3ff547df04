// Expands programs into launches with resolved operands; runs once for an engine.
#include "runtime/exec/program.h"
#include "runtime/artifact/checker.h"
#include <algorithm>

namespace moray::rt {

using schema::ArgKind;
using schema::CommandKind;

namespace {

struct Place {
  void *address;
  uint64_t bytes;
  Operand operand;
};

// What a command runs for.
struct Site {
  uint64_t layer = 0;
  bool inLayer = false;
  uint32_t batch = 0; // of a command, or of all commands of a program that do not say otherwise
};

class Binder {
public:
  Binder(const Artifact &artifact, const ExecPlan &plan, const MemoryMap &map, Entry entry, uint32_t batch,
         Binding &binding)
      : artifact(artifact), plan(plan), map(map), entry(entry), binding(binding),
        program(binding.programs[batch][static_cast<size_t>(entry)]) {}

  // Params are empty for an entry program.
  Status expand(uint32_t index, Span<const Place> params, const Site &around);

private:
  Place resolve(const schema::Arg &arg, uint32_t index, Span<const Place> params, const Site &site) const;
  Launch &addLaunch(uint32_t slot, Span<const Place> places, const Site &site);
  Status addCopy(const schema::Command &command, Span<const Place> places, const Site &site);
  Status addCollective(const schema::Command &command, Span<const Place> places, const Site &site);

  const Artifact &artifact;
  const ExecPlan &plan;
  const MemoryMap &map;
  const Entry entry;
  Binding &binding;
  BoundProgram &program;
};

Place Binder::resolve(const schema::Arg &arg, uint32_t index, Span<const Place> params, const Site &site) const {
  Operand operand = {arg.kind(), index, arg.index()};
  // The input that a layer is called with is that of the command which uses it.
  if (arg.kind() == ArgKind::Param && params[arg.index()].operand.kind == ArgKind::Input)
    operand = params[arg.index()].operand;
  switch (operand.kind) {
  case ArgKind::Buffer:
    return {map.buffer(entry, index, arg.index()), plan.buffers[index][arg.index()].bytes, operand};
  case ArgKind::Param:
    return params[arg.index()];
  case ArgKind::Input:
    return {map.input(operand.index, site.batch), plan.inputBytes[operand.index], operand};
  case ArgKind::Weight: {
    const schema::Weight &weight = *artifact.metadata().weights()->Get(arg.index());
    const uint32_t number = weight.per_layer() ? static_cast<uint32_t>(site.layer) : 0;
    return {map.weight(arg.index(), number), weight.bytes(), operand};
  }
  case ArgKind::Cache:
    return {map.cache(site.layer), plan.cacheLayerBytes, operand};
  }
  return {nullptr, 0, operand};
}

Launch &Binder::addLaunch(uint32_t slot, Span<const Place> places, const Site &site) {
  void **table = program.operands.data() + program.operands.size();
  for (const Place &place : places)
    program.operands.push_back(place.address); // within the reserved capacity: the table stays where it is
  program.launches.push_back({nullptr,
                              {table, nullptr, nullptr, site.layer},
                              slot,
                              static_cast<uint8_t>(site.batch),
                              site.inLayer,
                              /*starts=*/false});
  return program.launches.back();
}

Status Binder::addCopy(const schema::Command &command, Span<const Place> places, const Site &site) {
  const uint64_t limit = std::min(places[0].bytes, places[1].bytes);
  uint64_t bytes = 0;
  MORAY_TRY(evaluateSize(command.bytes(), plan.symbols, bytes));
  if (bytes > limit)
    return fail(kE4015, "a copy of %llu bytes exceeds its source or destination of %llu; compile the model again",
                static_cast<unsigned long long>(bytes), static_cast<unsigned long long>(limit));
  const auto slot = plan.firstCopySlot() + static_cast<uint32_t>(binding.copies.size());
  binding.copies.push_back({command.bytes(), limit, site.batch});
  const Place table[kCopyOperands] = {places[0], places[1], {}};
  addLaunch(slot, {table, kCopyOperands}, site);
  return {};
}

// What the communicator relies on: memory of the step, and index arrays for all experts.
Status Binder::addCollective(const schema::Command &command, Span<const Place> places, const Site &site) {
  const auto kind = static_cast<schema::CollectiveKind>(command.target());
  CollectiveCall call = {kind,
                         command.phase(),
                         static_cast<uint8_t>(site.batch),
                         command.row_dtype(),
                         site.inLayer ? static_cast<int32_t>(site.layer) : -1,
                         static_cast<uint32_t>(command.row_bytes()),
                         static_cast<uint32_t>(command.scale_bytes()),
                         {}};
  bool fits = true;
  for (size_t i = 0; i < places.size(); ++i) {
    fits = fits && places[i].operand.kind == ArgKind::Buffer;
    call.args[i] = {places[i].address, places[i].bytes};
  }
  const uint64_t offsetBytes = (uint64_t{artifact.model().experts()} + 1) * sizeof(int32_t);
  const uint64_t gateBytes = plan.capacities.rows * artifact.model().experts_per_token() * sizeof(float);
  const bool waits = call.phase == schema::CollectivePhase::Wait;
  if (kind == schema::CollectiveKind::Dispatch && !waits) {
    const CollectiveCall::Area(&a)[kDispatchArgs] = call.args;
    const uint64_t scaleRows = call.scaleBytes ? a[7].bytes / call.scaleBytes : plan.capacities.rows;
    const uint64_t receivedScales = call.scaleBytes ? a[8].bytes / call.scaleBytes : a[4].bytes / call.rowBytes;
    fits = fits && a[0].bytes / call.rowBytes >= plan.capacities.rows && a[2].bytes >= offsetBytes &&
           a[3].bytes >= gateBytes && a[6].bytes >= offsetBytes && scaleRows >= plan.capacities.rows &&
           receivedScales >= a[4].bytes / call.rowBytes;
  } else if (!waits) {
    fits = fits && call.args[2].bytes >= gateBytes;
  }
  if (!fits)
    return fail(kE4015,
                "a collective works on something that is no buffer, or on buffers too small for %llu rows or %u "
                "experts; compile the model again",
                static_cast<unsigned long long>(plan.capacities.rows), artifact.model().experts());
  binding.collectives.push_back(call);
  const Place table[kCollectiveOperands] = {};
  addLaunch(plan.collectiveSlot(kind), {table, kCollectiveOperands}, site).starts =
      call.phase == schema::CollectivePhase::Start;
  return {};
}

Status Binder::expand(uint32_t index, Span<const Place> params, const Site &around) {
  const schema::Program &source = *plan.code.target->programs()->Get(index);
  std::vector<Place> places;
  for (uint32_t c = 0; c < sizeOf(source.commands()); ++c) {
    const schema::Command &command = *source.commands()->Get(c);
    const Site site = {around.layer, around.inLayer, std::max<uint32_t>(around.batch, command.batch())};
    places.clear();
    for (uint32_t a = 0; a < sizeOf(command.args()); ++a)
      places.push_back(resolve(*command.args()->Get(a), index, params, site));
    const Span<const Place> args(places.data(), places.size());
    if (command.kind() == CommandKind::Launch) {
      std::vector<Operand> &operands = binding.kernelOperands[command.target()];
      for (const Place &place : args)
        if (operands.size() < args.size())
          operands.push_back(place.operand);
      addLaunch(command.target(), args, site);
    } else if (command.kind() == CommandKind::Copy) {
      MORAY_TRY(addCopy(command, args, site));
    } else if (command.kind() == CommandKind::Collective) {
      MORAY_TRY(addCollective(command, args, site));
    } else {
      for (uint32_t l = command.layer_begin(); l < command.layer_end(); ++l)
        MORAY_TRY(expand(command.target(), args, {l, true, site.batch}));
    }
  }
  return {};
}

} // namespace

uint8_t *PackedMap::buffer(Entry entry, uint32_t program, uint32_t index) const {
  // The frame of a called layer follows that of the caller.
  const EntryPlan &entryPlan = plan.entries[static_cast<size_t>(entry)];
  const uint64_t frame = program == entryPlan.program ? 0 : entryPlan.frameBytes;
  return blocks.activations + frame + plan.buffers[program][index].offset;
}

void countLaunches(const schema::Target &target, const schema::Program &program, uint64_t &launches,
                   uint64_t &operands) {
  for (uint32_t c = 0; c < sizeOf(program.commands()); ++c) {
    const schema::Command &command = *program.commands()->Get(c);
    uint64_t innerLaunches = 1, innerOperands = sizeOf(command.args()), times = 1;
    if (command.kind() == CommandKind::Copy)
      innerOperands = kCopyOperands;
    if (command.kind() == CommandKind::Collective)
      innerOperands = kCollectiveOperands;
    if (command.kind() == CommandKind::Call) {
      innerLaunches = innerOperands = 0;
      countLaunches(target, *target.programs()->Get(command.target()), innerLaunches, innerOperands);
      times = command.layer_end() - command.layer_begin();
    }
    launches += times * innerLaunches;
    operands += times * innerOperands;
  }
}

Status bindPrograms(const Artifact &artifact, const ExecPlan &plan, const MemoryMap &map, Binding &binding) {
  binding.kernelOperands.resize(plan.code.variants.size());
  for (size_t i = 0; i < kEntryCount; ++i) {
    const EntryPlan &entry = plan.entries[i];
    if (entry.program == kNoProgram)
      continue;
    for (uint32_t batch = 0; batch < plan.runsOf(static_cast<Entry>(i)); ++batch) {
      binding.programs[batch][i].launches.reserve(entry.launches);
      binding.programs[batch][i].operands.reserve(entry.operands);
      Binder binder(artifact, plan, map, static_cast<Entry>(i), batch, binding);
      MORAY_TRY(binder.expand(static_cast<uint32_t>(entry.program), {}, {0, false, batch}));
    }
  }
  return {};
}

} // namespace moray::rt
