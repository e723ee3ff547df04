//===- RowAddresses.cpp - where the memory of one row begins ------------------===//
// See RowAddresses.h.

#include "codegen/RowAddresses.h"

using namespace moray::codegen;
using mlir::Value;

Value RowAddresses::cacheSlot(const RowMemory &m, Value row) {
  Value rowBytes = b.shl(row, 2);
  auto index = [&](Value base, Value bytes) { return b.zext(b.load(b.i32, b.at(base, bytes)), b.i64); };
  Value position = index(b.operand(m.indexArg), rowBytes);
  Value sequence = index(b.operand(m.indexArg + 1), rowBytes);
  Value page = b.add(b.mul(sequence, b.capacity(Symbol::P)), b.divu(position, int64_t(m.page)));
  Value pageId = index(b.operand(m.indexArg + 3), b.shl(page, 2));
  Value token = b.add(b.mul(pageId, int64_t(m.page)), b.remu(position, int64_t(m.page)));
  return b.at(b.operand(m.arg), b.mul(token, int64_t(m.pitch)));
}

Value RowAddresses::rowBase(const RowMemory &m, Value row, Value scratch) {
  switch (m.base) {
  case RowMemory::Own:
    return b.at(b.operand(m.arg), b.mul(row, int64_t(m.pitch)));
  case RowMemory::Shared:
    return b.operand(m.arg);
  case RowMemory::Indexed: {
    Value index = b.sext(b.load(b.i32, b.at(b.operand(m.indexArg), b.shl(row, 2))), b.i64);
    return b.at(b.operand(m.arg), b.mul(index, int64_t(m.pitch)));
  }
  case RowMemory::CacheSlot:
    return cacheSlot(m, row);
  case RowMemory::Scratch:
    return scratch;
  }
  return {};
}

void RowAddresses::addCombine(const RowNode &n, Value row) {
  CombineRows rows{&n, {}, {}};
  Value first = b.mul(row, int64_t(4 * n.top));
  for (uint64_t j = 0; j < n.top; ++j) {
    Value slot = b.sext(b.load(b.i32, b.at(b.at(b.operand(n.memory.indexArg), first), int64_t(4 * j))), b.i64);
    rows.rows.push_back(b.at(b.operand(n.memory.arg), b.mul(slot, int64_t(n.memory.pitch))));
    rows.gates.push_back(b.load(b.f32, b.at(b.at(b.operand(n.gatesArg), first), int64_t(4 * j))));
  }
  combines.push_back(rows);
}

void RowAddresses::find(const RowProgram &program, Value row, Value scratch) {
  program.forEachMemory([&](const RowMemory &m) {
    for (auto &entry : bases)
      if (entry.first.sameRow(m))
        return;
    bases.push_back({m, rowBase(m, row, scratch)});
  });
  for (const RowStage &stage : program.stages)
    if (auto *loop = std::get_if<RowLoop>(&stage))
      for (const RowNode &n : loop->nodes)
        if (n.kind == RowNode::Combine)
          addCombine(n, row);
}

Value RowAddresses::at(const RowMemory &m, Value element) const {
  auto entry = llvm::find_if(bases, [&](auto &e) { return e.first.sameRow(m); });
  int64_t width = byteWidth(m.type);
  // The constant part comes last: it becomes the offset of an access.
  Value first = element ? b.at(entry->second, b.mul(element, width)) : entry->second;
  return b.at(first, int64_t(m.column) * width);
}

const RowAddresses::CombineRows &RowAddresses::combine(const RowNode &node) const {
  return *llvm::find_if(combines, [&](const CombineRows &c) { return c.node == &node; });
}
