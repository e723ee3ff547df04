//===- faults_test.cpp - Planted faults and their clean twins --------------===//
//
// Every kernels/NAME.ptx is two kernels in one text. A line that ends in `//-` belongs to the faulty one alone; text
// after a leading
// `//+` and lines that end in `//+` to its clean twin alone; all else to both. `//! kind, place; detail` marks the line
// that the simulator must report in the faulty one, with what the report must say. `// run:` tells the shape, and how
// many bytes `in` has.
//
//===----------------------------------------------------------------------===//
#include "runtime/device/cuda/driver_api.h"
#include "test/gpusim/driver/gpusim_api.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dirent.h>
#include <dlfcn.h>
#include <fstream>
#include <map>
#include <sstream>
#include <vector>

using namespace moray::rt::cuda;

namespace {

const std::string kFolder = MORAY_SOURCE_DIR "/test/gpusim/faults/kernels/";

/// The simulator, always: these kernels would hang or wreck a real GPU.
struct Simulator {
  DriverTable driver = {};
  decltype(&moray_gpusim_reports) reports = nullptr;
  decltype(&moray_gpusim_report_count) reportCount = nullptr;
  decltype(&moray_gpusim_reset) reset = nullptr;

  static Simulator &get() {
    static Simulator instance;
    return instance;
  }

  std::string text() const {
    std::string all(reports(nullptr, 0), '\0');
    reports(&all[0], all.size());
    return all.c_str();
  }

private:
  Simulator() {
    setenv("MORAY_GPUSIM_BUDGET", "100000", 1);
    setenv("MORAY_GPUSIM_THREADS", "1", 1); // the first report is that of the first block
    void *library = dlopen(GPUSIM_LIBRARY, RTLD_NOW | RTLD_LOCAL);
    if (!library) {
      std::fprintf(stderr, "%s\n", dlerror());
      std::exit(1);
    }
#define LOAD(member, symbol, result, parameters)                                                                       \
  driver.member = reinterpret_cast<decltype(driver.member)>(dlsym(library, #symbol));
    MORAY_CUDA_SYMBOLS(LOAD)
#undef LOAD
    reports = reinterpret_cast<decltype(reports)>(dlsym(library, "moray_gpusim_reports"));
    reportCount = reinterpret_cast<decltype(reportCount)>(dlsym(library, "moray_gpusim_report_count"));
    reset = reinterpret_cast<decltype(reset)>(dlsym(library, "moray_gpusim_reset"));
  }
};

/// What a file says: two texts with the same line numbers, a shape, and the report to come.
struct Fault {
  std::string name, faulty, clean;
  unsigned grid = 1, block = 32, line = 0;
  size_t inBytes = 0;
  bool freeIn = false;
  std::string kind, place, detail;
};

bool endsWith(const std::string &text, const std::string &end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

std::string trimmed(const std::string &text) {
  size_t begin = text.find_first_not_of(" \t"), end = text.find_last_not_of(" \t");
  return begin == std::string::npos ? "" : text.substr(begin, end - begin + 1);
}

void parseRun(Fault &fault, const std::string &text) {
  std::istringstream words(text);
  for (std::string word; words >> word;) {
    if (word == "grid")
      words >> fault.grid;
    else if (word == "block")
      words >> fault.block;
    else if (word == "in")
      words >> fault.inBytes;
    else if (word == "free")
      fault.freeIn = true;
  }
}

/// `kind, place; detail`; the latter two are optional.
void parseMarker(Fault &fault, std::string marker, unsigned line) {
  fault.line = line;
  size_t semicolon = marker.find(';');
  if (semicolon != std::string::npos) {
    fault.detail = trimmed(marker.substr(semicolon + 1));
    marker = marker.substr(0, semicolon);
  }
  size_t comma = marker.find(',');
  fault.kind = trimmed(marker.substr(0, comma));
  fault.place = comma == std::string::npos ? "" : trimmed(marker.substr(comma + 1));
}

Fault parse(const std::string &name) {
  Fault fault;
  fault.name = name;
  std::ifstream stream(kFolder + name + ".ptx");
  unsigned number = 0;
  for (std::string line; std::getline(stream, line);) {
    ++number;
    std::string text = trimmed(line);
    bool onlyFaulty = endsWith(text, "//-"), onlyClean = endsWith(text, "//+");
    if (text.rfind("// run:", 0) == 0)
      parseRun(fault, text.substr(7));
    if (onlyFaulty)
      text = trimmed(text.substr(0, text.size() - 3));
    size_t marker = text.find("//!");
    if (marker != std::string::npos)
      parseMarker(fault, text.substr(marker + 3), number);
    bool added = text.rfind("//+ ", 0) == 0;
    fault.faulty += (onlyClean ? "" : line) + "\n";
    fault.clean += (onlyFaulty ? "" : added ? text.substr(4) : line) + "\n";
  }
  if (!fault.inBytes)
    fault.inBytes = size_t(fault.grid) * fault.block * 4;
  return fault;
}

std::vector<std::string> names() {
  std::vector<std::string> result;
  if (DIR *folder = opendir(kFolder.c_str())) {
    while (dirent *entry = readdir(folder))
      if (endsWith(entry->d_name, ".ptx"))
        result.push_back(std::string(entry->d_name, std::strlen(entry->d_name) - 4));
    closedir(folder);
  }
  std::sort(result.begin(), result.end());
  return result;
}

/// Loads and runs one of the two texts in a fresh context; the result of waiting for it.
Result runKernel(const Fault &fault, const std::string &ptx) {
  const DriverTable &driver = Simulator::get().driver;
  Simulator::get().reset();
  Context context;
  Module module;
  Function function;
  Address in, out;
  EXPECT_EQ(driver.init(0), kSuccess);
  EXPECT_EQ(driver.primaryCtxRetain(&context, 0), kSuccess);
  EXPECT_EQ(driver.ctxSetCurrent(context), kSuccess);
  char log[2048] = "";
  JitOption options[] = {kErrorLogBuffer, kErrorLogBytes};
  void *values[] = {log, reinterpret_cast<void *>(sizeof(log))};
  Result result = driver.moduleLoadDataEx(&module, ptx.c_str(), 2, options, values);
  EXPECT_EQ(result, kSuccess) << log;
  if (result != kSuccess)
    return result;
  EXPECT_EQ(driver.moduleGetFunction(&function, module, fault.name.c_str()), kSuccess);
  EXPECT_EQ(driver.memAlloc(&in, fault.inBytes), kSuccess);
  EXPECT_EQ(driver.memAlloc(&out, size_t(fault.grid) * fault.block * 4), kSuccess);
  EXPECT_EQ(driver.memsetD8Async(in, 0, fault.inBytes, nullptr), kSuccess);
  EXPECT_EQ(driver.streamSynchronize(nullptr), kSuccess);
  if (fault.freeIn) {
    EXPECT_EQ(driver.memFree(in), kSuccess);
  }
  void *arguments[] = {&in, &out};
  result = driver.launchKernel(function, fault.grid, 1, 1, fault.block, 1, 1, 0, nullptr, arguments, nullptr);
  if (result == kSuccess)
    result = driver.streamSynchronize(nullptr);
  if (!fault.freeIn)
    driver.memFree(in);
  driver.memFree(out);
  driver.moduleUnload(module);
  driver.primaryCtxRelease(0);
  return result;
}

class PlantedFault : public testing::TestWithParam<std::string> {};

TEST_P(PlantedFault, IsReportedAtItsLine) {
  Fault fault = parse(GetParam());
  ASSERT_GT(fault.line, 0u) << "no marker in " << fault.name;
  const std::map<std::string, Result> results = {{"out of bounds", kIllegalAddress},
                                                 {"use after free", kIllegalAddress},
                                                 {"misaligned", kMisalignedAddress},
                                                 {"uninitialised", kLaunchFailed},
                                                 {"race", kLaunchFailed},
                                                 {"cp.async not waited for", kLaunchFailed},
                                                 {"divergence", kLaunchFailed},
                                                 {"sync mask", kLaunchFailed},
                                                 {"trap", kLaunchFailed},
                                                 {"deadlock", kLaunchTimeout},
                                                 {"budget", kLaunchTimeout},
                                                 {"bad instruction", kIllegalInstruction}};
  ASSERT_TRUE(results.count(fault.kind)) << fault.kind;
  EXPECT_EQ(runKernel(fault, fault.faulty), results.at(fault.kind));
  std::string expected = "gpusim: " + fault.kind + ": kernel " + fault.name + ", PTX line " +
                         std::to_string(fault.line) + ", " + fault.place;
  std::string reports = Simulator::get().text();
  EXPECT_EQ(reports.compare(0, expected.size(), expected), 0) << "expected: " << expected << "\nreported: " << reports;
  EXPECT_NE(reports.find(fault.detail), std::string::npos) << "expected: " << fault.detail << "\nreported: " << reports;
}

TEST_P(PlantedFault, HasACleanTwin) {
  Fault fault = parse(GetParam());
  EXPECT_NE(fault.faulty, fault.clean);
  EXPECT_EQ(runKernel(fault, fault.clean), kSuccess);
  EXPECT_EQ(Simulator::get().reportCount(), 0u) << Simulator::get().text();
}

INSTANTIATE_TEST_SUITE_P(Kernels, PlantedFault, testing::ValuesIn(names()),
                         [](const testing::TestParamInfo<std::string> &info) { return info.param; });

TEST(PlantedFaults, AreAllThere) { EXPECT_GE(names().size(), 42u); }

TEST(PlantedFaults, LeaksAreReportedWhenTheContextGoes) {
  const DriverTable &driver = Simulator::get().driver;
  Simulator::get().reset();
  Context context;
  Address kept, freed;
  ASSERT_EQ(driver.init(0), kSuccess);
  ASSERT_EQ(driver.primaryCtxRetain(&context, 0), kSuccess);
  ASSERT_EQ(driver.ctxSetCurrent(context), kSuccess);
  ASSERT_EQ(driver.memAlloc(&freed, 100), kSuccess);
  ASSERT_EQ(driver.memAlloc(&kept, 4096), kSuccess);
  ASSERT_EQ(driver.memFree(freed), kSuccess);
  ASSERT_EQ(driver.primaryCtxRelease(0), kSuccess);
  EXPECT_NE(Simulator::get().text().find("leak"), std::string::npos);
  EXPECT_NE(Simulator::get().text().find("4096 bytes"), std::string::npos) << Simulator::get().text();
  EXPECT_EQ(Simulator::get().reportCount(), 1u);
}

} // namespace
