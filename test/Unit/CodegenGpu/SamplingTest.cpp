//===- SamplingTest.cpp - sampling kernels on GPUs ----------------------------------===//
// Tokens and log probabilities must equal those of the CPU kernels: greedy, temperatures, top-k, top-p, ties, faults.

#include "OnGpu.h"
#include <cmath>
#include <limits>
#include <llvm/Support/FormatVariadic.h>

using namespace moray::codegen;
using namespace moray::test;

namespace {
KernelSpec sampleSpec(size_t vocab) {
  return specOf(llvm::formatv(R"(cmd.kernel @k sampling over outs {
    ^bb0(%l: tensor<?x{0}xf32>, %p: tensor<?x24xui8>):
      %t = lm.sample %l, %p : tensor<?x{0}xf32>, tensor<?x24xui8> -> tensor<?xi32>
      lm.yield %t : tensor<?xi32>
    })",
                              vocab)
                    .str());
}
KernelSpec logProbSpec(size_t vocab) {
  return specOf(llvm::formatv(R"(cmd.kernel @k sampling over outs {
    ^bb0(%l: tensor<?x{0}xf32>, %t: tensor<?xi32>):
      %p = lm.log_prob %l, %t : tensor<?x{0}xf32>, tensor<?xi32> -> tensor<?xf32>
      lm.yield %p : tensor<?xf32>
    })",
                              vocab)
                    .str());
}

/// Every way to sample, one for each row; every seventh for large vocabularies.
std::vector<moray_sample_params> allParameters(size_t vocab) {
  std::vector<moray_sample_params> all, some;
  for (float temperature : {0.0f, 1e-42f, 0.6f, 1.0f, 40.0f})
    for (uint32_t topK : {0u, 1u, 5u, uint32_t(vocab), uint32_t(vocab) + 7})
      for (float topP : {1.0f, 0.9f, 0.3f, 0.0f})
        all.push_back({0x123456789ull * all.size(), uint32_t(17 * all.size()), temperature, topK, topP});
  for (size_t i = 0; i < all.size(); i += vocab > 1000 ? 7 : 1)
    some.push_back(all[i]);
  return some;
}

/// Logits with many equal ones among them where `ties`.
std::vector<float> logitRows(size_t rows, size_t vocab, bool ties, Random &random) {
  std::vector<float> logits = random.normals(rows * vocab, 4);
  for (float &x : logits)
    if (ties)
      x = std::round(x);
  return logits;
}

SymbolValues outputs(size_t outs) { return symbolsOf(outs, 0, outs); }
} // namespace

TEST(GpuSampling, TokensEqualTheCpu) {
  for (size_t vocab : {1, 7, 300, 5000}) {
    BothDevices both(sampleSpec(vocab));
    auto params = allParameters(vocab);
    for (bool ties : {false, true}) {
      SCOPED_TRACE(llvm::formatv("vocabulary {0}{1}", vocab, ties ? ", ties" : "").str());
      Random random(vocab);
      Bytes logits = bytesOf(logitRows(params.size(), vocab, ties, random));
      EXPECT_EQ(0u, both.run({logits, bytesOf(params), unwritten(params.size() * 4)}, outputs(params.size())));
    }
  }
}

TEST(GpuSampling, WideVocabularyAndSurplusBlocks) {
  const size_t vocab = 129280, live = 2;
  BothDevices both(sampleSpec(vocab));
  Random random(5);
  std::vector<float> logits = logitRows(live, vocab, false, random);
  logits.resize((live + 1) * vocab, NAN);
  std::vector<moray_sample_params> params = {{1, 2, 0.8f, 50, 0.95f}, {77, 2, 1.0f, 0, 1.0f}, {0, 0, 1.0f, 0, 1.0f}};
  EXPECT_EQ(0u, both.run({bytesOf(logits), bytesOf(params), unwritten((live + 1) * 4)}, outputs(live), 0, 1));
}

TEST(GpuSampling, RowsWithoutAFiniteMaximumAreFaults) {
  const size_t vocab = 700;
  BothDevices both(sampleSpec(vocab));
  Random random(6);
  std::vector<moray_sample_params> params = {{1, 2, 0.0f, 0, 1.0f}};
  for (float bad : {NAN, INFINITY}) {
    std::vector<float> logits = logitRows(1, vocab, false, random);
    logits[699] = bad;
    Buffer l = bufferOf(logits), p = bufferOf(params), token(4);
    EXPECT_EQ(1u, both.gpu.run(0, {l, p, token}, outputs(1)));
    EXPECT_LT(*token.data<uint32_t>(), vocab); // a faulty row still names a token that exists
  }
  std::vector<float> masked(vocab, -std::numeric_limits<float>::infinity());
  EXPECT_EQ(1u, both.run({bytesOf(masked), bytesOf(params), unwritten(4)}, outputs(1)));
  masked[300] = -2; // only one token is allowed
  params[0].temperature = 1.0f;
  EXPECT_EQ(0u, both.run({bytesOf(masked), bytesOf(params), unwritten(4)}, outputs(1)));
}

TEST(GpuSampling, LogProbabilitiesEqualTheCpu) {
  for (size_t vocab : {1, 100, 128, 700, 5000}) {
    SCOPED_TRACE(vocab);
    BothDevices both(logProbSpec(vocab));
    const size_t rows = 5;
    Random random(vocab);
    std::vector<int32_t> targets;
    for (size_t r = 0; r < rows; ++r)
      targets.push_back(int32_t(random.bits() % vocab));
    EXPECT_EQ(0u, both.run({bytesOf(logitRows(rows, vocab, false, random)), bytesOf(targets), unwritten(rows * 4)},
                           outputs(rows)));
  }
}
