// Which memory a command of a program reads and writes, as far as orders of commands depend on it.
#ifndef MORAY_PASSES_SCHEDULE_EFFECTS_H
#define MORAY_PASSES_SCHEDULE_EFFECTS_H

#include "dialects/Cmd/Cmd.h"

namespace moray {

/// Weights and inputs are never written and stand among the reads; a cache is read and written.
struct Effects {
  llvm::SmallVector<mlir::Value> reads, writes;

  /// One writes what the other reads or writes: they have to keep their order.
  bool conflictsWith(const Effects &other) const;
};

/// Of a launch, copy or collective (a start counts as the whole); a call may do everything with its arguments.
Effects effectsOf(mlir::Operation *command);

} // namespace moray

#endif
