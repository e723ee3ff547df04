// Search for the simulated driver among the loaded libraries: no path has to be told twice.
#include "test/ncclsim/device.h"

#include <dlfcn.h>
#include <link.h>
#include <mutex>
#include <string>
#include <vector>

namespace ncclsim {
namespace {

template <typename Function> bool load(void *library, const char *name, Function &function) {
  function = reinterpret_cast<Function>(dlsym(library, name));
  return function != nullptr;
}

bool loadAll(void *library, Device &device) {
  bool complete = load(library, "moray_gpusim_read", device.read) &&
                  load(library, "moray_gpusim_write", device.write) &&
                  load(library, "moray_gpusim_report", device.report) &&
                  load(library, "moray_gpusim_graphs_with", device.graphsWith);
#define NCCLSIM_LOAD(name) complete = complete && load(library, #name, device.name);
  NCCLSIM_DRIVER_CALLS(NCCLSIM_LOAD)
#undef NCCLSIM_LOAD
  return complete;
}

int addName(dl_phdr_info *info, size_t, void *names) {
  static_cast<std::vector<std::string> *>(names)->push_back(info->dlpi_name);
  return 0;
}

} // namespace

const Device *findDevice() {
  static std::mutex mutex;
  static Device device;
  static bool found = false;
  std::lock_guard<std::mutex> lock(mutex);
  if (found)
    return &device;
  std::vector<std::string> names;
  dl_iterate_phdr(addName, &names);
  for (const std::string &name : names) {
    void *library = dlopen(name.empty() ? nullptr : name.c_str(), RTLD_NOW | RTLD_NOLOAD);
    if (library && loadAll(library, device)) {
      found = true;
      return &device;
    }
    if (library)
      dlclose(library);
  }
  return nullptr;
}

} // namespace ncclsim
