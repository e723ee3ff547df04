// Checks the model, targets and weights of the metadata; images and kernels are in check_code.cpp, programs in
// check_programs.cpp.
#include "runtime/artifact/checker.h"
#include <cmath>
#include <cstring>

namespace moray::rt {

using namespace schema;

static unsigned long long number(uint64_t value) { return value; }

static constexpr uint32_t kMaxNameBytes = 64u << 10;
static constexpr size_t kMaxTargets = 64;

Status checkArtifact(const schema::Artifact &artifact, const Bytes (&sections)[MORAY_SECTION_COUNT],
                     uint64_t &weightSpan) {
  Checker checker(artifact, sections);
  MORAY_TRY(checker.checkModel());
  MORAY_TRY(checker.checkSymbols());
  MORAY_TRY(checker.checkImages());
  MORAY_TRY(checker.checkWeights(weightSpan));
  MORAY_TRY(checker.checkTargets());
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

Status Checker::checkTargets() {
  const size_t count = sizeOf(root.targets());
  if (count == 0 || count > kMaxTargets)
    return fail(kE4025, "there are %zu targets, expected 1 to %zu; compile the model again", count, kMaxTargets);
  for (uint32_t i = 0; i < count; ++i) {
    target = root.targets()->Get(i);
    MORAY_TRY(checkTarget(i));
    MORAY_TRY(checkKernels());
    MORAY_TRY(checkPrograms());
  }
  return {};
}

Status Checker::checkTarget(size_t index) const {
  MORAY_TRY(checkName(target->name(), "target", index));
  const bool cuda = target->device() == DeviceKind::Cuda;
  if (!isKnown(target->device()) || !isKnown(target->numerics()) || !isKnown(target->cache_dtype()) ||
      (cuda ? target->sm() < 10 || target->sm() > 999 : target->sm() != 0))
    return fail(
        kE4025,
        "target %zu has device %u, compute capability %u, numerics %u and cache type %u; expected known values, "
        "and a compute capability such as 80 on a GPU, 0 elsewhere; compile the model again",
        index, static_cast<unsigned>(target->device()), target->sm(), static_cast<unsigned>(target->numerics()),
        static_cast<unsigned>(target->cache_dtype()));
  const uint8_t *names = root.names()->data();
  for (uint32_t other = 0; other < index; ++other) {
    const Name *earlier = root.targets()->Get(other)->name();
    if (earlier->length() == target->name()->length() &&
        memcmp(names + earlier->offset(), names + target->name()->offset(), earlier->length()) == 0)
      return fail(kE4025, "targets %u and %zu have the same name; compile the model again", other, index);
  }
  return {};
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
