//===- KernelBuilder.cpp - helper that writes kernels --------------------------===//
// Arithmetic, memory, number formats and control flow of the emitters.

#include "codegen/KernelBuilder.h"
#include "mlir/Dialect/LLVMIR/LLVMTypes.h"

using namespace mlir;
using namespace moray::codegen;

KernelBuilder::KernelBuilder(OpBuilder &builder, LLVM::LLVMFuncOp function)
    : b(builder), loc(function.getLoc()), function(function) {
  i1 = b.getI1Type(), i8 = b.getI8Type(), i16 = b.getI16Type(), i32 = b.getI32Type(), i64 = b.getI64Type();
  f16 = b.getF16Type(), f32 = b.getF32Type(), f64 = b.getF64Type();
  b.setInsertionPointToEnd(&function.getBody().front());
}

Type KernelBuilder::shaped(Value like, Type element) {
  if (auto type = dyn_cast<VectorType>(like.getType()))
    return VectorType::get(type.getShape(), element);
  return element;
}

KernelBuilder::Value KernelBuilder::inPrologue(const std::string &name, llvm::function_ref<Value()> make) {
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

KernelBuilder::Value KernelBuilder::rows(const RowDomain &domain) {
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
    return zext(load(i32, at(operand(domain.offsetsArg), int64_t(domain.experts) * 4)), i64);
  }
  return {};
}

void KernelBuilder::faultIf(Value condition) {
  Value code = trunc(add(layer(), 1), i32);
  ifThen(condition, [&] {
    LLVM::StoreOp::create(b, loc, code, faultWord(), /*alignment=*/4, /*isVolatile=*/false,
                          /*isNonTemporal=*/false,
                          /*isInvariantGroup=*/false, LLVM::AtomicOrdering::monotonic);
  });
}

//===----------------------------------------------------------------------===//
// Constants and arithmetic
//===----------------------------------------------------------------------===//

KernelBuilder::Value KernelBuilder::constI(Type type, int64_t value) {
  if (auto vector = dyn_cast<VectorType>(type))
    return arith::ConstantOp::create(b, loc,
                                     DenseElementsAttr::get(vector, b.getIntegerAttr(vector.getElementType(), value)));
  return arith::ConstantOp::create(b, loc, b.getIntegerAttr(type, value));
}
KernelBuilder::Value KernelBuilder::constF(Type type, double value) {
  if (auto vector = dyn_cast<VectorType>(type))
    return arith::ConstantOp::create(b, loc,
                                     DenseElementsAttr::get(vector, b.getFloatAttr(vector.getElementType(), value)));
  return arith::ConstantOp::create(b, loc, b.getFloatAttr(type, value));
}
KernelBuilder::Value KernelBuilder::splat(Value scalar, unsigned lanes) {
  return vector::BroadcastOp::create(b, loc, vec(lanes, scalar.getType()), scalar);
}

#define MORAY_BINARY(name, Op)                                                                                         \
  KernelBuilder::Value KernelBuilder::name(Value a, Value c) { return arith::Op::create(b, loc, a, c); }
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

KernelBuilder::Value KernelBuilder::shl(Value a, unsigned bits) {
  return arith::ShLIOp::create(b, loc, a, constI(a.getType(), bits));
}
KernelBuilder::Value KernelBuilder::shrl(Value a, unsigned bits) {
  return arith::ShRUIOp::create(b, loc, a, constI(a.getType(), bits));
}
KernelBuilder::Value KernelBuilder::shra(Value a, unsigned bits) {
  return arith::ShRSIOp::create(b, loc, a, constI(a.getType(), bits));
}
KernelBuilder::Value KernelBuilder::cmp(arith::CmpIPredicate predicate, Value a, Value c) {
  return arith::CmpIOp::create(b, loc, predicate, a, c);
}
KernelBuilder::Value KernelBuilder::select(Value condition, Value a, Value c) {
  return arith::SelectOp::create(b, loc, condition, a, c);
}
KernelBuilder::Value KernelBuilder::zext(Value a, Type element) {
  return arith::ExtUIOp::create(b, loc, shaped(a, element), a);
}
KernelBuilder::Value KernelBuilder::sext(Value a, Type element) {
  return arith::ExtSIOp::create(b, loc, shaped(a, element), a);
}
KernelBuilder::Value KernelBuilder::trunc(Value a, Type element) {
  return arith::TruncIOp::create(b, loc, shaped(a, element), a);
}

KernelBuilder::Value KernelBuilder::negf(Value a) { return arith::NegFOp::create(b, loc, a); }
KernelBuilder::Value KernelBuilder::fma(Value a, Value c, Value d) { return LLVM::FMAOp::create(b, loc, a, c, d); }
KernelBuilder::Value KernelBuilder::sqrt(Value a) { return LLVM::SqrtOp::create(b, loc, a.getType(), a); }
KernelBuilder::Value KernelBuilder::absf(Value a) {
  Value bits = bitcast(a, i32);
  return bitcast(andi(bits, 0x7fffffff), f32);
}
KernelBuilder::Value KernelBuilder::maxf(Value a, Value c) {
  return select(cmpf(arith::CmpFPredicate::OGT, a, c), a, c);
}
KernelBuilder::Value KernelBuilder::minf(Value a, Value c) {
  return select(cmpf(arith::CmpFPredicate::OLT, a, c), a, c);
}
KernelBuilder::Value KernelBuilder::cmpf(arith::CmpFPredicate predicate, Value a, Value c) {
  return arith::CmpFOp::create(b, loc, predicate, a, c);
}
KernelBuilder::Value KernelBuilder::bitcast(Value a, Type element) {
  return LLVM::BitcastOp::create(b, loc, shaped(a, element), a);
}
KernelBuilder::Value KernelBuilder::toFloat(Value a, Type element) {
  return arith::SIToFPOp::create(b, loc, shaped(a, element), a);
}
KernelBuilder::Value KernelBuilder::toInt(Value a, Type element) {
  return arith::FPToSIOp::create(b, loc, shaped(a, element), a);
}
KernelBuilder::Value KernelBuilder::extf(Value a, Type element) {
  return arith::ExtFOp::create(b, loc, shaped(a, element), a, arith::FastMathFlagsAttr());
}
KernelBuilder::Value KernelBuilder::truncf(Value a, Type element) {
  return LLVM::FPTruncOp::create(b, loc, shaped(a, element), a);
}
KernelBuilder::Value KernelBuilder::isNotFinite(Value a) {
  Value exponent = andi(bitcast(a, i32), 0x7f800000);
  return eq(exponent, 0x7f800000);
}

//===----------------------------------------------------------------------===//
// Memory and number formats
//===----------------------------------------------------------------------===//

KernelBuilder::Value KernelBuilder::at(Value base, Value byteOffset) {
  return LLVM::GEPOp::create(b, loc, base.getType(), i8, base, ValueRange{byteOffset});
}
KernelBuilder::Value KernelBuilder::at(Value base, int64_t byteOffset) {
  if (!byteOffset)
    return base;
  if (!llvm::isInt<32>(byteOffset))
    return at(base, c64(byteOffset));
  return LLVM::GEPOp::create(b, loc, base.getType(), i8, base, llvm::ArrayRef<LLVM::GEPArg>{int32_t(byteOffset)});
}
static unsigned elementBytes(Type type) {
  if (auto vector = dyn_cast<VectorType>(type))
    type = vector.getElementType();
  return type.isIntOrFloat() ? std::max(1u, type.getIntOrFloatBitWidth() / 8) : 8;
}
KernelBuilder::Value KernelBuilder::load(Type type, Value address, unsigned alignment) {
  return LLVM::LoadOp::create(b, loc, type, address, alignment ? alignment : elementBytes(type));
}
void KernelBuilder::store(Value value, Value address, unsigned alignment) {
  LLVM::StoreOp::create(b, loc, value, address, alignment ? alignment : elementBytes(value.getType()));
}
KernelBuilder::Value KernelBuilder::widenBf16(Value bits) { return bitcast(shl(zext(bits, i32), 16), f32); }
KernelBuilder::Value KernelBuilder::roundToBf16(Value value) {
  Value bits = bitcast(value, i32);
  Value odd = andi(shrl(bits, 16), 1);
  return trunc(shrl(add(add(bits, odd), 0x7fff), 16), i16);
}

//===----------------------------------------------------------------------===//
// Control
//===----------------------------------------------------------------------===//

void KernelBuilder::forLoop(Value lower, Value upper, Value step, llvm::function_ref<void(Value)> body) {
  forLoop(lower, upper, step, ValueRange{}, [&](Value iv, ValueRange) {
    body(iv);
    return Values{};
  });
}
KernelBuilder::Values KernelBuilder::forLoop(Value lower, Value upper, Value step, ValueRange init,
                                             llvm::function_ref<Values(Value, ValueRange)> body) {
  auto loop =
      scf::ForOp::create(b, loc, lower, upper, step, init, [&](OpBuilder &, Location, Value iv, ValueRange carried) {
        scf::YieldOp::create(b, loc, body(iv, carried));
      });
  return Values(loop.getResults());
}
void KernelBuilder::ifThen(Value condition, llvm::function_ref<void()> then) {
  scf::IfOp::create(b, loc, condition, [&](OpBuilder &, Location) {
    then();
    scf::YieldOp::create(b, loc);
  });
}
void KernelBuilder::ifElse(Value condition, llvm::function_ref<void()> then, llvm::function_ref<void()> otherwise) {
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
KernelBuilder::Values KernelBuilder::ifElse(Value condition, TypeRange types, llvm::function_ref<Values()> then,
                                            llvm::function_ref<Values()> otherwise) {
  auto op = scf::IfOp::create(
      b, loc, condition, [&](OpBuilder &, Location) { scf::YieldOp::create(b, loc, then()); },
      [&](OpBuilder &, Location) { scf::YieldOp::create(b, loc, otherwise()); });
  return Values(op.getResults());
}
