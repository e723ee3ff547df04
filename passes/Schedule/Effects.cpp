// Implements the effects of commands (see Effects.h).
#include "passes/Schedule/Effects.h"

using namespace mlir;
using namespace moray;

static bool overlap(ArrayRef<Value> a, ArrayRef<Value> b) {
  return llvm::any_of(a, [&](Value value) { return llvm::is_contained(b, value); });
}

bool Effects::conflictsWith(const Effects &other) const {
  return overlap(writes, other.writes) || overlap(writes, other.reads) || overlap(reads, other.writes);
}

Effects moray::effectsOf(Operation *command) {
  OperandRange args = command->getOperands();
  Effects effects{SmallVector<Value>(args), {}};
  // How many arguments at the end are only written.
  if (auto launch = dyn_cast<cmd::LaunchOp>(command)) {
    auto kernel = SymbolTable::lookupNearestSymbolFrom<cmd::KernelOp>(launch, launch.getKernelAttr());
    size_t results = kernel.getBody().front().getTerminator()->getNumOperands();
    llvm::append_range(effects.writes, args.take_back(results));
    effects.reads.truncate(args.size() - results);
  } else if (isa<cmd::CopyOp>(command)) {
    effects = {{args[0]}, {args[1]}};
  } else if (auto collective = dyn_cast<cmd::CollectiveOp>(command)) {
    bool dispatch = collective.getCollective() == cmd::Collective::Dispatch;
    effects = {};
    for (auto [i, arg] : llvm::enumerate(args))
      ((dispatch ? i >= 4 && i != 7 : i >= 1) ? effects.writes : effects.reads).push_back(arg);
  } else {
    llvm::append_range(effects.writes, args);
  }
  for (Value arg : args)
    if (arg.getDefiningOp<cmd::CacheOp>())
      effects.writes.push_back(arg);
  return effects;
}
