// PTX's fundamental types, their names and widths.
#pragma once

#include <cstdint>
#include <string_view>

namespace gpusim::ptx {

enum class Type : uint8_t {
  None,
  Pred,
  B8,
  B16,
  B32,
  B64,
  B128,
  U8,
  U16,
  U32,
  U64,
  S8,
  S16,
  S32,
  S64,
  F16,
  F16x2,
  BF16,
  BF16x2,
  TF32,
  F32,
  F64,
  E4M3,
  E5M2,
  E4M3x2,
  E5M2x2,
  U16x2,
  S16x2,
  B1,
  S4,
  U4,
};

// None when the name (without the dot) is no type.
Type typeNamed(std::string_view name);
// Width in bits; packed types count as a whole, predicates as 1.
unsigned bitsOf(Type type);
inline unsigned bytesOf(Type type) { return bitsOf(type) / 8; }
constexpr bool isSigned(Type type) { return type >= Type::S8 && type <= Type::S64; }
constexpr bool isFloat(Type type) { return type >= Type::F16 && type <= Type::F64; }

enum class Space : uint8_t { Generic, Global, Const, Shared, Local, Param };

} // namespace gpusim::ptx
