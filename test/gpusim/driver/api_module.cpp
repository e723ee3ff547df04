// Entry points for modules, their variables, functions and function attributes.
#include "test/gpusim/driver/driver.h"

#include <algorithm>
#include <cctype>
#include <cstdio>
#include <cstdlib>
#include <cstring>

using namespace gpusim;

namespace {

// The newest PTX version (times ten) that a driver of CUDA `driverVersion` (major * 1000 + minor * 10) reads.
unsigned newestPtx(int driverVersion) {
  int major = driverVersion / 1000, minor = driverVersion % 1000 / 10;
  if (major <= 11)
    return unsigned(70 + minor);
  if (major == 12)
    return unsigned(80 + (minor >= 6 ? minor - 1 : minor)); // 12.5 and 12.6 both read 8.5
  return unsigned(90 + minor + (major - 13) * 10);
}

// The text after a directive that begins a line of the module's header, or empty.
std::string directive(const char *image, const char *name) {
  for (const char *line = image; line && *line; line = strchr(line, '\n')) {
    while (isspace(static_cast<unsigned char>(*line)))
      ++line;
    if (strncmp(line, name, strlen(name)) == 0) {
      line += strlen(name);
      line += strspn(line, " \t");
      return std::string(line, strcspn(line, " \t\r\n,;/"));
    }
    if (!*line)
      break;
  }
  return "";
}

enum class ImageKind { Ptx, Binary, Invalid };

ImageKind kindOf(const char *image) {
  uint32_t magic = 0;
  memcpy(&magic, image, strnlen(image, 4)); // a text may be shorter than four bytes
  if (memcmp(&magic, "\177ELF", 4) == 0 || magic == 0xBA55ED50 || magic == 0x466243B1)
    return ImageKind::Binary;
  bool text = *image && (isprint(static_cast<unsigned char>(*image)) || isspace(static_cast<unsigned char>(*image)));
  return text ? ImageKind::Ptx : ImageKind::Invalid;
}

// What the module's header asks of driver and device.
CUresult checkHeader(const Settings &settings, const char *image, std::string &message) {
  unsigned major = 0, minor = 0;
  std::string version = directive(image, ".version");
  if (sscanf(version.c_str(), "%u.%u", &major, &minor) == 2 && major * 10 + minor > newestPtx(settings.driverVersion)) {
    unsigned newest = newestPtx(settings.driverVersion);
    message = "Unsupported .version " + version + "; current version is '" + std::to_string(newest / 10) + "." +
              std::to_string(newest % 10) + "'";
    return CUDA_ERROR_UNSUPPORTED_PTX_VERSION;
  }
  std::string target = directive(image, ".target");
  unsigned sm = 0;
  char suffix = 0;
  int fields = sscanf(target.c_str(), "sm_%u%c", &sm, &suffix);
  if (fields >= 1 && sm > settings.device.sm) {
    message = "SM version specified by .target (" + target + ") is higher than that of the device, sm_" +
              std::to_string(settings.device.sm);
    return CUDA_ERROR_INVALID_PTX;
  }
  if (fields == 2 && suffix == 'a' && sm != settings.device.sm) {
    message = target + " code runs on that architecture alone, the device is sm_" + std::to_string(settings.device.sm);
    return CUDA_ERROR_INVALID_PTX;
  }
  return CUDA_SUCCESS;
}

// The log buffers among the options of cuModuleLoadDataEx.
struct LogBuffers {
  char *error = nullptr, *info = nullptr;
  size_t errorBytes = 0, infoBytes = 0;
  void **errorSize = nullptr, **infoSize = nullptr;

  CUresult read(unsigned count, const int *options, void **values) {
    if (count > 0 && (!options || !values))
      return CUDA_ERROR_INVALID_VALUE;
    for (unsigned i = 0; i < count; ++i) {
      if (options[i] < 0 || options[i] >= CU_JIT_NUM_OPTIONS)
        return CUDA_ERROR_INVALID_VALUE;
      if (options[i] == CU_JIT_ERROR_LOG_BUFFER)
        error = static_cast<char *>(values[i]);
      if (options[i] == CU_JIT_INFO_LOG_BUFFER)
        info = static_cast<char *>(values[i]);
      if (options[i] == CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES)
        errorSize = &values[i];
      if (options[i] == CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES)
        infoSize = &values[i];
    }
    errorBytes = errorSize ? size_t(uint32_t(reinterpret_cast<uintptr_t>(*errorSize))) : 0;
    infoBytes = infoSize ? size_t(uint32_t(reinterpret_cast<uintptr_t>(*infoSize))) : 0;
    return CUDA_SUCCESS;
  }

  // Both sizes become the bytes written.
  void write(const std::string &message) {
    size_t written = 0;
    if (error && errorBytes > 0) {
      written = std::min(errorBytes - 1, message.size());
      memcpy(error, message.data(), written);
      error[written] = 0;
    } else if (!message.empty()) {
      fprintf(stderr, "gpusim: module refused: %s\n", message.c_str());
    }
    if (info && infoBytes > 0)
      *info = 0;
    if (errorSize)
      *errorSize = reinterpret_cast<void *>(written);
    if (infoSize)
      *infoSize = nullptr;
  }
};

CUresult loadModule(Context &context, CUmodule *module, const char *image, std::string &message) {
  switch (kindOf(image)) {
  case ImageKind::Binary:
    message = "the simulator runs PTX text, no machine code";
    return CUDA_ERROR_NO_BINARY_FOR_GPU;
  case ImageKind::Invalid:
    message = "neither PTX text nor an ELF image";
    return CUDA_ERROR_INVALID_IMAGE;
  case ImageKind::Ptx:
    break;
  }
  if (CUresult error = checkHeader(context.settings, image, message))
    return error;
  ParseError problem;
  auto loaded = std::make_shared<LoadedModule>();
  loaded->module = parseModule(image, context.settings.device, context.memory, problem);
  if (!loaded->module) {
    message = problem.str();
    return CUDA_ERROR_INVALID_PTX;
  }
  *module = context.modules.insert(loaded);
  return CUDA_SUCCESS;
}

} // namespace

GPUSIM_EXPORT CUresult cuModuleLoadDataEx(CUmodule *module, const void *image, unsigned optionCount, int *options,
                                          void **values) {
  return inContext(Call::Unsafe, [&](Context &context) -> CUresult {
    LogBuffers logs;
    if (!module || !image)
      return CUDA_ERROR_INVALID_VALUE;
    if (CUresult error = logs.read(optionCount, options, values))
      return error;
    std::string message;
    CUresult result = loadModule(context, module, static_cast<const char *>(image), message);
    logs.write(message);
    return result;
  });
}

GPUSIM_EXPORT CUresult cuModuleLoadData(CUmodule *module, const void *image) {
  return cuModuleLoadDataEx(module, image, 0, nullptr, nullptr);
}

GPUSIM_EXPORT CUresult cuModuleUnload(CUmodule handle) {
  return inContext(Call::Destroy, [&](Context &context) -> CUresult {
    if (CUresult error = context.checkUnsafe())
      return error;
    std::shared_ptr<LoadedModule> loaded = context.modules.find(handle);
    if (!loaded)
      return CUDA_ERROR_INVALID_HANDLE;
    context.drainAll();
    for (auto &[name, function] : loaded->functions) {
      context.functions.find(function)->kernel = nullptr; // graphs may still name it
      context.functions.erase(function);
    }
    context.modules.erase(handle);
    return CUDA_SUCCESS;
  });
}

// Forbidden while captured: with lazy loading it may load code.
GPUSIM_EXPORT CUresult cuModuleGetFunction(CUfunction *function, CUmodule handle, const char *name) {
  return inContext(Call::Unsafe, [&](Context &context) -> CUresult {
    if (!function || !name || !*name)
      return CUDA_ERROR_INVALID_VALUE;
    std::shared_ptr<LoadedModule> loaded = context.modules.find(handle);
    if (!loaded)
      return CUDA_ERROR_INVALID_HANDLE;
    const Kernel *kernel = loaded->module->findKernel(name);
    if (!kernel)
      return CUDA_ERROR_NOT_FOUND;
    CUfunction &known = loaded->functions[name];
    if (!known) {
      auto made = std::make_shared<Function>();
      made->kernel = kernel;
      made->name = name;
      made->module = handle;
      uint32_t free = context.settings.device.sharedPerBlock;
      made->maxDynamicShared = free - std::min(free, kernel->info.staticShared);
      known = context.functions.insert(made);
    }
    *function = known;
    return CUDA_SUCCESS;
  });
}

GPUSIM_EXPORT CUresult cuModuleGetGlobal_v2(CUdeviceptr *address, size_t *bytes, CUmodule handle, const char *name) {
  return inContext(Call::Unsafe, [&](Context &context) -> CUresult {
    if (!name || (!address && !bytes))
      return CUDA_ERROR_INVALID_VALUE;
    std::shared_ptr<LoadedModule> loaded = context.modules.find(handle);
    if (!loaded)
      return CUDA_ERROR_INVALID_HANDLE;
    auto variable = loaded->module->findVariable(name);
    if (!variable)
      return CUDA_ERROR_NOT_FOUND;
    if (address)
      *address = variable->address;
    if (bytes)
      *bytes = variable->size;
    return CUDA_SUCCESS;
  });
}

GPUSIM_EXPORT CUresult cuFuncGetAttribute(int *value, int attribute, CUfunction handle) {
  return inContext(Call::Plain, [&](Context &context) -> CUresult {
    std::shared_ptr<Function> function = context.functions.find(handle);
    if (!value)
      return CUDA_ERROR_INVALID_VALUE;
    if (!function)
      return CUDA_ERROR_INVALID_HANDLE;
    const KernelInfo &info = function->kernel->info;
    switch (attribute) {
    case CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK:
      *value = int(info.maxThreads);
      return CUDA_SUCCESS;
    case CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES:
      *value = int(info.staticShared);
      return CUDA_SUCCESS;
    case CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES:
      *value = int(info.localBytes);
      return CUDA_SUCCESS;
    case CU_FUNC_ATTRIBUTE_NUM_REGS:
      *value = int(info.registers);
      return CUDA_SUCCESS;
    case CU_FUNC_ATTRIBUTE_PTX_VERSION:
      *value = int(context.modules.find(function->module)->module->targetSm());
      return CUDA_SUCCESS;
    case CU_FUNC_ATTRIBUTE_BINARY_VERSION:
      *value = int(context.settings.device.sm);
      return CUDA_SUCCESS;
    case CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES:
      *value = int(function->maxDynamicShared);
      return CUDA_SUCCESS;
    case CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT:
      *value = function->carveout;
      return CUDA_SUCCESS;
    case CU_FUNC_ATTRIBUTE_CONST_SIZE_BYTES:
    case CU_FUNC_ATTRIBUTE_CACHE_MODE_CA:
      *value = 0;
      return CUDA_SUCCESS;
    default:
      return CUDA_ERROR_INVALID_VALUE;
    }
  });
}

GPUSIM_EXPORT CUresult cuFuncSetAttribute(CUfunction handle, int attribute, int value) {
  return inContext(Call::Plain, [&](Context &context) -> CUresult {
    std::shared_ptr<Function> function = context.functions.find(handle);
    if (!function)
      return CUDA_ERROR_INVALID_HANDLE;
    uint32_t optIn = context.settings.device.sharedOptIn, fixed = function->kernel->info.staticShared;
    switch (attribute) {
    case CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES:
      if (value < 0 || fixed > optIn || uint32_t(value) > optIn - fixed)
        return CUDA_ERROR_INVALID_VALUE;
      function->maxDynamicShared = uint32_t(value);
      return CUDA_SUCCESS;
    case CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT:
      if (value < -1 || value > 100)
        return CUDA_ERROR_INVALID_VALUE;
      function->carveout = value;
      return CUDA_SUCCESS;
    default:
      return CUDA_ERROR_INVALID_VALUE;
    }
  });
}

GPUSIM_EXPORT CUresult cuFuncGetParamInfo(CUfunction handle, size_t index, size_t *offset, size_t *bytes) {
  return inContext(Call::Plain, [&](Context &context) -> CUresult {
    std::shared_ptr<Function> function = context.functions.find(handle);
    if (!function)
      return CUDA_ERROR_INVALID_HANDLE;
    const std::vector<KernelParam> &params = function->kernel->info.params;
    if (!offset || index >= params.size())
      return CUDA_ERROR_INVALID_VALUE;
    *offset = params[index].offset;
    if (bytes)
      *bytes = params[index].size;
    return CUDA_SUCCESS;
  });
}
