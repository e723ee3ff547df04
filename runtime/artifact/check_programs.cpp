// Checks the programs of a target: structure, buffers, lifetimes, commands and their arguments.
#include "runtime/artifact/checker.h"
#include <cstdio>

namespace moray::rt {

using namespace schema;

static constexpr size_t kMaxPrograms = 4096;
static constexpr size_t kMaxCommands = 1u << 16;
static constexpr size_t kMaxBuffers = 1u << 16;
static constexpr uint64_t kMaxRowBytes = INT32_MAX;

Status Checker::checkPrograms() const {
  size_t ofKind[static_cast<size_t>(ProgramKind::MAX) + 1] = {};
  const size_t count = sizeOf(target->programs());
  if (count > kMaxPrograms)
    return fail(kE4013, "there are %zu programs, expected at most %zu; compile the model again", count, kMaxPrograms);
  for (uint32_t i = 0; i < count; ++i) {
    const Program &program = *target->programs()->Get(i);
    MORAY_TRY(checkName(program.name(), "program", i));
    MORAY_TRY(checkProgramShape(program, i));
    ++ofKind[static_cast<size_t>(program.kind())];
  }
  // Calls rely on the shapes of all programs.
  for (uint32_t i = 0; i < count; ++i) {
    const Program &program = *target->programs()->Get(i);
    MORAY_TRY(checkBuffers(program, i));
    for (uint32_t position = 0; position < sizeOf(program.commands()); ++position)
      MORAY_TRY(checkCommand(program, i, position));
    MORAY_TRY(checkCollectiveOrder(program, i));
  }
  auto number = [&](ProgramKind kind) { return ofKind[static_cast<size_t>(kind)]; };
  if (number(ProgramKind::Step) != 1 || number(ProgramKind::Sample) > 1 || number(ProgramKind::Score) > 1 ||
      number(ProgramKind::StepDist) > 1 || number(ProgramKind::StepOverlap) > number(ProgramKind::StepDist))
    return fail(kE4013,
                "there are %zu step, %zu sample, %zu score, %zu distributed and %zu overlapped step programs, expected "
                "one step, at most one of the others, and no overlapped one alone; compile the model again",
                number(ProgramKind::Step), number(ProgramKind::Sample), number(ProgramKind::Score),
                number(ProgramKind::StepDist), number(ProgramKind::StepOverlap));
  return checkLaunchCount();
}

Status Checker::checkProgramShape(const Program &program, size_t index) const {
  if (!isKnown(program.kind()))
    return fail(kE4013, "program %zu has the unknown kind %u; install a newer runtime", index,
                static_cast<unsigned>(program.kind()));
  const uint32_t maxParams = program.kind() == ProgramKind::Layer ? kMaxOperands : 0;
  if (program.param_count() > maxParams || sizeOf(program.commands()) > kMaxCommands ||
      sizeOf(program.buffers()) > kMaxBuffers)
    return fail(kE4013,
                "program %zu has %u parameters, %zu commands and %zu buffers, expected at most %u, %zu and %zu; "
                "compile the model again",
                index, program.param_count(), sizeOf(program.commands()), sizeOf(program.buffers()), maxParams,
                kMaxCommands, kMaxBuffers);
  return {};
}

Status Checker::checkBuffers(const Program &program, size_t index) const {
  for (uint32_t i = 0; i < sizeOf(program.buffers()); ++i) {
    const Buffer &buffer = *program.buffers()->Get(i);
    if (buffer.name() && buffer.name()->length())
      MORAY_TRY(checkName(buffer.name(), "buffer", i));
    if (!isKnown(buffer.dtype()) || buffer.first() > buffer.last() || buffer.last() >= sizeOf(program.commands()))
      return fail(kE4014,
                  "program %zu, buffer %u has element type %u and lives from command %u to %u of %zu; compile the "
                  "model again",
                  index, i, static_cast<unsigned>(buffer.dtype()), buffer.first(), buffer.last(),
                  sizeOf(program.commands()));
    MORAY_TRY(checkExpression(buffer.bytes(), "buffer", i));
  }
  return {};
}

Status Checker::checkCommand(const Program &program, size_t index, uint32_t position) const {
  const Command &command = *program.commands()->Get(position);
  const size_t args = sizeOf(command.args());
  const bool overlaps = program.kind() == ProgramKind::StepOverlap || program.kind() == ProgramKind::Layer;
  if (command.batch() > (overlaps ? 1 : 0))
    return fail(kE4015,
                "program %zu, command %u belongs to micro-batch %u; only an overlapped step and its layers have two; "
                "compile the model again",
                index, position, command.batch());
  if (command.kind() == CommandKind::Launch) {
    if (command.target() >= sizeOf(target->kernels()))
      return fail(kE4015, "program %zu, command %u launches kernel %u of %zu; compile the model again", index, position,
                  command.target(), sizeOf(target->kernels()));
    const Kernel &kernel = *target->kernels()->Get(command.target());
    if (kernel.klass() >= KernelClass::Probe || args != kernel.operand_count())
      return fail(kE4015,
                  "program %zu, command %u gives %zu arguments to kernel %u, which is of class %s and takes %u; "
                  "compile the model again",
                  index, position, args, command.target(), EnumNameKernelClass(kernel.klass()), kernel.operand_count());
  } else if (command.kind() == CommandKind::Call) {
    MORAY_TRY(checkCall(program, index, position));
  } else if (command.kind() == CommandKind::Copy) {
    if (args != 2 || command.args()->Get(1)->kind() == ArgKind::Weight)
      return fail(kE4015,
                  "program %zu, command %u is a copy with %zu arguments, expected a source and a destination that is "
                  "no weight; compile the model again",
                  index, position, args);
    MORAY_TRY(checkExpression(command.bytes(), "copy", position));
  } else if (command.kind() == CommandKind::Collective) {
    MORAY_TRY(checkCollective(program, index, position));
  } else {
    return fail(kE4015, "program %zu, command %u has the unknown kind %u; install a newer runtime", index, position,
                static_cast<unsigned>(command.kind()));
  }
  for (uint32_t a = 0; a < args; ++a)
    MORAY_TRY(checkArg(program, index, position, *command.args()->Get(a)));
  return {};
}

// Data movement between ranks: what is moved lies in memory of the step.
Status Checker::checkCollective(const Program &program, size_t index, uint32_t position) const {
  const Command &command = *program.commands()->Get(position);
  const size_t args = sizeOf(command.args());
  if (command.target() > static_cast<uint32_t>(CollectiveKind::MAX))
    return fail(kE4015, "program %zu, command %u is a collective of the unknown kind %u; install a newer runtime",
                index, position, command.target());
  if (!isKnown(command.phase()) || !isKnown(command.row_dtype()))
    return fail(kE4015,
                "program %zu, command %u has the unknown phase %u or rows of the unknown type %u; install a "
                "newer runtime",
                index, position, static_cast<unsigned>(command.phase()), static_cast<unsigned>(command.row_dtype()));
  const bool dispatch = command.target() == static_cast<uint32_t>(CollectiveKind::Dispatch);
  const bool waits = command.phase() == CollectivePhase::Wait, scales = dispatch && command.scale_bytes() > 0;
  const size_t expected = waits ? 0 : !dispatch ? kCombineArgs : scales ? kDispatchArgs : kDispatchArgs - 2;
  const uint64_t least = waits ? 0 : 1, most = waits ? 0 : kMaxRowBytes;
  if (args != expected || command.row_bytes() < least || command.row_bytes() > most ||
      command.scale_bytes() > (scales ? most : 0) || root.model()->experts() < 1)
    return fail(kE4015,
                "program %zu, command %u is a %s with %zu arguments, rows of %llu bytes and scales of %llu in a model "
                "of %u experts, expected %zu, %llu to %llu, scales of a dispatch alone, and experts; compile the model "
                "again",
                index, position, dispatch ? "dispatch" : "combine", args,
                static_cast<unsigned long long>(command.row_bytes()),
                static_cast<unsigned long long>(command.scale_bytes()), root.model()->experts(), expected,
                static_cast<unsigned long long>(least), static_cast<unsigned long long>(most));
  for (uint32_t a = 0; a < args; ++a)
    if (const ArgKind kind = command.args()->Get(a)->kind(); kind != ArgKind::Buffer && kind != ArgKind::Param)
      return fail(kE4016,
                  "program %zu, command %u gives a collective an argument of kind %u, expected buffers or parameters; "
                  "compile the model again",
                  index, position, static_cast<unsigned>(kind));
  return {};
}

bool Checker::hasCommands(const Program &program, bool (*matches)(const Command &)) const {
  for (uint32_t c = 0; c < sizeOf(program.commands()); ++c)
    if (matches(*program.commands()->Get(c)))
      return true;
  return false;
}

static bool isCollective(const Command &command) { return command.kind() == CommandKind::Collective; }
static bool isOfSecondBatch(const Command &command) { return command.batch() != 0; }

// Dispatch, combine, dispatch, combine ... for each micro-batch of every program, each whole or a start and its wait;
// only a distributed step and the layers that it calls have them.
Status Checker::checkCollectiveOrder(const Program &program, size_t index) const {
  constexpr uint32_t kNone = ~0u;
  struct {
    bool dispatched = false;
    uint32_t start = kNone;
    uint32_t dispatch = kNone; // the last one, whole or its start
  } batches[2];
  auto rests = [&batches](size_t b) { return !batches[b].dispatched && batches[b].start == kNone; };
  const bool distributed = program.kind() == ProgramKind::StepDist || program.kind() == ProgramKind::StepOverlap;
  for (uint32_t c = 0; c < sizeOf(program.commands()); ++c) {
    const Command &command = *program.commands()->Get(c);
    const bool calls =
        command.kind() == CommandKind::Call && hasCommands(*target->programs()->Get(command.target()), isCollective);
    if (!isCollective(command) && !calls)
      continue;
    if (!distributed && (calls || program.kind() != ProgramKind::Layer))
      return fail(kE4013,
                  "program %zu, command %u moves rows between ranks, which only a distributed step does; compile the "
                  "model again",
                  index, c);
    auto &batch = batches[command.batch()];
    const bool combine = command.target() == static_cast<uint32_t>(CollectiveKind::Combine);
    const bool waits = command.phase() == CollectivePhase::Wait, starts = command.phase() == CollectivePhase::Start;
    const bool fits = calls ? rests(0) && rests(1)
                      : waits
                          ? batch.start != kNone && program.commands()->Get(batch.start)->target() == command.target()
                          : batch.start == kNone;
    if (!fits || (!calls && combine != batch.dispatched))
      return fail(kE4013,
                  "program %zu, command %u: in each micro-batch a combine follows each dispatch and a wait each start, "
                  "and nothing else that moves rows lies between them; compile the model again",
                  index, c);
    if (waits)
      MORAY_TRY(checkOpenBuffers(program, index, batch.start, c));
    if (!calls && !combine && !waits)
      batch.dispatch = c;
    if (!calls && !starts) {
      batch.dispatched = !combine;
      const Arg &gates = *program.commands()->Get(batch.dispatch)->args()->Get(3);
      if (combine && gates.kind() == ArgKind::Buffer && program.buffers()->Get(gates.index())->last() < c)
        return fail(kE4016,
                    "program %zu, command %u combines with gates in buffer %u that lives to command %u; compile "
                    "the model again",
                    index, c, gates.index(), program.buffers()->Get(gates.index())->last());
    }
    batch.start = starts ? c : kNone;
  }
  if (!rests(0) || !rests(1))
    return fail(kE4013, "program %zu ends before the last dispatch is combined; compile the model again", index);
  return {};
}

static bool uses(const Command &command, const Arg &arg) {
  for (uint32_t a = 0; a < sizeOf(command.args()); ++a)
    if (command.args()->Get(a)->kind() == arg.kind() && command.args()->Get(a)->index() == arg.index())
      return true;
  return false;
}

// From start to wait, buffers live and nothing touches what the collective writes.
Status Checker::checkOpenBuffers(const Program &program, size_t index, uint32_t start, uint32_t wait) const {
  const auto &args = *program.commands()->Get(start)->args();
  const bool dispatch = program.commands()->Get(start)->target() == static_cast<uint32_t>(CollectiveKind::Dispatch);
  for (uint32_t a = 0; a < args.size(); ++a) {
    const bool written = dispatch ? a >= 4 && a != 7 : a >= 1;
    const Arg &arg = *args.Get(a);
    bool good = arg.kind() != ArgKind::Buffer || program.buffers()->Get(arg.index())->last() >= wait;
    for (uint32_t c = start + 1; c < wait && written && good; ++c)
      good = !uses(*program.commands()->Get(c), arg);
    if (!good)
      return fail(kE4016,
                  "program %zu: argument %u of the collective that command %u starts ends its life or is used before "
                  "command %u waits for it; compile the model again",
                  index, a, start, wait);
  }
  return {};
}

// Only a program that is no layer calls, and it calls a layer: calls have depth one and cannot be cyclic.
Status Checker::checkCall(const Program &program, size_t index, uint32_t position) const {
  const Command &command = *program.commands()->Get(position);
  if (program.kind() == ProgramKind::Layer || command.target() >= sizeOf(target->programs()) ||
      target->programs()->Get(command.target())->kind() != ProgramKind::Layer)
    return fail(kE4015,
                "program %zu, command %u calls program %u of %zu; only layer programs are called, and not by each "
                "other; compile the model again",
                index, position, command.target(), sizeOf(target->programs()));
  const Program &layer = *target->programs()->Get(command.target());
  if (hasCommands(layer, isOfSecondBatch) && (program.kind() != ProgramKind::StepOverlap || command.batch() != 0))
    return fail(
        kE4015,
        "program %zu, command %u calls program %u, which runs two micro-batches, from a step or for a batch that "
        "is not both; compile the model again",
        index, position, command.target());
  const size_t args = sizeOf(command.args());
  if (args != layer.param_count())
    return fail(kE4015,
                "program %zu, command %u gives %zu arguments to program %u, which takes %u; compile the model again",
                index, position, args, command.target(), layer.param_count());
  if (command.layer_begin() >= command.layer_end() || command.layer_end() > root.model()->layers())
    return fail(kE4015, "program %zu, command %u calls layers %u to %u of %u; compile the model again", index, position,
                command.layer_begin(), command.layer_end(), root.model()->layers());
  for (uint32_t a = 0; a < args; ++a) {
    const Arg &arg = *command.args()->Get(a);
    const bool perLayer = arg.kind() == ArgKind::Weight && arg.index() < sizeOf(root.weights()) &&
                          root.weights()->Get(arg.index())->per_layer();
    if (arg.kind() == ArgKind::Cache || perLayer)
      return fail(kE4016,
                  "program %zu, command %u passes something of the current layer to a layer program, which has it "
                  "already; compile the model again",
                  index, position);
  }
  return checkLayerWeights(layer, command.layer_begin(), command.layer_end(), index);
}

Status Checker::checkLayerWeights(const Program &layer, uint32_t begin, uint32_t end, size_t caller) const {
  for (uint32_t c = 0; c < sizeOf(layer.commands()); ++c) {
    const Command &command = *layer.commands()->Get(c);
    for (uint32_t a = 0; a < sizeOf(command.args()); ++a) {
      const Arg &arg = *command.args()->Get(a);
      if (arg.kind() != ArgKind::Weight || arg.index() >= sizeOf(root.weights()))
        continue; // an index beyond the table is reported with its own program
      const Weight &weight = *root.weights()->Get(arg.index());
      for (uint32_t l = begin; weight.per_layer() && l < end; ++l)
        if (weight.offsets()->Get(l) == kNoOffset)
          return fail(kE4016,
                      "program %zu runs layer %u with weight %u, which that layer has not; compile the model again",
                      caller, l, arg.index());
    }
  }
  return {};
}

Status Checker::checkArg(const Program &program, size_t index, uint32_t position, const Arg &arg) const {
  size_t limit = 0;
  switch (arg.kind()) {
  case ArgKind::Buffer:
    limit = sizeOf(program.buffers());
    if (arg.index() < limit) {
      const Buffer &buffer = *program.buffers()->Get(arg.index());
      if (position < buffer.first() || position > buffer.last())
        return fail(kE4016,
                    "program %zu, command %u uses buffer %u outside its lifetime of %u to %u; compile the model again",
                    index, position, arg.index(), buffer.first(), buffer.last());
    }
    break;
  case ArgKind::Param:
    limit = program.param_count();
    break;
  case ArgKind::Input:
    limit = static_cast<size_t>(InputId::MAX) + 1;
    break;
  case ArgKind::Weight:
    limit = sizeOf(root.weights());
    // Outside layers, the layer number is 0.
    if (arg.index() < limit && program.kind() != ProgramKind::Layer &&
        root.weights()->Get(arg.index())->offsets()->Get(0) == kNoOffset)
      return fail(kE4016, "program %zu, command %u uses weight %u, which layer 0 has not; compile the model again",
                  index, position, arg.index());
    break;
  case ArgKind::Cache:
    limit = SIZE_MAX;
    break;
  }
  if (arg.index() >= limit)
    return fail(kE4016,
                "program %zu, command %u has an argument of kind %u with index %u, expected less than %zu; compile "
                "the model again",
                index, position, static_cast<unsigned>(arg.kind()), arg.index(), limit);
  return {};
}

Status Checker::checkLaunchCount() const {
  for (uint32_t i = 0; i < sizeOf(target->programs()); ++i) {
    const Program &program = *target->programs()->Get(i);
    uint64_t launches = 0;
    for (uint32_t c = 0; c < sizeOf(program.commands()); ++c) {
      const Command &command = *program.commands()->Get(c);
      launches += command.kind() != CommandKind::Call
                      ? 1
                      : uint64_t{command.layer_end() - command.layer_begin()} *
                            sizeOf(target->programs()->Get(command.target())->commands());
    }
    if (launches > kMaxLaunches)
      return fail(kE4013, "program %u has %llu launches, expected at most %llu; compile the model again", i,
                  static_cast<unsigned long long>(launches), static_cast<unsigned long long>(kMaxLaunches));
  }
  return {};
}

} // namespace moray::rt
