// Tests of reserved addresses and of the physical memory that is mapped there.
#include "test/Unit/GpuSim/driver_fixture.h"

namespace gpusim {
namespace {

using Words = std::vector<uint32_t>;

class VirtualMemoryTest : public DriverTest {
protected:
  void SetUp() override {
    DriverTest::SetUp();
    setVariable("MORAY_GPUSIM_GRANULARITY", "4K");
    setVariable("MORAY_GPUSIM_MEMORY", "64K");
    begin();
    ASSERT_CU(CUDA_SUCCESS, cuMemAddressReserve(&range, 16 * page, 0, 0, 0));
  }
  CUmemGenericAllocationHandle create(size_t bytes) {
    CUmemGenericAllocationHandle handle = 0;
    EXPECT_CU(CUDA_SUCCESS, cuMemCreate(&handle, bytes, &properties, 0));
    return handle;
  }
  // Maps new memory that goes with its mapping.
  void map(CUdeviceptr address, size_t bytes) {
    CUmemGenericAllocationHandle handle = create(bytes);
    EXPECT_CU(CUDA_SUCCESS, cuMemMap(address, bytes, 0, handle, 0));
    EXPECT_CU(CUDA_SUCCESS, cuMemRelease(handle));
    EXPECT_CU(CUDA_SUCCESS, cuMemSetAccess(address, bytes, &access, 1));
  }

  static constexpr size_t page = 4096;
  const CUmemAllocationProp properties = {
      CU_MEM_ALLOCATION_TYPE_PINNED, 0, {CU_MEM_LOCATION_TYPE_DEVICE, 0}, nullptr, {}};
  const CUmemAccessDesc access = {{CU_MEM_LOCATION_TYPE_DEVICE, 0}, CU_MEM_ACCESS_FLAGS_PROT_READWRITE};
  CUdeviceptr range = 0;
};

TEST_F(VirtualMemoryTest, GranularityIsThatOfTheEnvironment) {
  size_t bytes = 0;
  EXPECT_CU(CUDA_SUCCESS, cuMemGetAllocationGranularity(&bytes, &properties, 0));
  EXPECT_EQ(page, bytes);
  EXPECT_CU(CUDA_ERROR_INVALID_VALUE, cuMemGetAllocationGranularity(&bytes, nullptr, 0));
  EXPECT_EQ(0u, range % page);
}

TEST_F(VirtualMemoryTest, KernelsUseWhatIsMapped) {
  map(range + page, page);
  map(range + 2 * page, page);
  CUdeviceptr data = range + 2 * page - 8; // across both
  EXPECT_CU(CUDA_SUCCESS, cuMemcpyHtoD_v2(data, Words{1, 2, 3, 4}.data(), 16));
  EXPECT_CU(CUDA_SUCCESS, launch(kernel("add_one"), data, 4));
  EXPECT_EQ((Words{2, 3, 4, 5}), read(data, 4));
  EXPECT_EQ(0u, reportCount());
  EXPECT_CU(CUDA_SUCCESS, launch(kernel("add_one"), range + 3 * page - 4, 1)); // never written
  EXPECT_CU(CUDA_ERROR_LAUNCH_FAILED, cuCtxSynchronize());
  EXPECT_NE(std::string::npos, allReports().find("uninitialised"));
}

TEST_F(VirtualMemoryTest, AccessBesideMappingsIsReported) {
  map(range + page, page);
  EXPECT_CU(CUDA_SUCCESS, cuMemsetD32_v2(range + page, 0, page / 4));
  EXPECT_CU(CUDA_ERROR_INVALID_VALUE, cuMemsetD32_v2(range + page, 0, page / 4 + 1));
  EXPECT_CU(CUDA_SUCCESS, launch(kernel("add_one"), range + 2 * page - 8, 4));
  EXPECT_CU(CUDA_ERROR_ILLEGAL_ADDRESS, cuCtxSynchronize());
  EXPECT_NE(std::string::npos, allReports().find("of reserved range #1, 65536 bytes"));
  EXPECT_NE(std::string::npos, allReports().find("where no memory is mapped or accessible"));
}

TEST_F(VirtualMemoryTest, QueuedWorkSeesTheUnmapping) {
  map(range, page);
  CUstream stream = nonBlockingStream();
  EXPECT_CU(CUDA_SUCCESS, cuMemsetD32Async(range, 0, 1, stream));
  EXPECT_CU(CUDA_SUCCESS, cuMemUnmap(range, page));
  EXPECT_CU(CUDA_ERROR_ILLEGAL_ADDRESS, cuStreamSynchronize(stream));
}

TEST_F(VirtualMemoryTest, MappingsNeedAccess) {
  CUmemGenericAllocationHandle handle = create(page);
  EXPECT_CU(CUDA_SUCCESS, cuMemMap(range, page, 0, handle, 0));
  EXPECT_CU(CUDA_ERROR_INVALID_VALUE, cuMemsetD32_v2(range, 0, 1));
  EXPECT_CU(CUDA_SUCCESS, cuMemSetAccess(range, page, &access, 1));
  EXPECT_CU(CUDA_SUCCESS, cuMemcpyHtoD_v2(range, Words{5}.data(), 4));
  // The memory is the same at both places, and stays when one goes.
  EXPECT_CU(CUDA_SUCCESS, cuMemMap(range + page, page, 0, handle, 0));
  EXPECT_CU(CUDA_SUCCESS, cuMemSetAccess(range, 2 * page, &access, 1));
  EXPECT_CU(CUDA_SUCCESS, cuMemUnmap(range, page));
  EXPECT_CU(CUDA_SUCCESS, cuMemRelease(handle));
  EXPECT_EQ(Words{5}, read(range + page, 1));
  EXPECT_CU(CUDA_ERROR_INVALID_VALUE, cuMemsetD32_v2(range, 0, 1));
}

TEST_F(VirtualMemoryTest, MemoryIsCounted) {
  size_t free = 0, total = 0;
  CUmemGenericAllocationHandle handle = create(8 * page), more = 0;
  EXPECT_CU(CUDA_SUCCESS, cuMemMap(range, 8 * page, 0, handle, 0));
  EXPECT_CU(CUDA_SUCCESS, cuMemRelease(handle));
  EXPECT_CU(CUDA_SUCCESS, cuMemGetInfo_v2(&free, &total));
  EXPECT_EQ(8 * page, free);
  EXPECT_CU(CUDA_ERROR_OUT_OF_MEMORY, cuMemCreate(&more, 9 * page, &properties, 0));
  EXPECT_CU(CUDA_SUCCESS, cuMemUnmap(range, 8 * page));
  EXPECT_CU(CUDA_SUCCESS, cuMemGetInfo_v2(&free, &total));
  EXPECT_EQ(16 * page, free);
  EXPECT_EQ(8 * page, counter(GPUSIM_PEAK_BYTES));
}

TEST_F(VirtualMemoryTest, WrongUseIsRefused) {
  CUmemGenericAllocationHandle handle = create(2 * page), other = 0;
  CUdeviceptr address = 0;
  EXPECT_CU(CUDA_ERROR_INVALID_VALUE, cuMemAddressReserve(&address, page + 1, 0, 0, 0));
  EXPECT_CU(CUDA_ERROR_INVALID_VALUE, cuMemAddressReserve(&address, page, 3 * page, 0, 0));
  EXPECT_CU(CUDA_ERROR_INVALID_VALUE, cuMemCreate(&other, 100, &properties, 0));
  EXPECT_CU(CUDA_ERROR_INVALID_VALUE, cuMemMap(range, 3 * page, 0, handle, 0)) << "more than there is";
  EXPECT_CU(CUDA_ERROR_INVALID_VALUE, cuMemMap(range + 15 * page, 2 * page, 0, handle, 0)) << "beyond the range";
  EXPECT_CU(CUDA_ERROR_INVALID_VALUE, cuMemMap(range + 4, page, 0, handle, 0));
  EXPECT_CU(CUDA_SUCCESS, cuMemMap(range, 2 * page, 0, handle, 0));
  EXPECT_CU(CUDA_ERROR_INVALID_VALUE, cuMemMap(range + page, page, 0, handle, 0)) << "already mapped";
  EXPECT_CU(CUDA_ERROR_INVALID_VALUE, cuMemSetAccess(range, 3 * page, &access, 1));
  EXPECT_CU(CUDA_ERROR_INVALID_VALUE, cuMemUnmap(range, page)) << "part of a mapping";
  EXPECT_CU(CUDA_ERROR_INVALID_VALUE, cuMemFree_v2(range));
  EXPECT_CU(CUDA_ERROR_INVALID_VALUE, cuMemAddressFree(range, 16 * page)) << "still mapped";
  EXPECT_CU(CUDA_SUCCESS, cuMemUnmap(range, 2 * page));
  EXPECT_CU(CUDA_SUCCESS, cuMemRelease(handle));
  EXPECT_CU(CUDA_ERROR_INVALID_VALUE, cuMemRelease(handle));
  EXPECT_CU(CUDA_ERROR_INVALID_VALUE, cuMemAddressFree(range, page)) << "not the whole";
  EXPECT_CU(CUDA_SUCCESS, cuMemAddressFree(range, 16 * page));
}

TEST_F(VirtualMemoryTest, LeaksAreReported) {
  create(page);
  end();
  EXPECT_NE(std::string::npos, allReports().find("leak: reserved range #1, 65536 bytes"));
  EXPECT_NE(std::string::npos, allReports().find("leak: 1 handle(s) of physical memory"));
}

} // namespace
} // namespace gpusim
