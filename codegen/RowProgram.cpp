//===- RowProgram.cpp - fused row kernels as loops over one row ---------------===//
// Canonical text and traversal of row programs.

#include "codegen/RowProgram.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/raw_ostream.h"

using namespace moray::codegen;

bool RowMemory::sameRow(const RowMemory &o) const {
  return base == o.base && arg == o.arg && indexArg == o.indexArg && pitch == o.pitch && page == o.page;
}

std::string RowMemory::str() const {
  static const char *const bases[] = {"own", "shared", "indexed", "cache", "scratch"};
  return llvm::formatv("{0}({1},{2},{3},p{4},g{5},r{6})+{7}", bases[base], dtypeName(type), arg, indexArg, pitch, page,
                       rowElements, column)
      .str();
}

namespace {
/// Writes stages as text.
struct Writer {
  llvm::raw_ostream &os;
  void operator()(const RowLoop &loop) {
    static const char *const kinds[] = {"load", "round", "add", "swiglu", "normalise", "combine"};
    os << "loop " << loop.width << "{";
    for (const RowNode &n : loop.nodes) {
      os << kinds[n.kind] << (n.round ? "!" : "") << "(" << n.a << "," << n.b << "," << n.scalar << ")";
      if (n.kind == RowNode::Load || n.kind == RowNode::Combine)
        os << n.memory.str() << "," << n.gatesArg << "," << n.top;
      os << ";";
    }
    for (const RowStore &s : loop.stores)
      os << "store " << s.node << "->" << s.to.str() << ";";
    for (const RowReduction &r : loop.reductions)
      os << "rms " << r.node << "->" << r.scalar << llvm::formatv(" {0:e9};", r.eps);
    for (const RowQuantise &q : loop.quantises)
      os << "quantise " << q.node << "->" << q.codes.str() << "," << q.scales.str() << (q.powerOfTwo ? ",pow2;" : ";");
    os << "}";
  }
  void operator()(const RowRope &r) {
    os << "rope " << r.width << "," << r.headDim << "," << r.rotated << (r.halfSplit ? " half" : "")
       << (r.round ? "!" : "") << " " << r.from.str() << "," << r.cos.str() << "," << r.sin.str() << "->";
    for (const RowMemory &m : r.to)
      os << m.str() << ";";
  }
  void operator()(const RowRopeTable &t) {
    os << "table " << t.positionsArg << llvm::formatv(" {0:e9}", t.multiplier);
    for (float f : t.invFreq)
      os << llvm::formatv(",{0:e9}", f);
    for (const auto &list : {t.cos, t.sin}) {
      os << "->";
      for (const RowMemory &m : list)
        os << m.str() << ";";
    }
  }
};
} // namespace

std::string RowProgram::key() const {
  std::string text;
  llvm::raw_string_ostream os(text);
  os << domain.str() << " scratch " << scratchElements << " ";
  for (const RowStage &stage : stages)
    std::visit(Writer{os}, stage);
  return text;
}

void RowProgram::forEachMemory(llvm::function_ref<void(const RowMemory &)> visit) const {
  for (const RowStage &stage : stages) {
    if (auto *loop = std::get_if<RowLoop>(&stage)) {
      for (const RowNode &n : loop->nodes)
        if (n.kind == RowNode::Load)
          visit(n.memory);
      for (const RowStore &s : loop->stores)
        visit(s.to);
      for (const RowQuantise &q : loop->quantises)
        visit(q.codes), visit(q.scales);
    } else if (auto *rope = std::get_if<RowRope>(&stage)) {
      visit(rope->from), visit(rope->cos), visit(rope->sin);
      for (const RowMemory &m : rope->to)
        visit(m);
    } else if (auto *table = std::get_if<RowRopeTable>(&stage)) {
      for (const auto *list : {&table->cos, &table->sin})
        for (const RowMemory &m : *list)
          visit(m);
    }
  }
}

uint64_t RowProgram::elementsPerRow() const {
  uint64_t total = 0;
  for (const RowStage &stage : stages) {
    if (auto *loop = std::get_if<RowLoop>(&stage)) {
      uint64_t width = loop->width;
      for (const RowNode &n : loop->nodes)
        width += n.kind == RowNode::Combine ? n.top * loop->width : 0;
      total += width;
    } else if (auto *rope = std::get_if<RowRope>(&stage)) {
      total += rope->width;
    } else if (auto *table = std::get_if<RowRopeTable>(&stage)) {
      total += 16 * table->invFreq.size();
    }
  }
  return total;
}
