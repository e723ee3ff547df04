//===- LowerToLLVM.cpp - kernel modules to optimised LLVM IR ---------------------===//
// See LowerToLLVM.h.

#include "codegen/LowerToLLVM.h"
#include "mlir/Conversion/ArithToLLVM/ArithToLLVM.h"
#include "mlir/Conversion/ControlFlowToLLVM/ControlFlowToLLVM.h"
#include "mlir/Conversion/ConvertToLLVM/ToLLVMPass.h"
#include "mlir/Conversion/Passes.h"
#include "mlir/Conversion/VectorToLLVM/ConvertVectorToLLVM.h"
#include "mlir/Conversion/VectorToLLVM/ConvertVectorToLLVMPass.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/ControlFlow/IR/ControlFlow.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Target/LLVMIR/Dialect/Builtin/BuiltinToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Dialect/LLVMIR/LLVMToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Export.h"
#include "mlir/Transforms/Passes.h"
#include "llvm/IR/Module.h"
#include "llvm/Passes/PassBuilder.h"
#include "llvm/Target/TargetMachine.h"

using llvm::createStringError;

void moray::codegen::registerLoweringDialects(mlir::DialectRegistry &registry) {
  registry.insert<mlir::arith::ArithDialect, mlir::cf::ControlFlowDialect, mlir::LLVM::LLVMDialect,
                  mlir::scf::SCFDialect, mlir::vector::VectorDialect>();
  mlir::arith::registerConvertArithToLLVMInterface(registry);
  mlir::cf::registerConvertControlFlowToLLVMInterface(registry);
  mlir::vector::registerConvertVectorToLLVMInterface(registry);
  mlir::registerBuiltinDialectTranslation(registry);
  mlir::registerLLVMDialectTranslation(registry);
}

static llvm::Error lowerToLLVMDialect(mlir::ModuleOp module, llvm::function_ref<bool(mlir::Operation *)> isAllowed) {
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
  std::string forbidden;
  module.walk([&](mlir::Operation *op) {
    if (forbidden.empty() && !isAllowed(op))
      forbidden = op->getName().getStringRef().str();
  });
  if (!forbidden.empty())
    return createStringError("E3103: operation '" + forbidden +
                             "' is not allowed in a kernel: expand it before codegen");
  return llvm::Error::success();
}

llvm::Expected<std::unique_ptr<llvm::Module>>
moray::codegen::lowerToLLVM(mlir::ModuleOp module, const llvm::TargetMachine &machine,
                            llvm::function_ref<bool(mlir::Operation *)> isAllowed, llvm::LLVMContext &context) {
  auto text = [&](llvm::StringRef value) { return mlir::StringAttr::get(module.getContext(), value); };
  module->setAttr(mlir::LLVM::LLVMDialect::getTargetTripleAttrName(), text(machine.getTargetTriple().str()));
  module->setAttr(mlir::LLVM::LLVMDialect::getDataLayoutAttrName(),
                  text(machine.createDataLayout().getStringRepresentation()));
  if (llvm::Error error = lowerToLLVMDialect(module, isAllowed))
    return std::move(error);
  auto translated = mlir::translateModuleToLLVMIR(module, context, "kernel");
  if (!translated)
    return createStringError("E3106: a kernel does not translate to LLVM IR");
  translated->setTargetTriple(machine.getTargetTriple());
  return translated;
}

void moray::codegen::optimise(llvm::Module &module, llvm::TargetMachine &machine) {
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
