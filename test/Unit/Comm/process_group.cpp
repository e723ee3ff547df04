// Forks, pipes and deadlines of tests with several processes.
#include "process_group.h"
#include "runtime/base/clock.h"
#include <csignal>
#include <cstdio>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

namespace moray::test {

namespace {

struct Child {
  pid_t process = -1;
  int pipe = -1;
};

double secondsSince(uint64_t start) { return static_cast<double>(rt::nowNs() - start) * 1e-9; }

Child start(uint32_t rank, const std::vector<Child> &others, const std::function<std::string(uint32_t)> &body) {
  int ends[2] = {-1, -1};
  if (pipe(ends) != 0)
    return {};
  const pid_t process = fork();
  if (process != 0) {
    close(ends[1]);
    return {process, ends[0]};
  }
  close(ends[0]);
  for (const Child &other : others)
    close(other.pipe);
  const std::string text = body(rank);
  const ssize_t written = write(ends[1], text.data(), text.size());
  _exit(written == static_cast<ssize_t>(text.size()) ? 0 : 1);
}

} // namespace

std::vector<RankEnd> runRanks(uint32_t ranks, double limitSeconds, const std::function<std::string(uint32_t)> &body) {
  fflush(nullptr);
  const uint64_t begun = rt::nowNs();
  std::vector<Child> children;
  for (uint32_t rank = 0; rank < ranks; ++rank)
    children.push_back(start(rank, children, body));
  std::vector<RankEnd> ends(ranks);
  // A stopped rank is not waited for once all others have ended.
  const auto isStopped = [&](uint32_t rank) {
    siginfo_t info = {};
    return waitid(P_PID, static_cast<id_t>(children[rank].process), &info, WSTOPPED | WNOHANG | WNOWAIT) == 0 &&
           info.si_pid != 0;
  };
  for (bool waits = true; waits && secondsSince(begun) < limitSeconds;) {
    waits = false;
    for (uint32_t rank = 0; rank < ranks; ++rank) {
      struct pollfd wait = {children[rank].pipe, POLLIN, 0};
      if (ends[rank].ended || (poll(&wait, 1, 5) == 0 && isStopped(rank)))
        continue;
      waits = true;
      char bytes[1024];
      const ssize_t count = wait.revents ? read(children[rank].pipe, bytes, sizeof(bytes)) : -1;
      if (count > 0)
        ends[rank].text.append(bytes, static_cast<size_t>(count));
      ends[rank].ended = count == 0;
      ends[rank].seconds = secondsSince(begun);
    }
  }
  for (Child &child : children) {
    kill(child.process, SIGKILL);
    waitpid(child.process, nullptr, 0);
    close(child.pipe);
  }
  return ends;
}

int runCommand(const std::string &command, double limitSeconds, std::string &output) {
  const std::string limited = "timeout -k 5 " + std::to_string(limitSeconds) + " " + command + " 2>&1";
  FILE *pipe = popen(limited.c_str(), "r");
  if (!pipe)
    return -1;
  char bytes[1024];
  for (size_t count = 0; (count = fread(bytes, 1, sizeof(bytes), pipe)) > 0;)
    output.append(bytes, count);
  const int status = pclose(pipe);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

} // namespace moray::test
