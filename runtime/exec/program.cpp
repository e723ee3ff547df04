// Expands programs into launches with resolved operands; runs once for an engine.
#include "runtime/exec/program.h"
#include "runtime/artifact/checker.h"
#include <algorithm>
#include <cstring>

namespace moray::rt {

using schema::ArgKind;
using schema::CommandKind;

namespace {

struct Place {
  void *pointer;
  uint64_t bytes;
};

void copyTask(const moray_kernel_args *args, uint64_t task, void *, uint32_t *) {
  const uint64_t bytes = *static_cast<const uint64_t *>(args->operands[2]);
  const uint64_t begin = task * kCopyTaskBytes;
  memcpy(static_cast<uint8_t *>(args->operands[1]) + begin, static_cast<const uint8_t *>(args->operands[0]) + begin,
         std::min(kCopyTaskBytes, bytes - begin));
}

class Binder {
public:
  Binder(const Artifact &artifact, const ExecPlan &plan, const MemoryMap &map, uint64_t frameBytes,
         std::vector<CopySlot> &copies, BoundProgram &program)
      : artifact(artifact), plan(plan), map(map), frameBytes(frameBytes), copies(copies), program(program) {}

  // Frame: where the program's buffers start. Params are empty for an entry program.
  Status expand(uint32_t index, uint8_t *frame, Span<const Place> params, uint64_t layer, bool inLayer);

private:
  Place resolve(const schema::Arg &arg, uint32_t index, uint8_t *frame, Span<const Place> params, uint64_t layer) const;
  void addLaunch(uint32_t kernel, Span<const Place> places, uint64_t layer, bool inLayer);
  Status addCopy(const schema::Command &command, Span<const Place> places, uint64_t layer, bool inLayer);
  moray_kernel_args tableOf(Span<const Place> places, uint64_t layer);

  const Artifact &artifact;
  const ExecPlan &plan;
  const MemoryMap &map;
  const uint64_t frameBytes; // of the entry program; the frame of called layers follows it
  std::vector<CopySlot> &copies;
  BoundProgram &program;
};

Place Binder::resolve(const schema::Arg &arg, uint32_t index, uint8_t *frame, Span<const Place> params,
                      uint64_t layer) const {
  switch (arg.kind()) {
  case ArgKind::Buffer: {
    const PlannedBuffer &buffer = plan.buffers[index][arg.index()];
    return {frame + buffer.offset, buffer.bytes};
  }
  case ArgKind::Param:
    return params[arg.index()];
  case ArgKind::Input:
    return {map.io + plan.inputOffsets[arg.index()], plan.inputBytes[arg.index()]};
  case ArgKind::Weight: {
    const schema::Weight &weight = *artifact.metadata().weights()->Get(arg.index());
    const uint64_t offset = weight.offsets()->Get(weight.per_layer() ? static_cast<uint32_t>(layer) : 0);
    // Kernels take one kind of pointer; weights are mapped without write permission.
    return {const_cast<uint8_t *>(map.weights) + offset, weight.bytes()};
  }
  case ArgKind::Cache:
    return {map.cache + layer * plan.cacheLayerBytes, plan.cacheLayerBytes};
  }
  return {nullptr, 0};
}

moray_kernel_args Binder::tableOf(Span<const Place> places, uint64_t layer) {
  void **table = program.operands.data() + program.operands.size();
  for (const Place &place : places)
    program.operands.push_back(place.pointer); // within the reserved capacity: the table stays where it is
  return {table, map.live, map.symbols, layer};
}

void Binder::addLaunch(uint32_t kernel, Span<const Place> places, uint64_t layer, bool inLayer) {
  const schema::Variant &variant = *plan.variants[kernel];
  moray_kernel_fn function = nullptr;
  const uint8_t *entry = map.images[variant.image()] + variant.entry();
  memcpy(&function, &entry, sizeof(function)); // object to function pointer, which a cast must not do
  program.launches.push_back({function, tableOf(places, layer), kernel, inLayer});
}

Status Binder::addCopy(const schema::Command &command, Span<const Place> places, uint64_t layer, bool inLayer) {
  const uint64_t limit = std::min(places[0].bytes, places[1].bytes);
  uint64_t bytes = 0;
  MORAY_TRY(evaluateSize(command.bytes(), plan.symbols, bytes));
  if (bytes > limit)
    return fail(kE4015, "a copy of %llu bytes exceeds its source or destination of %llu; compile the model again",
                static_cast<unsigned long long>(bytes), static_cast<unsigned long long>(limit));
  const auto slot = static_cast<uint32_t>(plan.variants.size() + copies.size());
  copies.push_back({command.bytes(), limit});
  const Place table[kCopyOperands] = {places[0], places[1], {nullptr, 0}};
  program.launches.push_back({copyTask, tableOf({table, kCopyOperands}, layer), slot, inLayer});
  return {};
}

Status Binder::expand(uint32_t index, uint8_t *frame, Span<const Place> params, uint64_t layer, bool inLayer) {
  const schema::Program &source = *plan.target->programs()->Get(index);
  std::vector<Place> places;
  for (uint32_t c = 0; c < sizeOf(source.commands()); ++c) {
    const schema::Command &command = *source.commands()->Get(c);
    places.clear();
    for (uint32_t a = 0; a < sizeOf(command.args()); ++a)
      places.push_back(resolve(*command.args()->Get(a), index, frame, params, layer));
    const Span<const Place> args(places.data(), places.size());
    if (command.kind() == CommandKind::Launch) {
      addLaunch(command.target(), args, layer, inLayer);
    } else if (command.kind() == CommandKind::Copy) {
      MORAY_TRY(addCopy(command, args, layer, inLayer));
    } else {
      for (uint32_t l = command.layer_begin(); l < command.layer_end(); ++l)
        MORAY_TRY(expand(command.target(), frame + frameBytes, args, l, true));
    }
  }
  return {};
}

} // namespace

void countLaunches(const schema::Target &target, const schema::Program &program, uint64_t &launches,
                   uint64_t &operands) {
  for (uint32_t c = 0; c < sizeOf(program.commands()); ++c) {
    const schema::Command &command = *program.commands()->Get(c);
    uint64_t innerLaunches = 1, innerOperands = sizeOf(command.args()), times = 1;
    if (command.kind() == CommandKind::Copy)
      innerOperands = kCopyOperands;
    if (command.kind() == CommandKind::Call) {
      innerLaunches = innerOperands = 0;
      countLaunches(target, *target.programs()->Get(command.target()), innerLaunches, innerOperands);
      times = command.layer_end() - command.layer_begin();
    }
    launches += times * innerLaunches;
    operands += times * innerOperands;
  }
}

Status bindProgram(const Artifact &artifact, const ExecPlan &plan, const MemoryMap &map, Entry entry,
                   std::vector<CopySlot> &copies, BoundProgram &program) {
  const EntryPlan &entryPlan = plan.entries[static_cast<size_t>(entry)];
  if (entryPlan.program == kNoProgram)
    return {};
  program.launches.reserve(entryPlan.launches);
  program.operands.reserve(entryPlan.operands);
  Binder binder(artifact, plan, map, entryPlan.frameBytes, copies, program);
  return binder.expand(static_cast<uint32_t>(entryPlan.program), map.activations, {}, 0, false);
}

} // namespace moray::rt
