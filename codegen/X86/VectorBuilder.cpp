//===- VectorBuilder.cpp - helper that writes vector kernels ------------------===//
// Arguments, arithmetic, number formats and control flow of the x86 emitters.

#include "codegen/X86/VectorBuilder.h"
#include "mlir/Dialect/LLVMIR/LLVMTypes.h"

using namespace mlir;
using namespace moray::codegen;

VectorBuilder::VectorBuilder(OpBuilder &builder, LLVM::LLVMFuncOp function, const Target &target)
    : target(target), b(builder), loc(function.getLoc()), function(function) {
  i1 = b.getI1Type(), i8 = b.getI8Type(), i16 = b.getI16Type(), i32 = b.getI32Type(), i64 = b.getI64Type();
  f16 = b.getF16Type(), f32 = b.getF32Type(), f64 = b.getF64Type();
  ptr = LLVM::LLVMPointerType::get(b.getContext());
  b.setInsertionPointToEnd(&function.getBody().front());
}

Type VectorBuilder::shaped(Value like, Type element) {
  if (auto type = dyn_cast<VectorType>(like.getType()))
    return VectorType::get(type.getShape(), element);
  return element;
}

//===----------------------------------------------------------------------===//
// What the kernel receives
//===----------------------------------------------------------------------===//

VectorBuilder::Value VectorBuilder::inPrologue(const std::string &name, llvm::function_ref<Value()> make) {
  for (auto &entry : prologue)
    if (entry.first == name)
      return entry.second;
  OpBuilder::InsertionGuard guard(b);
  if (prologueEnd)
    b.setInsertionPointAfter(prologueEnd);
  else
    b.setInsertionPointToStart(&function.getBody().front());
  Value value = make();
  prologueEnd = value.getDefiningOp();
  prologue.emplace_back(name, value);
  return value;
}

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

VectorBuilder::Value VectorBuilder::rows(const RowDomain &domain) {
  switch (domain.kind) {
  case RowDomain::Rows:
    return live(0);
  case RowDomain::Decode:
    return live(1);
  case RowDomain::Prefill: {
    Value all = live(0), decode = live(1);
    return sub(all, decode);
  }
  case RowDomain::Outs:
    return live(3);
  case RowDomain::Slots:
    return mul(live(0), domain.perRow);
  }
  return {};
}

void VectorBuilder::faultIf(Value condition) {
  Value code = trunc(add(layer(), 1), i32);
  ifThen(condition, [&] {
    LLVM::StoreOp::create(b, loc, code, function.getArgument(3), /*alignment=*/4, /*isVolatile=*/false,
                          /*isNonTemporal=*/false,
                          /*isInvariantGroup=*/false, LLVM::AtomicOrdering::monotonic);
  });
}

//===----------------------------------------------------------------------===//
// Constants and arithmetic
//===----------------------------------------------------------------------===//

VectorBuilder::Value VectorBuilder::constI(Type type, int64_t value) {
  if (auto vector = dyn_cast<VectorType>(type))
    return arith::ConstantOp::create(b, loc,
                                     DenseElementsAttr::get(vector, b.getIntegerAttr(vector.getElementType(), value)));
  return arith::ConstantOp::create(b, loc, b.getIntegerAttr(type, value));
}
VectorBuilder::Value VectorBuilder::constF(Type type, double value) {
  if (auto vector = dyn_cast<VectorType>(type))
    return arith::ConstantOp::create(b, loc,
                                     DenseElementsAttr::get(vector, b.getFloatAttr(vector.getElementType(), value)));
  return arith::ConstantOp::create(b, loc, b.getFloatAttr(type, value));
}
VectorBuilder::Value VectorBuilder::splat(Value scalar, unsigned lanes) {
  return vector::BroadcastOp::create(b, loc, vec(lanes, scalar.getType()), scalar);
}

#define MORAY_BINARY(name, Op)                                                                                         \
  VectorBuilder::Value VectorBuilder::name(Value a, Value c) { return arith::Op::create(b, loc, a, c); }
MORAY_BINARY(add, AddIOp)
MORAY_BINARY(sub, SubIOp)
MORAY_BINARY(mul, MulIOp)
MORAY_BINARY(divu, DivUIOp)
MORAY_BINARY(remu, RemUIOp)
MORAY_BINARY(minu, MinUIOp)
MORAY_BINARY(maxu, MaxUIOp)
MORAY_BINARY(andi, AndIOp)
MORAY_BINARY(ori, OrIOp)
MORAY_BINARY(xori, XOrIOp)
MORAY_BINARY(addf, AddFOp)
MORAY_BINARY(subf, SubFOp)
MORAY_BINARY(mulf, MulFOp)
MORAY_BINARY(divf, DivFOp)
#undef MORAY_BINARY

VectorBuilder::Value VectorBuilder::shl(Value a, unsigned bits) {
  return arith::ShLIOp::create(b, loc, a, constI(a.getType(), bits));
}
VectorBuilder::Value VectorBuilder::shrl(Value a, unsigned bits) {
  return arith::ShRUIOp::create(b, loc, a, constI(a.getType(), bits));
}
VectorBuilder::Value VectorBuilder::shra(Value a, unsigned bits) {
  return arith::ShRSIOp::create(b, loc, a, constI(a.getType(), bits));
}
VectorBuilder::Value VectorBuilder::cmp(arith::CmpIPredicate predicate, Value a, Value c) {
  return arith::CmpIOp::create(b, loc, predicate, a, c);
}
VectorBuilder::Value VectorBuilder::select(Value condition, Value a, Value c) {
  return arith::SelectOp::create(b, loc, condition, a, c);
}
VectorBuilder::Value VectorBuilder::zext(Value a, Type element) {
  return arith::ExtUIOp::create(b, loc, shaped(a, element), a);
}
VectorBuilder::Value VectorBuilder::sext(Value a, Type element) {
  return arith::ExtSIOp::create(b, loc, shaped(a, element), a);
}
VectorBuilder::Value VectorBuilder::trunc(Value a, Type element) {
  return arith::TruncIOp::create(b, loc, shaped(a, element), a);
}

VectorBuilder::Value VectorBuilder::negf(Value a) { return arith::NegFOp::create(b, loc, a); }
VectorBuilder::Value VectorBuilder::fma(Value a, Value c, Value d) { return LLVM::FMAOp::create(b, loc, a, c, d); }
VectorBuilder::Value VectorBuilder::sqrt(Value a) { return LLVM::SqrtOp::create(b, loc, a.getType(), a); }
VectorBuilder::Value VectorBuilder::absf(Value a) {
  Value bits = bitcast(a, i32);
  return bitcast(andi(bits, 0x7fffffff), f32);
}
VectorBuilder::Value VectorBuilder::maxf(Value a, Value c) {
  return select(cmpf(arith::CmpFPredicate::OGT, a, c), a, c);
}
VectorBuilder::Value VectorBuilder::minf(Value a, Value c) {
  return select(cmpf(arith::CmpFPredicate::OLT, a, c), a, c);
}
VectorBuilder::Value VectorBuilder::cmpf(arith::CmpFPredicate predicate, Value a, Value c) {
  return arith::CmpFOp::create(b, loc, predicate, a, c);
}
VectorBuilder::Value VectorBuilder::bitcast(Value a, Type element) {
  return LLVM::BitcastOp::create(b, loc, shaped(a, element), a);
}
VectorBuilder::Value VectorBuilder::toFloat(Value a, Type element) {
  return arith::SIToFPOp::create(b, loc, shaped(a, element), a);
}
VectorBuilder::Value VectorBuilder::toInt(Value a, Type element) {
  return arith::FPToSIOp::create(b, loc, shaped(a, element), a);
}
VectorBuilder::Value VectorBuilder::extf(Value a, Type element) {
  return arith::ExtFOp::create(b, loc, shaped(a, element), a, arith::FastMathFlagsAttr());
}
VectorBuilder::Value VectorBuilder::truncf(Value a, Type element) {
  return LLVM::FPTruncOp::create(b, loc, shaped(a, element), a);
}
VectorBuilder::Value VectorBuilder::isNotFinite(Value a) {
  Value exponent = andi(bitcast(a, i32), 0x7f800000);
  return eq(exponent, 0x7f800000);
}

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

VectorBuilder::Value VectorBuilder::at(Value base, Value byteOffset) {
  return LLVM::GEPOp::create(b, loc, ptr, i8, base, ValueRange{byteOffset});
}
VectorBuilder::Value VectorBuilder::at(Value base, int64_t byteOffset) {
  if (!byteOffset)
    return base;
  if (!llvm::isInt<32>(byteOffset))
    return at(base, c64(byteOffset));
  return LLVM::GEPOp::create(b, loc, ptr, i8, base, llvm::ArrayRef<LLVM::GEPArg>{int32_t(byteOffset)});
}
static unsigned elementBytes(Type type) {
  if (auto vector = dyn_cast<VectorType>(type))
    type = vector.getElementType();
  return type.isIntOrFloat() ? std::max(1u, type.getIntOrFloatBitWidth() / 8) : 8;
}
VectorBuilder::Value VectorBuilder::load(Type type, Value address, unsigned alignment) {
  return LLVM::LoadOp::create(b, loc, type, address, alignment ? alignment : elementBytes(type));
}
void VectorBuilder::store(Value value, Value address, unsigned alignment) {
  LLVM::StoreOp::create(b, loc, value, address, alignment ? alignment : elementBytes(value.getType()));
}
void VectorBuilder::prefetch(Value address) {
  LLVM::Prefetch::create(b, loc, address, /*rw=*/0, /*hint=*/3, /*cache=*/1);
}

VectorBuilder::Value VectorBuilder::widenBf16(Value bits) { return bitcast(shl(zext(bits, i32), 16), f32); }
VectorBuilder::Value VectorBuilder::widenF8(Value codes) {
  // Sign, exponent and mantissa land in the fields of a half whose bias is 8 larger: value * 2^-8, subnormals included.
  Value bits = andi(shl(sext(codes, i16), 7), int16_t(0xBF80));
  return extf(bitcast(bits, f16), f32);
}
VectorBuilder::Value VectorBuilder::roundToBf16(Value value) {
  Value bits = bitcast(value, i32);
  Value odd = andi(shrl(bits, 16), 1);
  return trunc(shrl(add(add(bits, odd), 0x7fff), 16), i16);
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

//===----------------------------------------------------------------------===//
// Control
//===----------------------------------------------------------------------===//

void VectorBuilder::forLoop(Value lower, Value upper, Value step, llvm::function_ref<void(Value)> body) {
  forLoop(lower, upper, step, ValueRange{}, [&](Value iv, ValueRange) {
    body(iv);
    return Values{};
  });
}
VectorBuilder::Values VectorBuilder::forLoop(Value lower, Value upper, Value step, ValueRange init,
                                             llvm::function_ref<Values(Value, ValueRange)> body) {
  auto loop =
      scf::ForOp::create(b, loc, lower, upper, step, init, [&](OpBuilder &, Location, Value iv, ValueRange carried) {
        scf::YieldOp::create(b, loc, body(iv, carried));
      });
  return Values(loop.getResults());
}
void VectorBuilder::ifThen(Value condition, llvm::function_ref<void()> then) {
  scf::IfOp::create(b, loc, condition, [&](OpBuilder &, Location) {
    then();
    scf::YieldOp::create(b, loc);
  });
}
void VectorBuilder::ifElse(Value condition, llvm::function_ref<void()> then, llvm::function_ref<void()> otherwise) {
  ifElse(
      condition, TypeRange{},
      [&] {
        then();
        return Values{};
      },
      [&] {
        otherwise();
        return Values{};
      });
}
VectorBuilder::Values VectorBuilder::ifElse(Value condition, TypeRange types, llvm::function_ref<Values()> then,
                                            llvm::function_ref<Values()> otherwise) {
  auto op = scf::IfOp::create(
      b, loc, condition, [&](OpBuilder &, Location) { scf::YieldOp::create(b, loc, then()); },
      [&](OpBuilder &, Location) { scf::YieldOp::create(b, loc, otherwise()); });
  return Values(op.getResults());
}
