//===- RefusalTest.cpp - what the code generator refuses ----------------------===//
// Every error of the compile driver, the lowering and the link, provoked.

#include "KernelRunner.h"
#include "codegen/NVPTX/Assemble.h"
#include "codegen/X86/LinkImage.h"
#include "codegen/X86/LowerToObject.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/Parser/Parser.h"
#include "llvm/IR/LLVMContext.h"
#include "llvm/IR/LegacyPassManager.h"
#include "llvm/IR/Module.h"
#include "llvm/IRReader/IRReader.h"
#include "llvm/MC/TargetRegistry.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/SourceMgr.h"
#include "llvm/Target/TargetMachine.h"
#include "llvm/TargetParser/Triple.h"
#include <cstdlib>
#include <gtest/gtest.h>

using namespace moray::codegen;

static bool startsWith(const std::string &text, const std::string &prefix) { return text.rfind(prefix, 0) == 0; }

template <typename T> static std::string errorOf(llvm::Expected<T> result) {
  return result ? "no error" : llvm::toString(result.takeError());
}

/// An object made from LLVM IR, bypassing the checks of the lowering.
static std::vector<char> objectOf(const char *ir) {
  initialiseX86();
  llvm::LLVMContext context;
  llvm::SMDiagnostic diagnostic;
  auto module = llvm::parseIR(llvm::MemoryBufferRef(ir, "test"), diagnostic, context);
  std::string error;
  llvm::Triple triple("x86_64-unknown-linux-gnu");
  const llvm::Target *backend = llvm::TargetRegistry::lookupTarget(triple, error);
  std::unique_ptr<llvm::TargetMachine> machine(
      backend->createTargetMachine(triple, "x86-64-v3", "", llvm::TargetOptions(), llvm::Reloc::PIC_));
  module->setDataLayout(machine->createDataLayout());
  llvm::SmallVector<char, 0> bytes;
  llvm::raw_svector_ostream stream(bytes);
  llvm::legacy::PassManager passes;
  machine->addPassesToEmitFile(passes, stream, nullptr, llvm::CodeGenFileType::ObjectFile);
  passes.run(*module);
  return std::vector<char>(bytes.begin(), bytes.end());
}

static std::string linkError(const std::vector<char> &object, const std::string &name = "k") {
  return errorOf(linkImage({object}, {name}));
}

static KernelSpec probe() { return probeKernels().front().second; }

TEST(Refusal, LinkNeedsNoLoader) {
  EXPECT_EQ("no error", linkError(objectOf("define void @k() { ret void }")));
  std::string unresolved = linkError(objectOf("declare void @f()\ndefine void @k() { call void @f() ret void }"));
  EXPECT_TRUE(startsWith(unresolved, "E3111: ")) << unresolved;
  EXPECT_NE(std::string::npos, unresolved.find("undefined symbol: f")) << unresolved;
  EXPECT_TRUE(startsWith(linkError({'n', 'o', 'i', 's', 'e'}), "E3111: "));
  std::string table = linkError(objectOf("@t = constant [2 x ptr] [ptr @k, ptr @k]\ndefine void @k() { ret void }"));
  EXPECT_TRUE(startsWith(table, "E3112: ")) << table;
  std::string data =
      linkError(objectOf("@x = internal global i32 1\ndefine void @k() { store volatile i32 2, ptr @x ret void }"));
  EXPECT_TRUE(startsWith(data, "E3113: ")) << data;
  EXPECT_TRUE(startsWith(linkError(objectOf("define void @k() { ret void }"), "other"), "E3114: "));
}

TEST(Refusal, LinkWithoutTemporaryFolder) {
  const char *old = getenv("TMPDIR");
  std::string saved = old ? old : "";
  setenv("TMPDIR", "/nonexistent/moray", 1);
  std::string error = linkError(objectOf("define void @k() { ret void }"));
  old ? setenv("TMPDIR", saved.c_str(), 1) : unsetenv("TMPDIR");
  EXPECT_TRUE(startsWith(error, "E3110: ")) << error;
}

TEST(Refusal, ObjectsGoToAFolder) {
  CompileOptions options;
  options.objectDir = "/dev/null/objects";
  std::string error = errorOf(compileKernels({probe()}, options));
  EXPECT_TRUE(startsWith(error, "E3105: ")) << error;
  // No space: the stream that holds an error when it ends would end the process.
  llvm::SmallString<128> folder;
  ASSERT_FALSE(llvm::sys::fs::createUniqueDirectory("moray-objects", folder));
  options.objectDir = folder.str().str();
  std::string object = options.objectDir + "/" + probe().symbol() + ".x86-64-v3.o";
  ASSERT_FALSE(llvm::sys::fs::create_link("/dev/full", object));
  error = errorOf(compileKernels({probe()}, options));
  EXPECT_TRUE(startsWith(error, "E3105: cannot write '" + object + "': No space left")) << error;
  llvm::sys::fs::remove_directories(folder);
}

TEST(Refusal, AssemblersMustWriteACubin) {
  std::string error = errorOf(assemble("/bin/true", ".version 7.0", 80));
  EXPECT_EQ("E3108: /bin/true does not assemble a kernel for sm_80: it ended well, but wrote no cubin", error);
  EXPECT_TRUE(startsWith(errorOf(assemble("/nonexistent/ptxas", ".version 7.0", 80)), "E3108: /nonexistent/ptxas"));
}

TEST(Refusal, LoweringAllowsAClosedListOfOperations) {
  initialiseX86();
  mlir::DialectRegistry registry;
  registerKernelDialects(registry);
  mlir::MLIRContext context(registry);
  auto lower = [&](const char *text) {
    auto module =
        mlir::parseSourceString<mlir::ModuleOp>(text, mlir::ParserConfig(&context, /*verifyAfterParse=*/false));
    return errorOf(lowerToObject(*module, getTarget(CpuLevel::X86_64_V3)));
  };
  EXPECT_EQ("no error", lower("llvm.func @k() { llvm.return }"));
  std::string call = lower("llvm.func @f()\nllvm.func @k() { llvm.call @f() : () -> ()\n llvm.return }");
  EXPECT_TRUE(startsWith(call, "E3103: operation 'llvm.call'")) << call;
  std::string exp =
      lower("llvm.func @k(%x: f32) -> f32 { %0 = llvm.intr.exp(%x) : (f32) -> f32\n llvm.return %0 : f32 }");
  EXPECT_TRUE(startsWith(exp, "E3103: operation 'llvm.intr.exp'")) << exp;
  std::string broken = lower("llvm.func @k() -> f32 { llvm.return }");
  EXPECT_TRUE(startsWith(broken, "E3106: ")) << broken;
}

TEST(Refusal, InconsistentMatrixProducts) {
  auto compile = [](GemmBody body) {
    body.O = 64, body.K = 64, body.xPitch = 64, body.xArg = 0, body.wArg = 1, body.outArg = 2;
    return errorOf(compileKernels({{KernelClass::Gemm, 3, std::make_shared<GemmBody>(body)}}, CompileOptions()));
  };
  GemmBody body;
  body.wPitch = 64;
  EXPECT_TRUE(startsWith(compile(body), "E3120: FP8 weights need block scales"));
  body.scalePitch = 4;
  EXPECT_TRUE(startsWith(compile(body), "E3120: weight rows are not padded"));
  body.scalePitch = 0, body.w = DType::BF16, body.wPitch = 128, body.x = DType::F8E4M3;
  EXPECT_TRUE(startsWith(compile(body), "E3120: FP8 rows need FP8 weights"));
  body.x = DType::BF16, body.out = DType::I32;
  EXPECT_TRUE(startsWith(compile(body), "E3120: result is neither"));
}
