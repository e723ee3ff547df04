// moray-interpret: runs model IR with the reference interpreter and compares it with golden outputs; the oracle of the
// pass tests.
#include "common/cli.h"
#include "common/npy.h"
#include "dialects/Dialects.h"
#include "frontend/Import.h"
#include "test/Reference/Compare.h"

#include "mlir/Parser/Parser.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/SourceMgr.h"

#include <cstdio>

using namespace mlir;
using namespace moray;
using namespace moray::reference;

namespace {
struct Arguments {
  std::string ir, weights, forceExperts, logits, golden;
  std::vector<std::string> tokens;
  SessionOptions session;
  double tolerance = 2e-5, hiddenTolerance = 0, medianTolerance = 0;
  bool emitIR = false, distributed = false;
};

/// A module and the checkpoint that its weights come from.
struct Model {
  OwningOpRef<ModuleOp> module;
  std::unique_ptr<frontend::Checkpoint> checkpoint;
};
} // namespace

static int failWith(const frontend::Error &error) {
  return tools::fail(("E" + std::to_string(error.code())).c_str(), error.message(), "", tools::kExitModel);
}

static bool parse(int argc, char **argv, Arguments &arguments, int &exitCode) {
  CLI::App app("Runs Moray's model IR with the reference interpreter.", "moray-interpret");
  app.add_option("IR", arguments.ir, "IR file, - for stdin, or a checkpoint directory (imported first)")->required();
  app.add_option("--weights", arguments.weights, "Checkpoint directory; default: IR, when that is a directory");
  app.add_option("--tokens", arguments.tokens,
                 "Token ids of a prompt, e.g. 1,2,3; repeat for a batch. Default: prompts of --compare");
  app.add_option("--chunk", arguments.session.chunk, "Prompt tokens per sequence and step; 0: all")
      ->check(CLI::NonNegativeNumber);
  app.add_option("--greedy", arguments.session.greedy, "Tokens to generate greedily")->check(CLI::NonNegativeNumber);
  app.add_flag("--decode-form", arguments.session.decodeForm,
               "Present prompt rows as decode rows (absorbed attention)");
  app.add_option("--force-experts", arguments.forceExperts,
                 "Golden file whose router.{l}.ids replace the routers' selection");
  app.add_option("--logits", arguments.logits, "Write the logits of all prompt tokens as .npy");
  app.add_option("--compare", arguments.golden, "Golden file to compare with; exit code 7 above the tolerances");
  app.add_option("--tolerance", arguments.tolerance,
                 "Largest relative error of a row of logits; 0: not checked, nor are routing and greedy tokens");
  app.add_option("--hidden-tolerance", arguments.hiddenTolerance,
                 "Largest simdiff of all final hidden states together; 0: not checked");
  app.add_option("--median-tolerance", arguments.medianTolerance,
                 "Median simdiff of the final hidden states; 0: not checked");
  app.add_flag("--dist", arguments.distributed, "Run the distributed step program, as the only rank");
  app.add_flag("--emit-ir", arguments.emitIR, "Print the module and stop");
  return tools::parseArguments(app, argc, argv, exitCode);
}

static int load(MLIRContext &context, const Arguments &arguments, Model &model) {
  frontend::Warnings warnings;
  bool import = llvm::sys::fs::is_directory(arguments.ir);
  if (import) {
    auto imported = frontend::importModel(context, arguments.ir, {}, warnings);
    if (!imported)
      return failWith(imported.error());
    model.module = std::move(imported->module);
  } else {
    model.module = parseSourceFile<ModuleOp>(arguments.ir, &context);
    if (!model.module)
      return tools::kExitModel; // the parser has said why
  }
  if (arguments.emitIR)
    return tools::kExitOk;
  if (arguments.weights.empty() && !import)
    return tools::fail("E1001", "no weights", "name the checkpoint directory: --weights DIR", tools::kExitUsage);
  auto checkpoint = frontend::Checkpoint::open(arguments.weights.empty() ? arguments.ir : arguments.weights, warnings);
  if (!checkpoint)
    return failWith(checkpoint.error());
  model.checkpoint = std::make_unique<frontend::Checkpoint>(std::move(*checkpoint));
  return tools::kExitOk;
}

static void printTokens(const SessionResult &result, const SessionOptions &options) {
  for (size_t i = 0; options.greedy && i < result.greedy.size(); ++i) {
    std::printf("greedy %zu:", i);
    for (int32_t token : result.greedy[i])
      std::printf(" %d", token);
    std::printf("\n");
  }
}

static int check(const SessionResult &result, const Golden &golden, const Arguments &arguments) {
  Comparison found = compare(result, golden);
  std::printf("logits %.2e  hidden simdiff %.2e max %.2e median %.2e  routing %lld/%lld  greedy %lld/%lld\n",
              found.logits, found.hidden, found.hiddenMax, found.hiddenMedian,
              static_cast<long long>(found.routedEqual), static_cast<long long>(found.routed),
              static_cast<long long>(found.greedyEqual), static_cast<long long>(found.greedy));
  auto above = [](double value, double tolerance) { return tolerance > 0 && !(value <= tolerance); };
  bool inexact = arguments.tolerance > 0 && (found.routedEqual != found.routed || found.greedyEqual != found.greedy);
  if (above(found.logits, arguments.tolerance) || above(found.hidden, arguments.hiddenTolerance) ||
      above(found.hiddenMedian, arguments.medianTolerance) || inexact)
    return tools::fail("E3905", "the run differs from " + arguments.golden + " by more than the tolerances", "",
                       tools::kExitRequest);
  return tools::kExitOk;
}

static frontend::Status readGolden(const std::string &path, std::optional<Golden> &golden) {
  if (path.empty())
    return {};
  auto file = Golden::read(path);
  if (!file)
    return file.error();
  golden = std::move(*file);
  return {};
}

static int run(Arguments &arguments, const Model &model) {
  std::optional<Golden> golden, forcedFile;
  for (auto [path, target] : {std::pair(&arguments.golden, &golden), std::pair(&arguments.forceExperts, &forcedFile)})
    if (frontend::Status status = readGolden(*path, *target); !status)
      return failWith(status.error());
  std::vector<std::vector<int32_t>> prompts;
  for (const std::string &tokens : arguments.tokens)
    if (!tools::parseTokenIds(tokens, prompts.emplace_back()))
      return tools::kExitUsage;
  if (prompts.empty() && golden)
    prompts = golden->prompts();
  if (prompts.empty())
    return tools::fail("E1001", "no prompt", "give --tokens or --compare", tools::kExitUsage);
  RoutingTable forced;
  if (forcedFile) {
    forced = forcedFile->routing();
    arguments.session.forced = &forced;
  }
  auto interpreter = Interpreter::create(*model.module, *model.checkpoint);
  FailureOr<SessionResult> result = failure();
  if (succeeded(interpreter) && arguments.distributed)
    (*interpreter)->stepKind = lm::ProgramKind::StepDist;
  if (succeeded(interpreter))
    result = runSession(**interpreter, prompts, arguments.session);
  if (failed(result))
    return tools::kExitRequest; // a diagnostic has said why
  printTokens(*result, arguments.session);
  if (!arguments.logits.empty() &&
      !tools::writeNpy(arguments.logits, result->logits.values.data(), result->logits.rows(), result->logits.width()))
    return tools::fail("E1003", "cannot write " + arguments.logits, "name a writable path", tools::kExitUsage);
  return golden ? check(*result, *golden, arguments) : tools::kExitOk;
}

int main(int argc, char **argv) {
  Arguments arguments;
  int exitCode = tools::kExitOk;
  if (!parse(argc, argv, arguments, exitCode))
    return exitCode;
  DialectRegistry registry;
  registerDialects(registry);
  MLIRContext context(registry);
  Model model;
  exitCode = load(context, arguments, model);
  if (exitCode != tools::kExitOk)
    return exitCode;
  if (arguments.emitIR) {
    model.module->print(llvm::outs());
    return tools::kExitOk;
  }
  return run(arguments, model);
}
