// The time of a distributed step: its commands one after another on one stream, what moves between ranks on another.
#include "common/cli.h"
#include "moray-plan/estimate.h"
#include "runtime/artifact/artifact.h"
#include "runtime/artifact/checker.h"
#include "runtime/exec/exec_plan.h"
#include "runtime/exec/work_model.h"

#include <algorithm>
#include <map>

namespace moray::tools {

using Json = nlohmann::ordered_json;
using namespace moray::rt;

namespace {

struct StepTime {
  double compute = 0, communication = 0, exposed = 0, total = 0;
  uint64_t launches = 0, measured = 0, collectives = 0;
  std::map<std::string, double> byClass;
};

// Everything that a walk needs to know about one step.
struct Setting {
  const Artifact &artifact;
  const EstimateOptions &options;
  const MachineModel &machine;
  const TokenTraffic &traffic;
  const std::map<std::string, double> &medians; // seconds by kernel
  uint64_t rows, cachedTokens, expertsHeld;
  bool nodeFirst, nodes;
};

class Walk {
public:
  Walk(const Setting &setting, ExecPlan &plan) : setting(setting), plan(plan), target(*plan.code.target) {}

  StepTime run(uint32_t program) {
    expand(program, {});
    result.total = now;
    return result;
  }

private:
  void expand(uint32_t index, const std::vector<Operand> &params) {
    const schema::Program &program = *target.programs()->Get(index);
    for (const schema::Command *command : *program.commands()) {
      std::vector<Operand> operands;
      for (uint32_t a = 0; a < sizeOf(command->args()); ++a) {
        const schema::Arg &arg = *command->args()->Get(a);
        operands.push_back(arg.kind() == schema::ArgKind::Param ? params[arg.index()]
                                                                : Operand{arg.kind(), index, arg.index()});
      }
      if (command->kind() == schema::CommandKind::Launch)
        launch(command->target(), operands);
      else if (command->kind() == schema::CommandKind::Collective)
        collective(*command);
      else if (command->kind() == schema::CommandKind::Call)
        for (uint32_t layer = command->layer_begin(); layer < command->layer_end(); ++layer)
          expand(command->target(), operands);
    }
  }

  // Stages whose grid is empty at these counts are not launched: kernels for prompts in a decode step, and vice versa.
  bool idles(uint32_t kernel) const {
    const schema::Variant &variant = *plan.code.variants[kernel];
    uint64_t sum = 0, count = 0;
    for (uint32_t s = 0; s < sizeOf(variant.stages()); ++s, sum += count)
      if (schema::evaluateExpr(variant.stages()->Get(s)->grid(), plan.symbols, count) != schema::ExprError::None)
        return false;
    if (sizeOf(variant.stages()) == 0 &&
        schema::evaluateExpr(variant.tasks(), plan.symbols, sum) != schema::ExprError::None)
      return false;
    return sum == 0;
  }

  void launch(uint32_t kernel, const std::vector<Operand> &operands) {
    if (idles(kernel))
      return;
    const schema::Kernel &about = *target.kernels()->Get(kernel);
    const moray_string name = setting.artifact.text(about.name());
    const auto median = setting.medians.find(std::string(name.data, name.size));
    double seconds = 0;
    if (median != setting.medians.end()) {
      seconds = median->second;
      ++result.measured;
    } else {
      const Work work = modelWork(setting.artifact, plan, operands, kernel, setting.cachedTokens, setting.expertsHeld);
      const bool fp8 = target.numerics() == schema::Numerics::Fp8;
      const double flopsPerS = fp8 ? setting.machine.fp8FlopsPerS : setting.machine.bf16FlopsPerS;
      seconds = setting.machine.launchS + std::max(static_cast<double>(work.bytes) / setting.machine.memoryBytesPerS,
                                                   static_cast<double>(work.flops) / flopsPerS);
    }
    ++result.launches;
    result.byClass[schema::EnumNameKernelClass(about.klass())] += seconds;
    result.compute += seconds;
    now += seconds;
  }

  // A rank's links in one direction, with equal loads on all ranks; both fabrics work at the same time.
  double seconds(schema::CollectiveKind kind, double rowBytes) const {
    const TokenTraffic &t = setting.traffic;
    const double rows = static_cast<double>(setting.rows);
    double onNode = t.ranksOnNode, elsewhere = t.ranksElsewhere;
    const bool exact = kind == schema::CollectiveKind::Combine && setting.options.combine == "exact";
    const bool sumsOfNodes = kind == schema::CollectiveKind::Combine && setting.options.combine == "node_sum";
    if (exact) {
      onNode = t.slotsOnNode;
      elsewhere = t.slotsElsewhere;
    } else if (sumsOfNodes || (setting.nodeFirst && kind == schema::CollectiveKind::Dispatch)) {
      onNode += t.ranksElsewhere; // the other nodes' rows travel inside of this one
      elsewhere = t.nodesElsewhere;
    }
    const MachineModel &m = setting.machine;
    const double net = setting.nodes ? m.netLatencyS + rows * elsewhere * rowBytes / m.netBytesPerS : 0;
    return std::max(m.nodeLatencyS + rows * onNode * rowBytes / m.nodeBytesPerS, net);
  }

  void collective(const schema::Command &command) {
    const uint32_t batch = command.batch();
    if (command.phase() != schema::CollectivePhase::Wait) {
      const double time = seconds(static_cast<schema::CollectiveKind>(command.target()),
                                  static_cast<double>(command.row_bytes() + command.scale_bytes()));
      fabric = std::max(fabric, now) + time;
      ends[batch] = fabric;
      result.communication += time;
      ++result.collectives;
    }
    if (command.phase() != schema::CollectivePhase::Start) {
      result.exposed += std::max(0.0, ends[batch] - now);
      now = std::max(now, ends[batch]);
    }
  }

  const Setting &setting;
  const ExecPlan &plan;
  const schema::Target &target;
  StepTime result;
  double now = 0, fabric = 0, ends[2] = {0, 0}; // of compute, of the links, of what was started for each micro-batch
};

int report(const Status &status) {
  std::fprintf(stderr, "%s\n", moray_status_message(status.get()));
  return moray_status_exit_code(status.get());
}

// A plan at its capacity stands for a step with exactly these counts, on a rank that receives as much as it sends.
Status planStep(const Artifact &artifact, uint32_t targetIndex, const EstimateOptions &options, uint64_t rows,
                ExecPlan &plan) {
  using schema::SymbolId;
  TargetCode code;
  code.index = targetIndex;
  code.target = &artifact.target(targetIndex);
  for (const schema::Kernel *kernel : *code.target->kernels())
    code.variants.push_back(kernel->variants()->Get(0));
  const bool decodes = options.phase == "decode";
  Capacities capacities = {};
  capacities.rows = rows;
  capacities.seqs = capacities.outs = decodes ? rows : std::max<uint64_t>(1, rows / options.context);
  capacities.pages = (options.context + artifact.model().cache_page() - 1) / artifact.model().cache_page();
  capacities.cachePages = capacities.pages * capacities.seqs;
  capacities.threads = 1;
  capacities.distributed = true;
  MORAY_TRY(ExecPlan::make(artifact, std::move(code), capacities, plan));
  plan.symbols[static_cast<size_t>(SymbolId::DecodeRows)] = decodes ? rows : 0;
  plan.symbols[static_cast<size_t>(SymbolId::PrefillRows)] = decodes ? 0 : rows;
  return {};
}

int readMedians(const std::string &path, std::map<std::string, double> &medians) {
  std::string content;
  if (path.empty())
    return kExitOk;
  if (!readFile(path, content))
    return kExitUsage;
  const Json file = Json::parse(content, nullptr, false);
  const Json results = file.is_object() ? file.value("results", Json::array()) : Json::array();
  for (const Json &kernel : results.empty() ? results : results[0].value("kernels", Json::array()))
    if (kernel.is_object() && kernel.value("name", Json()).is_string() && kernel.value("median_us", Json()).is_number())
      medians[kernel["name"]] = kernel["median_us"].get<double>() / 1e6;
  return medians.empty() ? fail("E1012", "'" + path + "' holds no times of kernels",
                                "give the output of `moray-bench --kernels -o json`", kExitUsage)
                         : kExitOk;
}

int chooseTarget(const Artifact &artifact, const std::string &wanted, uint32_t &index) {
  index = artifact.targetCount();
  for (uint32_t t = artifact.targetCount(); t-- > 0;) {
    const moray_string name = artifact.text(artifact.target(t).name());
    const bool gpu = artifact.target(t).device() == schema::DeviceKind::Cuda;
    if (wanted.empty() ? index == artifact.targetCount() || gpu : wanted == std::string(name.data, name.size))
      index = t;
  }
  return index < artifact.targetCount() ? kExitOk
                                        : fail("E1012", "the artifact has no target '" + wanted + "'",
                                               "choose one of " + listTargets(artifact), kExitUsage);
}

Json describe(const StepTime &time, const char *program, uint64_t batches) {
  Json out = {{"program", program},
              {"micro_batches", batches},
              {"launches", time.launches},
              {"measured", time.measured},
              {"collectives", time.collectives},
              {"total_s", time.total},
              {"compute_s", time.compute},
              {"communication_s", time.communication},
              {"overlapped_s", std::max(0.0, time.communication - time.exposed)},
              {"exposed_s", time.exposed}};
  for (const auto &[klass, seconds] : time.byClass)
    out["compute_by_class_s"][klass] = seconds;
  return out;
}

void print(const Json &step, const EstimateOptions &options) {
  const auto ms = [&](const char *name) { return step[name].get<double>() * 1e3; };
  std::printf(
      "%-12s %s of %u rows per rank in %u micro-batch(es): %.3f ms = compute %.3f + exposed communication %.3f; "
      "communication %.3f, %.3f of it overlapped\n",
      step["program"].get<std::string>().c_str(), options.phase.c_str(), options.rows,
      step["micro_batches"].get<unsigned>(), ms("total_s"), ms("compute_s"), ms("exposed_s"), ms("communication_s"),
      ms("overlapped_s"));
}

} // namespace

int estimateStep(const PlanOptions &options, const EstimateOptions &how, const ModelShape &shape,
                 const MachineModel &machine, const TokenTraffic &traffic, Json &out) {
  Artifact artifact;
  std::map<std::string, double> medians;
  uint32_t targetIndex = 0;
  if (Status status = Artifact::load(options.artifact.c_str(), artifact); !status.ok())
    return report(status);
  if (int code = readMedians(how.kernelTimes, medians))
    return code;
  if (int code = chooseTarget(artifact, how.target, targetIndex))
    return code;
  const schema::ModelConfig &model = artifact.model();
  if (model.hidden() != shape.hidden || model.layers() != shape.layers || model.experts() != shape.experts)
    return fail("E1012",
                "'" + options.artifact + "' has " + std::to_string(model.layers()) + " layers of " +
                    std::to_string(model.experts()) + " experts, '" + how.config + "' " + std::to_string(shape.layers) +
                    " of " + std::to_string(shape.experts),
                "give the artifact of this configuration", kExitUsage);
  const schema::Target &target = artifact.target(targetIndex);
  out["steps"] = Json::array();
  for (uint32_t p = 0; p < target.programs()->size(); ++p) {
    const bool overlaps = target.programs()->Get(p)->kind() == schema::ProgramKind::StepOverlap;
    if (!overlaps && target.programs()->Get(p)->kind() != schema::ProgramKind::StepDist)
      continue;
    const uint64_t batches = overlaps ? 2 : 1, rows = (how.rows + batches - 1) / batches;
    ExecPlan plan;
    if (Status status = planStep(artifact, targetIndex, how, rows, plan); !status.ok())
      return report(status);
    const uint64_t held = out["experts"]["per_rank"];
    const Setting setting = {artifact,
                             how,
                             machine,
                             traffic,
                             medians,
                             rows,
                             plan.capacities.seqs * how.context,
                             held,
                             how.exchange == "node-first" || (how.exchange == "auto" && how.phase == "prefill"),
                             options.nodes > 1};
    const moray_string name = artifact.text(target.programs()->Get(p)->name());
    out["steps"].push_back(describe(Walk(setting, plan).run(p), std::string(name.data, name.size).c_str(), batches));
    if (!options.json)
      print(out["steps"].back(), how);
  }
  if (out["steps"].empty())
    return fail("E1012", "'" + options.artifact + "' has no distributed step", "compile a model with experts",
                kExitUsage);
  if (!options.json)
    std::printf("assumed: %s, equal loads on all ranks; see `assumptions` of --json\n", machine.name.c_str());
  return kExitOk;
}

} // namespace moray::tools
