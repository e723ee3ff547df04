// One rank of the conformance suite over MPI: `mpirun -n R mpi_world LIBRARY [stop|kill RANK]`. That rank stops, or
// ends, before a dispatch, and the others say who it was.
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
  _exit(code); // MPI may be in any state
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
  const bool fails = argc == 4, stops = fails && strcmp(argv[2], "stop") == 0;
  check(findRanks(0, found));
  ChannelOptions channelOptions;
  channelOptions.rank = found.rank;
  channelOptions.ranks = found.ranks;
  channelOptions.rendezvous = found.rendezvous;
  channelOptions.deadlineMs = fails ? 1000 : 20000;
  channelOptions.connectMs = 20000;
  std::unique_ptr<ControlChannel> channel;
  check(ControlChannel::open(channelOptions, {}, channel));

  const std::vector<moray::test::World> worlds = moray::test::conformanceWorlds(found.ranks);
  CommunicatorOptions options;
  options.rank = found.rank;
  options.ranks = found.ranks;
  options.library = argv[1];
  options.deadlineMs = channelOptions.deadlineMs;
  std::unique_ptr<Communicator> communicator;
  check(makeMpiCommunicator(options, worlds[0].placement, channel.get(), communicator));
  for (size_t i = 0; i < worlds.size(); ++i) {
    StepVote vote;
    StepDecision decision;
    vote.program = 1;
    vote.live[0] = static_cast<int32_t>(worlds[i].homes[found.rank].rows);
    check(channel->agree(vote, decision));
    communicator->beginStep(decision.step);
    if (fails && found.rank == static_cast<uint32_t>(atoi(argv[3]))) {
      if (!stops)
        raise(SIGKILL);
      stopForGood();
    }
    if (const std::string wrong = runLayer(worlds[i], *communicator, 7); !wrong.empty())
      end(wrong.c_str(), 1);
  }
  check(communicator->close());
  check(channel->close());
  if (found.rank == 0)
    printf("all worlds of %u ranks agree\n", found.ranks);
  end(nullptr, 0);
}
