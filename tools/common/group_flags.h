// The flags of processes that share the experts of a model.
#pragma once
#include "common/cli.h"
#include "common/placement_file.h"
#include "common/runtime_handles.h"

#include <climits>
#include <string>

namespace moray::tools {

struct GroupFlags {
  std::string comm = "auto", library, ncclLibrary, rendezvous, placement;
  std::string combine = "exact";
  uint32_t deadlineMs = 10000, nodes = 0; // nodes 0: 1, or as the placement
  bool forceDist = false;
  int overlap = MORAY_OVERLAP_OFF;
};

inline void addGroupFlags(CLI::App &app, GroupFlags &flags) {
  app.add_option("--comm", flags.comm,
                 "how ranks exchange rows: auto (default), mpi (CPUs), nccl (GPUs) or self (one rank)")
      ->check(CLI::IsMember({"auto", "mpi", "nccl", "self"}));
  app.add_option("--comm-library", flags.library, "path of libmoray_comm_mpi.so (default: beside the runtime)");
  app.add_option("--nccl-library", flags.ncclLibrary, "path of libnccl.so.2 (default: where the loader looks)");
  app.add_option("--rendezvous", flags.rendezvous,
                 "where ranks meet: HOST:PORT of rank 0 or file:PATH (default: as the launcher says)");
  app.add_option("--deadline-ms", flags.deadlineMs,
                 "longest silence of a rank before all ranks give up (default 10000)")
      ->check(CLI::Range(1u, UINT_MAX));
  app.add_option("--nodes", flags.nodes, "nodes that the ranks are divided over, evenly (default 1, or as --placement)")
      ->check(CLI::Range(1u, UINT_MAX));
  app.add_option("--combine", flags.combine,
                 "what ranks send back: exact (default, the same bits on any ranks), rank_sum or node_sum")
      ->check(CLI::IsMember({"exact", "rank_sum", "node_sum"}));
  app.add_option_function<std::string>(
         "--overlap",
         [&flags](const std::string &word) {
           flags.overlap = word == "on" ? MORAY_OVERLAP_ON : word == "off" ? MORAY_OVERLAP_OFF : MORAY_OVERLAP_AUTO;
         },
         "two micro-batches per step, so that rows of one travel while the other computes: on, off (default) or "
         "auto; changes speed and memory, never a result")
      ->check(CLI::IsMember({"on", "off", "auto"}));
  app.add_option("--placement", flags.placement,
                 "where experts live, from moray-plan (default: in order); changes speed, never a token");
  app.add_flag("--force-dist", flags.forceDist, "run the distributed program on one rank as well");
}

/// Joins the group that the launcher (mpirun, torchrun, srun) started; without one, a group of one rank. `placement`
/// may be null.
inline int createGroup(const GroupFlags &flags, const moray_placement *placement, Group &group,
                       moray_group_info &info) {
  moray_group_options options;
  moray_group_options_init(&options);
  options.comm = flags.comm.c_str();
  options.comm_library = flags.library.empty() ? nullptr : flags.library.c_str();
  options.nccl_library = flags.ncclLibrary.empty() ? nullptr : flags.ncclLibrary.c_str();
  options.rendezvous = flags.rendezvous.empty() ? nullptr : flags.rendezvous.c_str();
  options.deadline_ms = flags.deadlineMs;
  options.force_dist = flags.forceDist;
  options.placement = placement;
  options.nodes = flags.nodes ? flags.nodes : placement ? placement->nodes : 1;
  options.combine = flags.combine.c_str();
  options.cancel = interruptFlag();
  moray_group *created = nullptr;
  if (int code = report(moray_group_create(&options, &created)))
    return code;
  group.reset(created);
  moray_group_query_info(created, &info);
  return kExitOk;
}

/// For what fails because all ranks end: an interruption reaches them one after the other and is no error.
inline int reportUnlessInterrupted(moray_status *status) {
  if (!status || !interrupted())
    return report(status);
  moray_status_free(status);
  return interruptedExit();
}

/// With the placement that the flags name, if any.
inline int createGroup(const GroupFlags &flags, const Model &model, Group &group, moray_group_info &info) {
  PlacementTable table;
  moray_model_config config;
  moray_model_query_config(model.get(), &config);
  if (!flags.placement.empty())
    if (int code = readPlacement(flags.placement, config, table))
      return code;
  return createGroup(flags, flags.placement.empty() ? nullptr : &table.placement, group, info);
}

} // namespace moray::tools
