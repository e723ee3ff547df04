// Scans and widens weight bytes on their way from the checkpoint to the artifact or the interpreter.
#include "frontend/WeightReader.h"

#include <cmath>
#include <cstring>

namespace moray::frontend {

namespace {

template <typename T> T loadElement(const uint8_t *data, uint64_t index) {
  T value;
  std::memcpy(&value, data + index * sizeof(T), sizeof(T));
  return value;
}

float widenHalf(uint16_t half) {
  int exponent = (half >> 10) & 31;
  float mantissa = static_cast<float>(half & 1023);
  float magnitude = exponent == 31  ? (half & 1023 ? NAN : INFINITY)
                    : exponent == 0 ? std::ldexp(mantissa, -24)
                                    : std::ldexp(1024.0f + mantissa, exponent - 25);
  return half & 0x8000 ? -magnitude : magnitude;
}

float widenE8M0(uint8_t code) { return code == 255 ? NAN : std::ldexp(1.0f, code - 127); }

bool isScaleName(std::string_view name) {
  auto ends = [&](std::string_view end) {
    return name.size() >= end.size() && name.substr(name.size() - end.size()) == end;
  };
  return ends(".weight_scale_inv") || ends(".weight_scale") || ends(".scale");
}

} // namespace

DType declaredDType(DType stored) { return stored == DType::F16 || stored == DType::F8E8M0 ? DType::F32 : stored; }

Error ValueScanner::at(int code, uint64_t index, const std::string &found, const std::string &expected) const {
  uint64_t element = position + index;
  return Error::describe(
      code, where + " at [" + std::to_string(element / columns) + ", " + std::to_string(element % columns) + "]", found,
      expected, "the checkpoint is damaged: download or convert it again");
}

Status ValueScanner::scanCodes(const uint8_t *data, uint64_t count) {
  // As in scanFloats: no branch in the common case, which is several gigabytes long.
  bool bad = false;
  for (uint64_t i = 0; i < count; ++i)
    bad |= (data[i] & 0x7F) == 0x7F;
  for (uint64_t i = 0; bad && i < count; ++i)
    if ((data[i] & 0x7F) == 0x7F)
      return at(2301, i, "an FP8 NaN code", "finite E4M3 codes");
  return {};
}

Status ValueScanner::scanScales(const uint8_t *data, uint64_t count) {
  for (uint64_t i = 0; i < count; ++i) {
    float scale = dtype == DType::F8E8M0 ? widenE8M0(data[i]) : loadElement<float>(data, i);
    if (!(scale > 0) || !std::isfinite(scale))
      return at(2303, i, "a non-positive or non-finite scale " + std::to_string(scale), "scales > 0");
    int exponent;
    if (kind == Kind::PowerScale && std::frexp(scale, &exponent) != 0.5f)
      ++oddScales;
  }
  return {};
}

Status ValueScanner::scanFloats(const uint8_t *data, uint64_t count) {
  // An exponent of all ones is Inf or NaN. The flag is collected without branches; the position is searched only on
  // failure.
  uint32_t mask = dtype == DType::BF16 ? 0x7F80 : dtype == DType::F16 ? 0x7C00 : 0x7F800000;
  auto element = [&](uint64_t i) -> uint32_t {
    return dtype == DType::F32 ? loadElement<uint32_t>(data, i) : loadElement<uint16_t>(data, i);
  };
  bool bad = false;
  if (dtype == DType::F32)
    for (uint64_t i = 0; i < count; ++i)
      bad |= (loadElement<uint32_t>(data, i) & mask) == mask;
  else
    for (uint64_t i = 0; i < count; ++i)
      bad |= (loadElement<uint16_t>(data, i) & mask) == mask;
  for (uint64_t i = 0; bad && i < count; ++i)
    if ((element(i) & mask) == mask)
      return at(2302, i, "NaN or infinity in a weight", "finite values");
  return {};
}

Status ValueScanner::scan(const uint8_t *data, uint64_t bytes) {
  uint64_t count = bytes * 8 / dtypeBits(dtype);
  Status status = kind != Kind::Weight     ? scanScales(data, count)
                  : dtype == DType::F8E4M3 ? scanCodes(data, count)
                                           : scanFloats(data, count);
  position += count;
  return status;
}

Status WeightReader::read(const std::string &tensor, uint64_t first, uint64_t count, uint8_t *out) {
  const TensorLocation *location = checkpoint.find(tensor);
  if (!location)
    return Error::describe(2201, checkpoint.directory() + ": tensor '" + tensor + "'", "no such tensor",
                           "a tensor of the checkpoint", "give the directory that the model was imported from");
  const TensorInfo &info = *location->info;
  std::string where = checkpoint.file(*location).path() + ": tensor '" + tensor + "'";
  bool scale = isScaleName(tensor);
  ValueScanner::Kind kind = !scale  ? ValueScanner::Kind::Weight
                            : ue8m0 ? ValueScanner::Kind::PowerScale
                                    : ValueScanner::Kind::Scale;
  uint64_t width = dtypeBits(info.dtype) / 8;
  ValueScanner scanner(where, info.dtype, kind, info.shape.empty() ? 1 : info.shape.back(), first);
  if (declaredDType(info.dtype) == info.dtype) {
    if (Status status = checkpoint.read(*location, first * width, out, count * width); !status)
      return status;
    if (Status status = scanner.scan(out, count * width); !status)
      return status;
  } else {
    std::vector<uint8_t> stored(count * width);
    if (Status status = checkpoint.read(*location, first * width, stored.data(), stored.size()); !status)
      return status;
    if (Status status = scanner.scan(stored.data(), stored.size()); !status)
      return status;
    for (uint64_t i = 0; i < count; ++i) {
      float value =
          info.dtype == DType::F16 ? widenHalf(loadElement<uint16_t>(stored.data(), i)) : widenE8M0(stored[i]);
      std::memcpy(out + 4 * i, &value, 4);
    }
  }
  if (scanner.notPowersOfTwo() > 0)
    warnings.add(where + ": scale_fmt is ue8m0 but " + std::to_string(scanner.notPowersOfTwo()) +
                 " scales are no powers of two; they are used as they are");
  return {};
}

Expected<std::vector<uint8_t>> WeightReader::read(const std::string &tensor) {
  const TensorLocation *location = checkpoint.find(tensor);
  uint64_t count = location ? location->info->elements() : 0;
  std::vector<uint8_t> bytes(location ? count * dtypeBits(declaredDType(location->info->dtype)) / 8 : 0);
  if (Status status = read(tensor, 0, count, bytes.data()); !status)
    return status.error();
  return bytes;
}

} // namespace moray::frontend
