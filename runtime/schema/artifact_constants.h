// Constants and small facts of the artifact format that are not FlatBuffers types; shared by the packager and the
// loader.
#pragma once
#include "artifact_generated.h"
#include <cstdint>

namespace moray::schema {

// Weight.offsets: this layer has no such weight.
constexpr uint64_t kNoOffset = ~uint64_t{0};
// Sections and images start at multiples of this; rows of weights at multiples of kRowAlign.
constexpr uint64_t kPageBytes = 4096;
constexpr uint64_t kRowAlign = 64;

// Bytes of one element; 0 for a value that is no DType.
constexpr uint64_t byteSize(DType type) {
  switch (type) {
  case DType::F8E4M3:
  case DType::U8:
    return 1;
  case DType::BF16:
    return 2;
  case DType::F32:
  case DType::I32:
  case DType::U32:
    return 4;
  case DType::I64:
  case DType::U64:
    return 8;
  }
  return 0;
}

} // namespace moray::schema
