// moray-plan: chooses where the experts of a model live, so that all ranks have equally much to do.
#include "common/cli.h"
#include "moray-plan/estimate.h"
#include "moray-plan/plan.h"
#include "moray/runtime.h"

#include <climits>

using namespace moray::tools;

static void addPlanFlags(CLI::App &app, PlanOptions &options) {
  const CLI::Range count(1u, 1u << 20);
  app.add_option("--loads", options.loads, "how often each expert was chosen, from moray-run --record-loads");
  app.add_option("-r,--ranks", options.ranks, "processes that share the experts")->check(count);
  app.add_option("--nodes", options.nodes, "machines they are spread over, equally many on each (default 1)")
      ->check(count);
  app.add_option("--slots-per-rank", options.slotsPerRank,
                 "experts that a rank holds in each layer (default: as few as possible, or as --current); what exceeds "
                 "experts / ranks goes to further replicas of experts that are chosen often")
      ->check(count);
  app.add_option("--groups", options.groups, "expert groups of the router, n_group of config.json (default 1)")
      ->check(count);
  app.add_option("--policy", options.policy,
                 "hierarchical: a group and its replicas stay on one node, so that rows cross nodes rarely; global: "
                 "the best balance; auto (default): hierarchical where the groups can be divided among the nodes")
      ->check(CLI::IsMember({"auto", "hierarchical", "global"}));
  app.add_option("--current", options.current,
                 "placement in use: ranks and slots are then chosen so that as few experts as possible move");
  app.add_option("--artifact", options.artifact, "compiled artifact (.moray): adds bytes to what is printed");
  app.add_option("-o,--output", options.output, "placement file to write, for moray-run --placement");
  app.add_flag("--json", options.json, "print one JSON object");
}

int main(int argc, char **argv) {
  PlanOptions options;
  EstimateOptions estimated;
  CLI::App app("Chooses where the experts of a model live, so that all ranks have equally much to do: how often each "
               "expert is chosen is recorded, experts that are chosen often get replicas, and heavy and light ones "
               "share a rank. A placement changes speed, never a token.\n\n"
               "  mpirun -n 4 moray-run MODEL.moray -p TEXT --record-loads=loads.json\n"
               "  moray-plan --loads loads.json --ranks 4 --slots-per-rank 5 -o placement.json\n"
               "  mpirun -n 4 moray-run MODEL.moray -p TEXT --placement=placement.json\n",
               "moray-plan");
  addPlanFlags(app, options);
  addEstimateFlags(app, estimated);
  app.set_version_flag("--version", std::string("moray-plan ") + moray_runtime_version());
  int exitCode = kExitOk;
  if (!parseArguments(app, argc, argv, exitCode))
    return exitCode;
  return estimated.config.empty() ? plan(options) : estimate(options, estimated);
}
