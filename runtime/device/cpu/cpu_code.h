// Chooses the CPU code of an artifact that this machine executes.
#pragma once
#include "runtime/exec/exec_plan.h"

namespace moray::rt {

// The first CPU target with the best level that the machine executes, or with exactly the level that `name` forces
// (null or "auto": none). 4022 where machine or artifact lacks it, 4023 for an unknown name.
Status chooseCpuCode(const Artifact &artifact, const char *name, TargetCode &code, schema::CpuLevel &level);

// Code for a plan alone, on a machine that need not execute it; false where the artifact has no CPU target.
bool anyCpuCode(const Artifact &artifact, TargetCode &code);

} // namespace moray::rt
