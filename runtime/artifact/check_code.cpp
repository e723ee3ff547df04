// Checks the images of the metadata and the kernels of a target: machine code, PTX text, cubins, launch shapes. What is
// refused here never reaches a driver.
#include "runtime/artifact/checker.h"
#include <cstring>

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace moray::rt {

using namespace schema;

static unsigned long long number(uint64_t value) { return value; }

static constexpr uint32_t kWarp = 32;
static constexpr uint32_t kMaxThreads = 1024;
static constexpr uint64_t kMaxShared = 227u << 10; // of a block, on any device so far
static constexpr uint32_t kMaxRegisters = 255;
static constexpr uint64_t kMaxParameterBytes = 4096;
static constexpr uint32_t kMaxEntryName = 255;
static constexpr size_t kMaxStages = 64;

// ---- images ----

Status Checker::checkImages() const {
  const Bytes code = sections[MORAY_SECTION_CODE];
  for (uint32_t i = 0; i < sizeOf(root.images()); ++i) {
    const Image &image = *root.images()->Get(i);
    if (!isKnown(image.kind()) || !isKnown(image.level()))
      return fail(kE4018, "image %u has kind %u and CPU level %u, of which one is unknown; install a newer runtime", i,
                  static_cast<unsigned>(image.kind()), static_cast<unsigned>(image.level()));
    // Machine code is mapped by pages; the rest is read.
    const uint64_t alignment = image.kind() == ImageKind::X86 ? kPageBytes : 8;
    if (image.size() == 0 || image.offset() % alignment != 0 || !inRange(image.offset(), image.size(), code.size()))
      return fail(kE4018,
                  "image %u has offset %llu and size %llu in a code section of %zu bytes; compile the model again", i,
                  number(image.offset()), number(image.size()), code.size());
    const uint64_t hash = XXH3_64bits(code.data() + image.offset(), image.size());
    if (hash != image.hash())
      return fail(kE4018, "image %u has hash %016llx, expected %016llx; the file is damaged, copy it again", i,
                  number(hash), number(image.hash()));
    if (image.kind() == ImageKind::Ptx)
      MORAY_TRY(checkPtx(image, i));
    if (image.kind() == ImageKind::Cubin)
      MORAY_TRY(checkCubin(image, i));
  }
  return {};
}

static bool isBlank(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }
static bool isDigit(char c) { return c >= '0' && c <= '9'; }
static bool isLetter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '$'; }

// What follows the word that a line starts with, blanks skipped; null where no line does. `text` ends with a zero.
static const char *afterDirective(const char *text, const char *word) {
  const size_t length = strlen(word);
  for (const char *line = text; line; line = strchr(line, '\n')) {
    while (isBlank(*line))
      ++line;
    if (strncmp(line, word, length) != 0 || !isBlank(line[length]))
      continue;
    const char *value = line + length;
    while (isBlank(*value))
      ++value;
    return value;
  }
  return nullptr;
}

// A decimal number of at most four digits; `text` moves behind it.
static uint32_t readNumber(const char *&text) {
  uint32_t value = 0;
  for (int digits = 0; digits < 4 && isDigit(*text); ++digits)
    value = value * 10 + static_cast<uint32_t>(*text++ - '0');
  return value;
}

// The driver's loader takes no length: it reads to the zero.
Status Checker::checkPtx(const Image &image, size_t index) const {
  const auto *text = reinterpret_cast<const char *>(sections[MORAY_SECTION_CODE].data() + image.offset());
  const void *zero = memchr(text, 0, image.size());
  if (!zero || zero != text + image.size() - 1)
    return fail(kE4018, "image %zu is PTX that does not end with its only zero byte; compile the model again", index);
  const char *version = afterDirective(text, ".version");
  const char *chip = afterDirective(text, ".target");
  uint32_t found = 0, sm = 0;
  if (version) {
    found = readNumber(version) * 10;
    found += *version == '.' ? readNumber(++version) : 0;
  }
  if (chip && strncmp(chip, "sm_", 3) == 0) {
    chip += 3;
    sm = readNumber(chip);
  }
  if (found == 0 || sm == 0 || found != image.ptx_version() || sm != image.sm())
    return fail(kE4018,
                "image %zu is PTX of version %u for sm_%u, expected version %u for sm_%u (10 * major + minor; 0: not "
                "stated); compile the model again",
                index, found, sm, image.ptx_version(), image.sm());
  return {};
}

// The header of a 64-bit little-endian ELF file, as far as a reader relies on it.
struct ElfHeader {
  uint8_t ident[16];
  uint16_t type, machine;
  uint32_t version;
  uint64_t entry, programs, sections;
  uint32_t flags;
  uint16_t bytes, programBytes, programCount, sectionBytes, sectionCount, names;
};
static_assert(sizeof(ElfHeader) == 64, "the header of ELF64");

Status Checker::checkCubin(const Image &image, size_t index) const {
  constexpr uint16_t cudaMachine = 190;
  ElfHeader header = {};
  const bool whole = image.size() >= sizeof(header);
  if (whole)
    memcpy(&header, sections[MORAY_SECTION_CODE].data() + image.offset(), sizeof(header));
  if (!whole || memcmp(header.ident, "\177ELF\2\1", 6) != 0 || header.machine != cudaMachine)
    return fail(kE4018,
                "image %zu is no cubin: %llu bytes, machine %u, expected an ELF file for machine 190; compile "
                "the model again",
                index, number(image.size()), header.machine);
  const uint64_t programs = uint64_t{header.programBytes} * header.programCount;
  const uint64_t sectionTable = uint64_t{header.sectionBytes} * header.sectionCount;
  if (!inRange(header.programs, programs, image.size()) || !inRange(header.sections, sectionTable, image.size()))
    return fail(kE4018,
                "image %zu is a cubin of %llu bytes with headers at %llu and %llu that lie outside; compile the model "
                "again",
                index, number(image.size()), number(header.programs), number(header.sections));
  if (image.sm() < 10 || image.sm() > 999)
    return fail(kE4018, "image %zu is a cubin for sm_%u, expected a compute capability such as 80", index, image.sm());
  return {};
}

// ---- kernels ----

Status Checker::checkKernels() const {
  for (uint32_t i = 0; i < sizeOf(target->kernels()); ++i) {
    const Kernel &kernel = *target->kernels()->Get(i);
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

// Whether two images serve the same machines.
static bool sameMachine(const Image &a, const Image &b) {
  return a.kind() == b.kind() && (a.kind() == ImageKind::X86 ? a.level() == b.level() : a.sm() == b.sm());
}

Status Checker::checkVariant(const Kernel &kernel, size_t kernelIndex, size_t index) const {
  const Variant &variant = *kernel.variants()->Get(static_cast<uint32_t>(index));
  if (variant.image() >= sizeOf(root.images()))
    return fail(kE4017, "kernel %zu, variant %zu: image %u of %zu; compile the model again", kernelIndex, index,
                variant.image(), sizeOf(root.images()));
  const Image &image = *root.images()->Get(variant.image());
  const bool cpu = target->device() == DeviceKind::Cpu;
  if ((image.kind() == ImageKind::X86) != cpu)
    return fail(kE4017, "kernel %zu, variant %zu: an image of kind %s in a target for %s; compile the model again",
                kernelIndex, index, EnumNameImageKind(image.kind()), EnumNameDeviceKind(target->device()));
  for (uint32_t other = 0; other < index; ++other)
    if (sameMachine(*root.images()->Get(kernel.variants()->Get(other)->image()), image))
      return fail(kE4017, "kernel %zu has two variants of kind %s for level %s or sm_%u; compile the model again",
                  kernelIndex, EnumNameImageKind(image.kind()), levelName(image.level()), image.sm());
  if (variant.config())
    MORAY_TRY(variant.config()->length() == 0 ? Status()
                                              : checkName(variant.config(), "configuration of kernel", kernelIndex));
  MORAY_TRY(checkExpression(variant.scratch_bytes(), "the scratch memory of kernel", kernelIndex));
  if (cpu)
    return checkCpuVariant(variant, kernelIndex, index);
  const size_t stages = sizeOf(variant.stages());
  const uint64_t parameters = (uint64_t{kernel.operand_count()} + MORAY_GPU_TRAILING) * sizeof(uint64_t);
  if (stages == 0 || stages > kMaxStages || sizeOf(variant.tasks()) != 0 || parameters > kMaxParameterBytes)
    return fail(kE4017,
                "kernel %zu, variant %zu: %zu stages, %zu operators of a task count and %llu bytes of parameters; "
                "expected 1 to %zu, none and at most %llu; compile the model again",
                kernelIndex, index, stages, sizeOf(variant.tasks()), number(parameters), kMaxStages,
                number(kMaxParameterBytes));
  for (uint32_t s = 0; s < stages; ++s)
    MORAY_TRY(checkStage(variant, kernelIndex, s));
  return {};
}

Status Checker::checkCpuVariant(const Variant &variant, size_t kernelIndex, size_t index) const {
  const Image &image = *root.images()->Get(variant.image());
  if (variant.code_size() == 0 || !inRange(variant.entry(), variant.code_size(), image.size()))
    return fail(kE4017,
                "kernel %zu, variant %zu: code at %llu of %llu bytes, outside its image of %llu; compile the model "
                "again",
                kernelIndex, index, number(variant.entry()), number(variant.code_size()), number(image.size()));
  if (sizeOf(variant.stages()) != 0)
    return fail(kE4017, "kernel %zu, variant %zu: a CPU kernel with stages; compile the model again", kernelIndex,
                index);
  return checkExpression(variant.tasks(), "the tasks of kernel", kernelIndex);
}

static bool isEntryName(const char *name, size_t length) {
  for (size_t i = 0; i < length; ++i)
    if (!isLetter(name[i]) && (i == 0 || !isDigit(name[i])))
      return false;
  return length > 0 && length <= kMaxEntryName;
}

// Whether the PTX defines `.entry name`. `text` ends with a zero.
static bool definesEntry(const char *text, const char *name, size_t length) {
  for (const char *at = strstr(text, ".entry"); at; at = strstr(at, ".entry")) {
    at += 6;
    while (isBlank(*at))
      ++at;
    if (strncmp(at, name, length) == 0 && !isLetter(at[length]) && !isDigit(at[length]))
      return true;
  }
  return false;
}

Status Checker::checkStage(const Variant &variant, size_t kernelIndex, size_t index) const {
  const Stage &stage = *variant.stages()->Get(static_cast<uint32_t>(index));
  const Image &image = *root.images()->Get(variant.image());
  MORAY_TRY(checkName(stage.entry(), "entry of stage", index));
  const auto *entry = reinterpret_cast<const char *>(root.names()->data()) + stage.entry()->offset();
  const uint32_t length = stage.entry()->length();
  if (!isEntryName(entry, length))
    return fail(kE4017,
                "kernel %zu, stage %zu: its entry is no name of at most %u letters, digits and _$; compile the "
                "model again",
                kernelIndex, index, kMaxEntryName);
  const uint64_t shared = uint64_t{stage.static_shared()} + stage.dynamic_shared();
  if (stage.threads() < kWarp || stage.threads() > kMaxThreads || stage.threads() % kWarp != 0 || shared > kMaxShared ||
      stage.registers() > kMaxRegisters)
    return fail(kE4017,
                "kernel %zu, stage %zu has %u threads, %llu bytes of shared memory and %u registers; expected 32 to "
                "1024 threads in whole warps, at most %llu bytes and %u registers; compile the model again",
                kernelIndex, index, stage.threads(), number(shared), stage.registers(), number(kMaxShared),
                kMaxRegisters);
  MORAY_TRY(checkExpression(stage.grid(), "the grid of kernel", kernelIndex));
  // Bounds of symbols are generous; what even the smallest step exceeds is wrong. The plan checks the real sizes.
  uint64_t smallest[kSymbolCount], grid = 0;
  for (uint64_t &symbol : smallest)
    symbol = 1;
  if (evaluateExpr(stage.grid(), smallest, grid) != ExprError::None || grid > kMaxGrid)
    return fail(kE4017,
                "kernel %zu, stage %zu has a grid of %llu blocks at the smallest sizes, expected at most %llu; "
                "compile the model again",
                kernelIndex, index, number(grid), number(kMaxGrid));
  if (image.kind() == ImageKind::Ptx &&
      !definesEntry(reinterpret_cast<const char *>(sections[MORAY_SECTION_CODE].data() + image.offset()), entry,
                    length))
    return fail(kE4017, "kernel %zu, stage %zu: its PTX has no '.entry %.*s'; compile the model again", kernelIndex,
                index, static_cast<int>(length), entry);
  return {};
}

} // namespace moray::rt
