//===- LowerToPtx.cpp - one kernel to PTX text ---------------------------------===//
// MLIR passes, a check of what they left, LLVM at O3 without its vectorisers or loop unroller, and PTX text.

#include "codegen/NVPTX/LowerToPtx.h"
#include "codegen/LowerToLLVM.h"
#include "codegen/NVPTX/GpuBuilder.h"
#include "kernel_abi.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Target/LLVMIR/Dialect/NVVM/NVVMToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Export.h"
#include "llvm/IR/LegacyPassManager.h"
#include "llvm/IR/Module.h"
#include "llvm/MC/TargetRegistry.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/TargetSelect.h"
#include "llvm/Target/TargetMachine.h"
#include "llvm/Target/TargetOptions.h"
#include <mutex>

using namespace mlir;
using namespace moray::codegen;
using llvm::createStringError;

static const char triple[] = "nvptx64-nvidia-cuda";

void moray::codegen::initialiseNvptx() {
  static std::once_flag once;
  std::call_once(once, [] {
    LLVMInitializeNVPTXTargetInfo();
    LLVMInitializeNVPTXTarget();
    LLVMInitializeNVPTXTargetMC();
    LLVMInitializeNVPTXAsmPrinter();
  });
}

void moray::codegen::registerGpuKernelDialects(DialectRegistry &registry) {
  registerLoweringDialects(registry);
  registry.insert<NVVM::NVVMDialect>();
  registerNVVMDialectTranslation(registry);
}

std::string moray::codegen::stageEntry(const KernelSpec &spec, const GpuPlan &plan, size_t stage) {
  const std::string &name = plan.stages[stage].name;
  return name.empty() ? spec.symbol() : spec.symbol() + "_" + name;
}

static LLVM::LLVMFuncOp addFunction(OpBuilder &b, const KernelSpec &spec, const GpuPlan &plan, size_t stage) {
  Type global = LLVM::LLVMPointerType::get(b.getContext(), 1);
  // Operands and the three addresses behind them are pointers, the rest are numbers (kernel_abi.h).
  SmallVector<Type> parameters(spec.operandCount + MORAY_GPU_SYMBOLS, global);
  parameters.resize(spec.operandCount + MORAY_GPU_TRAILING, b.getI64Type());
  auto type = LLVM::LLVMFunctionType::get(LLVM::LLVMVoidType::get(b.getContext()), parameters);
  auto function = LLVM::LLVMFuncOp::create(b, b.getUnknownLoc(), stageEntry(spec, plan, stage), type);
  function->setAttr("nvvm.kernel", b.getUnitAttr());
  function->setAttr("nvvm.maxntid", b.getDenseI32ArrayAttr({int32_t(plan.stages[stage].threads)}));
  function.addEntryBlock(b);
  return function;
}

llvm::Expected<OwningOpRef<ModuleOp>> moray::codegen::buildGpuModule(const KernelSpec &spec, const GpuTarget &target,
                                                                     MLIRContext &context,
                                                                     std::vector<uint64_t> &sharedBytes) {
  context.loadAllAvailableDialects();
  OpBuilder b(&context);
  OwningOpRef<ModuleOp> module = ModuleOp::create(b.getUnknownLoc());
  const GpuEmitter &emitter = *findGpuEmitter(spec.klass);
  GpuPlan plan = emitter.plan(spec, target);
  for (size_t stage = 0; stage < plan.stages.size(); ++stage) {
    b.setInsertionPointToEnd(module->getBody());
    LLVM::LLVMFuncOp function = addFunction(b, spec, plan, stage);
    GpuBuilder builder(b, function, target, spec.operandCount, plan.stages[stage].threads);
    if (llvm::Error error = emitter.emit(spec, target, stage, builder))
      return std::move(error);
    LLVM::ReturnOp::create(b, b.getUnknownLoc(), ValueRange{});
    sharedBytes.push_back(builder.staticSharedBytes());
    if (sharedBytes.back() + plan.stages[stage].dynamicShared > target.sharedBytes)
      return createStringError(
          llvm::formatv("E3107: a block of {0} needs {1} bytes of shared memory, the chips of {2} have {3}",
                        function.getName(), sharedBytes.back() + plan.stages[stage].dynamicShared, target.name,
                        target.sharedBytes)
              .str());
  }
  return module;
}

/// What may reach the backend: it ends the process on what it cannot select, turns some intrinsics into approximations,
/// and calls would need a library.
static bool isAllowed(Operation *op) {
  static const char *const intrinsics[] = {"llvm.intr.fma",  "llvm.intr.sqrt", "llvm.intr.umin", "llvm.intr.umax",
                                           "llvm.intr.smin", "llvm.intr.smax", "llvm.intr.fabs", "llvm.intr.ctpop",
                                           "llvm.intr.ctlz", "llvm.intr.cttz", "llvm.intr.fshl", "llvm.intr.fshr"};
  StringRef name = op->getName().getStringRef();
  if (name.starts_with("llvm.intr."))
    return llvm::is_contained(intrinsics, name);
  if (auto call = dyn_cast<LLVM::CallIntrinsicOp>(op))
    return call.getIntrin().starts_with("llvm.nvvm.") && !call.getIntrin().contains("approx") &&
           !call.getIntrin().contains("ftz");
  if (isa<LLVM::CallOp, LLVM::InvokeOp, LLVM::FRemOp>(op))
    return false;
  return isa<ModuleOp>(op) || name.starts_with("llvm.");
}

static std::unique_ptr<llvm::TargetMachine> makeMachine(const GpuTarget &target) {
  std::string error;
  llvm::Triple parsed(triple);
  const llvm::Target *backend = llvm::TargetRegistry::lookupTarget(parsed, error);
  if (!backend)
    return nullptr;
  llvm::TargetOptions options;
  options.AllowFPOpFusion = llvm::FPOpFusion::Strict;
  return std::unique_ptr<llvm::TargetMachine>(backend->createTargetMachine(parsed, target.chip, target.features,
                                                                           options, llvm::Reloc::PIC_, std::nullopt,
                                                                           llvm::CodeGenOptLevel::Aggressive));
}

llvm::Expected<std::string> moray::codegen::lowerToPtx(ModuleOp module, const GpuTarget &target) {
  auto machine = makeMachine(target);
  if (!machine)
    return createStringError("E3106: this LLVM has no nvptx backend");
  llvm::LLVMContext context;
  auto translated = lowerToLLVM(module, *machine, isAllowed, context);
  if (!translated)
    return translated.takeError();
  for (llvm::Function &function : **translated)
    function.addFnAttr(llvm::Attribute::NoUnwind);
  optimise(**translated, *machine);

  llvm::SmallVector<char, 0> bytes;
  llvm::raw_svector_ostream stream(bytes);
  llvm::legacy::PassManager emission;
  if (machine->addPassesToEmitFile(emission, stream, nullptr, llvm::CodeGenFileType::AssemblyFile))
    return createStringError("E3106: the nvptx backend cannot write PTX");
  emission.run(**translated);
  return std::string(bytes.begin(), bytes.end());
}
