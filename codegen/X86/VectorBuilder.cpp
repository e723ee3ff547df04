//===- VectorBuilder.cpp - helper that writes vector kernels ------------------===//
// Arguments, vectors and number formats of the x86 emitters.

#include "codegen/X86/VectorBuilder.h"
#include "mlir/Dialect/LLVMIR/LLVMTypes.h"

using namespace mlir;
using namespace moray::codegen;

VectorBuilder::VectorBuilder(OpBuilder &builder, LLVM::LLVMFuncOp function, const Target &target)
    : KernelBuilder(builder, function), target(target), ptr(LLVM::LLVMPointerType::get(builder.getContext())) {}

VectorBuilder::Value VectorBuilder::operand(unsigned index) {
  Value table = inPrologue("operands", [&] { return load(ptr, function.getArgument(0)); });
  return inPrologue("operand" + std::to_string(index), [&] { return load(ptr, at(table, int64_t(8 * index))); });
}
VectorBuilder::Value VectorBuilder::live(unsigned index) {
  Value table = inPrologue("live", [&] { return load(ptr, at(function.getArgument(0), 8)); });
  return inPrologue("live" + std::to_string(index),
                    [&] { return zext(load(i32, at(table, int64_t(4 * index))), i64); });
}
VectorBuilder::Value VectorBuilder::capacity(Symbol symbol) {
  Value table = inPrologue("symbols", [&] { return load(ptr, at(function.getArgument(0), 16)); });
  unsigned index = unsigned(symbol);
  return inPrologue("symbol" + std::to_string(index), [&] { return load(i64, at(table, int64_t(8 * index))); });
}
VectorBuilder::Value VectorBuilder::layer() {
  return inPrologue("layer", [&] { return load(i64, at(function.getArgument(0), 24)); });
}
VectorBuilder::Value VectorBuilder::task() { return function.getArgument(1); }
VectorBuilder::Value VectorBuilder::scratch() { return function.getArgument(2); }

VectorBuilder::Value VectorBuilder::faultWord() { return function.getArgument(3); }

//===----------------------------------------------------------------------===//
// Vectors
//===----------------------------------------------------------------------===//

VectorBuilder::Value VectorBuilder::shuffle(Value a, Value c, llvm::ArrayRef<int64_t> lanes) {
  return vector::ShuffleOp::create(b, loc, a, c, lanes);
}
VectorBuilder::Value VectorBuilder::extract(Value vector, int64_t lane) {
  return vector::ExtractOp::create(b, loc, vector, lane);
}
VectorBuilder::Value VectorBuilder::insert(Value scalar, Value vector, int64_t lane) {
  return vector::InsertOp::create(b, loc, scalar, vector, lane);
}
VectorBuilder::Value VectorBuilder::anyLane(Value mask) {
  unsigned lanes = cast<VectorType>(mask.getType()).getNumElements();
  return cmp(arith::CmpIPredicate::ne, LLVM::BitcastOp::create(b, loc, b.getIntegerType(lanes), mask),
             constI(b.getIntegerType(lanes), 0));
}

VectorBuilder::Value VectorBuilder::treeSum(Value vector) {
  for (int64_t lanes = cast<VectorType>(vector.getType()).getNumElements(); lanes > 1; lanes /= 2) {
    SmallVector<int64_t> low, high;
    for (int64_t i = 0; i < lanes / 2; ++i)
      low.push_back(i), high.push_back(i + lanes / 2);
    vector = addf(shuffle(vector, vector, low), shuffle(vector, vector, high));
  }
  return extract(vector, 0);
}

VectorBuilder::Value VectorBuilder::treeSums(llvm::ArrayRef<Value> vectors) {
  // Each round halves the lanes of every sum; two vectors then share one register, so the registers halve as well.
  // `group` is the number of lanes one sum still has in a vector; sums lie one after the other.
  Values current(vectors.begin(), vectors.end());
  int64_t lanes = 16, group = 16;
  while (group > 1) {
    Values next;
    bool pair = current.size() > 1;
    for (size_t i = 0; i < current.size(); i += pair ? 2 : 1) {
      SmallVector<int64_t> low, high;
      for (int64_t start = 0; start < (pair ? 2 * lanes : lanes); start += group)
        for (int64_t j = 0; j < group / 2; ++j)
          low.push_back(start + j), high.push_back(start + j + group / 2);
      Value a = current[i], c = pair ? current[i + 1] : current[i];
      next.push_back(addf(shuffle(a, c, low), shuffle(a, c, high)));
    }
    current = next;
    group /= 2;
    if (!pair)
      lanes /= 2;
  }
  return current[0];
}

//===----------------------------------------------------------------------===//
// Memory and number formats
//===----------------------------------------------------------------------===//

void VectorBuilder::prefetch(Value address) {
  LLVM::Prefetch::create(b, loc, address, /*rw=*/0, /*hint=*/3, /*cache=*/1);
}

VectorBuilder::Value VectorBuilder::widenF8(Value codes) {
  // Sign, exponent and mantissa land in the fields of a half whose bias is 8 larger: value * 2^-8, subnormals included.
  Value bits = andi(shl(sext(codes, i16), 7), int16_t(0xBF80));
  return extf(bitcast(bits, f16), f32);
}
static Type storedType(VectorBuilder &v, DType type) {
  return type == DType::F32 ? v.f32 : type == DType::BF16 ? v.i16 : v.i8;
}
static VectorBuilder::Value widen(VectorBuilder &v, DType type, VectorBuilder::Value stored) {
  return type == DType::F32 ? stored : type == DType::BF16 ? v.widenBf16(stored) : v.widenF8(stored);
}
VectorBuilder::Value VectorBuilder::loadWide(DType type, Value address, unsigned lanes) {
  return widen(*this, type, load(vec(lanes, storedType(*this, type)), address));
}
std::pair<Value, Value> VectorBuilder::loadF8Pair(Value address, Value bounce) {
  Value bits = andi(shl(sext(load(vec(32, i8), address), i16), 7), int16_t(0xBF80));
  // Volatile, or LLVM would forward the stored value to the loads and shuffle registers instead.
  LLVM::StoreOp::create(b, loc, bits, bounce, /*alignment=*/64,
                        /*isVolatile=*/true);
  Value low = extf(load(vec(16, f16), bounce, 64), f32);
  return {low, extf(load(vec(16, f16), at(bounce, 32), 32), f32)};
}
VectorBuilder::Value VectorBuilder::loadWideTail(DType type, Value address, unsigned lanes, unsigned count,
                                                 uint64_t rowElements) {
  Type element = storedType(*this, type);
  VectorType full = vec(lanes, element);
  int64_t bytes = byteWidth(type);
  Value stored;
  if (rowElements >= lanes) {
    // The vector that ends at the last element, moved down; the freed lanes come from a zero vector.
    stored = load(full, at(address, (int64_t(count) - int64_t(lanes)) * bytes));
    Value zero = isa<FloatType>(element) ? constF(full, 0) : constI(full, 0);
    SmallVector<int64_t> order;
    for (unsigned i = 0; i < lanes; ++i)
      order.push_back(i < count ? lanes - count + i : lanes + i);
    stored = shuffle(stored, zero, order);
  } else {
    stored = isa<FloatType>(element) ? constF(full, 0) : constI(full, 0);
    for (unsigned i = 0; i < count; ++i)
      stored = insert(load(element, at(address, i * bytes)), stored, i);
  }
  return widen(*this, type, stored);
}
void VectorBuilder::storeNarrow(DType type, Value value, Value address) {
  store(type == DType::BF16 ? roundToBf16(value) : value, address);
}

