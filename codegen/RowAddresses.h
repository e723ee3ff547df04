//===- RowAddresses.h - where the memory of one row begins ------------*- C++ -*-===//
// The addresses that the row emitters of all targets compute once for each row.

#ifndef MORAY_CODEGEN_ROWADDRESSES_H
#define MORAY_CODEGEN_ROWADDRESSES_H

#include "codegen/KernelBuilder.h"
#include "codegen/RowProgram.h"

namespace moray::codegen {

class RowAddresses {
public:
  using Value = mlir::Value;

  /// A combine's source rows and gates (f32), in order of addition.
  struct CombineRows {
    const RowNode *node;
    KernelBuilder::Values rows, gates;
  };

  explicit RowAddresses(KernelBuilder &builder) : b(builder) {}
  /// Emits what is behind every row memory and combine of `program` for `row` (i64). `scratch` is where
  /// RowMemory::Scratch begins; it may be null where the program uses none.
  void find(const RowProgram &program, Value row, Value scratch);
  /// Address of an element (i64; null: the first).
  Value at(const RowMemory &memory, Value element = {}) const;
  const CombineRows &combine(const RowNode &node) const;

private:
  Value rowBase(const RowMemory &memory, Value row, Value scratch);
  Value cacheSlot(const RowMemory &memory, Value row);
  void addCombine(const RowNode &node, Value row);

  KernelBuilder &b;
  std::vector<std::pair<RowMemory, Value>> bases; // first byte of each row memory
  std::vector<CombineRows> combines;
};

} // namespace moray::codegen

#endif
