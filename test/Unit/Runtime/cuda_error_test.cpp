// What goes wrong on a GPU: missing or unfit drivers and devices, every error code, faults, lack of memory. Each has
// one sentence, leaves nothing behind, and where it can, leaves the engine usable.
#include "cuda_test.h"
#include "runtime/device/cuda/driver_api.h"
#include <chrono>

using namespace moray::test;
namespace cuda = moray::rt::cuda;

namespace {

void script(const char *function, int result, int skip = 0, int times = 1) {
  FakeCuda &fake = fakeCuda();
  fake.function = function;
  fake.result = result;
  fake.skip = skip;
  fake.times = times;
  fake.failed = false;
}

struct Expected {
  int result;
  const char *code; // as in the message
  int exitCode;
  const char *text;
};

// Every code that the runtime tells apart, and one that it does not know.
const Expected kExpected[] = {
    {1, "E5021", 8, "refuses an argument"},
    {2, "E5001", 6, "no memory left"},
    {3, "E5021", 8, "not initialised"},
    {4, "E5021", 8, "shutting down"},
    {34, "E5016", 6, "stub library"},
    {36, "E5018", 4, "too old"},
    {46, "E5017", 6, "unavailable"},
    {100, "E5017", 6, "finds no GPU"},
    {101, "E5017", 6, "no such device"},
    {200, "E5019", 4, "damaged"},
    {201, "E5021", 8, "context is gone"},
    {209, "E4026", 4, "for other chips"},
    {214, "E5020", 8, "memory error"},
    {218, "E5019", 4, "rejects the PTX"},
    {220, "E5020", 8, "link between GPUs"},
    {221, "E5019", 4, "PTX compiler is not installed"},
    {222, "E5018", 4, "newer than the driver"},
    {223, "E5019", 4, "switched off"},
    {226, "E5020", 8, "contained"},
    {304, "E5021", 8, "operating system"},
    {400, "E5021", 8, "handle"},
    {500, "E5019", 4, "name is missing"},
    {600, "E5021", 8, "not finished"},
    {700, "E5020", 8, "does not own"},
    {701, "E5021", 8, "more registers"},
    {702, "E5020", 8, "watchdog"},
    {709, "E5020", 8, "destroyed"},
    {710, "E5020", 8, "assertion"},
    {714, "E5020", 8, "stack"},
    {715, "E5020", 8, "illegal instruction"},
    {716, "E5020", 8, "not aligned"},
    {717, "E5020", 8, "state space"},
    {718, "E5020", 8, "invalid place"},
    {719, "E5020", 8, "failed on the device"},
    {721, "E5020", 8, "tensor memory"},
    {801, "E5021", 8, "do not support"},
    {802, "E5017", 6, "not ready"},
    {803, "E5018", 4, "kernel module"},
    {804, "E5018", 4, "compatibility"},
    {900, "E5021", 8, "cannot be captured"},
    {901, "E5021", 8, "capture of a graph"},
    {911, "E5020", 8, "outside of this process"},
    {999, "E5021", 8, "does not say more"},
    {888, "E5021", 8, "the driver says 'a scripted error'"},
};

} // namespace

// ---- before anything runs ----

TEST_F(Cuda, MissingLibraryIsOneSentenceAtOnce) {
  const ToyModel model(cudaToy());
  moray_engine_options options = cudaOptions();
  options.cuda_library = "/no/such/libcuda.so.1";
  const auto start = std::chrono::steady_clock::now();
  moray_status *status = createStatus(model, options);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(1));
  EXPECT_EQ(moray_status_exit_code(status), 6);
  EXPECT_FAILS(status, "E5016", "the artifact has code for cpu, cuda:sm_80; run it with --device=cpu");
}

TEST_F(Cuda, LibrariesThatAreNoDriver) {
  moray_engine_options options = cudaOptions();
  options.cuda_library = "libm.so.6";
  EXPECT_FAILS(createStatus(ToyModel(cudaToy()), options), "E5018", "'libm.so.6' has no function cuInit");
}

TEST_F(Cuda, DriverAndDevicesAreChecked) {
  const ToyModel model(cudaToy());
  fakeCuda().driverVersion = 11030;
  EXPECT_FAILS(createStatus(model, cudaOptions()), "E5018", "the driver is of CUDA 11.3, this runtime needs 11.4");
  fakeCuda() = FakeCuda();
  fakeCuda().devices = 0;
  EXPECT_FAILS(createStatus(model, cudaOptions()), "E5017",
               "check nvidia-smi and CUDA_VISIBLE_DEVICES; the artifact has code for cpu, cuda:sm_80; run it with "
               "--device=cpu");
  fakeCuda().devices = 2;
  moray_engine_options options = cudaOptions();
  options.device = "cuda:1";
  EXPECT_OK(createStatus(model, options));
  options.device = "cuda:2";
  EXPECT_FAILS(createStatus(model, options), "E5017", "cuda:2 was asked for, there are cuda:0 to cuda:1");
  fakeCuda().devices = 1;
  EXPECT_FAILS(createStatus(model, options), "E5017", "cuda:2 was asked for, there is only cuda:0; nvidia-smi");
}

TEST_F(Cuda, WrongArchitectureNamesTargetsAndCommand) {
  const ToyModel model(cudaToy());
  fakeCuda().sm = 75;
  EXPECT_FAILS(createStatus(model, cudaOptions()), "E4026", "compute capability 7.5, older than Moray supports");
  ToyArtifact newer;
  newer.addCudaTarget(89);
  const ToyModel newerModel(newer);
  fakeCuda().sm = 86;
  EXPECT_FAILS(createStatus(newerModel, cudaOptions()), "E4026",
               "code for cpu, cuda:sm_89; run it with --device=cpu, or compile for a GPU: moray-compile MODEL_DIR -o "
               "OUT.moray --target=cpu,cuda:sm_80");
  EXPECT_EQ(fakeCuda().loads, 0u);
}

// Compiling for a GPU once more would change nothing.
TEST_F(Cuda, AdviceForAMachineWithoutAUsableGpu) {
  ToyArtifact toy = cudaToy();
  fakeCuda().sm = 75;
  moray_status *status = createStatus(ToyModel(toy), cudaOptions());
  EXPECT_EQ(strstr(moray_status_message(status), "moray-compile"), nullptr);
  EXPECT_FAILS(status, "E4026", "code for cpu, cuda:sm_80; run it with --device=cpu");
  toy.metadata.targets.erase(toy.metadata.targets.begin());
  EXPECT_FAILS(createStatus(ToyModel(toy), cudaOptions()), "E4026",
               "code for cuda:sm_80; compile for the CPU: moray-compile MODEL_DIR -o OUT.moray --target=cpu");
}

TEST_F(Cuda, NeitherDeviceStandsInForTheOther) {
  moray_engine_options options = cudaOptions();
  options.cuda_library = "/no/such/library"; // it is not even opened
  EXPECT_FAILS(
      createStatus(ToyModel(), options), "E4026",
      "nothing in the artifact runs on a GPU: the artifact has code for cpu; run it with --device=cpu, or compile "
      "for a GPU: moray-compile MODEL_DIR -o OUT.moray --target=cpu,cuda:sm_80");
  ToyArtifact toy = cudaToy();
  toy.metadata.targets.erase(toy.metadata.targets.begin());
  EXPECT_FAILS(createStatus(ToyModel(toy), engineOptions()), "E4022", "its targets are cuda:sm_80");
}

TEST_F(Cuda, OptionsAreChecked) {
  const ToyModel model(cudaToy());
  for (const char *device : {"", "gpu", "cuda:", "cuda:x", "cuda:-1", "cuda:1x", "cuda:99999999999999999999"}) {
    moray_engine_options options = cudaOptions();
    options.device = device;
    EXPECT_FAILS(createStatus(model, options), "E5008", "expected cpu, cuda or cuda:N");
  }
  moray_engine_options options = cudaOptions();
  options.arena = "soft";
  EXPECT_FAILS(createStatus(model, options), "E5008", "arena 'soft'");
}

TEST_F(Cuda, KernelsThatTheDeviceCannotHold) {
  const ToyModel model(cudaToy());
  fakeCuda().sharedLimit = 100;
  EXPECT_FAILS(createStatus(model, cudaOptions()), "E4026",
               "'toy_attend_sum' runs blocks of 32 threads with 128 bytes");
}

TEST_F(Cuda, KernelsWithoutCodeForTheDevice) {
  ToyArtifact toy = cudaToy();
  toy.addCubin(1, 90);
  for (auto &kernel : toy.target(1).kernels)
    kernel->variants.erase(kernel->variants.begin()); // cubins for 9.0 alone
  EXPECT_FAILS(createStatus(ToyModel(toy), cudaOptions()), "E4026", "neither a cubin nor PTX for Fake GPU");
}

TEST_F(Cuda, GridsBeyondALaunch) {
  ToyArtifact toy = cudaToy();
  toy.target(1).kernels[0]->variants[0]->stages[0]->grid = {{moray::schema::ExprOpKind::Symbol, 0},
                                                            {moray::schema::ExprOpKind::Const, 1u << 26},
                                                            {moray::schema::ExprOpKind::Mul, 0}};
  const ToyModel model(toy);
  EXPECT_OK(createStatus(model, cudaOptions(1, 16)));
  EXPECT_FAILS(createStatus(model, cudaOptions(1, 64)), "E5008", "a grid of 4294967296 blocks");
}

// ---- every code ----

TEST_F(Cuda, EveryCodeHasItsSentence) {
  const ToyModel model(cudaToy());
  for (const Expected &expected : kExpected) {
    fakeCuda() = FakeCuda();
    ToyEngine engine(model, cudaOptions());
    engine.add(prompt(3), greedy(2));
    script("cuStreamSynchronize", expected.result);
    moray_status *status = moray_engine_step(engine, nullptr);
    EXPECT_EQ(moray_status_exit_code(status), expected.exitCode) << expected.result;
    const Outcome outcome(status);
    EXPECT_NE(outcome.text.find(std::string("error[") + expected.code), std::string::npos) << outcome.text;
    EXPECT_NE(outcome.text.find(expected.text), std::string::npos) << outcome.text;
    EXPECT_NE(outcome.text.find("CUDA_ERROR_SCRIPTED (" + std::to_string(expected.result) + ")"), std::string::npos);
    EXPECT_NE(outcome.text.find("step 1 (single launches)"), std::string::npos) << outcome.text;
    // A lost context stays lost; anything else is tried again.
    engine.add(prompt(3), greedy(2));
    status = moray_engine_step(engine, nullptr);
    if (std::string(expected.code) == "E5020")
      EXPECT_FAILS(status, "E5022", "failed in step 1");
    else
      EXPECT_OK(status);
  }
}

TEST_F(Cuda, LoadErrorsCarryTheLog) {
  const ToyModel model(cudaToy());
  for (const Expected &expected : kExpected) {
    script("cuModuleLoadDataEx", expected.result);
    const Outcome outcome(createStatus(model, cudaOptions()));
    EXPECT_NE(outcome.text.find(std::string("error[") + expected.code), std::string::npos) << outcome.text;
    EXPECT_NE(outcome.text.find("loading image 2 (PTX for sm_80)"), std::string::npos) << outcome.text;
  }
}

// Whatever call fails, creation or a step ends in an error and everything is given back.
TEST_F(Cuda, EveryCallMayFail) {
  const ToyModel model(cudaToy());
#define NAME_OF(member, symbol, result, parameters) #symbol,
  for (const char *function : {MORAY_CUDA_SYMBOLS(NAME_OF)})
    for (const int result : {2, 999})
      for (int skip = 0; skip < 40; ++skip) {
        fakeCuda() = FakeCuda();
        script(function, result, skip);
        moray_engine_options options = cudaOptions(2, 16);
        options.profile = skip % 2 ? 2 : 0;
        moray_engine *engine = nullptr;
        moray_status *status = moray_engine_create(model.get(), &options, &engine);
        if (!status) {
          std::vector<float> logits(3 * TOY_VOCAB), scores(2);
          const std::vector<int32_t> ids = prompt(3);
          const moray_sequence_options request = greedy(3);
          moray_sequence *sequence = nullptr;
          EXPECT_OK(moray_sequence_add(engine, ids.data(), 3, &request, &sequence));
          for (int i = 0; i < 3 && !status; ++i)
            status = moray_engine_step(engine, nullptr);
          if (!status)
            status = moray_engine_score(engine, ids.data(), 3, scores.data());
          if (!status)
            status = moray_engine_logits(engine, ids.data(), 3, logits.data());
          const bool failed = fakeCuda().failed;
          moray_engine_destroy(engine);
          // The texts of errors, and what only cleans up, may fail unnoticed.
          const std::string name = function;
          const bool quiet = name.find("Destroy") != name.npos || name.find("Free") != name.npos;
          EXPECT_TRUE(status || !failed || quiet) << name << " " << skip;
        }
        const bool done = !fakeCuda().failed;
        moray_status_free(status);
        ASSERT_EQ(fakeCuda().alive, 0) << function << " " << skip;
        if (done)
          break;
      }
}

// ---- faults ----

TEST_F(Cuda, WaitingAfterLaunchesNamesTheKernel) {
  const ToyModel model(cudaToy());
  moray_engine_options options = cudaOptions();
  ToyEngine hasty(model, options);
  hasty.add(prompt(3), greedy(2));
  script("cuStreamSynchronize", 700);
  EXPECT_FAILS(moray_engine_step(hasty, nullptr), "E5020", "--cuda-sync");
  options.cuda_sync = 1;
  ToyEngine patient(model, options);
  moray_engine_info info;
  moray_engine_query_info(patient, &info);
  EXPECT_EQ(info.bucket_count, 0u);
  patient.add(prompt(3), greedy(2));
  script("cuStreamSynchronize", 700, 6); // embed, append, sum, attend of layer 0; append, sum of layer 1
  EXPECT_FAILS(moray_engine_step(patient, nullptr), "E5020",
               "launching kernel 'attend' of layer 1, stage 1 ('toy_attend'), step 1");
}

TEST_F(Cuda, FaultWordNamesTheLayer) {
  ToyArtifact toy = cudaToy();
  toy.layerWeight(1)[1] = toyFirstKey(17);
  const ToyModel model(toy);
  for (const char *arena : {"packed", "guarded"}) {
    moray_engine_options options = cudaOptions(2, 16);
    options.arena = arena;
    ToyEngine engine(model, options);
    moray_sequence *bad = engine.add({17, 1, 2}, greedy(3));
    EXPECT_FAILS(moray_engine_step(engine, nullptr), "E5007", "NumericError: a kernel of layer 1");
    moray_finish finish;
    EXPECT_TRUE(tokensOf(bad, &finish).empty());
    EXPECT_EQ(finish, MORAY_FINISH_FAILED);
    moray_sequence *good = engine.add(prompt(5), greedy(3));
    engine.run();
    EXPECT_EQ(tokensOf(good), toyGenerate(prompt(5), 3));
  }
}

// The next step writes the pinned inputs, so nothing of the failed one may still read them; nor are its times kept.
TEST_F(Cuda, AFailedStepLeavesNothingUnderWay) {
  const ToyModel model(cudaToy());
  moray_engine_options options = cudaOptions();
  options.profile = 1;
  ToyEngine engine(model, options);
  engine.add(prompt(3), greedy(2));
  script("cuLaunchKernel", 701, 3);
  const size_t before = fakeCuda().synchronisations;
  EXPECT_FAILS(moray_engine_step(engine, nullptr), "E5021", "more registers or shared memory");
  EXPECT_EQ(fakeCuda().synchronisations, before + 1);
  moray_sequence *next = engine.add(prompt(5), greedy(3));
  engine.run();
  EXPECT_EQ(tokensOf(next), toyGenerate(prompt(5), 3));
  moray_kernel_profile embed;
  EXPECT_OK(moray_engine_query_kernel_profile(engine, 0, &embed));
  EXPECT_EQ(embed.launches, 3u);
}

// ---- memory ----

TEST_F(Cuda, LackOfMemoryInAStepSparesTheEngine) {
  const ToyModel model(cudaToy());
  ToyEngine engine(model, cudaOptions(4, 16));
  for (int i = 0; i < 3; ++i)
    engine.add(prompt(3, i), greedy(4));
  engine.step();
  script("cuGraphInstantiateWithFlags", 2);
  EXPECT_FAILS(moray_engine_step(engine, nullptr), "E5001", "instantiating a graph");
  moray_sequence *smaller = engine.add(prompt(5), greedy(4));
  engine.run();
  EXPECT_EQ(tokensOf(smaller), toyGenerate(prompt(5), 4));
}

TEST_F(Cuda, LackOfMemoryAtLoadSparesTheModel) {
  const ToyModel model(cudaToy());
  script("cuMemAlloc_v2", 2);
  EXPECT_FAILS(createStatus(model, cudaOptions(4, 16)), "E5001", "need");
  EXPECT_OK(createStatus(model, cudaOptions(1, 1)));
  moray_engine_options guarded = cudaOptions();
  guarded.arena = "guarded";
  script("cuMemAlloc_v2", 2, 5);
  EXPECT_FAILS(createStatus(model, guarded), "E5001", "use --arena=packed");
}

TEST_F(Cuda, GridsOfAStepBeyondALaunch) {
  ToyArtifact toy = cudaToy();
  // Falls with the number of rows, so the plan for the largest step does not bound it.
  toy.target(1).kernels[0]->variants[0]->stages[0]->grid = {{moray::schema::ExprOpKind::Const, uint64_t{1} << 33},
                                                            {moray::schema::ExprOpKind::Symbol, 5},
                                                            {moray::schema::ExprOpKind::CeilDiv, 0}};
  EXPECT_FAILS(loadStatus(toy.serialize()), "E4017", "grid of 8589934592 blocks at the smallest sizes");
}
