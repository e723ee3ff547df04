// Implements the adapter from checkpoints to the packager.
#include "moray-compile/CheckpointWeights.h"

#include "llvm/Support/FormatVariadic.h"

namespace moray::tools {

static std::optional<codegen::DType> codegenType(frontend::DType type) {
  switch (type) {
  case frontend::DType::F32:
    return codegen::DType::F32;
  case frontend::DType::BF16:
    return codegen::DType::BF16;
  case frontend::DType::F8E4M3:
    return codegen::DType::F8E4M3;
  default:
    return std::nullopt;
  }
}

llvm::Error CheckpointWeights::read(llvm::StringRef tensor, codegen::DType type, uint64_t first, uint64_t count,
                                    uint8_t *out) {
  if (const frontend::TensorLocation *location = checkpoint.find(std::string_view(tensor.data(), tensor.size())))
    if (codegenType(frontend::declaredDType(location->info->dtype)) != type)
      return llvm::createStringError(llvm::formatv("E2310: tensor '{0}' holds {1}, the program expects {2}", tensor,
                                                   frontend::dtypeName(location->info->dtype), codegen::dtypeName(type))
                                         .str());
  frontend::Status status = reader.read(tensor.str(), first, count, out);
  if (status)
    return llvm::Error::success();
  return llvm::createStringError(llvm::formatv("E{0}: {1}", status.error().code(), status.error().message()).str());
}

} // namespace moray::tools
