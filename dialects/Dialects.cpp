// Registers Moray's dialects.
#include "dialects/Dialects.h"

#include "dialects/Cmd/Cmd.h"
#include "dialects/LM/LM.h"
#include "dialects/MLA/MLA.h"
#include "dialects/MoE/MoE.h"

void moray::registerDialects(mlir::DialectRegistry &registry) {
  registry.insert<lm::LMDialect, mla::MLADialect, moe::MoEDialect, cmd::CmdDialect>();
}
