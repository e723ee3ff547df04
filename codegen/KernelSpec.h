//===- KernelSpec.h - what a kernel computes ------------------------*- C++ -*-===//
// The plain description of one kernel, derived from its region by `classify` and consumed by `choose` and the emitters.

#ifndef MORAY_CODEGEN_KERNELSPEC_H
#define MORAY_CODEGEN_KERNELSPEC_H

#include "codegen/SizeExpr.h"
#include <memory>
#include <optional>
#include <string>

namespace moray::codegen {

/// Same order and values as schema KernelClass.
enum class KernelClass : uint8_t { Gemm, GroupedGemm, Attention, Row, Router, Permute, Sampling, Probe, Exchange };
/// Same order and values as schema DType.
enum class DType : uint8_t { F32, BF16, F8E4M3, I32, U32, I64, U64, U8 };

uint64_t byteWidth(DType type);
const char *dtypeName(DType type);
const char *kernelClassName(KernelClass klass);

/// Which live count the leading dimension follows. Slots are sorted (row, expert) pairs: `perRow` of them for each row
/// of the step. Prefill rows are rows [decode, rows).
struct RowDomain {
  enum Kind : uint8_t { Rows, Decode, Prefill, Outs, Slots } kind = Rows;
  uint32_t perRow = 1;
  /// Slots of a row kernel: the operand with the first slot of each expert; its entry `experts` is the number of slots.
  int offsetsArg = -1;
  uint64_t experts = 0;
  /// Live rows of the domain as a size expression, for slots a bound.
  SizeExpr count() const;
  /// Capacity that bounds count().
  SizeExpr capacity() const;
  std::string str() const;
};

/// The class-specific part of a spec. Immutable after construction; shared by copies of the spec.
struct KernelBody {
  virtual ~KernelBody() = default;
  /// Canonical text of everything that determines the machine code. Equal (class, key) means one compiled kernel.
  virtual std::string key() const = 0;
};

struct KernelSpec {
  KernelClass klass = KernelClass::Row;
  uint32_t operandCount = 0; // pointers in moray_kernel_args.operands: operands, then results; !lm.rows counts as five
  std::shared_ptr<const KernelBody> body;

  /// `class:key`.
  std::string key() const;
  /// Stable symbol: class and a 64-bit hash of the key, e.g. "gemm_0123456789abcdef".
  std::string symbol() const;
  template <typename Body> const Body &as() const { return static_cast<const Body &>(*body); }
};

/// One or two ranges of weight rows and what happens to their dot products.
struct GemmEpilogue {
  enum Kind : uint8_t { None, Swiglu } kind = None;
  // Swiglu: out[:, j] = silu(dot(row gateBegin + j)) * dot(row upBegin + j), j < width.
  uint64_t gateBegin = 0, upBegin = 0, width = 0;
  bool roundParts = false; // gate and up are rounded to bf16 before silu
};

/// Y[m, o] = epilogue(sum_b scale(m, o, b) * P_b(m, o)) (+ bias[o]) with P_b the partial product over 128 of K.
/// x is [rows, xPitch] of which columns [xOffset, xOffset + K) are read; w is [O, K] with rows of wPitch bytes, padded
/// with zeros.
struct GemmBody : KernelBody {
  DType x = DType::BF16, w = DType::F8E4M3, out = DType::BF16;
  uint64_t O = 0, K = 0;
  uint64_t xPitch = 0, xOffset = 0; // elements
  uint64_t wPitch = 0;              // bytes
  uint64_t scalePitch = 0;          // bytes of one row of weight scales [ceil(O/128), ceil(K/128)] f32; 0: no scales
  RowDomain domain;
  GemmEpilogue epilogue;
  bool checkFinite = false; // non-finite results are a fault (logits)

  // Grouped form (experts > 0): w is [experts, O, K] one after the other, scales [experts, ceil(O/128), ceil(K/128)];
  // the rows of expert e are slots [offsets[e], offsets[e+1]).
  uint64_t experts = 0;

  // Indices into moray_kernel_args.operands; -1: absent.
  int xArg = -1, xScaleArg = -1, wArg = -1, wScaleArg = -1, biasArg = -1, offsetsArg = -1, outArg = -1;
  int gatherArg = -1; // int32 per row of the domain: the row of x (and of its scales) that it reads
  DType bias = DType::F32;

  /// Columns of the result.
  uint64_t width() const { return epilogue.kind == GemmEpilogue::Swiglu ? epilogue.width : O; }
  uint64_t blocks() const { return (K + 127) / 128; }
  std::string key() const override;
};

/// Measures the machine from inside the artifact; the contract of its operands and symbols is in
/// runtime/schema/kernel_abi.h.
struct ProbeBody : KernelBody {
  enum Kind : uint8_t { ReadBandwidth, FmaPeak } kind;
  explicit ProbeBody(Kind kind) : kind(kind) {}
  std::string key() const override;
};

/// Moves rows between the ranks of a group, for every model alike; runtime/schema/exchange_abi.h is the contract.
struct ExchangeBody : KernelBody {
  enum Kind : uint8_t { Plan, Pack, Check, Merge, Return, Finish } kind;
  explicit ExchangeBody(Kind kind) : kind(kind) {}
  std::string key() const override;
};

} // namespace moray::codegen

#endif
