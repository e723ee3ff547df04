// One rank of the conformance suite over MPI: `mpirun -n R mpi_world LIBRARY exact|rank_sum|node_sum NODES`; with
// `stop` or `kill RANK` that rank stops, or ends, before a dispatch, and the others say who it was.
#include "comm_world.h"
#include "runtime/comm/control_channel.h"
#include "runtime/comm/host_communicator.h"
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <unistd.h>

using namespace moray::rt::comm;
using moray::rt::Status;

namespace {

LaunchRanks found;

[[noreturn]] void end(const char *message, int code) {
  if (message)
    printf("rank %u: %s\n", found.rank, message);
  fflush(stdout);
  if (code != 0)
    usleep(500000); // mpirun ends all ranks with the first
  _exit(code);      // MPI may be in any state
}

void check(const Status &status) {
  if (!status.ok())
    end(moray_status_message(status.get()), moray_status_exit_code(status.get()));
}

// Stops; a helper ends what is left of the rank when the others have had their time.
void stopForGood() {
  const pid_t self = getpid();
  if (fork() == 0) {
    sleep(4);
    kill(self, SIGKILL);
    _exit(0);
  }
  raise(SIGSTOP);
}

} // namespace

int main(int argc, char **argv) {
  if (argc != 4)
    return 2;
  const bool stops = strcmp(argv[2], "stop") == 0, fails = stops || strcmp(argv[2], "kill") == 0;
  const auto number = static_cast<uint32_t>(atoi(argv[3]));
  check(findRanks(0, found));
  ChannelOptions channelOptions;
  channelOptions.rank = found.rank;
  channelOptions.ranks = found.ranks;
  channelOptions.rendezvous = found.rendezvous;
  channelOptions.deadlineMs = fails ? 1000 : 20000;
  channelOptions.connectMs = 20000;
  std::unique_ptr<ControlChannel> channel;
  check(ControlChannel::open(channelOptions, {}, channel));

  const std::vector<moray::test::World> worlds = moray::test::conformanceWorlds(found.ranks, fails ? 1 : number);
  CommunicatorOptions options;
  options.rank = found.rank;
  options.ranks = found.ranks;
  options.library = argv[1];
  options.deadlineMs = channelOptions.deadlineMs;
  options.combine = strcmp(argv[2], "rank_sum") == 0   ? CombineMode::RankSum
                    : strcmp(argv[2], "node_sum") == 0 ? CombineMode::NodeSum
                                                       : CombineMode::Exact;
  std::unique_ptr<Communicator> communicator;
  check(makeMpiCommunicator(options, worlds[0].model, channel.get(), communicator));
  StepDecision decision;
  check(channel->agree({}, decision));
  communicator->beginStep(decision.step);
  if (fails && found.rank == number) {
    if (!stops)
      raise(SIGKILL);
    stopForGood();
  }
  using namespace moray::test;
  std::string wrong = fails ? runLayer(worlds[0], *communicator) : runWorlds(worlds, *communicator, options.combine);
  // Small messages, and those that MPI sends only when they are expected.
  for (uint32_t seed = 0; seed < 4 && wrong.empty(); ++seed) {
    const uint32_t nodes = worlds[0].model.nodes(), bytes = seed == 1 ? 5000 : 0;
    const World first = makeWorld(seed, found.ranks, 11, 4, Traffic::Uneven, true, nodes, 1, bytes);
    const World second = makeWorld(seed, found.ranks, 11, 4, Traffic::Uniform, true, nodes, 2, bytes);
    check(communicator->setPlacement(first.model));
    wrong = runInterleaved(first, second, *communicator, options.combine, seed, seed + 100 * found.rank);
  }
  if (!wrong.empty())
    end(wrong.c_str(), 1);
  check(communicator->close());
  check(channel->close());
  if (found.rank == 0)
    printf("all worlds of %u ranks agree\n", found.ranks);
  end(nullptr, 0);
}
