// Compares the simulator's declarations with nccl.h; built where that is installed.
#include "test/ncclsim/nccl_abi.h"

#include <gtest/gtest.h>
#include <nccl.h>
#include <type_traits>

namespace {

// Same size and kind; what stands behind handles may differ.
template <typename A, typename B>
constexpr bool same =
    sizeof(A) == sizeof(B) && std::is_pointer_v<A> == std::is_pointer_v<B> &&
    std::is_class_v<A> == std::is_class_v<B> && std::is_floating_point_v<A> == std::is_floating_point_v<B>;

template <typename Theirs, typename Ours> struct SameCall : std::false_type {};
template <typename A, typename... As, typename B, typename... Bs> struct SameCall<A(As...), B(Bs...)> {
  static constexpr bool compare() {
    if constexpr (sizeof...(As) == sizeof...(Bs))
      return same<A, B> && (same<As, Bs> && ...);
    return false;
  }
  static constexpr bool value = compare();
};

#define NCCLSIM_COMPARE(result, name, parameters)                                                                      \
  static_assert(SameCall<decltype(::name), decltype(ncclsim::name)>::value, #name);
} // namespace

namespace ncclsim {
#define NCCLSIM_DECLARE(result, name, parameters) result name parameters;
NCCLSIM_ENTRY_POINTS(NCCLSIM_DECLARE)
#undef NCCLSIM_DECLARE
#if NCCL_VERSION_CODE >= 22800
#define NCCLSIM_DECLARE(result, name, parameters) result name parameters;
NCCLSIM_NEW_ENTRY_POINTS(NCCLSIM_DECLARE)
#undef NCCLSIM_DECLARE
#endif
} // namespace ncclsim

namespace {

NCCLSIM_ENTRY_POINTS(NCCLSIM_COMPARE)
#if NCCL_VERSION_CODE >= 22800
NCCLSIM_NEW_ENTRY_POINTS(NCCLSIM_COMPARE)
static_assert(NCCL_WIN_REQUIRED_ALIGNMENT == ncclsim::windowAlignment);
#endif

#define NCCLSIM_SAME(name) static_assert(int(::name) == int(ncclsim::name), #name)
NCCLSIM_SAME(ncclSuccess);
NCCLSIM_SAME(ncclUnhandledCudaError);
NCCLSIM_SAME(ncclSystemError);
NCCLSIM_SAME(ncclInternalError);
NCCLSIM_SAME(ncclInvalidArgument);
NCCLSIM_SAME(ncclInvalidUsage);
NCCLSIM_SAME(ncclRemoteError);
NCCLSIM_SAME(ncclInProgress);
NCCLSIM_SAME(ncclInt8);
NCCLSIM_SAME(ncclUint8);
NCCLSIM_SAME(ncclInt32);
NCCLSIM_SAME(ncclUint32);
NCCLSIM_SAME(ncclInt64);
NCCLSIM_SAME(ncclUint64);
NCCLSIM_SAME(ncclFloat16);
NCCLSIM_SAME(ncclFloat32);
NCCLSIM_SAME(ncclFloat64);
NCCLSIM_SAME(ncclBfloat16);
NCCLSIM_SAME(ncclSum);
NCCLSIM_SAME(ncclProd);
NCCLSIM_SAME(ncclMax);
NCCLSIM_SAME(ncclMin);
NCCLSIM_SAME(ncclAvg);
#undef NCCLSIM_SAME

TEST(NcclAbi, ConfigurationsBeginAlike) {
  const ::ncclConfig_t theirs = NCCL_CONFIG_INITIALIZER;
  EXPECT_EQ(theirs.magic, ncclsim::configMagic);
  EXPECT_EQ(theirs.blocking, ncclsim::configUndefined);
  EXPECT_EQ(offsetof(::ncclConfig_t, blocking), offsetof(ncclsim::ncclConfig_t, blocking));
  EXPECT_EQ(offsetof(::ncclConfig_t, magic), offsetof(ncclsim::ncclConfig_t, magic));
  EXPECT_EQ(sizeof(::ncclUniqueId), sizeof(ncclsim::ncclUniqueId));
}

} // namespace
