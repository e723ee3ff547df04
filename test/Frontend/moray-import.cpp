// moray-import PATH: prints the module of phase `import`, with warnings and errors on stderr; exit code 3 for a bad
// model.
#include "frontend/Import.h"

#include "llvm/Support/raw_ostream.h"

int main(int argc, char **argv) {
  if (argc != 2) {
    llvm::errs() << "usage: moray-import DIRECTORY|config.json\n";
    return 2;
  }
  mlir::MLIRContext context;
  moray::frontend::Warnings warnings;
  auto model = moray::frontend::importModel(context, argv[1], {}, warnings);
  for (const auto &[text, count] : warnings.all())
    llvm::errs() << "warning: " << text << (count > 1 ? " (" + std::to_string(count) + " times)" : "") << "\n";
  if (!model) {
    llvm::errs() << model.error().text() << "\n";
    return 3;
  }
  llvm::outs() << **model->module << "\n";
  return 0;
}
