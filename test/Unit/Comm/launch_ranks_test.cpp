// Which rank a process is, from the variables of launchers.
#include "runtime/comm/control_channel.h"
#include <cstdlib>
#include <gtest/gtest.h>
#include <string>

namespace moray::test {

using namespace rt::comm;

namespace {

const char *const kVariables[] = {"OMPI_COMM_WORLD_RANK",
                                  "OMPI_COMM_WORLD_SIZE",
                                  "OMPI_COMM_WORLD_LOCAL_SIZE",
                                  "PMIX_NAMESPACE",
                                  "PMIX_SERVER_TMPDIR",
                                  "PMI_RANK",
                                  "PMI_SIZE",
                                  "RANK",
                                  "WORLD_SIZE",
                                  "LOCAL_WORLD_SIZE",
                                  "TORCHELASTIC_RUN_ID",
                                  "SLURM_PROCID",
                                  "SLURM_STEP_NUM_TASKS",
                                  "SLURM_NTASKS_PER_NODE",
                                  "SLURM_STEP_ID",
                                  "SLURM_JOB_ID",
                                  "MASTER_ADDR",
                                  "MASTER_PORT",
                                  "TMPDIR"};

struct Answer {
  LaunchRanks found;
  std::string text;
};

Answer ask(std::initializer_list<std::pair<const char *, const char *>> variables, uint32_t expected = 0) {
  for (const char *name : kVariables)
    unsetenv(name);
  for (const auto &[name, value] : variables)
    setenv(name, value, 1);
  Answer answer;
  const rt::Status status = findRanks(expected, answer.found);
  answer.text = moray_status_message(status.get());
  return answer;
}

#define EXPECT_REFUSED(answer, part)                                                                                   \
  do {                                                                                                                 \
    const Answer refused = answer;                                                                                     \
    EXPECT_NE(refused.text.find("error[E5101]: "), std::string::npos) << refused.text;                                 \
    EXPECT_NE(refused.text.find(part), std::string::npos) << refused.text;                                             \
  } while (0)

} // namespace

TEST(LaunchRanksTest, WithoutALauncherThereIsOneRank) {
  const Answer answer = ask({});
  EXPECT_EQ(answer.text, "ok");
  EXPECT_EQ(answer.found.rank, 0u);
  EXPECT_EQ(answer.found.ranks, 1u);
}

TEST(LaunchRanksTest, EveryLauncherIsUnderstood) {
  const Answer mpi = ask({{"OMPI_COMM_WORLD_RANK", "2"},
                          {"OMPI_COMM_WORLD_SIZE", "4"},
                          {"OMPI_COMM_WORLD_LOCAL_SIZE", "4"},
                          {"PMIX_NAMESPACE", "job/7"},
                          {"TMPDIR", "/scratch"}});
  EXPECT_EQ(mpi.found.rank, 2u);
  EXPECT_EQ(mpi.found.ranks, 4u);
  EXPECT_STREQ(mpi.found.launcher, "Open MPI");
  EXPECT_EQ(std::string(mpi.found.rendezvous).rfind("file:/scratch/moray-", 0), 0u) << mpi.found.rendezvous;
  EXPECT_NE(std::string(mpi.found.rendezvous).find("job-7"), std::string::npos);
  EXPECT_STREQ(ask({{"PMI_RANK", "1"}, {"PMI_SIZE", "2"}}).found.launcher, "PMI");
  const Answer torch = ask({{"RANK", "3"}, {"WORLD_SIZE", "8"}, {"MASTER_ADDR", "node1"}, {"MASTER_PORT", "29500"}});
  EXPECT_STREQ(torch.found.launcher, "torchrun");
  EXPECT_STREQ(torch.found.rendezvous, "node1:29500");
  const Answer six = ask({{"RANK", "0"}, {"WORLD_SIZE", "2"}, {"MASTER_ADDR", "fe80::1"}, {"MASTER_PORT", "1"}});
  EXPECT_STREQ(six.found.rendezvous, "[fe80::1]:1");
  const Answer slurm = ask({{"SLURM_PROCID", "1"}, {"SLURM_STEP_NUM_TASKS", "2"}, {"SLURM_NTASKS_PER_NODE", "2"}});
  EXPECT_STREQ(slurm.found.launcher, "Slurm");
  EXPECT_EQ(slurm.found.ranks, 2u);
}

TEST(LaunchRanksTest, SeveralHostsNeedAnAddress) {
  const Answer answer =
      ask({{"OMPI_COMM_WORLD_RANK", "0"}, {"OMPI_COMM_WORLD_SIZE", "4"}, {"OMPI_COMM_WORLD_LOCAL_SIZE", "2"}});
  EXPECT_EQ(answer.text, "ok");
  EXPECT_STREQ(answer.found.rendezvous, "");
}

TEST(LaunchRanksTest, SlurmOutsideOfAStepAndBelowMpirunSaysNothing) {
  EXPECT_EQ(ask({{"SLURM_PROCID", "0"}}).found.ranks, 1u); // a batch script
  const Answer both = ask({{"OMPI_COMM_WORLD_RANK", "3"},
                           {"OMPI_COMM_WORLD_SIZE", "4"},
                           {"SLURM_PROCID", "1"},
                           {"SLURM_STEP_NUM_TASKS", "2"}});
  EXPECT_EQ(both.text, "ok");
  EXPECT_EQ(both.found.rank, 3u);
}

TEST(LaunchRanksTest, ContradictionsNameBothSides) {
  EXPECT_REFUSED(
      ask({{"OMPI_COMM_WORLD_RANK", "1"}, {"OMPI_COMM_WORLD_SIZE", "2"}, {"RANK", "1"}, {"WORLD_SIZE", "4"}}),
      "OMPI_COMM_WORLD_RANK=1 and OMPI_COMM_WORLD_SIZE=2 say rank 1 of 2, but RANK=1 and WORLD_SIZE=4 say rank 1 of 4");
  EXPECT_REFUSED(ask({{"RANK", "1"}, {"WORLD_SIZE", "2"}}, 4), "4 ranks were asked for, but torchrun started 2");
  EXPECT_REFUSED(ask({}, 2), "2 ranks were asked for, but no launcher was used, which started 1");
  EXPECT_REFUSED(ask({{"RANK", "1"}}), "the variable RANK is set, but WORLD_SIZE is not");
  EXPECT_REFUSED(ask({{"RANK", "2"}, {"WORLD_SIZE", "2"}}), "RANK is 2 and WORLD_SIZE is 2");
  EXPECT_REFUSED(ask({{"RANK", "-1"}, {"WORLD_SIZE", "2"}}), "the variable RANK is '-1'");
  EXPECT_REFUSED(ask({{"RANK", "0"}, {"WORLD_SIZE", "2x"}}), "the variable WORLD_SIZE is '2x'");
  EXPECT_REFUSED(ask({{"RANK", "0"}, {"WORLD_SIZE", "99999"}}), "not a number up to 4096");
  EXPECT_REFUSED(ask({{"RANK", "0"}, {"WORLD_SIZE", "2"}, {"MASTER_ADDR", "a"}}), "MASTER_PORT is not");
}

} // namespace moray::test
