//===- KernelSpec.cpp - canonical keys of kernel specs ------------------------===//
// Names, domains and the canonical text by which equal kernels are recognised.

#include "codegen/KernelSpec.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/xxhash.h"

using namespace moray::codegen;

uint64_t moray::codegen::byteWidth(DType type) {
  static const uint8_t widths[] = {4, 2, 1, 4, 4, 8, 8, 1};
  return widths[unsigned(type)];
}
const char *moray::codegen::dtypeName(DType type) {
  static const char *const names[] = {"f32", "bf16", "f8", "i32", "u32", "i64", "u64", "u8"};
  return names[unsigned(type)];
}
const char *moray::codegen::kernelClassName(KernelClass klass) {
  static const char *const names[] = {"gemm",    "grouped_gemm", "attention", "row",     "router",
                                      "permute", "sampling",     "probe",     "exchange"};
  return names[unsigned(klass)];
}

SizeExpr RowDomain::count() const {
  switch (kind) {
  case Decode:
    return Symbol::DecodeRows;
  case Prefill:
    return Symbol::PrefillRows;
  case Outs:
    return Symbol::Outs;
  case Slots:
    return SizeExpr(Symbol::ReceivedRows) * perRow;
  default:
    return Symbol::Rows;
  }
}
SizeExpr RowDomain::capacity() const {
  SizeExpr rows = kind == Outs ? Symbol::N : Symbol::T;
  return kind == Slots ? rows * Symbol::R * perRow : rows;
}
std::string RowDomain::str() const {
  static const char *const names[] = {"rows", "decode", "prefill", "outs", "slots"};
  return kind == Slots ? llvm::formatv("slots{0}@{1}[{2}]", perRow, offsetsArg, experts).str() : names[kind];
}

std::string KernelSpec::key() const { return std::string(kernelClassName(klass)) + ":" + body->key(); }
std::string KernelSpec::symbol() const {
  return std::string(kernelClassName(klass)) + "_" +
         llvm::utohexstr(llvm::xxh3_64bits(key()), /*LowerCase=*/true, /*Width=*/16);
}

std::string GemmBody::key() const {
  return llvm::formatv(
             "{0}x{1}->{2} O={3} K={4} xp={5}+{6} wp={7} sp={8} {9} ep={10},{11},{12},{13},{14} fin={15} E={16} "
             "args={17},{18},{19},{20},{21},{22},{23} gather={24} bias={25}",
             dtypeName(x), dtypeName(w), dtypeName(out), O, K, xPitch, xOffset, wPitch, scalePitch, domain.str(),
             unsigned(epilogue.kind), epilogue.gateBegin, epilogue.upBegin, epilogue.width, epilogue.roundParts,
             checkFinite, experts, xArg, xScaleArg, wArg, wScaleArg, biasArg, offsetsArg, outArg, gatherArg,
             dtypeName(bias))
      .str();
}

std::string ProbeBody::key() const { return kind == ReadBandwidth ? "read_bandwidth" : "fma_peak"; }

std::string ExchangeBody::key() const {
  static const char *const names[] = {"plan", "pack", "check", "merge", "return", "finish"};
  return names[unsigned(kind)];
}
