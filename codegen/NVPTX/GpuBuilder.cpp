//===- GpuBuilder.cpp - helper that writes GPU kernels --------------------------===//
// Arguments, threads, shared memory, warp and matrix instructions of the nvptx emitters.

#include "codegen/NVPTX/GpuBuilder.h"
#include "kernel_abi.h"
#include "mlir/Dialect/LLVMIR/LLVMTypes.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace moray::codegen;
using llvm::Twine;

GpuBuilder::GpuBuilder(OpBuilder &builder, LLVM::LLVMFuncOp function, const GpuTarget &target, unsigned operandCount,
                       unsigned threads)
    : KernelBuilder(builder, function), target(target), threads(threads),
      global(LLVM::LLVMPointerType::get(builder.getContext(), 1)),
      shared(LLVM::LLVMPointerType::get(builder.getContext(), 3)), operandCount(operandCount) {}

//===----------------------------------------------------------------------===//
// What the kernel receives
//===----------------------------------------------------------------------===//

GpuBuilder::Value GpuBuilder::operand(unsigned index) { return function.getArgument(index); }
GpuBuilder::Value GpuBuilder::trailing(unsigned index) { return function.getArgument(operandCount + index); }
GpuBuilder::Value GpuBuilder::live(unsigned index) {
  return inPrologue("live" + std::to_string(index), [&] {
    Value count = loadInvariant(i32, at(trailing(MORAY_GPU_LIVE), int64_t(4 * index)));
    return zext(count, i64);
  });
}
GpuBuilder::Value GpuBuilder::capacity(Symbol symbol) { return trailing(MORAY_GPU_SYMBOLS + unsigned(symbol)); }
GpuBuilder::Value GpuBuilder::layer() { return trailing(MORAY_GPU_LAYER); }
GpuBuilder::Value GpuBuilder::scratch() { return trailing(MORAY_GPU_SCRATCH); }
GpuBuilder::Value GpuBuilder::faultWord() { return trailing(MORAY_GPU_FAULT); }

GpuBuilder::Value GpuBuilder::task() {
  return inPrologue("task", [&] { return zext(intrinsic("llvm.nvvm.read.ptx.sreg.ctaid.x", i32, {}), i64); });
}
void GpuBuilder::setBlocksPerMultiprocessor(unsigned blocks) {
  function->setAttr("nvvm.minctasm", b.getI32IntegerAttr(blocks));
}
GpuBuilder::Value GpuBuilder::thread() {
  return inPrologue("thread", [&] { return intrinsic("llvm.nvvm.read.ptx.sreg.tid.x", i32, {}); });
}
GpuBuilder::Value GpuBuilder::lane() {
  Value all = thread();
  return inPrologue("lane", [&] { return andi(all, kWarp - 1); });
}
GpuBuilder::Value GpuBuilder::warp() {
  Value all = thread();
  return inPrologue("warp", [&] { return shrl(all, 5); });
}

GpuBuilder::Value GpuBuilder::blocks() {
  return inPrologue("blocks", [&] { return intrinsic("llvm.nvvm.read.ptx.sreg.nctaid.x", i32, {}); });
}

//===----------------------------------------------------------------------===//
// Shared memory and synchronisation
//===----------------------------------------------------------------------===//

LLVM::GlobalOp GpuBuilder::addShared(StringRef suffix, uint64_t bytes, unsigned alignment, LLVM::Linkage linkage) {
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPoint(function);
  auto type = LLVM::LLVMArrayType::get(i8, bytes);
  return LLVM::GlobalOp::create(b, loc, type, /*isConstant=*/false, linkage, (function.getName() + "_" + suffix).str(),
                                Attribute(), alignment, /*addrSpace=*/3);
}
GpuBuilder::Value GpuBuilder::sharedArray(uint64_t bytes, unsigned alignment) {
  sharedBytes = llvm::alignTo(sharedBytes, alignment) + bytes;
  LLVM::GlobalOp array = addShared(("shared" + Twine(sharedArrays++)).str(), bytes, alignment, LLVM::Linkage::Internal);
  // An internal variable needs an initialiser; undefined is what shared memory is.
  OpBuilder::InsertionGuard guard(b);
  b.createBlock(&array.getInitializerRegion());
  LLVM::ReturnOp::create(b, loc, ValueRange{LLVM::UndefOp::create(b, loc, array.getType())});
  b.setInsertionPointToStart(&function.getBody().front());
  return LLVM::AddressOfOp::create(b, loc, array);
}
GpuBuilder::Value GpuBuilder::dynamicShared() {
  return inPrologue("dynamicShared", [&] {
    return LLVM::AddressOfOp::create(b, loc, addShared("dynamic", 0, 128, LLVM::Linkage::External)).getResult();
  });
}

GpuBuilder::Value GpuBuilder::constantTable(ArrayRef<float> values) {
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPoint(function);
  auto type = LLVM::LLVMArrayType::get(f32, values.size());
  auto bits = DenseElementsAttr::get(RankedTensorType::get({int64_t(values.size())}, f32), values);
  auto table = LLVM::GlobalOp::create(b, loc, type, /*isConstant=*/true, LLVM::Linkage::Internal,
                                      (function.getName() + "_table" + Twine(constantTables++)).str(), bits,
                                      /*alignment=*/4, /*addrSpace=*/4);
  b.setInsertionPointToStart(&function.getBody().front());
  return LLVM::AddressOfOp::create(b, loc, table);
}

void GpuBuilder::barrier() { intrinsic("llvm.nvvm.barrier.cta.sync.aligned.all", {}, {c32(0)}); }
void GpuBuilder::syncWarp() { intrinsic("llvm.nvvm.bar.warp.sync", {}, {c32(-1)}); }
void GpuBuilder::fenceDevice() { intrinsic("llvm.nvvm.membar.gl", {}, {}); }

//===----------------------------------------------------------------------===//
// Across the warp
//===----------------------------------------------------------------------===//

static Value shuffle(GpuBuilder &g, const char *kind, Value value, Value lane, unsigned clamp = 31) {
  if (value.getType() == g.i64) {
    Value low = shuffle(g, kind, g.trunc(value, g.i32), lane, clamp);
    Value high = shuffle(g, kind, g.trunc(g.shrl(value, 32), g.i32), lane, clamp);
    return g.ori(g.zext(low, g.i64), g.shl(g.zext(high, g.i64), 32));
  }
  bool isFloat = isa<FloatType>(value.getType());
  return g.intrinsic((Twine("llvm.nvvm.shfl.sync.") + kind + (isFloat ? ".f32" : ".i32")).str(), value.getType(),
                     {g.c32(-1), value, lane, g.c32(clamp)});
}
GpuBuilder::Value GpuBuilder::shuffleXor(Value value, unsigned mask) {
  return shuffle(*this, "bfly", value, c32(mask));
}
GpuBuilder::Value GpuBuilder::shuffleUp(Value value, unsigned delta) {
  return shuffle(*this, "up", value, c32(delta), 0);
}
GpuBuilder::Value GpuBuilder::broadcastLane(Value value, Value lane) { return shuffle(*this, "idx", value, lane); }
GpuBuilder::Value GpuBuilder::anyLane(Value condition) {
  return intrinsic("llvm.nvvm.vote.any.sync", i1, {c32(-1), condition});
}
GpuBuilder::Value GpuBuilder::ballot(Value condition) {
  return intrinsic("llvm.nvvm.vote.ballot.sync", i32, {c32(-1), condition});
}
GpuBuilder::Value GpuBuilder::maxLanes(Value value) {
  return intrinsic("llvm.nvvm.redux.sync.umax", i32, {value, c32(-1)});
}
GpuBuilder::Value GpuBuilder::sumLanes(Value value) {
  return intrinsic("llvm.nvvm.redux.sync.add", i32, {value, c32(-1)});
}
std::pair<Value, Value> GpuBuilder::rankAmongLanes(Value condition) {
  Value votes = ballot(condition), lower = intrinsic("llvm.nvvm.read.ptx.sreg.lanemask.lt", i32, {});
  return {popCount(andi(votes, lower)), popCount(votes)};
}
GpuBuilder::Value GpuBuilder::popCount(Value value) { return LLVM::CtPopOp::create(b, loc, i32, value); }
std::pair<Value, Value> GpuBuilder::addWarps(Value before, Value inWarp, Value memory) {
  auto slot = [&](Value index) { return at(memory, zext(shl(index, 2), i64)); };
  ifThen(eq(lane(), 0), [&] { store(inWarp, slot(warp())); });
  barrier();
  Value total = c32(0);
  for (unsigned w = 0; w < threads / kWarp; ++w) {
    Value count = load(i32, slot(c32(w)));
    before = add(before, select(ult(c32(w), warp()), count, c32(0)));
    total = add(total, count);
  }
  barrier(); // before the memory is written again
  return {before, total};
}

GpuBuilder::Value GpuBuilder::trailingZeros(Value value) {
  return LLVM::CountTrailingZerosOp::create(b, loc, i32, value, /*isZeroPoison=*/false);
}

//===----------------------------------------------------------------------===//
// Memory
//===----------------------------------------------------------------------===//

GpuBuilder::Value GpuBuilder::loadInvariant(Type type, Value address, unsigned alignment) {
  Value value = load(type, address, alignment);
  value.getDefiningOp<LLVM::LoadOp>().setInvariant(true);
  return value;
}
GpuBuilder::Value GpuBuilder::atomicAdd(Value address, Value value) {
  return LLVM::AtomicRMWOp::create(b, loc, LLVM::AtomicBinOp::add, address, value, LLVM::AtomicOrdering::monotonic);
}
void GpuBuilder::atomicOr(Value address, Value value) {
  LLVM::AtomicRMWOp::create(b, loc, LLVM::AtomicBinOp::_or, address, value, LLVM::AtomicOrdering::monotonic);
}
void GpuBuilder::storeFault(Value code) {
  LLVM::StoreOp::create(b, loc, code, faultWord(), /*alignment=*/4, /*isVolatile=*/false, /*isNonTemporal=*/false,
                        /*isInvariantGroup=*/false, LLVM::AtomicOrdering::monotonic);
}
void GpuBuilder::copyAsync(Value sharedAddress, Value globalAddress, Value bytes) {
  if (bytes)
    intrinsic("llvm.nvvm.cp.async.cg.shared.global.16.s", {}, {sharedAddress, globalAddress, bytes});
  else
    intrinsic("llvm.nvvm.cp.async.cg.shared.global.16", {}, {sharedAddress, globalAddress});
}
void GpuBuilder::commitAsync() { intrinsic("llvm.nvvm.cp.async.commit.group", {}, {}); }
void GpuBuilder::waitAsync(unsigned pending) { intrinsic("llvm.nvvm.cp.async.wait.group", {}, {c32(pending)}); }

GpuBuilder::Value GpuBuilder::extract(Value vector, int64_t element) {
  return vector::ExtractOp::create(b, loc, vector, element);
}
GpuBuilder::Value GpuBuilder::insert(Value scalar, Value vector, int64_t element) {
  return vector::InsertOp::create(b, loc, scalar, vector, element);
}

//===----------------------------------------------------------------------===//
// Number formats
//===----------------------------------------------------------------------===//

void GpuBuilder::storeNarrow(DType type, Value value, Value address) {
  store(type == DType::BF16 ? roundToBf16(value) : value, address);
}
GpuBuilder::Value GpuBuilder::roundToBf16(Value value) {
  Value rounded = LLVM::FPTruncOp::create(b, loc, shaped(value, b.getBF16Type()), value);
  return LLVM::BitcastOp::create(b, loc, shaped(value, i16), rounded);
}
GpuBuilder::Value GpuBuilder::loadWide(DType type, Value address) {
  if (type == DType::F32)
    return load(f32, address);
  return type == DType::BF16 ? widenBf16(load(i16, address)) : widenF8(load(i8, address));
}
GpuBuilder::Value GpuBuilder::widenF8(Value code) {
  // Exponent and mantissa land in a float whose bias is 120 larger; the product puts it right, subnormals included.
  Value bits = zext(code, i32);
  Value magnitude = shl(andi(bits, 0x7f), 20), sign = shl(andi(bits, 0x80), 24);
  return mulf(bitcast(ori(magnitude, sign), f32), constF(f32, std::ldexp(1.0, 120)));
}
GpuBuilder::Value GpuBuilder::packBf16(Value low, Value high) {
  Type pair = vec(2, b.getBF16Type());
  return LLVM::BitcastOp::create(b, loc, i32, intrinsic("llvm.nvvm.ff2bf16x2.rn", pair, {high, low}));
}
std::pair<Value, Value> GpuBuilder::widenF8x4(Value codes) {
  // As widenF8, two at a time: a bf16 has the exponent of a float. The sign stays at the top of each half.
  Type pair = vec(2, b.getBF16Type());
  Value scale = constI(i32, 0x7b807b80), minusZero = constI(i32, int32_t(0x80008000)); // 2^120 twice, -0 twice
  auto widen = [&](Value spread) { // code bytes in the upper byte of each half
    Value sign = andi(spread, int32_t(0x80008000)), magnitude = andi(shrl(spread, 4), 0x07f007f0);
    Value bits = ori(sign, magnitude);
    auto asPair = [&](Value v) { return LLVM::BitcastOp::create(b, loc, pair, v).getResult(); };
    return LLVM::BitcastOp::create(
               b, loc, i32,
               intrinsic("llvm.nvvm.fma.rn.bf16x2", pair, {asPair(bits), asPair(scale), asPair(minusZero)}))
        .getResult();
  };
  auto spread = [&](uint32_t selector) {
    return intrinsic("llvm.nvvm.prmt", i32, {codes, c32(0), constI(i32, selector)});
  };
  return {widen(spread(0x1404)), widen(spread(0x3424))};
}

//===----------------------------------------------------------------------===//
// Matrices
//===----------------------------------------------------------------------===//

static GpuBuilder::Values unpack(GpuBuilder &g, Value structure, unsigned count) {
  GpuBuilder::Values values;
  for (int64_t i = 0; i < int64_t(count); ++i)
    values.push_back(LLVM::ExtractValueOp::create(g.b, g.loc, structure, i));
  return values;
}
GpuBuilder::Values GpuBuilder::loadMatrix(Value address, unsigned count, bool transposed) {
  std::string name =
      ("llvm.nvvm.ldmatrix.sync.aligned.m8n8.x" + Twine(count) + (transposed ? ".trans" : "") + ".b16").str();
  if (count == 1)
    return {intrinsic(name, i32, {address})};
  SmallVector<Type> types(count, i32);
  return unpack(*this, intrinsic(name, LLVM::LLVMStructType::getLiteral(b.getContext(), types), {address}), count);
}
GpuBuilder::Values GpuBuilder::mma(StringRef name, ValueRange a, ValueRange weights, ValueRange c) {
  Values arguments(a.begin(), a.end());
  arguments.append(weights.begin(), weights.end());
  arguments.append(c.begin(), c.end());
  Type result = LLVM::LLVMStructType::getLiteral(b.getContext(), {f32, f32, f32, f32});
  return unpack(*this, intrinsic(name, result, arguments), 4);
}
GpuBuilder::Values GpuBuilder::mmaBf16(ValueRange a, ValueRange weights, ValueRange c) {
  return mma("llvm.nvvm.mma.m16n8k16.row.col.bf16", a, weights, c);
}
GpuBuilder::Values GpuBuilder::mmaF8(ValueRange a, ValueRange weights, ValueRange c) {
  return mma("llvm.nvvm.mma.m16n8k32.row.col.f32.e4m3.e4m3.f32", a, weights, c);
}

GpuBuilder::Value GpuBuilder::intrinsic(StringRef name, Type type, ValueRange arguments) {
  if (!type) {
    LLVM::CallIntrinsicOp::create(b, loc, b.getStringAttr(name), arguments);
    return {};
  }
  return LLVM::CallIntrinsicOp::create(b, loc, type, b.getStringAttr(name), arguments).getResult(0);
}
