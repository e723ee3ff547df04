// Tables of several targets: shared weights and images, stages; facts that a module may lack: E3401, E3402, E3403.
#include "codegen/Package/Metadata.h"
#include "codegen/Package/WeightRows.h"

#include "mlir/Parser/Parser.h"
#include <gtest/gtest.h>

using namespace mlir;
using namespace moray;
using namespace moray::codegen;

namespace {
class MetadataTest : public testing::Test {
protected:
  MLIRContext context{MLIRContext::Threading::DISABLED};
  OwningOpRef<ModuleOp> module;

  CompiledTarget target(const char *name, unsigned sm) {
    CompiledTarget target;
    target.name = name;
    target.sm = sm;
    target.module = *module;
    return target;
  }
  std::string build(const std::string &text) {
    context.loadDialect<lm::LMDialect, cmd::CmdDialect>();
    module = parseSourceString<ModuleOp>(text, &context);
    llvm::Expected<Metadata> metadata = buildMetadata({target("cpu", 0)}, {}, nullptr, false);
    return metadata ? "" : llvm::toString(metadata.takeError());
  }
};
} // namespace

TEST_F(MetadataTest, ErrorE3402WithoutFacts) {
  EXPECT_EQ(0u, build("module {}").find("E3402: the module has no attribute lm.model"));
  EXPECT_EQ(0u, build("module attributes {lm.model = {}} {}").find("E3402: the module has no attribute lm.numerics"));
}

TEST_F(MetadataTest, ErrorE3403NamesTheFactThatIsMissing) {
  std::string message =
      build("module attributes {lm.model = {vocab = 8 : i64}, lm.numerics = #lm.numerics<ref32, deterministic>} {}");
  EXPECT_EQ(0u, message.find("E3403")) << message;
}

TEST_F(MetadataTest, ErrorE3401ForAnUnknownRecipe) {
  class NoSource : public WeightSource {
    llvm::Error read(llvm::StringRef, DType, uint64_t, uint64_t, uint8_t *) override { return llvm::Error::success(); }
  } source;
  context.loadDialect<lm::LMDialect>();
  // The verifier refuses such a recipe, so the module is built without it.
  module = ModuleOp::create(UnknownLoc::get(&context));
  OpBuilder builder = OpBuilder::atBlockEnd(module->getBody());
  auto weight =
      lm::WeightOp::create(builder, builder.getUnknownLoc(), "w", /*per_layer=*/false, StringAttr(), StringAttr(),
                           builder.getUnitAttr(), RankedTensorType::get({1, 4}, builder.getF32Type()));
  uint8_t bytes[16];
  std::string message = llvm::toString(WeightRows(*module, source, 0).read(weight, 0, 0, 1, bytes));
  EXPECT_EQ(0u, message.find("E3401: weight @w")) << message;
}

//===----------------------------------------------------------------------===//
// Targets
//===----------------------------------------------------------------------===//

namespace {
/// A scheduled module of one kernel in a layer program, and code for it that nobody runs.
class TargetTablesTest : public MetadataTest {
protected:
  static constexpr char kModule[] = R"(
    module attributes {lm.numerics = #lm.numerics<w8a16, deterministic>, lm.model = {
        vocab = 8 : i64, hidden = 64 : i64, layers = 3 : i64, heads = 1 : i64, max_positions = 128 : i64,
        cache_width = 64 : i64, cache_page = 64 : i64, experts = 0 : i64, experts_per_token = 0 : i64,
        parameters = 1 : i64, bos = 0 : i64, temperature = 0.0 : f32, top_k = 0 : i64, top_p = 1.0 : f32}} {
      lm.weight @n per_layer from "n.{l}" : tensor<64xbf16>
      cmd.kernel @norm row over rows {
      ^bb0(%x: tensor<?x64xf32>, %w: tensor<64xbf16>):
        %0 = lm.rms_norm %x, %w {eps = 1.0e-6 : f32} : tensor<?x64xf32>, tensor<64xbf16> -> tensor<?x64xf32>
        lm.yield %0 : tensor<?x64xf32>
      }
      cmd.program @layer layer {
      ^bb0(%h: !cmd.buffer<f32>):
        %w = cmd.weight @n : !cmd.buffer<bf16>
        cmd.launch @norm(%h, %w, %h) : !cmd.buffer<f32>, !cmd.buffer<bf16>, !cmd.buffer<f32>
      }
      cmd.program @step step {
        %h = cmd.buffer <T * 256> lifetime[0, 0] : !cmd.buffer<f32>
        cmd.call @layer[0, 2] (%h) : !cmd.buffer<f32>
      }
    })";

  CompiledTarget compiled(const char *name, unsigned sm) {
    CompiledTarget result = target(name, sm);
    result.specs.push_back({KernelClass::Row, 3, nullptr});
    result.names.push_back("norm");
    result.code.variants.resize(1);
    return result;
  }
  /// Adds an image and the variant that uses it.
  static void add(CompiledTarget &target, CompiledImage image) {
    CompiledVariant variant;
    variant.image = target.code.images.size();
    variant.config = "one row per block";
    if (image.kind == CompiledImage::X86) {
      variant.codeSize = image.bytes.size();
      variant.tasks = SizeExpr(Symbol::Rows);
    } else {
      variant.stages.push_back({"norm", SizeExpr(Symbol::Rows), 128, 512, 1024, 40});
      variant.stages.push_back({"norm_combine", SizeExpr(Symbol::Seqs), 64, 0, 0, 0});
    }
    target.code.variants[0].push_back(std::move(variant));
    target.code.images.push_back(std::move(image));
  }
  static CompiledImage image(CompiledImage::Kind kind, unsigned sm, std::vector<char> bytes) {
    CompiledImage result;
    result.kind = kind;
    result.sm = sm;
    result.ptxVersion = kind == CompiledImage::X86 ? 0 : 70;
    result.bytes = std::move(bytes);
    return result;
  }
};
} // namespace

TEST_F(TargetTablesTest, WeightsAndEqualImagesAreStoredOnce) {
  ASSERT_EQ("", build(kModule));
  std::vector<CompiledTarget> targets = {compiled("cpu", 0), compiled("cuda:sm_80", 80), compiled("cuda:sm_89", 89)};
  add(targets[0], image(CompiledImage::X86, 0, std::vector<char>(5000, 1)));
  add(targets[1], image(CompiledImage::Ptx, 80, {'p', 0}));
  add(targets[1], image(CompiledImage::Cubin, 89, std::vector<char>(100, 2)));
  add(targets[2], image(CompiledImage::Ptx, 89, {'p', 0})); // the same text for another chip
  add(targets[2], image(CompiledImage::Cubin, 89, std::vector<char>(100, 2)));
  Metadata metadata = llvm::cantFail(buildMetadata(targets, {}, nullptr, true));

  ASSERT_EQ(1u, metadata.weights.size());
  EXPECT_EQ((std::vector<int64_t>{0, 1}), metadata.weights[0].layers);
  EXPECT_EQ(4096u + 4096u, metadata.weightBytes);
  ASSERT_EQ(4u, metadata.artifact.images.size());
  EXPECT_EQ(0u, metadata.artifact.images[0]->offset);
  EXPECT_EQ(5056u, metadata.artifact.images[1]->offset);
  EXPECT_EQ(0u, metadata.codeBytes % 4096);
  ASSERT_EQ(3u, metadata.artifact.targets.size());
  auto &variants = metadata.artifact.targets[2]->kernels[0]->variants;
  ASSERT_EQ(2u, variants.size());
  EXPECT_EQ(3u, variants[0]->image);
  EXPECT_EQ(2u, variants[1]->image);
  EXPECT_EQ(89u, metadata.artifact.targets[2]->sm);
  EXPECT_EQ(metadata.artifact.targets[0]->active_weight_bytes, metadata.artifact.targets[2]->active_weight_bytes);
}

TEST_F(TargetTablesTest, GpuVariantsHaveStagesAndNoEntry) {
  ASSERT_EQ("", build(kModule));
  std::vector<CompiledTarget> targets = {compiled("cuda:sm_80", 80)};
  add(targets[0], image(CompiledImage::Ptx, 80, {'p', 0}));
  Metadata metadata = llvm::cantFail(buildMetadata(targets, {}, nullptr, false));
  const schema::TargetT &target = *metadata.artifact.targets[0];
  EXPECT_EQ(schema::DeviceKind::Cuda, target.device);
  EXPECT_EQ(schema::Numerics::W8A16, target.numerics);
  const schema::VariantT &variant = *target.kernels[0]->variants[0];
  EXPECT_EQ(0u, variant.code_size);
  EXPECT_TRUE(variant.tasks.empty());
  ASSERT_EQ(2u, variant.stages.size());
  EXPECT_EQ(128u, variant.stages[0]->threads);
  EXPECT_EQ(512u, variant.stages[0]->static_shared);
  EXPECT_EQ(1024u, variant.stages[0]->dynamic_shared);
  EXPECT_EQ(40u, variant.stages[0]->registers);
  EXPECT_EQ(12u, variant.stages[1]->entry->length());
}

TEST_F(TargetTablesTest, TheDistributedStepMovesRowsAndIsNoMoreWork) {
  ASSERT_EQ("", build(kModule));
  uint64_t work = buildMetadata({compiled("cpu", 0)}, {}, nullptr, false)->artifact.targets[0]->active_weight_bytes;
  StringRef text = kModule;
  ASSERT_EQ("", build((text.take_front(text.rfind('}')) + R"(
      cmd.program @layer.dist layer {
      ^bb0(%h: !cmd.buffer<f32>):
        %w = cmd.weight @n : !cmd.buffer<bf16>
        %i = cmd.buffer <R * T * 4> lifetime[0, 0] : !cmd.buffer<i32>
        %r = cmd.buffer <R * T * 256> lifetime[0, 2] : !cmd.buffer<f32>
        cmd.collective dispatch(%h, %i, %i, %h, %r, %i, %i, %h, %h) row_bytes 256 scale_bytes 8
            : !cmd.buffer<f32>, !cmd.buffer<i32>, !cmd.buffer<i32>, !cmd.buffer<f32>, !cmd.buffer<f32>,
              !cmd.buffer<i32>, !cmd.buffer<i32>, !cmd.buffer<f32>, !cmd.buffer<f32>
        cmd.launch @norm(%r, %w, %r) : !cmd.buffer<f32>, !cmd.buffer<bf16>, !cmd.buffer<f32>
        cmd.collective start combine(%r, %h, %h) row_bytes 256 batch 1
            : !cmd.buffer<f32>, !cmd.buffer<f32>, !cmd.buffer<f32>
        cmd.collective wait combine() batch 1
      }
      cmd.program @step.dist step_dist {
        %h = cmd.buffer <T * 256> lifetime[0, 0] : !cmd.buffer<f32>
        cmd.call @layer.dist[0, 2] (%h) : !cmd.buffer<f32>
      }
    })")
                          .str()));
  Metadata metadata = llvm::cantFail(buildMetadata({compiled("cpu", 0)}, {}, nullptr, false));
  ASSERT_EQ(1u, metadata.weights.size());
  EXPECT_EQ((std::vector<int64_t>{0, 1}), metadata.weights[0].layers);
  const schema::TargetT &target = *metadata.artifact.targets[0];
  EXPECT_EQ(work, target.active_weight_bytes);
  ASSERT_EQ(4u, target.programs.size());
  EXPECT_EQ(schema::ProgramKind::Layer, target.programs[2]->kind);
  EXPECT_EQ(schema::ProgramKind::StepDist, target.programs[3]->kind);
  const auto &commands = target.programs[2]->commands;
  ASSERT_EQ(4u, commands.size());
  EXPECT_EQ(schema::CommandKind::Collective, commands[0]->kind);
  EXPECT_EQ(uint32_t(schema::CollectiveKind::Dispatch), commands[0]->target);
  EXPECT_EQ(9u, commands[0]->args.size());
  EXPECT_EQ(256u, commands[0]->row_bytes);
  EXPECT_EQ(8u, commands[0]->scale_bytes);
  EXPECT_EQ(schema::DType::F32, commands[0]->row_dtype);
  EXPECT_EQ(schema::CollectivePhase::Whole, commands[0]->phase);
  EXPECT_EQ(schema::CommandKind::Collective, commands[2]->kind);
  EXPECT_EQ(uint32_t(schema::CollectiveKind::Combine), commands[2]->target);
  EXPECT_EQ(3u, commands[2]->args.size());
  EXPECT_EQ(schema::CollectivePhase::Start, commands[2]->phase);
  EXPECT_EQ(1u, commands[2]->batch);
  EXPECT_EQ(schema::CollectivePhase::Wait, commands[3]->phase);
  EXPECT_TRUE(commands[3]->args.empty());
  EXPECT_EQ(size_t(schema::SymbolId::MAX) + 1, metadata.artifact.symbols_max.size());
}

TEST_F(TargetTablesTest, ProvenanceNamesEveryPhase) {
  ASSERT_EQ("", build(kModule));
  Metadata metadata = llvm::cantFail(buildMetadata({compiled("cpu", 0)}, {}, nullptr, false));
  EXPECT_EQ(7u, metadata.artifact.provenance->phases.size());
}
