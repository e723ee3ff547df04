// Compares our declarations of NCCL's interface with nccl.h; where it is not installed there is nothing to compare.
#include "runtime/comm/nccl_api.h"
#include <gtest/gtest.h>

#ifdef MORAY_HAVE_NCCL_H
#include <nccl.h>
#include <type_traits>

namespace {

using namespace moray::rt::comm;

// Same size and kind: handles are other structs, enumerations are ints with us.
template <typename A, typename B>
constexpr bool same =
    sizeof(A) == sizeof(B) && std::is_pointer_v<A> == std::is_pointer_v<B> && std::is_class_v<A> == std::is_class_v<B>;
template <typename Theirs, typename Ours> struct SameCall;
template <typename A, typename... As, typename B, typename... Bs> struct SameCall<A (*)(As...), B (*)(Bs...)> {
  static constexpr bool compare() {
    if constexpr (sizeof...(As) == sizeof...(Bs))
      return same<A, B> && (same<As, Bs> && ...);
    return false;
  }
};

#define COMPARE(member, symbol, result, parameters)                                                                    \
  static_assert(SameCall<decltype(&::symbol), decltype(NcclTable::member)>::compare(), #symbol " differs from "        \
                                                                                               "nccl.h");
MORAY_NCCL_SYMBOLS(COMPARE)
#if NCCL_VERSION_CODE >= 22800
MORAY_NCCL_OPTIONAL(COMPARE)
#endif

static_assert(+kNcclSuccess == +ncclSuccess && +kNcclUnhandledCudaError == +ncclUnhandledCudaError);
static_assert(+kNcclSystemError == +ncclSystemError && +kNcclInternalError == +ncclInternalError);
static_assert(+kNcclInvalidArgument == +ncclInvalidArgument && +kNcclInvalidUsage == +ncclInvalidUsage);
static_assert(+kNcclRemoteError == +ncclRemoteError && +kNcclInProgress == +ncclInProgress);
static_assert(+kNcclUint8 == +ncclUint8);
static_assert(offsetof(NcclConfig, magic) == offsetof(ncclConfig_t, magic) &&
              offsetof(NcclConfig, version) == offsetof(ncclConfig_t, version) &&
              offsetof(NcclConfig, blocking) == offsetof(ncclConfig_t, blocking));
static_assert(kNcclOldest == NCCL_VERSION(2, 14, 0));

} // namespace

TEST(NcclApi, AgreesWithTheHeader) {
  const ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  EXPECT_EQ(config.magic, kNcclConfigMagic);
}
#else
TEST(NcclApi, AgreesWithTheHeader) { GTEST_SKIP() << "nccl.h was not found"; }
#endif
