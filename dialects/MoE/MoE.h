// The moe dialect: routers and experts, textbook and grouped form (ops in MoEOps.td).
#ifndef MORAY_DIALECTS_MOE_MOE_H
#define MORAY_DIALECTS_MOE_MOE_H

#include "dialects/LM/LM.h"

#include "dialects/MoE/MoEDialect.h.inc"
#include "dialects/MoE/MoEEnums.h.inc"

namespace moray::moe {
/// The connection to the other ranks as a resource of memory effects.
struct Communicator : mlir::SideEffects::Resource::Base<Communicator> {
  mlir::StringRef getName() final { return "communicator"; }
};
} // namespace moray::moe

#define GET_TYPEDEF_CLASSES
#include "dialects/MoE/MoETypes.h.inc"
#define GET_ATTRDEF_CLASSES
#include "dialects/MoE/MoEAttrs.h.inc"
#define GET_OP_CLASSES
#include "dialects/MoE/MoEOps.h.inc"

#endif
