//===- TestKernels.cpp - kernels from IR text and golden tensors --------------===//
// See TestKernels.h.

#include "TestKernels.h"
#include "codegen/Classify.h"
#include "dialects/Cmd/Cmd.h"
#include "dialects/Dialects.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/Parser/Parser.h"
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <stdexcept>

using namespace moray::codegen;
using namespace moray::test;

KernelSpec moray::test::specOf(const std::string &ir) {
  mlir::DialectRegistry registry;
  moray::registerDialects(registry);
  mlir::MLIRContext context(registry, mlir::MLIRContext::Threading::DISABLED);
  context.loadAllAvailableDialects();
  auto module = mlir::parseSourceString<mlir::ModuleOp>(ir, &context);
  if (!module)
    throw std::runtime_error("the test's IR does not parse");
  auto kernels = module->getOps<moray::cmd::KernelOp>();
  auto spec = classify(*kernels.begin());
  if (!spec)
    throw std::runtime_error(llvm::toString(spec.takeError()));
  return *spec;
}

std::map<std::string, Golden> moray::test::readGolden(const std::string &name) {
  std::ifstream file(MORAY_BINARY_DIR "/test/golden/ops/" + name + ".safetensors", std::ios::binary);
  std::vector<char> bytes((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  if (bytes.size() < 8)
    throw std::runtime_error("no golden file " + name);
  uint64_t header;
  std::memcpy(&header, bytes.data(), 8);
  auto json = nlohmann::json::parse(bytes.data() + 8, bytes.data() + 8 + header);
  std::map<std::string, Golden> tensors;
  for (auto &[key, entry] : json.items()) {
    if (key == "__metadata__")
      continue;
    Golden &g = tensors[key];
    g.shape = entry["shape"].get<std::vector<size_t>>();
    const char *begin = bytes.data() + 8 + header + entry["data_offsets"][0].get<size_t>();
    const char *end = bytes.data() + 8 + header + entry["data_offsets"][1].get<size_t>();
    std::string dtype = entry["dtype"];
    auto copy = [&](auto &to) {
      to.resize((end - begin) / sizeof(to[0]));
      std::memcpy(to.data(), begin, end - begin);
    };
    if (dtype == "F32")
      copy(g.f32);
    else if (dtype == "I32")
      copy(g.i32);
    else if (dtype == "U8")
      copy(g.u8);
  }
  return tensors;
}
