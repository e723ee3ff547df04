// Evaluates weight recipes row by row.
#include "codegen/Package/WeightRows.h"

#include "dialects/LM/FP8.h"
#include "llvm/Support/Errc.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace moray;
using namespace moray::codegen;
namespace fp8 = moray::lm::fp8;

WeightShape::WeightShape(lm::WeightOp weight) {
  RankedTensorType tensor = weight.getTensorType();
  type = *dtypeOf(tensor.getElementType()); // the op's type constraint allows only f32, bf16 and f8E4M3FN
  columns = tensor.getShape().back();
  rows = tensor.getNumElements() / columns;
  rowsPerExpert = tensor.getRank() == 3 ? tensor.getDimSize(1) : rows;
  pitch = weightPitch(tensor);
}

/// `{l}`, `{l+1}` and `{e}` replaced.
static std::string expandName(StringRef name, int64_t layer, uint64_t expert) {
  std::string result;
  while (!name.empty()) {
    size_t open = name.find('{'), close = name.find('}', open);
    if (close == StringRef::npos)
      break;
    StringRef key = name.slice(open + 1, close);
    result += name.take_front(open);
    result += key == "l" ? std::to_string(layer) : key == "l+1" ? std::to_string(layer + 1) : std::to_string(expert);
    name = name.drop_front(close + 1);
  }
  return result + name.str();
}

llvm::Error WeightRows::readStored(lm::WeightOp weight, int64_t layer, uint64_t first, uint64_t count, uint8_t *out) {
  WeightShape shape(weight);
  StringRef name = layer == lastLayer && weight.getLast() ? *weight.getLast() : *weight.getSource();
  bool perExpert = name.contains("{e}");
  while (count) {
    uint64_t expert = first / shape.rowsPerExpert, row = perExpert ? first % shape.rowsPerExpert : first;
    uint64_t here = perExpert ? std::min(count, shape.rowsPerExpert - row) : count;
    if (llvm::Error error =
            source.read(expandName(name, layer, expert), shape.type, row * shape.columns, here * shape.columns, out))
      return error;
    out += here * shape.rowBytes();
    first += here;
    count -= here;
  }
  return llvm::Error::success();
}

llvm::Error WeightRows::read(lm::WeightOp weight, int64_t layer, uint64_t first, uint64_t count, uint8_t *out) {
  Attribute recipe = weight.getRecipeAttr();
  if (!recipe)
    return readStored(weight, layer, first, count, out);
  WeightShape shape(weight);
  for (uint64_t row = first; row < first + count; ++row, out += shape.rowBytes()) {
    llvm::Error error = llvm::Error::success();
    if (auto concat = dyn_cast<lm::ConcatAttr>(recipe))
      error = readConcat(weight, concat, layer, row, out);
    else if (auto pad = dyn_cast<lm::PadRowsAttr>(recipe))
      error = readPadded(weight, pad, layer, row, out);
    else if (auto codes = dyn_cast<lm::QuantizeCodesAttr>(recipe))
      error = readCodes(weight, codes, layer, row, out);
    else if (auto scales = dyn_cast<lm::QuantizeScalesAttr>(recipe))
      error = readScales(weight, scales, layer, row, out);
    else if (auto dequantize = dyn_cast<lm::DequantizeAttr>(recipe))
      error = readDequantized(weight, dequantize, layer, row, out);
    else if (auto slice = dyn_cast<lm::SliceRowsAttr>(recipe)) {
      WeightShape from(lookup(slice.getSource()));
      error =
          read(lookup(slice.getSource()), layer,
               row / shape.rowsPerExpert * from.rowsPerExpert + slice.getOffset() + row % shape.rowsPerExpert, 1, out);
    } else
      error = llvm::createStringError(llvm::errc::invalid_argument,
                                      "E3401: weight @%s has a recipe that the packager does not know",
                                      weight.getSymName().str().c_str());
    if (error)
      return error;
  }
  return llvm::Error::success();
}

/// Rows that a recipe adds: zero codes and values, scale 1.
static void fillPadding(const WeightShape &shape, bool scales, uint8_t *out) {
  std::memset(out, 0, shape.rowBytes());
  const float one = 1.0f;
  for (uint64_t i = 0; scales && i < shape.columns; ++i)
    std::memcpy(out + i * sizeof one, &one, sizeof one);
}

llvm::Error WeightRows::readConcat(lm::WeightOp weight, lm::ConcatAttr recipe, int64_t layer, uint64_t row,
                                   uint8_t *out) {
  WeightShape shape(weight);
  uint64_t expert = row / shape.rowsPerExpert, inExpert = row % shape.rowsPerExpert, begin = 0;
  for (FlatSymbolRefAttr name : recipe.getParts()) {
    lm::WeightOp part = lookup(name);
    WeightShape from(part);
    if (inExpert - begin < from.rowsPerExpert)
      return read(part, layer, expert * from.rowsPerExpert + inExpert - begin, 1, out);
    begin += llvm::alignTo(from.rowsPerExpert, recipe.getAlign());
    if (inExpert < begin)
      break;
  }
  fillPadding(shape, /*scales=*/false, out);
  return llvm::Error::success();
}

llvm::Error WeightRows::readPadded(lm::WeightOp weight, lm::PadRowsAttr recipe, int64_t layer, uint64_t row,
                                   uint8_t *out) {
  WeightShape shape(weight), from(lookup(recipe.getSource()));
  uint64_t inExpert = row % shape.rowsPerExpert;
  if (inExpert < from.rowsPerExpert)
    return read(lookup(recipe.getSource()), layer, row / shape.rowsPerExpert * from.rowsPerExpert + inExpert, 1, out);
  fillPadding(shape, shape.type == DType::F32, out);
  return llvm::Error::success();
}

llvm::Error WeightRows::readFloats(lm::WeightOp weight, int64_t layer, uint64_t first, uint64_t count,
                                   std::vector<float> &out) {
  WeightShape shape(weight);
  std::vector<uint8_t> bytes(count * shape.rowBytes());
  if (llvm::Error error = read(weight, layer, first, count, bytes.data()))
    return error;
  out.resize(count * shape.columns);
  if (shape.type == DType::F32) {
    std::memcpy(out.data(), bytes.data(), bytes.size());
  } else {
    for (size_t i = 0; i < out.size(); ++i)
      out[i] = fp8::floatOf((uint32_t(bytes[2 * i]) | uint32_t(bytes[2 * i + 1]) << 8) << 16);
  }
  return llvm::Error::success();
}

llvm::Error WeightRows::loadBlock(lm::WeightOp dense, int64_t layer, uint64_t row, bool powerOfTwo) {
  WeightShape shape(dense);
  uint64_t expertBegin = row / shape.rowsPerExpert * shape.rowsPerExpert;
  uint64_t firstRow = expertBegin + (row - expertBegin) / lm::kBlock * lm::kBlock;
  if (block.weight == dense && block.layer == layer && block.firstRow == firstRow && block.powerOfTwo == powerOfTwo)
    return llvm::Error::success();
  block = {
      dense, layer, powerOfTwo, firstRow, std::min<uint64_t>(lm::kBlock, expertBegin + shape.rowsPerExpert - firstRow),
      {},    {}};
  if (llvm::Error error = readFloats(dense, layer, firstRow, block.rows, block.values)) {
    block.weight = {};
    return error;
  }
  block.scales.assign(lm::blocksOf(shape.columns), 0.0f);
  for (uint64_t i = 0; i < block.values.size(); ++i) {
    float &amax = block.scales[i % shape.columns / lm::kBlock];
    amax = std::max(amax, std::fabs(block.values[i]));
  }
  for (float &scale : block.scales)
    scale = fp8::scaleOf(scale, powerOfTwo);
  return llvm::Error::success();
}

llvm::Error WeightRows::readCodes(lm::WeightOp weight, lm::QuantizeCodesAttr recipe, int64_t layer, uint64_t row,
                                  uint8_t *out) {
  WeightShape shape(weight);
  if (llvm::Error error =
          loadBlock(lookup(recipe.getSource()), layer, row, recipe.getFormat() == lm::ScaleFormat::UE8M0))
    return error;
  const float *values = block.values.data() + (row - block.firstRow) * shape.columns;
  for (uint64_t i = 0; i < shape.columns; ++i)
    out[i] = fp8::encode(values[i] / block.scales[i / lm::kBlock]);
  return llvm::Error::success();
}

llvm::Error WeightRows::readScales(lm::WeightOp weight, lm::QuantizeScalesAttr recipe, int64_t layer, uint64_t row,
                                   uint8_t *out) {
  WeightShape shape(weight), dense(lookup(recipe.getSource()));
  uint64_t denseRow = row / shape.rowsPerExpert * dense.rowsPerExpert + row % shape.rowsPerExpert * lm::kBlock;
  if (llvm::Error error =
          loadBlock(lookup(recipe.getSource()), layer, denseRow, recipe.getFormat() == lm::ScaleFormat::UE8M0))
    return error;
  std::memcpy(out, block.scales.data(), shape.rowBytes());
  return llvm::Error::success();
}

llvm::Error WeightRows::readDequantized(lm::WeightOp weight, lm::DequantizeAttr recipe, int64_t layer, uint64_t row,
                                        uint8_t *out) {
  WeightShape shape(weight), scaleShape(lookup(recipe.getScales()));
  std::vector<uint8_t> codes(shape.columns);
  if (llvm::Error error = read(lookup(recipe.getCodes()), layer, row, 1, codes.data()))
    return error;
  uint64_t scaleRow = row / shape.rowsPerExpert * scaleShape.rowsPerExpert + row % shape.rowsPerExpert / lm::kBlock;
  std::vector<float> scales;
  if (llvm::Error error = readFloats(lookup(recipe.getScales()), layer, scaleRow, 1, scales))
    return error;
  for (uint64_t i = 0; i < shape.columns; ++i) {
    uint32_t bits = fp8::bitsOf(fp8::decode(codes[i]) * scales[i / lm::kBlock]);
    if (shape.type == DType::F32) {
      std::memcpy(out + 4 * i, &bits, 4);
    } else {
      uint32_t rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16;
      out[2 * i] = rounded & 0xFF;
      out[2 * i + 1] = rounded >> 8;
    }
  }
  return llvm::Error::success();
}
