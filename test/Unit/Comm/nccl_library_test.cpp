// What a rank says when NCCL is not there, too old, or fails.
#include "runtime/comm/nccl_library.h"
#include <cstdlib>
#include <dlfcn.h>
#include <gtest/gtest.h>

namespace moray::test {

using namespace rt::comm;

static std::string openWith(const char *library) {
  std::unique_ptr<ControlChannel> channel;
  rt::Status status = ControlChannel::open({}, {}, channel);
  if (status.ok()) {
    NcclLink link;
    NcclOptions options;
    options.library = library;
    status = link.open(options, *channel);
  }
  return moray_status_message(status.get());
}

TEST(NcclLibrary, NamesWhatIsMissing) {
  EXPECT_NE(openWith("/nowhere/libnccl.so.2").find("error[E5110]: NCCL cannot be loaded: /nowhere"), std::string::npos);
  const std::string other = openWith(MORAY_FAKE_MPI);
  EXPECT_NE(other.find("error[E5110]"), std::string::npos) << other;
  EXPECT_NE(other.find("has no function ncclGetVersion"), std::string::npos) << other;
  setenv("MORAY_NCCLSIM_VERSION", "21304", 1);
  const std::string old = openWith(MORAY_NCCLSIM);
  unsetenv("MORAY_NCCLSIM_VERSION");
  EXPECT_NE(old.find("is NCCL 2.13.4, this runtime needs 2.14.0"), std::string::npos) << old;
}

TEST(NcclLibrary, NamesWhatFailed) {
  ASSERT_NE(dlopen(MORAY_GPUSIM, RTLD_NOW | RTLD_GLOBAL), nullptr);
  const std::string said = openWith(MORAY_NCCLSIM); // no context is current
  EXPECT_NE(said.find("error[E5115]: NCCL: "), std::string::npos) << said;
  EXPECT_NE(said.find("while starting"), std::string::npos) << said;
}

} // namespace moray::test
