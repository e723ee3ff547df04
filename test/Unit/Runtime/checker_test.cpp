// The semantic checker: one wrong field at a time, each with its code. The hashes always fit.
#include "runtime_test.h"
#include <cstring>
#include <functional>

using namespace moray::test;
using namespace moray::schema;

namespace {

struct Case {
  const char *code;
  const char *text;
  std::function<void(ToyArtifact &)> change;
};

void expectAll(const std::vector<Case> &cases) {
  for (size_t i = 0; i < cases.size(); ++i) {
    ToyArtifact toy;
    cases[i].change(toy);
    const Outcome outcome(loadStatus(toy.serialize()));
    EXPECT_NE(outcome.text.find(std::string("error[") + cases[i].code), std::string::npos) << i << ": " << outcome.text;
    EXPECT_NE(outcome.text.find(cases[i].text), std::string::npos) << i << ": " << outcome.text;
  }
}

ProgramT &step(ToyArtifact &toy) { return toy.program(ProgramKind::Step); }
ProgramT &layer(ToyArtifact &toy) { return toy.program(ProgramKind::Layer); }

} // namespace

TEST(Checker, Model) {
  expectAll({
      {"E4010", "configuration is missing", [](ToyArtifact &t) { t.metadata.model.reset(); }},
      {"E4010", "vocab is 0", [](ToyArtifact &t) { t.metadata.model->vocab = 0; }},
      {"E4010", "layers is 4000000000", [](ToyArtifact &t) { t.metadata.model->layers = 4000000000u; }},
      {"E4010", "cache_page is 0", [](ToyArtifact &t) { t.metadata.model->cache_page = 0; }},
      {"E4010", "experts_per_token", [](ToyArtifact &t) { t.metadata.model->experts_per_token = 3; }},
      {"E4010", "bos is 64", [](ToyArtifact &t) { t.metadata.model->bos = 64; }},
      {"E4010", "eos[0] is -1", [](ToyArtifact &t) { t.metadata.model->eos = {-1}; }},
      {"E4010", "top_p 0", [](ToyArtifact &t) { t.metadata.model->top_p = 0; }},
      {"E4010", "temperature nan", [](ToyArtifact &t) { t.metadata.model->temperature = __builtin_nanf(""); }},
      {"E4010", "bounds of 3 symbols", [](ToyArtifact &t) { t.metadata.symbols_max.resize(3); }},
      {"E4010", "symbol N is bounded by 0", [](ToyArtifact &t) { t.metadata.symbols_max[2] = 0; }},
      {"E4010", "provenance is missing", [](ToyArtifact &t) { t.metadata.provenance.reset(); }},
  });
}

TEST(Checker, Targets) {
  expectAll({
      {"E4025", "0 targets", [](ToyArtifact &t) { t.metadata.targets.clear(); }},
      {"E4025", "65 targets",
       [](ToyArtifact &t) {
         while (t.metadata.targets.size() < 65)
           t.metadata.targets.push_back(std::make_unique<TargetT>(t.target()));
       }},
      {"E4025", "device 7", [](ToyArtifact &t) { t.target().device = DeviceKind(7); }},
      {"E4025", "compute capability 0", [](ToyArtifact &t) { t.target().device = DeviceKind::Cuda; }},
      {"E4025", "compute capability 80", [](ToyArtifact &t) { t.target().sm = 80; }},
      {"E4025", "cache type 200", [](ToyArtifact &t) { t.target().cache_dtype = DType(200); }},
      {"E4025", "numerics 9", [](ToyArtifact &t) { t.target().numerics = Numerics(9); }},
      {"E4025", "targets 0 and 1 have the same name",
       [](ToyArtifact &t) { t.metadata.targets.push_back(std::make_unique<TargetT>(t.target())); }},
      {"E4011", "target 0", [](ToyArtifact &t) { t.target().name.reset(); }},
      // Every target is checked, not the first alone.
      {"E4013", "0 step",
       [](ToyArtifact &t) {
         t.metadata.targets.push_back(std::make_unique<TargetT>(t.target()));
         t.target(1).name = t.name("second");
         t.target(1).programs.clear();
       }},
  });
}

TEST(Checker, Names) {
  expectAll({
      {"E4011", "model family", [](ToyArtifact &t) { t.metadata.model->family.reset(); }},
      {"E4011", "kernel 1", [](ToyArtifact &t) { *t.target().kernels[1]->name = Name(1u << 30, 4); }},
      {"E4011", "program 2", [](ToyArtifact &t) { *t.target().programs[2]->name = Name(4, 0xFFFFFFFFu); }},
      {"E4011", "weight 0", [](ToyArtifact &t) { *t.metadata.weights[0]->name = Name(0, 0); }},
      {"E4011", "buffer 1", [](ToyArtifact &t) { *step(t).buffers[1]->name = Name(0xFFFFFFFFu, 1); }},
      {"E4011", "provenance", [](ToyArtifact &t) { t.metadata.provenance->flags[0] = Name(7, 0x7FFFFFFF); }},
  });
}

TEST(Checker, Expressions) {
  const ExprOp one(ExprOpKind::Const, 1), add(ExprOpKind::Add, 0), huge(ExprOpKind::Const, ~0ull);
  auto tasks = [](std::vector<ExprOp> ops) {
    return [ops](ToyArtifact &t) { t.target().kernels[0]->variants[0]->tasks = ops; };
  };
  expectAll({
      {"E4012", "empty", tasks({})},
      {"E4012", "too long", tasks(std::vector<ExprOp>(257, one))},
      {"E4012", "too few operands", tasks({one, add})},
      {"E4012", "nested too deeply", tasks(std::vector<ExprOp>(17, one))},
      {"E4012", "operator is unknown", tasks({one, one, ExprOp(ExprOpKind(77), 0)})},
      {"E4012", "symbol is unknown", tasks({ExprOp(ExprOpKind::Symbol, kSymbolCount)})},
      {"E4012", "exceeds 64 bits", tasks({huge, one, add})},
      {"E4012", "exceeds 64 bits", tasks({huge, huge, ExprOp(ExprOpKind::Mul, 0)})},
      {"E4012", "exceeds 64 bits", tasks({huge, ExprOp(ExprOpKind::Const, 64), ExprOp(ExprOpKind::Align, 0)})},
      {"E4012", "zero", tasks({one, ExprOp(ExprOpKind::Const, 0), ExprOp(ExprOpKind::CeilDiv, 0)})},
      {"E4012", "left over", tasks({one, one})},
      {"E4012", "buffer 0", [](ToyArtifact &t) { step(t).buffers[0]->bytes.clear(); }},
      {"E4012", "copy 1", [](ToyArtifact &t) { step(t).commands[1]->bytes.clear(); }},
      {"E4012", "scratch", [](ToyArtifact &t) { t.target().kernels[3]->variants[1]->scratch_bytes.clear(); }},
  });
}

TEST(Checker, Collectives) {
  // The layer with experts of the distributed step: append, attend, route, dispatch, expert, combine, merge.
  auto with = [](std::function<void(ToyArtifact &, ProgramT &)> change) {
    return [change](ToyArtifact &t) {
      t.addExperts();
      change(t, *t.target().programs[5]);
    };
  };
  expectAll({
      {"E4015", "collective of the unknown kind 2",
       with([](ToyArtifact &, ProgramT &p) { p.commands[3]->target = 2; })},
      {"E4015", "dispatch with 6 arguments", with([](ToyArtifact &, ProgramT &p) { p.commands[3]->args.pop_back(); })},
      {"E4015", "combine with 4 arguments",
       with([](ToyArtifact &, ProgramT &p) { p.commands[5]->args.push_back(p.commands[5]->args[0]); })},
      {"E4015", "rows of 0 bytes", with([](ToyArtifact &, ProgramT &p) { p.commands[3]->row_bytes = 0; })},
      {"E4015", "rows of 4294967296 bytes",
       with([](ToyArtifact &, ProgramT &p) { p.commands[5]->row_bytes = 1ull << 32; })},
      {"E4015", "dispatch with 7 arguments, rows of 4 bytes and scales of 8",
       with([](ToyArtifact &, ProgramT &p) { p.commands[3]->scale_bytes = 8; })},
      {"E4015", "scales of 8 in", with([](ToyArtifact &, ProgramT &p) { p.commands[5]->scale_bytes = 8; })},
      {"E4015", "unknown phase 3", with([](ToyArtifact &, ProgramT &p) { p.commands[3]->phase = CollectivePhase(3); })},
      {"E4015", "unknown type 9", with([](ToyArtifact &, ProgramT &p) { p.commands[3]->row_dtype = DType(9); })},
      {"E4015", "model of 0 experts",
       with([](ToyArtifact &t, ProgramT &) { t.metadata.model->experts = t.metadata.model->experts_per_token = 0; })},
      {"E4016", "argument of kind 3, expected buffers",
       with([](ToyArtifact &, ProgramT &p) { p.commands[3]->args[0] = Arg(ArgKind::Weight, 0); })},
      {"E4016", "index 99",
       with([](ToyArtifact &, ProgramT &p) { p.commands[5]->args[1] = Arg(ArgKind::Buffer, 99); })},
      {"E4016", "gates in buffer 8 that lives to command 4",
       with([](ToyArtifact &, ProgramT &p) { p.buffers[8]->last = 4; })},
      {"E4013", "nothing else that moves rows",
       with([](ToyArtifact &, ProgramT &p) { p.commands[6] = std::make_unique<CommandT>(*p.commands[5]); })},
      {"E4013", "nothing else that moves rows",
       with([](ToyArtifact &, ProgramT &p) { std::swap(p.commands[3], p.commands[5]); })},
      {"E4013", "before the last dispatch",
       with([](ToyArtifact &, ProgramT &p) { p.commands[5] = std::make_unique<CommandT>(*p.commands[6]); })},
      {"E4013", "which only a distributed step does",
       with([](ToyArtifact &t, ProgramT &) { step(t).commands[3]->target = 5; })},
      {"E4013", "which only a distributed step does", with([](ToyArtifact &t, ProgramT &p) {
         step(t).commands.push_back(std::make_unique<CommandT>(*p.commands[5]));
         step(t).commands.back()->args.assign(3, Arg(ArgKind::Buffer, 0));
         step(t).buffers[0]->last = 5;
       })},
      {"E4013", "2 distributed", with([](ToyArtifact &t, ProgramT &) {
         t.target().programs.push_back(std::make_unique<ProgramT>(t.program(ProgramKind::StepDist)));
       })},
  });
}

TEST(Checker, MicroBatches) {
  // A layer of an overlapped step: one pair for each batch, combines in two parts; then merge.
  auto with = [](std::function<void(ToyArtifact &, ProgramT &)> change) {
    return [change](ToyArtifact &t) {
      t.addExperts();
      auto overlap = std::make_unique<ProgramT>(t.program(ProgramKind::StepDist));
      overlap->kind = ProgramKind::StepOverlap;
      overlap->commands[3]->target = static_cast<uint32_t>(t.target().programs.size());
      auto layer = std::make_unique<ProgramT>(*t.target().programs[5]);
      auto add = [&](size_t from, uint8_t batch, CollectivePhase phase) {
        layer->commands.push_back(std::make_unique<CommandT>(*t.target().programs[5]->commands[from]));
        CommandT &command = *layer->commands.back();
        command.batch = batch, command.phase = phase;
        if (phase == CollectivePhase::Wait)
          command.args.clear(), command.row_bytes = 0;
      };
      layer->commands.resize(3);
      for (uint8_t batch : {0, 1}) {
        add(3, batch, CollectivePhase::Whole);
        add(5, batch, CollectivePhase::Start);
      }
      for (uint8_t batch : {0, 1})
        add(5, batch, CollectivePhase::Wait);
      add(6, 1, CollectivePhase::Whole);
      for (size_t b = 1; b < layer->buffers.size(); ++b)
        layer->buffers[b]->last = 9;
      layer->commands[6]->args[1] = Arg(ArgKind::Buffer, 5); // both are dead by then
      layer->commands[6]->args[2] = Arg(ArgKind::Buffer, 8);
      change(t, *layer);
      t.target().programs.push_back(std::move(layer));
      t.target().programs.push_back(std::move(overlap));
    };
  };
  auto overlap = [](ToyArtifact &t) -> CommandT & { return *t.program(ProgramKind::StepOverlap).commands[3]; };
  ToyArtifact good;
  with([](ToyArtifact &, ProgramT &) {})(good);
  EXPECT_OK(loadStatus(good.serialize()));
  expectAll({
      {"E4015", "micro-batch 2", with([](ToyArtifact &, ProgramT &p) { p.commands[6]->batch = 2; })},
      {"E4015", "micro-batch 1; only an overlapped",
       with([](ToyArtifact &t, ProgramT &) { step(t).commands[0]->batch = 1; })},
      {"E4015", "which runs two micro-batches",
       [&](ToyArtifact &t) {
         with([](ToyArtifact &, ProgramT &) {})(t);
         overlap(t).batch = 1;
       }},
      {"E4013", "a wait each start", with([](ToyArtifact &, ProgramT &p) { p.commands[7]->batch = 1; })},
      {"E4013", "a wait each start", with([](ToyArtifact &, ProgramT &p) { p.commands[8]->target = 0; })},
      {"E4013", "ends before",
       with([](ToyArtifact &, ProgramT &p) { p.commands[8] = std::make_unique<CommandT>(*p.commands[9]); })},
      {"E4016", "argument 1 of the collective that command 6 starts ends",
       with([](ToyArtifact &, ProgramT &p) { p.buffers[5]->last = 7; })},
      {"E4016", "argument 1 of the collective that command 4 starts ends",
       with([](ToyArtifact &, ProgramT &p) { p.commands[6]->args[1] = p.commands[4]->args[1]; })},
      {"E4015", "combine with 3 arguments, rows of 4 bytes",
       with([](ToyArtifact &, ProgramT &p) { p.commands[4]->phase = CollectivePhase::Wait; })},
      {"E4013", "0 distributed and 1 overlapped",
       [&](ToyArtifact &t) {
         with([](ToyArtifact &, ProgramT &) {})(t);
         t.program(ProgramKind::StepDist).kind = ProgramKind::StepOverlap;
         t.target().programs.pop_back();
       }},
  });
}

TEST(Checker, Programs) {
  expectAll({
      {"E4013", "unknown kind 9", [](ToyArtifact &t) { step(t).kind = ProgramKind(9); }},
      {"E4013", "0 step", [](ToyArtifact &t) { t.target().programs.clear(); }},
      {"E4013", "2 sample", [](ToyArtifact &t) { t.program(ProgramKind::Score).kind = ProgramKind::Sample; }},
      {"E4013", "1 parameters", [](ToyArtifact &t) { step(t).param_count = 1; }},
      {"E4013", "launches, expected at most",
       [](ToyArtifact &t) {
         auto &commands = step(t).commands;
         step(t).buffers[1]->last = 60003;
         for (int i = 0; i < 60000; ++i)
           commands.push_back(std::make_unique<CommandT>(*commands[2]));
         for (int i = 0; i < 10; ++i)
           layer(t).commands.push_back(std::make_unique<CommandT>(*layer(t).commands[0]));
       }},
  });
}

TEST(Checker, Buffers) {
  expectAll({
      {"E4014", "lives from command 2 to 1", [](ToyArtifact &t) { step(t).buffers[0]->first = 2; }},
      {"E4014", "to 4 of 4", [](ToyArtifact &t) { step(t).buffers[1]->last = 4; }},
      {"E4014", "element type 8", [](ToyArtifact &t) { step(t).buffers[1]->dtype = DType(8); }},
  });
}

TEST(Checker, Commands) {
  expectAll({
      {"E4015", "unknown kind 4", [](ToyArtifact &t) { step(t).commands[0]->kind = CommandKind(4); }},
      {"E4015", "kernel 7 of 7", [](ToyArtifact &t) { step(t).commands[0]->target = 7; }},
      {"E4015", "class Probe", [](ToyArtifact &t) { step(t).commands[0]->target = 6; }},
      {"E4015", "gives 1 arguments", [](ToyArtifact &t) { step(t).commands[0]->args.pop_back(); }},
      {"E4015", "calls program 0", [](ToyArtifact &t) { step(t).commands[2]->target = 0; }},
      {"E4015", "calls program 9", [](ToyArtifact &t) { step(t).commands[2]->target = 9; }},
      {"E4015", "not by each other",
       [](ToyArtifact &t) { layer(t).commands[0] = std::make_unique<CommandT>(*step(t).commands[2]); }},
      {"E4015", "layers 0 to 4 of 3", [](ToyArtifact &t) { step(t).commands[2]->layer_end = 4; }},
      {"E4015", "layers 3 to 3", [](ToyArtifact &t) { step(t).commands[2]->layer_begin = 3; }},
      {"E4015", "takes 6", [](ToyArtifact &t) { step(t).commands[2]->args.pop_back(); }},
      {"E4015", "copy with 1", [](ToyArtifact &t) { step(t).commands[1]->args.pop_back(); }},
      {"E4015", "no weight", [](ToyArtifact &t) { step(t).commands[1]->args[1] = Arg(ArgKind::Weight, 0); }},
  });
}

TEST(Checker, Arguments) {
  auto stepArg = [](Arg arg) { return [arg](ToyArtifact &t) { step(t).commands[0]->args[0] = arg; }; };
  expectAll({
      {"E4016", "kind 5", stepArg(Arg(ArgKind(5), 0))},
      {"E4016", "index 12", stepArg(Arg(ArgKind::Input, 12))},
      {"E4016", "index 2", stepArg(Arg(ArgKind::Buffer, 2))},
      {"E4016", "index 0", stepArg(Arg(ArgKind::Param, 0))},
      {"E4016", "index 2", stepArg(Arg(ArgKind::Weight, 2))},
      {"E4016", "outside its lifetime", stepArg(Arg(ArgKind::Buffer, 1))},
      {"E4016", "index 6", [](ToyArtifact &t) { layer(t).commands[0]->args[0] = Arg(ArgKind::Param, 6); }},
      {"E4016", "current layer", [](ToyArtifact &t) { step(t).commands[2]->args[0] = Arg(ArgKind::Cache, 0); }},
      {"E4016", "current layer", [](ToyArtifact &t) { step(t).commands[2]->args[0] = Arg(ArgKind::Weight, 1); }},
      {"E4016", "runs layer 2 with weight 1", [](ToyArtifact &t) { t.metadata.weights[1]->offsets[2] = ~0ull; }},
      {"E4016", "which layer 0 has not",
       [](ToyArtifact &t) {
         step(t).commands[2]->layer_begin = 1;
         t.metadata.weights[1]->offsets[0] = ~0ull;
         step(t).commands[0]->args[0] = Arg(ArgKind::Weight, 1);
       }},
  });
}

TEST(Checker, KernelsAndImages) {
  auto variant = [](std::function<void(VariantT &)> change) {
    return [change](ToyArtifact &t) { change(*t.target().kernels[1]->variants[1]); };
  };
  expectAll({
      {"E4017", "class 9", [](ToyArtifact &t) { t.target().kernels[0]->klass = KernelClass(9); }},
      {"E4017", "100000 operands", [](ToyArtifact &t) { t.target().kernels[6]->operand_count = 100000; }},
      {"E4017", "0 variants", [](ToyArtifact &t) { t.target().kernels[0]->variants.clear(); }},
      {"E4017", "image 2 of 2", variant([](VariantT &v) { v.image = 2; })},
      {"E4017", "outside its image", variant([](VariantT &v) { v.entry = ~0ull; })},
      {"E4017", "outside its image", variant([](VariantT &v) { v.code_size = 1u << 20; })},
      {"E4017", "0 bytes", variant([](VariantT &v) { v.code_size = 0; })},
      {"E4017", "two variants of kind X86 for level x86-64-v3", variant([](VariantT &v) { v.image = 0; })},
      {"E4018", "CPU level 7", [](ToyArtifact &t) { t.metadata.images[0]->level = CpuLevel(7); }},
      {"E4018", "kind 3", [](ToyArtifact &t) { t.metadata.images[0]->kind = ImageKind(3); }},
      {"E4017", "a CPU kernel with stages",
       variant([](VariantT &v) { v.stages.push_back(std::make_unique<StageT>()); })},
      {"E4018", "offset 64", [](ToyArtifact &t) { t.metadata.images[0]->offset = 64; }},
      {"E4018", "size 0", [](ToyArtifact &t) { t.metadata.images[0]->size = 0; }},
      {"E4018", "hash", [](ToyArtifact &t) { t.metadata.images[1]->hash ^= 1; }},
  });
}

TEST(Checker, GpuKernels) {
  auto variant = [](std::function<void(VariantT &)> change) {
    return [change](ToyArtifact &t) {
      t.addCudaTarget();
      change(*t.target(1).kernels[2]->variants[0]);
    };
  };
  auto stage = [&](std::function<void(ToyArtifact &, StageT &)> change) {
    return [change](ToyArtifact &t) {
      t.addCudaTarget();
      change(t, *t.target(1).kernels[2]->variants[0]->stages[1]);
    };
  };
  const ExprOp huge(ExprOpKind::Const, uint64_t{1} << 31);
  expectAll({
      {"E4017", "an image of kind X86 in a target for Cuda", variant([](VariantT &v) { v.image = 0; })},
      {"E4017", "an image of kind Ptx in a target for Cpu",
       [](ToyArtifact &t) {
         t.addCudaTarget();
         t.target().kernels[0]->variants[0]->image = 2;
       }},
      {"E4017", "two variants of kind Ptx",
       [](ToyArtifact &t) {
         t.addCudaTarget();
         auto &variants = t.target(1).kernels[2]->variants;
         variants.push_back(std::make_unique<VariantT>(*variants[0]));
       }},
      {"E4017", "0 stages", variant([](VariantT &v) { v.stages.clear(); })},
      {"E4017", "65 stages", variant([](VariantT &v) {
         while (v.stages.size() < 65)
           v.stages.push_back(std::make_unique<StageT>(*v.stages[0]));
       })},
      {"E4017", "1 operators of a task count", variant([](VariantT &v) { v.tasks = {ExprOp(ExprOpKind::Const, 1)}; })},
      {"E4017", "4104 bytes of parameters",
       [](ToyArtifact &t) {
         t.addCudaTarget();
         t.target(1).kernels[2]->operand_count = 504;
       }},
      {"E4012", "scratch", variant([](VariantT &v) { v.scratch_bytes.clear(); })},
      {"E4011", "entry of stage 1", stage([](ToyArtifact &, StageT &s) { s.entry.reset(); })},
      {"E4017", "no name of at most", stage([](ToyArtifact &t, StageT &s) { s.entry = t.name("toy attend"); })},
      {"E4017", "no name of at most", stage([](ToyArtifact &t, StageT &s) { s.entry = t.name("1toy"); })},
      {"E4017", "no name of at most",
       stage([](ToyArtifact &t, StageT &s) { s.entry = t.name(std::string(256, 'a')); })},
      {"E4017", "no '.entry toy_atten'", stage([](ToyArtifact &t, StageT &s) { s.entry = t.name("toy_atten"); })},
      {"E4017", "no '.entry toy_attendant'",
       stage([](ToyArtifact &t, StageT &s) { s.entry = t.name("toy_attendant"); })},
      {"E4017", "0 threads", stage([](ToyArtifact &, StageT &s) { s.threads = 0; })},
      {"E4017", "48 threads", stage([](ToyArtifact &, StageT &s) { s.threads = 48; })},
      {"E4017", "1056 threads", stage([](ToyArtifact &, StageT &s) { s.threads = 1056; })},
      {"E4017", "232449 bytes of shared memory",
       stage([](ToyArtifact &, StageT &s) { s.static_shared = 1, s.dynamic_shared = 227 << 10; })},
      {"E4017", "4294967297 bytes of shared memory",
       stage([](ToyArtifact &, StageT &s) { s.static_shared = ~0u, s.dynamic_shared = 2; })},
      {"E4017", "256 registers", stage([](ToyArtifact &, StageT &s) { s.registers = 256; })},
      {"E4012", "the grid of kernel 2", stage([](ToyArtifact &, StageT &s) { s.grid.clear(); })},
      {"E4017", "a grid of 2147483648 blocks", stage([&](ToyArtifact &, StageT &s) { s.grid = {huge}; })},
  });
}

TEST(Checker, GpuImages) {
  auto image = [](std::function<void(ToyArtifact &, std::string &)> change) {
    return [change](ToyArtifact &t) {
      t.addCudaTarget();
      const ImageT &ptx = *t.metadata.images[2];
      std::string text(reinterpret_cast<const char *>(t.code.data()) + ptx.offset, ptx.size);
      change(t, text);
      t.setImage(2, text);
    };
  };
  auto replaced = [&](const char *from, const char *to) {
    return image([=](ToyArtifact &, std::string &text) { text.replace(text.find(from), strlen(from), to); });
  };
  auto cubin = [](std::function<void(ToyArtifact &, std::string &)> change) {
    return [change](ToyArtifact &t) {
      t.addCudaTarget();
      t.addCubin(1, 80);
      const ImageT &elf = *t.metadata.images[3];
      std::string bytes(reinterpret_cast<const char *>(t.code.data()) + elf.offset, elf.size);
      change(t, bytes);
      t.setImage(3, bytes);
    };
  };
  expectAll({
      {"E4018", "does not end with its only zero", image([](ToyArtifact &, std::string &text) { text.pop_back(); })},
      {"E4018", "does not end with its only zero", image([](ToyArtifact &, std::string &text) { text[500] = 0; })},
      {"E4018", "does not end with its only zero", image([](ToyArtifact &, std::string &text) { text += '\0'; })},
      {"E4018", "PTX of version 70 for sm_80, expected version 71",
       image([](ToyArtifact &t, std::string &) { t.metadata.images[2]->ptx_version = 71; })},
      {"E4018", "expected version 70 for sm_89",
       image([](ToyArtifact &t, std::string &) { t.metadata.images[2]->sm = 89; })},
      {"E4018", "PTX of version 0 for sm_80", replaced(".version", ".Version")},
      {"E4018", "PTX of version 70 for sm_0", replaced(".target sm_80", ".target tm_80")},
      {"E4018", "PTX of version 0 for sm_0",
       image([](ToyArtifact &, std::string &text) { text = std::string(1, '\0'); })},
      // Cut behind the first kernel, with a new zero and fitting hashes.
      {"E4017", "its PTX has no '.entry", image([](ToyArtifact &, std::string &text) {
         text.resize(text.find(".entry toy_append"));
         text += '\0';
       })},
      {"E4018", "no cubin: 63 bytes", cubin([](ToyArtifact &, std::string &bytes) { bytes.resize(63); })},
      {"E4018", "no cubin", cubin([](ToyArtifact &, std::string &bytes) { bytes[1] = 'e'; })},
      {"E4018", "machine 62", cubin([](ToyArtifact &, std::string &bytes) { bytes[18] = 62; })},
      {"E4018", "headers at 0 and 1099511627776", cubin([](ToyArtifact &, std::string &bytes) { bytes[45] = 1; })},
      {"E4018", "that lie outside", cubin([](ToyArtifact &, std::string &bytes) { bytes[58] = 64, bytes[60] = 3; })},
      {"E4018", "that lie outside", cubin([](ToyArtifact &, std::string &bytes) { bytes[54] = 56, bytes[56] = 3; })},
      {"E4018", "cubin for sm_1000", cubin([](ToyArtifact &t, std::string &) { t.metadata.images[3]->sm = 1000; })},
      {"E4018", "offset 4", image([](ToyArtifact &t, std::string &) { t.metadata.images[0]->offset = 4; })},
  });
}

TEST(Checker, Weights) {
  auto weight = [](std::function<void(WeightT &)> change) {
    return [change](ToyArtifact &t) { change(*t.metadata.weights[1]); };
  };
  expectAll({
      {"E4019", "element type 99", weight([](WeightT &w) { w.dtype = DType(99); })},
      {"E4019", "rank 0", weight([](WeightT &w) { w.dims.clear(); })},
      {"E4019", "rank 5", weight([](WeightT &w) { w.dims = {1, 1, 1, 1, 2}; })},
      {"E4019", "dimensions", weight([](WeightT &w) { w.dims = {17}; })},
      {"E4019", "dimensions", weight([](WeightT &w) { w.dims = {~0ull, ~0ull}; })},
      {"E4019", "dimensions", weight([](WeightT &w) { w.row_pitch = 63; })},
      {"E4019", "dimensions", weight([](WeightT &w) { w.bytes = 128; })},
      {"E4019", "2 offsets", weight([](WeightT &w) { w.offsets.pop_back(); })},
      {"E4019", "2 hashes", weight([](WeightT &w) { w.hashes.pop_back(); })},
      {"E4019", "outside a section", weight([](WeightT &w) { w.offsets[1] = ~0ull - 63; })},
      {"E4019", "outside a section", weight([](WeightT &w) { w.offsets[1] += 32; })},
  });
}

TEST(Checker, Tokenizer) {
  expectAll({{"E4021", "tokenizer", [](ToyArtifact &t) { t.metadata.tokenizer = std::make_unique<TokenizerT>(); }}});
}
