// Checks the model, kernels, images and weights of the metadata; programs are in check_programs.cpp.
#include "runtime/artifact/checker.h"
#include <cmath>

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace moray::rt {

using namespace schema;

static unsigned long long number(uint64_t value) { return value; }

static constexpr uint32_t kMaxNameBytes = 64u << 10;

Status checkArtifact(const schema::Artifact &artifact, const Bytes (&sections)[MORAY_SECTION_COUNT],
                     uint64_t &weightSpan) {
  const Checker checker(artifact, sections);
  MORAY_TRY(checker.checkModel());
  MORAY_TRY(checker.checkSymbols());
  MORAY_TRY(checker.checkImages());
  MORAY_TRY(checker.checkKernels());
  MORAY_TRY(checker.checkWeights(weightSpan));
  MORAY_TRY(checker.checkPrograms());
  return checker.checkProvenance();
}

Status Checker::checkName(const Name *name, const char *what, size_t index) const {
  const size_t available = sizeOf(root.names());
  if (!name || name->length() == 0 || name->length() > kMaxNameBytes ||
      !inRange(name->offset(), name->length(), available))
    return fail(kE4011, "%s %zu has no name inside the %zu bytes of names; compile the model again", what, index,
                available);
  return {};
}

Status Checker::checkExpression(const flatbuffers::Vector<const ExprOp *> *ops, const char *what, size_t index) const {
  if (!isAligned(ops))
    return fail(kE4009, "the size expression of %s %zu is not aligned; compile the model again", what, index);
  uint64_t values[kSymbolCount];
  for (size_t i = 0; i < kSymbolCount; ++i)
    values[i] = root.symbols_max()->Get(static_cast<uint32_t>(i));
  uint64_t result = 0;
  const ExprError error = evaluateExpr(ops, values, result);
  if (error != ExprError::None)
    return fail(kE4012, "size expression of %s %zu: %s at the largest sizes; compile the model again", what, index,
                describe(error));
  return {};
}

Status Checker::checkModel() const {
  const ModelConfig *model = root.model();
  if (!model)
    return fail(kE4010, "the model configuration is missing; compile the model again");
  MORAY_TRY(checkName(model->family(), "model family", 0));
  const struct {
    const char *name;
    uint64_t value, min, max;
  } bounds[] = {
      {"vocab", model->vocab(), 1, 1u << 24},
      {"hidden", model->hidden(), 1, 1u << 24},
      {"layers", model->layers(), 1, kMaxLayers},
      {"heads", model->heads(), 1, 1u << 16},
      {"max_positions", model->max_positions(), 1, 1u << 30},
      {"cache_width", model->cache_width(), 1, 1u << 20},
      {"cache_page", model->cache_page(), 1, 1u << 16},
      {"experts_per_token", model->experts_per_token(), 0, model->experts()},
      {"experts", model->experts(), 0, 1u << 20},
      {"numerics", static_cast<uint64_t>(model->numerics()), 0, static_cast<uint64_t>(Numerics::MAX)},
      {"cache_dtype", static_cast<uint64_t>(model->cache_dtype()), 0, static_cast<uint64_t>(DType::MAX)},
  };
  for (const auto &bound : bounds)
    if (bound.value < bound.min || bound.value > bound.max)
      return fail(kE4010, "model.%s is %llu, expected %llu to %llu; compile the model again", bound.name,
                  number(bound.value), number(bound.min), number(bound.max));
  const int64_t vocab = model->vocab();
  if (model->bos() < -1 || model->bos() >= vocab)
    return fail(kE4010, "model.bos is %d, expected -1 to %lld", model->bos(), static_cast<long long>(vocab - 1));
  for (uint32_t i = 0; i < sizeOf(model->eos()); ++i)
    if (model->eos()->Get(i) < 0 || model->eos()->Get(i) >= vocab)
      return fail(kE4010, "model.eos[%u] is %d, expected 0 to %lld", i, model->eos()->Get(i),
                  static_cast<long long>(vocab - 1));
  if (!(model->temperature() >= 0) || !std::isfinite(model->temperature()) ||
      !(model->top_p() > 0 && model->top_p() <= 1))
    return fail(kE4010, "the sampling defaults are temperature %g and top_p %g, expected at least 0 and in (0, 1]",
                static_cast<double>(model->temperature()), static_cast<double>(model->top_p()));
  return {};
}

Status Checker::checkSymbols() const {
  if (!isAligned(root.symbols_max()))
    return fail(kE4009, "the bounds of the symbols are not aligned; compile the model again");
  if (sizeOf(root.symbols_max()) != kSymbolCount)
    return fail(kE4010, "there are bounds of %zu symbols, expected %zu; compile the model again",
                sizeOf(root.symbols_max()), kSymbolCount);
  for (uint32_t i = 0; i < kSymbolCount; ++i)
    if (root.symbols_max()->Get(i) < 1 || root.symbols_max()->Get(i) > INT32_MAX)
      return fail(kE4010, "symbol %s is bounded by %llu, expected 1 to 2^31 - 1; compile the model again",
                  EnumNameSymbolId(static_cast<SymbolId>(i)), number(root.symbols_max()->Get(i)));
  return {};
}

Status Checker::checkImages() const {
  const Bytes code = sections[MORAY_SECTION_CODE];
  for (uint32_t i = 0; i < sizeOf(root.images()); ++i) {
    const Image &image = *root.images()->Get(i);
    if (!isKnown(image.level()))
      return fail(kE4018, "image %u has the unknown CPU level %u; install a newer runtime", i,
                  static_cast<unsigned>(image.level()));
    if (image.size() == 0 || image.offset() % kPageBytes != 0 || !inRange(image.offset(), image.size(), code.size()))
      return fail(kE4018,
                  "image %u has offset %llu and size %llu in a code section of %zu bytes; compile the model again", i,
                  number(image.offset()), number(image.size()), code.size());
    const uint64_t hash = XXH3_64bits(code.data() + image.offset(), image.size());
    if (hash != image.hash())
      return fail(kE4018, "image %u has hash %016llx, expected %016llx; the file is damaged, copy it again", i,
                  number(hash), number(image.hash()));
  }
  return {};
}

Status Checker::checkKernels() const {
  for (uint32_t i = 0; i < sizeOf(root.kernels()); ++i) {
    const Kernel &kernel = *root.kernels()->Get(i);
    MORAY_TRY(checkName(kernel.name(), "kernel", i));
    if (!isKnown(kernel.klass()) || kernel.operand_count() > kMaxOperands || sizeOf(kernel.variants()) == 0)
      return fail(kE4017,
                  "kernel %u has class %u, %u operands and %zu variants; expected a known class, at most %u operands "
                  "and a variant; compile the model again",
                  i, static_cast<unsigned>(kernel.klass()), kernel.operand_count(), sizeOf(kernel.variants()),
                  kMaxOperands);
    for (uint32_t v = 0; v < kernel.variants()->size(); ++v)
      MORAY_TRY(checkVariant(kernel, i, v));
  }
  return {};
}

Status Checker::checkVariant(const Kernel &kernel, size_t kernelIndex, size_t index) const {
  const Variant &variant = *kernel.variants()->Get(static_cast<uint32_t>(index));
  if (variant.image() >= sizeOf(root.images()))
    return fail(kE4017, "kernel %zu, variant %zu: image %u of %zu; compile the model again", kernelIndex, index,
                variant.image(), sizeOf(root.images()));
  const Image &image = *root.images()->Get(variant.image());
  if (variant.code_size() == 0 || !inRange(variant.entry(), variant.code_size(), image.size()))
    return fail(kE4017,
                "kernel %zu, variant %zu: code at %llu of %llu bytes, outside its image of %llu; compile the model "
                "again",
                kernelIndex, index, number(variant.entry()), number(variant.code_size()), number(image.size()));
  for (uint32_t other = 0; other < index; ++other)
    if (root.images()->Get(kernel.variants()->Get(other)->image())->level() == image.level())
      return fail(kE4017, "kernel %zu has two variants for level %s; compile the model again", kernelIndex,
                  levelName(image.level()));
  if (variant.config())
    MORAY_TRY(variant.config()->length() == 0 ? Status()
                                              : checkName(variant.config(), "configuration of kernel", kernelIndex));
  MORAY_TRY(checkExpression(variant.tasks(), "the tasks of kernel", kernelIndex));
  return checkExpression(variant.scratch_bytes(), "the scratch memory of kernel", kernelIndex);
}

Status Checker::checkWeights(uint64_t &weightSpan) const {
  weightSpan = 0;
  for (uint32_t i = 0; i < sizeOf(root.weights()); ++i) {
    const Weight &weight = *root.weights()->Get(i);
    MORAY_TRY(checkName(weight.name(), "weight", i));
    MORAY_TRY(checkWeight(weight, i, weightSpan));
  }
  return {};
}

Status Checker::checkWeight(const Weight &weight, size_t index, uint64_t &weightSpan) const {
  if (!isAligned(weight.dims()) || !isAligned(weight.offsets()) || !isAligned(weight.hashes()))
    return fail(kE4009, "a table of weight %zu is not aligned; compile the model again", index);
  const size_t rank = sizeOf(weight.dims());
  if (!isKnown(weight.dtype()) || rank < 1 || rank > 4)
    return fail(kE4019,
                "weight %zu has element type %u and rank %zu; expected a known type and rank 1 to 4; compile the "
                "model again",
                index, static_cast<unsigned>(weight.dtype()), rank);
  uint64_t rows = 1, rowBytes = 0, bytes = 0;
  bool fits =
      !__builtin_mul_overflow(weight.dims()->Get(static_cast<uint32_t>(rank - 1)), byteSize(weight.dtype()), &rowBytes);
  for (uint32_t d = 0; d + 1 < rank; ++d)
    fits = fits && !__builtin_mul_overflow(rows, weight.dims()->Get(d), &rows);
  fits = fits && !__builtin_mul_overflow(rows, weight.row_pitch(), &bytes);
  if (!fits || bytes == 0 || rowBytes == 0 || rowBytes > weight.row_pitch() || weight.row_pitch() % kRowAlign != 0 ||
      bytes != weight.bytes())
    return fail(kE4019,
                "weight %zu has %llu bytes in rows of %llu at a pitch of %llu, which does not match its dimensions; "
                "compile the model again",
                index, number(weight.bytes()), number(rowBytes), number(weight.row_pitch()));
  return checkOffsets(weight, index, weightSpan);
}

Status Checker::checkOffsets(const Weight &weight, size_t index, uint64_t &weightSpan) const {
  const size_t expected = weight.per_layer() ? root.model()->layers() : 1;
  const uint64_t limit =
      root.weights_embedded() ? sections[MORAY_SECTION_WEIGHTS].size() : static_cast<uint64_t>(INT64_MAX);
  if (sizeOf(weight.offsets()) != expected || (root.weights_embedded() && sizeOf(weight.hashes()) != expected))
    return fail(kE4019, "weight %zu has %zu offsets and %zu hashes, expected %zu; compile the model again", index,
                sizeOf(weight.offsets()), sizeOf(weight.hashes()), expected);
  for (uint32_t i = 0; i < expected; ++i) {
    const uint64_t offset = weight.offsets()->Get(i);
    if (offset == kNoOffset && weight.per_layer())
      continue;
    if (offset % kRowAlign != 0 || !inRange(offset, weight.bytes(), limit))
      return fail(kE4019,
                  "weight %zu number %u lies at %llu with %llu bytes, outside a section of %llu or not aligned to "
                  "%llu; compile the model again",
                  index, i, number(offset), number(weight.bytes()), number(limit), number(kRowAlign));
    const uint64_t end = offset + weight.bytes();
    weightSpan = end > weightSpan ? end : weightSpan;
  }
  return {};
}

Status Checker::checkProvenance() const {
  // The tokenizer checks its tables itself, but relies on their alignment.
  if (root.tokenizer() && !isAligned(root.tokenizer()->sets()))
    return fail(kE4009, "the character sets of the tokenizer are not aligned; compile the model again");
  const Provenance *provenance = root.provenance();
  if (!provenance)
    return fail(kE4010, "the provenance is missing; compile the model again");
  const size_t available = sizeOf(root.names());
  auto inside = [&](const Name *name) { return !name || inRange(name->offset(), name->length(), available); };
  bool good = inside(provenance->compiler()) && inside(provenance->source());
  for (uint32_t i = 0; i < sizeOf(provenance->flags()); ++i)
    good = good && inside(provenance->flags()->Get(i));
  for (uint32_t i = 0; i < sizeOf(provenance->phases()); ++i)
    good = good && inside(provenance->phases()->Get(i));
  if (!good)
    return fail(kE4011, "a text of the provenance lies outside the %zu bytes of names; compile the model again",
                available);
  return {};
}

} // namespace moray::rt
