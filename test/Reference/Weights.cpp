// Reads stored weights by their name template and evaluates recipes.
#include "test/Reference/Weights.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace moray;
using namespace moray::reference;

std::optional<Element> moray::reference::elementOf(Type type) {
  if (auto shaped = dyn_cast<ShapedType>(type))
    type = shaped.getElementType();
  if (type.isF32())
    return Element::F32;
  if (type.isBF16())
    return Element::BF16;
  if (isa<Float8E4M3FNType>(type))
    return Element::F8E4M3FN;
  if (type.isSignlessInteger(32))
    return Element::I32;
  if (type.isUnsignedInteger(8))
    return Element::UI8;
  return std::nullopt;
}

Weights::Weights(const frontend::Checkpoint &checkpoint, int64_t layerCount)
    : checkpoint(checkpoint), reader(checkpoint, /*ue8m0=*/false, warnings), layerCount(layerCount) {}

FailureOr<std::shared_ptr<const Tensor>> Weights::get(lm::WeightOp op, int64_t layer) {
  auto key = std::make_pair(op.getOperation(), op.getPerLayer() ? layer : 0);
  if (auto found = known.find(key); found != known.end())
    return found->second;
  FailureOr<Tensor> tensor = op.getSource() ? load(op, layer) : evaluate(op, layer);
  if (failed(tensor))
    return failure();
  ArrayRef<int64_t> shape = op.getTensorType().getShape();
  if (ArrayRef<int64_t>(tensor->shape) != shape)
    return op.emitError("[E3901] the recipe gives shape [")
           << llvm::join(llvm::map_range(tensor->shape, [](int64_t d) { return std::to_string(d); }), ", ")
           << "], expected " << op.getType();
  if (tensor->element != *elementOf(op.getType()))
    return op.emitError("[E3901] the recipe gives another element type than ") << op.getType();
  return known[key] = std::make_shared<const Tensor>(std::move(*tensor));
}

//===----------------------------------------------------------------------===//
// Stored weights
//===----------------------------------------------------------------------===//

/// Replaces every `placeholder` by the number.
static std::string expandName(std::string name, const std::string &placeholder, int64_t number) {
  for (size_t at = name.find(placeholder); at != std::string::npos; at = name.find(placeholder))
    name.replace(at, placeholder.size(), std::to_string(number));
  return name;
}

FailureOr<Tensor> Weights::load(lm::WeightOp op, int64_t layer) {
  StringRef source = op.getLast() && layer == layerCount - 1 ? *op.getLast() : *op.getSource();
  std::string name = expandName(expandName(source.str(), "{l+1}", layer + 1), "{l}", layer);
  ArrayRef<int64_t> shape = op.getTensorType().getShape();
  Tensor out(*elementOf(op.getType()), shape.vec());
  bool perExpert = StringRef(name).contains("{e}");
  for (int64_t expert = 0; expert < (perExpert ? shape.front() : 1); ++expert)
    if (failed(readInto(op, expandName(name, "{e}", expert), perExpert ? shape.drop_front() : shape,
                        perExpert ? out.row(expert) : out.values.data())))
      return failure();
  return out;
}

/// Widens `count` elements of a stored type to f32; false for types that no weight may have.
static bool widen(frontend::DType dtype, const uint8_t *bytes, int64_t count, float *out) {
  for (int64_t i = 0; i < count; ++i) {
    uint16_t half;
    switch (dtype) {
    case frontend::DType::F32:
      std::memcpy(out + i, bytes + 4 * i, 4);
      break;
    case frontend::DType::BF16:
      std::memcpy(&half, bytes + 2 * i, 2);
      out[i] = bf16FromBits(half);
      break;
    case frontend::DType::F8E4M3:
      out[i] = decodeE4M3(bytes[i]);
      break;
    default:
      return false;
    }
  }
  return true;
}

/// The type of the IR holds every value of the stored type: the same type, or f32.
static bool holds(Element element, frontend::DType dtype) {
  return element == Element::F32 ? dtype != frontend::DType::F8E4M3
                                 : element == (dtype == frontend::DType::BF16 ? Element::BF16 : Element::F8E4M3FN);
}

LogicalResult Weights::readInto(lm::WeightOp op, const std::string &name, ArrayRef<int64_t> shape, float *out) {
  const frontend::TensorLocation *tensor = checkpoint.find(name);
  if (!tensor)
    return op.emitError("[E3901] the checkpoint has no tensor ") << name << ", which @" << op.getSymName() << " names";
  if (!llvm::equal(tensor->info->shape, shape))
    return op.emitError("[E3901] ") << name << " has shape " << frontend::shapeText(tensor->info->shape)
                                    << ", expected that of " << op.getType();
  frontend::DType dtype = frontend::declaredDType(tensor->info->dtype);
  frontend::Expected<std::vector<uint8_t>> bytes = reader.read(name);
  if (!bytes)
    return op.emitError("[E") << bytes.error().code() << "] " << bytes.error().message();
  if (!holds(*elementOf(op.getType()), dtype) || !widen(dtype, bytes->data(), tensor->info->elements(), out))
    return op.emitError("[E3901] ") << name << " is " << frontend::dtypeName(tensor->info->dtype)
                                    << ", expected values of " << op.getType();
  return success();
}

//===----------------------------------------------------------------------===//
// Recipes
//===----------------------------------------------------------------------===//

namespace {
/// A weight as `matrices` matrices of `rows` rows of `width` elements; rank 1 counts as rows of one element.
struct RowView {
  explicit RowView(const std::vector<int64_t> &shape)
      : matrices(shape.size() == 3 ? shape[0] : 1), rows(shape[shape.size() == 3 ? 1 : 0]),
        width(shape.size() == 1 ? 1 : shape.back()) {}
  int64_t matrices, rows, width;
};
} // namespace

/// The shape with another number of rows.
static std::vector<int64_t> withRows(std::vector<int64_t> shape, int64_t rows) {
  shape[shape.size() == 3 ? 1 : 0] = rows;
  return shape;
}

/// Copies rows [from, from + count) of every matrix of `source` to rows starting at `to` of `target`.
static void copyRows(const Tensor &source, int64_t from, int64_t count, Tensor &target, int64_t to) {
  RowView in(source.shape), out(target.shape);
  for (int64_t m = 0; m < in.matrices; ++m)
    std::copy_n(source.values.begin() + (m * in.rows + from) * in.width, count * in.width,
                target.values.begin() + (m * out.rows + to) * out.width);
}

static Tensor concatRows(ArrayRef<std::shared_ptr<const Tensor>> parts, int64_t align) {
  std::vector<int64_t> starts;
  int64_t rows = 0;
  for (const auto &part : parts) {
    rows = (rows + align - 1) / align * align;
    starts.push_back(rows);
    rows += RowView(part->shape).rows;
  }
  Tensor out(parts.front()->element, withRows(parts.front()->shape, rows));
  for (auto [part, start] : llvm::zip(parts, starts))
    copyRows(*part, 0, RowView(part->shape).rows, out, start);
  return out;
}

static Tensor padRows(const Tensor &source, int64_t rows) {
  Tensor out(source.element, withRows(source.shape, rows));
  // Padding scales are 1: f32 weights that need padding are scales, dense ones are bf16 or FP8.
  std::fill(out.values.begin(), out.values.end(), source.element == Element::F32 ? 1.0f : 0.0f);
  copyRows(source, 0, RowView(source.shape).rows, out, 0);
  return out;
}

FailureOr<std::shared_ptr<const Tensor>> Weights::source(lm::WeightOp op, FlatSymbolRefAttr symbol, int64_t layer) {
  auto weight = SymbolTable::lookupNearestSymbolFrom<lm::WeightOp>(op->getParentOp(), symbol);
  if (!weight)
    return op.emitError("[E3901] the recipe refers to ") << symbol << ", which is no lm.weight";
  return get(weight, layer);
}

FailureOr<Tensor> Weights::evaluate(lm::WeightOp op, int64_t layer) {
  SmallVector<std::shared_ptr<const Tensor>> sources;
  for (FlatSymbolRefAttr symbol : op.getRecipeSources()) {
    Result value = source(op, symbol, layer);
    if (failed(value))
      return failure();
    sources.push_back(*value);
  }
  const Tensor &first = *sources.front();
  bool blocks = isa<lm::QuantizeCodesAttr, lm::QuantizeScalesAttr, lm::DequantizeAttr>(op.getRecipeAttr());
  if (blocks && first.shape.size() < 2)
    return op.emitError("[E3901] recipe ") << op.getRecipeAttr() << " needs a matrix";
  return TypeSwitch<Attribute, FailureOr<Tensor>>(op.getRecipeAttr())
      .Case([&](lm::ConcatAttr attr) { return concatRows(sources, attr.getAlign()); })
      .Case([&](lm::SliceRowsAttr attr) -> FailureOr<Tensor> {
        if (attr.getOffset() < 0 || attr.getSize() < 0 || attr.getOffset() + attr.getSize() > RowView(first.shape).rows)
          return op.emitError("[E3901] recipe ") << attr << " leaves the rows of its source";
        Tensor out(first.element, withRows(first.shape, attr.getSize()));
        copyRows(first, attr.getOffset(), attr.getSize(), out, 0);
        return out;
      })
      .Case([&](lm::PadRowsAttr) { return padRows(first, RowView(op.getTensorType().getShape().vec()).rows); })
      .Case([&](lm::QuantizeCodesAttr attr) {
        return quantizeWeight(first, attr.getFormat() == lm::ScaleFormat::UE8M0).codes;
      })
      .Case([&](lm::QuantizeScalesAttr attr) {
        return quantizeWeight(first, attr.getFormat() == lm::ScaleFormat::UE8M0).scales;
      })
      .Case([&](lm::DequantizeAttr) { return dequantizeWeight(first, *sources[1], *elementOf(op.getType())); });
}
