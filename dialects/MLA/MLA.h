// The mla dialect: multi-head latent attention over a paged latent cache (ops in MLAOps.td).
#ifndef MORAY_DIALECTS_MLA_MLA_H
#define MORAY_DIALECTS_MLA_MLA_H

#include "dialects/LM/LM.h"

#include "dialects/MLA/MLADialect.h.inc"
#include "dialects/MLA/MLAEnums.h.inc"
#define GET_TYPEDEF_CLASSES
#include "dialects/MLA/MLATypes.h.inc"
#define GET_ATTRDEF_CLASSES
#include "dialects/MLA/MLAAttrs.h.inc"
#define GET_OP_CLASSES
#include "dialects/MLA/MLAOps.h.inc"

#endif
