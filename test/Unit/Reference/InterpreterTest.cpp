// Programs without a checkpoint: sample and score, and what the interpreter refuses.
#include "OpsGolden.h"

#include "dialects/Dialects.h"

#include "mlir/Parser/Parser.h"

using namespace mlir;
using namespace moray;
using namespace moray::reference;

namespace {
constexpr const char *kModule = R"mlir(
lm.program @sample(%logits: tensor<?x8xf32>, %params: tensor<?x24xui8>) -> tensor<?xi32>
    attributes {lm.kind = #lm<program_kind sample>} {
  %t = lm.kernel sampling over outs (%logits, %params : tensor<?x8xf32>, tensor<?x24xui8>) -> tensor<?xi32> {
  ^bb0(%a: tensor<?x8xf32>, %b: tensor<?x24xui8>):
    %0 = lm.sample %a, %b : tensor<?x8xf32>, tensor<?x24xui8> -> tensor<?xi32>
    lm.yield %0 : tensor<?xi32>
  }
  lm.return %t : tensor<?xi32>
}
cmd.kernel @score_0 sampling over outs {
^bb0(%a: tensor<?x8xf32>, %b: tensor<?xi32>):
  %0 = lm.log_prob %a, %b : tensor<?x8xf32>, tensor<?xi32> -> tensor<?xf32>
  lm.yield %0 : tensor<?xf32>
}
lm.program @score(%logits: tensor<?x8xf32>, %targets: tensor<?xi32>) -> tensor<?xf32>
    attributes {lm.kind = #lm<program_kind score>} {
  %p = cmd.invoke @score_0(%logits, %targets) : (tensor<?x8xf32>, tensor<?xi32>) -> tensor<?xf32>
  lm.return %p : tensor<?xf32>
}
)mlir";

constexpr const char *kUnknown = R"mlir(
lm.program @score(%logits: tensor<?x8xf32>, %targets: tensor<?xi32>) -> tensor<?xf32>
    attributes {lm.kind = #lm<program_kind score>} {
  %p = builtin.unrealized_conversion_cast %logits : tensor<?x8xf32> to tensor<?xf32>
  lm.return %p : tensor<?xf32>
}
)mlir";

class InterpreterTest : public testing::Test {
protected:
  void load(const char *text) {
    DialectRegistry registry;
    registerDialects(registry);
    context.appendDialectRegistry(registry);
    context.loadAllAvailableDialects();
    module = parseSourceString<ModuleOp>(text, &context);
    ASSERT_TRUE(module);
    auto opened = frontend::Checkpoint::open(MORAY_SOURCE_DIR "/test/golden/v2-lite-tiny", warnings);
    ASSERT_TRUE(static_cast<bool>(opened));
    checkpoint = std::make_unique<frontend::Checkpoint>(std::move(*opened));
    auto created = Interpreter::create(*module, *checkpoint);
    ASSERT_TRUE(succeeded(created));
    interpreter = std::move(*created);
  }
  static Tensor logits() {
    Tensor out(Element::F32, {2, 8});
    for (int64_t i = 0; i < 16; ++i)
      out.values[i] = static_cast<float>(i * 5 % 7);
    return out;
  }
  template <typename Function> std::string errorOf(Function function) {
    std::string text;
    ScopedDiagnosticHandler handler(&context, [&](Diagnostic &diagnostic) { text += diagnostic.str(); });
    EXPECT_TRUE(failed(function()));
    return text;
  }

  MLIRContext context;
  OwningOpRef<ModuleOp> module;
  frontend::Warnings warnings;
  std::unique_ptr<frontend::Checkpoint> checkpoint;
  std::unique_ptr<Interpreter> interpreter;
};
} // namespace

TEST_F(InterpreterTest, SampleProgram) {
  load(kModule);
  auto tokens = interpreter->sample(logits(), Tensor(Element::UI8, {2, 24})); // all zero: greedy
  ASSERT_TRUE(succeeded(tokens));
  EXPECT_EQ(tokens->ints, (std::vector<int32_t>{argmax(logits().row(0), 8), argmax(logits().row(1), 8)}));
}

TEST_F(InterpreterTest, ScoreProgramThroughAnOutlinedKernel) {
  load(kModule);
  auto scores = interpreter->score(logits(), Tensor::vector({3, 0}));
  ASSERT_TRUE(succeeded(scores));
  EXPECT_FLOAT_EQ(scores->values[0], static_cast<float>(logProb(logits().row(0), 8, 3)));
  EXPECT_FLOAT_EQ(scores->values[1], static_cast<float>(logProb(logits().row(1), 8, 0)));
}

TEST_F(InterpreterTest, FaultyDataIsAnError) {
  load(kModule);
  Tensor bad = logits();
  bad.values[11] = NAN;
  EXPECT_NE(errorOf([&] {
              return interpreter->score(bad, Tensor::vector({3, 0}));
            }).find("[E3904] NumericError: NaN in the logits of row 1"),
            std::string::npos);
  EXPECT_NE(errorOf([&] { return interpreter->score(logits(), Tensor::vector({8, 0})); }).find("[E3903] index 8"),
            std::string::npos);
  EXPECT_NE(errorOf([&] {
              return interpreter->score(logits(), Tensor::vector({1}));
            }).find("[E3903] operands have 2 and 1 rows"),
            std::string::npos);
}

TEST_F(InterpreterTest, UnknownOpsAreErrors) {
  load(kUnknown);
  EXPECT_NE(errorOf([&] {
              return interpreter->score(logits(), Tensor::vector({0, 0}));
            }).find("[E3902] the interpreter does not know"),
            std::string::npos);
}
