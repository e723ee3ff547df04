// Tests how moray-compile reports errors, and the adapter from checkpoints to the packager.
#include "common/cli.h"
#include "moray-compile/CheckpointWeights.h"
#include "moray-compile/Errors.h"

#include <gtest/gtest.h>

using namespace moray;
using namespace moray::tools;

static std::pair<int, std::string> reported(const char *text) {
  testing::internal::CaptureStderr();
  int exitCode = reportError(llvm::createStringError(text));
  return {exitCode, testing::internal::GetCapturedStderr()};
}

TEST(ReportError, ExitCodeFollowsTheCode) {
  EXPECT_EQ(reported("E2301: tensor 'a' holds NaN"),
            std::make_pair(int(kExitModel), std::string("error[E2301]: tensor 'a' holds NaN\n")));
  EXPECT_EQ(reported("E3412: no space").first, kExitResources);
  EXPECT_EQ(reported("E3101: no emitter").first, kExitInternal);
}

TEST(ReportError, TextsWithoutACodeAreFaults) {
  for (const char *text : {"something broke", "Error: x", "E12: x", ""}) {
    auto [exitCode, message] = reported(text);
    EXPECT_EQ(exitCode, kExitInternal);
    EXPECT_EQ(message.rfind("error[E3001]: ", 0), 0u) << message;
  }
}

TEST(CheckpointWeights, TypeAndNameAreChecked) {
  frontend::Warnings warnings;
  auto checkpoint = frontend::Checkpoint::open(MORAY_SOURCE_DIR "/test/golden/v2-lite-tiny", warnings);
  ASSERT_TRUE(bool(checkpoint));
  CheckpointWeights weights(*checkpoint, /*ue8m0=*/false, warnings);
  std::vector<uint8_t> bytes(64);
  EXPECT_EQ(llvm::toString(weights.read("model.norm.weight", codegen::DType::BF16, 0, 16, bytes.data())), "");
  EXPECT_EQ(llvm::toString(weights.read("model.norm.weight", codegen::DType::F32, 0, 16, bytes.data())),
            "E2310: tensor 'model.norm.weight' holds BF16, the program expects f32");
  std::string missing = llvm::toString(weights.read("model.norm.wait", codegen::DType::BF16, 0, 16, bytes.data()));
  EXPECT_EQ(missing.rfind("E2201: ", 0), 0u) << missing;
}
