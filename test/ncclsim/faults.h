// Faults that tests plant by MORAY_NCCLSIM_FAULT: `KIND@RANK[:OPERATION[:MILLISECONDS]]`, several separated by commas.
#pragma once

#include <cstdint>
#include <vector>

namespace ncclsim {

struct Fault {
  enum Kind {
    Delay, // waits before the operation
    Kill,  // the process ends as by SIGKILL
    Stop,  // the process stops as by SIGSTOP
    Count, // sends one element less than asked for
    Order, // exchanges the operation with the next one
    Error, // an asynchronous error of the system
    Init   // never joins the group
  };
  Kind kind;
  uint64_t operation; // 1 is the first that a communicator executes
  unsigned milliseconds;
};

/// The faults of one rank. What cannot be read is reported on stderr and left out.
std::vector<Fault> readFaults(int rank);

} // namespace ncclsim
