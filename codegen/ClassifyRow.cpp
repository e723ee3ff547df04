//===- ClassifyRow.cpp - row regions to row programs --------------------------===//
// Turns a fused region of row-wise ops into a RowProgram: elementwise chains share loops, reductions and slices end
// them.

#include "codegen/KernelRegion.h"
#include "codegen/RowProgram.h"
#include "dialects/LM/LM.h"
#include "dialects/MLA/MLA.h"
#include "dialects/MoE/MoE.h"
#include "llvm/ADT/DenseSet.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace moray::codegen;

namespace {

class RowProgramBuilder {
public:
  explicit RowProgramBuilder(const KernelRegion &region) : region(region), program(std::make_shared<RowProgram>()) {
    program->domain = region.domain;
    if (region.domain.kind == RowDomain::Slots) { // verified: the last operand
      Value offsets = region.body.getArguments().back();
      program->domain.offsetsArg = region.argument(offsets);
      program->domain.experts = cast<RankedTensorType>(offsets.getType()).getDimSize(0) - 1;
    }
  }
  llvm::Expected<KernelSpec> build();

private:
  /// Where a value is: in memory, or (also) a node of the loop number `loop`.
  struct Home {
    std::optional<RowMemory> memory;
    int loop = -1;
    unsigned node = 0;
  };

  const KernelRegion &region;
  std::shared_ptr<RowProgram> program;
  llvm::DenseMap<Value, Home> homes;
  llvm::SmallVector<Value> loopValues; // values that have a node in the open loop
  llvm::DenseSet<Operation *> finished;
  int open = -1; // index of the open loop among the stages

  static bool isBf16(Value v) { return dtypeOf(v.getType()) == DType::BF16; }
  static uint64_t width(Value v) { return moray::lm::widthOf(v); }

  RowLoop &loop() { return std::get<RowLoop>(program->stages[open]); }
  RowMemory resultMemory(Value value, int pointer);
  RowMemory scratchMemory(uint64_t elements);
  RowMemory weightMemory(Value weight);
  void openLoop(uint64_t elements);
  void closeLoop();
  unsigned addNode(RowNode node);
  unsigned nodeOf(Value value);
  RowMemory memoryOf(Value value);
  void define(Value value, unsigned node);
  void defineInMemory(Value value, const RowMemory &memory);
  std::vector<RowMemory> targetsOf(Value value);

  llvm::Error add(Operation *op);
  void addElementwise(Operation *op, RowNode::Kind kind, Value a, Value b);
  void addCast(moray::lm::CastOp op);
  void addSlice(moray::lm::SliceOp op);
  void addGather(Value result, Value source, uint64_t pitch, Value indices);
  void addNorm(moray::lm::RmsNormOp op);
  llvm::Error addQuantize(moray::lm::QuantizeOp op);
  void addCombine(moray::moe::CombineOp op);
  void addAppend(moray::mla::AppendOp op);
  void addRope(moray::lm::RopeOp op);
  void addRopeTable(moray::lm::RopeTableOp op);
};

RowMemory RowProgramBuilder::resultMemory(Value value, int pointer) {
  RowMemory m;
  m.type = *dtypeOf(value.getType());
  m.arg = pointer, m.rowElements = width(value), m.pitch = m.rowElements * byteWidth(m.type);
  return m;
}
RowMemory RowProgramBuilder::scratchMemory(uint64_t elements) {
  RowMemory m;
  m.base = RowMemory::Scratch, m.column = program->scratchElements, m.rowElements = m.column + elements;
  program->scratchElements += (elements + 15) / 16 * 16;
  return m;
}
RowMemory RowProgramBuilder::weightMemory(Value weight) {
  RowMemory m;
  m.base = RowMemory::Shared, m.type = *dtypeOf(weight.getType()), m.arg = region.argument(weight);
  m.rowElements = cast<RankedTensorType>(weight.getType()).getShape().back();
  return m;
}

void RowProgramBuilder::openLoop(uint64_t elements) {
  if (open >= 0 && loop().width == elements)
    return;
  closeLoop();
  open = program->stages.size();
  program->stages.push_back(RowLoop{elements, {}, {}, {}, {}});
}

/// Values of the loop that an unfinished op still needs go to scratch.
void RowProgramBuilder::closeLoop() {
  if (open < 0)
    return;
  for (Value value : loopValues) {
    Home &home = homes[value];
    bool needed = llvm::any_of(value.getUsers(), [&](Operation *user) {
      return user != region.body.getTerminator() && !finished.contains(user);
    });
    if (home.memory || !needed)
      continue;
    home.memory = scratchMemory(width(value));
    loop().stores.push_back({home.node, *home.memory});
  }
  loopValues.clear();
  open = -1;
}

unsigned RowProgramBuilder::addNode(RowNode node) {
  loop().nodes.push_back(node);
  return loop().nodes.size() - 1;
}

/// The node of `value` in the open loop, loaded if it comes from memory.
unsigned RowProgramBuilder::nodeOf(Value value) {
  Home &home = homes[value];
  if (home.loop == open)
    return home.node;
  for (auto [i, n] : llvm::enumerate(loop().nodes))
    if (n.kind == RowNode::Load && !n.round && n.memory == *home.memory)
      return i;
  RowNode load;
  load.memory = *home.memory;
  return addNode(load);
}

/// The memory of `value`; ends the open loop if that is what fills it.
RowMemory RowProgramBuilder::memoryOf(Value value) {
  if (open >= 0 && homes[value].loop == open)
    closeLoop();
  return *homes[value].memory;
}

/// `value` is `node` of the open loop; results are stored at once and may be read back from there.
void RowProgramBuilder::define(Value value, unsigned node) {
  Home &home = homes[value];
  home.loop = open, home.node = node;
  for (int pointer : region.resultsOf(value)) {
    RowMemory memory = resultMemory(value, pointer);
    loop().stores.push_back({node, memory});
    home.memory = memory;
  }
  loopValues.push_back(value);
}

/// `value` already is in memory; results are copied.
void RowProgramBuilder::defineInMemory(Value value, const RowMemory &memory) {
  homes[value].memory = memory;
  if (region.resultsOf(value).empty())
    return;
  openLoop(width(value));
  define(value, nodeOf(value));
}

/// Where a stage has to write `value`: every result, or scratch if there is none.
std::vector<RowMemory> RowProgramBuilder::targetsOf(Value value) {
  std::vector<RowMemory> targets;
  for (int pointer : region.resultsOf(value))
    targets.push_back(resultMemory(value, pointer));
  if (targets.empty())
    targets.push_back(scratchMemory(width(value)));
  homes[value].memory = targets[0];
  return targets;
}

void RowProgramBuilder::addElementwise(Operation *op, RowNode::Kind kind, Value a, Value b) {
  Value result = op->getResult(0);
  openLoop(width(result));
  RowNode node;
  node.kind = kind, node.a = nodeOf(a), node.b = nodeOf(b), node.round = isBf16(result);
  define(result, addNode(node));
}

void RowProgramBuilder::addCast(moray::lm::CastOp op) {
  openLoop(width(op.getResult()));
  unsigned source = nodeOf(op.getSource());
  if (isBf16(op.getResult()) && !isBf16(op.getSource())) {
    RowNode round;
    round.kind = RowNode::Round, round.a = source, round.round = true;
    source = addNode(round);
  }
  define(op.getResult(), source);
}

void RowProgramBuilder::addSlice(moray::lm::SliceOp op) {
  RowMemory memory = memoryOf(op.getSource());
  memory.column += op.getOffset();
  defineInMemory(op.getResult(), memory);
}

void RowProgramBuilder::addGather(Value result, Value source, uint64_t pitch, Value indices) {
  RowMemory m;
  m.base = RowMemory::Indexed, m.type = *dtypeOf(source.getType()), m.arg = region.argument(source);
  m.indexArg = region.argument(indices), m.pitch = pitch, m.rowElements = width(source);
  if (!isBf16(result) || m.type == DType::BF16)
    return defineInMemory(result, m);
  openLoop(width(result));
  RowNode load;
  load.memory = m, load.round = true;
  define(result, addNode(load));
}

void RowProgramBuilder::addNorm(moray::lm::RmsNormOp op) {
  unsigned scalar = program->scalars++;
  openLoop(width(op.getSource()));
  loop().reductions.push_back({nodeOf(op.getSource()), scalar, op.getEps().convertToFloat()});
  closeLoop();
  openLoop(width(op.getSource()));
  RowNode weight, node;
  weight.memory = weightMemory(op.getWeight());
  node.kind = RowNode::Normalise, node.a = nodeOf(op.getSource()), node.b = addNode(weight), node.scalar = scalar;
  node.round = isBf16(op.getResult());
  define(op.getResult(), addNode(node));
}

llvm::Error RowProgramBuilder::addQuantize(moray::lm::QuantizeOp op) {
  auto codes = region.resultsOf(op.getCodes()), scales = region.resultsOf(op.getScales());
  if (codes.size() != 1 || scales.size() != 1)
    return unsupportedRegion(op, "must give its codes and its scales as one result each of the kernel");
  openLoop(width(op.getSource()));
  loop().quantises.push_back({nodeOf(op.getSource()), resultMemory(op.getCodes(), codes[0]),
                              resultMemory(op.getScales(), scales[0]),
                              op.getFormat() == moray::lm::ScaleFormat::UE8M0});
  return llvm::Error::success();
}

void RowProgramBuilder::addCombine(moray::moe::CombineOp op) {
  openLoop(width(op.getResult()));
  RowNode node;
  node.kind = RowNode::Combine;
  node.memory.base = RowMemory::Indexed, node.memory.type = *dtypeOf(op.getSource().getType());
  node.memory.arg = region.argument(op.getSource()), node.memory.indexArg = region.argument(op.getRanks());
  node.memory.rowElements = width(op.getSource()),
  node.memory.pitch = node.memory.rowElements * byteWidth(node.memory.type);
  node.gatesArg = region.argument(op.getGates()), node.top = width(op.getGates());
  define(op.getResult(), addNode(node));
}

void RowProgramBuilder::addAppend(moray::mla::AppendOp op) {
  auto type = op.getCache().getType();
  RowMemory slot;
  slot.base = RowMemory::CacheSlot, slot.type = *dtypeOf(type.getElementType());
  slot.arg = region.argument(op.getCache()), slot.indexArg = region.argument(op.getRows());
  slot.rowElements = type.getWidth(), slot.pitch = slot.rowElements * byteWidth(slot.type), slot.page = type.getPage();
  for (Value part : {op.getLatent(), op.getRope()}) {
    openLoop(width(part));
    loop().stores.push_back({nodeOf(part), slot});
    slot.column = width(part);
  }
}

void RowProgramBuilder::addRope(moray::lm::RopeOp op) {
  RowRope rope;
  rope.from = memoryOf(op.getSource()), rope.cos = memoryOf(op.getCos()), rope.sin = memoryOf(op.getSin());
  closeLoop();
  rope.width = width(op.getSource()), rope.headDim = op.getHeadDim(), rope.rotated = 2 * width(op.getCos());
  rope.halfSplit = op.getLayout() == moray::lm::RopeLayout::HalfSplit, rope.round = isBf16(op.getResult());
  rope.to = targetsOf(op.getResult());
  program->stages.push_back(rope);
}

void RowProgramBuilder::addRopeTable(moray::lm::RopeTableOp op) {
  closeLoop();
  RowRopeTable table;
  table.positionsArg = region.argument(op.getRows());
  table.invFreq.assign(op.getInvFreq().begin(), op.getInvFreq().end());
  table.multiplier = op.getMultiplier().convertToFloat();
  table.cos = targetsOf(op.getCos()), table.sin = targetsOf(op.getSin());
  program->stages.push_back(table);
}

llvm::Error RowProgramBuilder::add(Operation *op) {
  using namespace moray;
  llvm::Error error = llvm::Error::success();
  llvm::TypeSwitch<Operation *>(op)
      .Case([&](lm::AddOp o) { addElementwise(o, RowNode::Add, o.getLhs(), o.getRhs()); })
      .Case([&](lm::SwigluOp o) { addElementwise(o, RowNode::Swiglu, o.getGate(), o.getUp()); })
      .Case([&](lm::CastOp o) { addCast(o); })
      .Case([&](lm::SliceOp o) { addSlice(o); })
      .Case([&](lm::EmbedOp o) {
        addGather(o.getResult(), o.getWeight(), weightPitch(o.getWeight().getType()), o.getTokens());
      })
      .Case([&](lm::GatherRowsOp o) {
        uint64_t pitch = width(o.getSource()) * byteWidth(*dtypeOf(o.getSource().getType()));
        addGather(o.getResult(), o.getSource(), pitch, o.getIndices());
      })
      .Case([&](lm::RmsNormOp o) { addNorm(o); })
      .Case([&](lm::QuantizeOp o) { error = addQuantize(o); })
      .Case([&](moe::CombineOp o) { addCombine(o); })
      .Case([&](mla::AppendOp o) { addAppend(o); })
      .Case([&](lm::RopeOp o) { addRope(o); })
      .Case([&](lm::RopeTableOp o) { addRopeTable(o); })
      .Default([&](Operation *o) { error = unsupportedRegion(o, "is no row op"); });
  finished.insert(op);
  return error;
}

llvm::Expected<KernelSpec> RowProgramBuilder::build() {
  for (BlockArgument argument : region.body.getArguments())
    if (auto type = dyn_cast<RankedTensorType>(argument.getType()); type && type.getRank() == 2 && dtypeOf(type))
      homes[argument].memory = resultMemory(argument, region.argument(argument));
  for (Operation &op : region.body.without_terminator())
    if (llvm::Error error = add(&op))
      return std::move(error);
  for (Value value : region.results())
    if (region.argument(value) >= 0)
      defineInMemory(value, *homes[value].memory);
  closeLoop();
  return KernelSpec{KernelClass::Row, region.pointerCount(), program};
}

} // namespace

llvm::Expected<KernelSpec> moray::codegen::classifyRow(const KernelRegion &region) {
  return RowProgramBuilder(region).build();
}
