//===- LowerToObject.cpp - one kernel to one x86 object -----------------------===//
// MLIR passes, a check of what they left, LLVM at O3 without its vectorisers or loop unroller, and an ELF object.

#include "codegen/X86/LowerToObject.h"
#include "codegen/X86/VectorBuilder.h"
#include "mlir/Conversion/ArithToLLVM/ArithToLLVM.h"
#include "mlir/Conversion/ControlFlowToLLVM/ControlFlowToLLVM.h"
#include "mlir/Conversion/ConvertToLLVM/ToLLVMPass.h"
#include "mlir/Conversion/Passes.h"
#include "mlir/Conversion/VectorToLLVM/ConvertVectorToLLVM.h"
#include "mlir/Conversion/VectorToLLVM/ConvertVectorToLLVMPass.h"
#include "mlir/Dialect/Arith/Transforms/Passes.h"
#include "mlir/Dialect/ControlFlow/IR/ControlFlow.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Target/LLVMIR/Dialect/Builtin/BuiltinToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Dialect/LLVMIR/LLVMToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Export.h"
#include "mlir/Transforms/Passes.h"
#include "llvm/IR/LegacyPassManager.h"
#include "llvm/IR/Module.h"
#include "llvm/MC/TargetRegistry.h"
#include "llvm/Passes/PassBuilder.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/SmallVectorMemoryBuffer.h"
#include "llvm/Support/TargetSelect.h"
#include "llvm/Target/TargetMachine.h"
#include "llvm/Target/TargetOptions.h"
#include <mutex>

using namespace moray::codegen;
using llvm::createStringError;
using llvm::formatv;

static const char triple[] = "x86_64-unknown-linux-gnu";

void moray::codegen::initialiseX86() {
  static std::once_flag once;
  std::call_once(once, [] {
    LLVMInitializeX86TargetInfo();
    LLVMInitializeX86Target();
    LLVMInitializeX86TargetMC();
    LLVMInitializeX86AsmPrinter();
  });
}

void moray::codegen::registerKernelDialects(mlir::DialectRegistry &registry) {
  registry.insert<mlir::arith::ArithDialect, mlir::cf::ControlFlowDialect, mlir::LLVM::LLVMDialect,
                  mlir::scf::SCFDialect, mlir::vector::VectorDialect>();
  mlir::arith::registerConvertArithToLLVMInterface(registry);
  mlir::cf::registerConvertControlFlowToLLVMInterface(registry);
  mlir::vector::registerConvertVectorToLLVMInterface(registry);
  mlir::registerBuiltinDialectTranslation(registry);
  mlir::registerLLVMDialectTranslation(registry);
}

llvm::Expected<mlir::OwningOpRef<mlir::ModuleOp>>
moray::codegen::buildKernelModule(const KernelSpec &spec, const Target &target, mlir::MLIRContext &context) {
  context.loadAllAvailableDialects();
  mlir::OpBuilder b(&context);
  auto loc = b.getUnknownLoc();
  mlir::OwningOpRef<mlir::ModuleOp> module = mlir::ModuleOp::create(loc);
  b.setInsertionPointToEnd(module->getBody());
  auto ptr = mlir::LLVM::LLVMPointerType::get(&context);
  auto type =
      mlir::LLVM::LLVMFunctionType::get(mlir::LLVM::LLVMVoidType::get(&context), {ptr, b.getI64Type(), ptr, ptr});
  auto function = mlir::LLVM::LLVMFuncOp::create(b, loc, spec.symbol(), type);
  function.addEntryBlock(b);
  VectorBuilder builder(b, function, target);
  if (llvm::Error error = findEmitter(spec.klass)->emit(spec, target, builder))
    return error;
  mlir::LLVM::ReturnOp::create(b, loc, mlir::ValueRange{});
  return module;
}

/// Only LLVM operations of a closed list may reach the backend: it ends the process on what it cannot select, and calls
/// would need a loader.
static std::string findForbidden(mlir::ModuleOp module) {
  static const char *const intrinsics[] = {"llvm.intr.fma",          "llvm.intr.prefetch", "llvm.intr.sqrt",
                                           "llvm.intr.umin",         "llvm.intr.umax",     "llvm.intr.smin",
                                           "llvm.intr.smax",         "llvm.intr.fabs",     "llvm.intr.masked.load",
                                           "llvm.intr.masked.store", "llvm.intr.ctpop",    "llvm.intr.ctlz"};
  std::string found;
  module.walk([&](mlir::Operation *op) {
    llvm::StringRef name = op->getName().getStringRef();
    bool allowed = llvm::isa<mlir::ModuleOp>(op) || name.starts_with("llvm.");
    if (name.starts_with("llvm.intr."))
      allowed = llvm::is_contained(intrinsics, name);
    else if (llvm::isa<mlir::LLVM::CallOp, mlir::LLVM::InvokeOp, mlir::LLVM::GlobalOp, mlir::LLVM::InlineAsmOp,
                       mlir::LLVM::CallIntrinsicOp, mlir::LLVM::FRemOp>(op))
      allowed = false;
    if (!allowed && found.empty())
      found = name.str();
  });
  return found;
}

static llvm::Error lowerToLLVMDialect(mlir::ModuleOp module) {
  mlir::PassManager pm(module.getContext());
  pm.addPass(mlir::createCanonicalizerPass());
  pm.addPass(mlir::createCSEPass());
  pm.addPass(mlir::createSCFToControlFlowPass());
  pm.addPass(mlir::createConvertVectorToLLVMPass());
  pm.addPass(mlir::createConvertToLLVMPass());
  pm.addPass(mlir::createReconcileUnrealizedCastsPass());
  pm.addPass(mlir::createCSEPass());
  std::string message;
  mlir::ScopedDiagnosticHandler handler(module.getContext(), [&](mlir::Diagnostic &diagnostic) {
    message += diagnostic.str() + "; ";
    return mlir::success();
  });
  if (failed(pm.run(module)))
    return createStringError("E3106: a kernel does not lower to LLVM: " + message);
  if (std::string name = findForbidden(module); !name.empty())
    return createStringError("E3103: operation '" + name + "' is not allowed in a kernel: expand it before codegen");
  return llvm::Error::success();
}

static std::unique_ptr<llvm::TargetMachine> makeMachine(const Target &target) {
  std::string error;
  llvm::Triple parsed(triple);
  const llvm::Target *backend = llvm::TargetRegistry::lookupTarget(parsed, error);
  if (!backend)
    return nullptr;
  llvm::TargetOptions options;
  options.AllowFPOpFusion = llvm::FPOpFusion::Strict;
  options.FunctionSections = true;
  return std::unique_ptr<llvm::TargetMachine>(backend->createTargetMachine(parsed, target.cpu, target.features, options,
                                                                           llvm::Reloc::PIC_, llvm::CodeModel::Small,
                                                                           llvm::CodeGenOptLevel::Aggressive));
}

static void setAttributes(llvm::Module &module, const Target &target) {
  for (llvm::Function &function : module) {
    if (function.isDeclaration())
      continue;
    function.addFnAttr("no-builtins");
    function.addFnAttr("target-cpu", target.cpu);
    function.addFnAttr("target-features", target.features);
    function.addFnAttr(llvm::Attribute::NoUnwind);
    if (target.floatLanes == 16) {
      function.addFnAttr("min-legal-vector-width", "512");
      function.addFnAttr("prefer-vector-width", "512");
    }
  }
}

static void optimise(llvm::Module &module, llvm::TargetMachine &machine) {
  llvm::PipelineTuningOptions tuning;
  tuning.LoopUnrolling = false; // emitters unroll what pays; full unrolling of K loops only costs compile time and code
  tuning.LoopVectorization = false;
  tuning.SLPVectorization = false;
  tuning.LoopInterleaving = false;
  llvm::PassBuilder passes(&machine, tuning);
  llvm::LoopAnalysisManager loops;
  llvm::FunctionAnalysisManager functions;
  llvm::CGSCCAnalysisManager components;
  llvm::ModuleAnalysisManager modules;
  passes.registerModuleAnalyses(modules);
  passes.registerCGSCCAnalyses(components);
  passes.registerFunctionAnalyses(functions);
  passes.registerLoopAnalyses(loops);
  passes.crossRegisterProxies(loops, functions, components, modules);
  passes.buildPerModuleDefaultPipeline(llvm::OptimizationLevel::O3).run(module, modules);
}

llvm::Expected<std::vector<char>> moray::codegen::lowerToObject(mlir::ModuleOp module, const Target &target,
                                                                ObjectKind kind) {
  auto machine = makeMachine(target);
  if (!machine)
    return createStringError("E3106: this LLVM has no x86 backend");
  module->setAttr(mlir::LLVM::LLVMDialect::getTargetTripleAttrName(),
                  mlir::StringAttr::get(module.getContext(), triple));
  module->setAttr(mlir::LLVM::LLVMDialect::getDataLayoutAttrName(),
                  mlir::StringAttr::get(module.getContext(), machine->createDataLayout().getStringRepresentation()));
  if (llvm::Error error = lowerToLLVMDialect(module))
    return error;
  llvm::LLVMContext context;
  auto translated = mlir::translateModuleToLLVMIR(module, context, "kernel");
  if (!translated)
    return createStringError("E3106: a kernel does not translate to LLVM IR");
  translated->setTargetTriple(llvm::Triple(triple));
  setAttributes(*translated, target);
  optimise(*translated, *machine);

  llvm::SmallVector<char, 0> bytes;
  llvm::raw_svector_ostream stream(bytes);
  llvm::legacy::PassManager emission;
  auto fileType =
      kind == ObjectKind::Assembly ? llvm::CodeGenFileType::AssemblyFile : llvm::CodeGenFileType::ObjectFile;
  if (machine->addPassesToEmitFile(emission, stream, nullptr, fileType))
    return createStringError("E3106: the x86 backend cannot write objects");
  emission.run(*translated);
  return std::vector<char>(bytes.begin(), bytes.end());
}
