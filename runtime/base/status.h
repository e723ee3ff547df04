// Errors of the runtime: a stable code and one sentence; success costs nothing and allocates nothing.
#pragma once
#include "moray/runtime.h"
#include <utility>

namespace moray::rt {

// The stable codes; runtime/README.md lists their meaning. The exit code of a tool follows from the code (status.cpp).
enum Code : int {
  kE4001 = 4001, // the file cannot be opened, read or mapped
  kE4002 = 4002, // not an artifact
  kE4003 = 4003, // format version
  kE4004 = 4004, // kernel ABI
  kE4005 = 4005, // file size
  kE4006 = 4006, // preamble checksum
  kE4007 = 4007, // section table
  kE4008 = 4008, // section hash
  kE4009 = 4009, // metadata structure (FlatBuffers verifier)
  kE4010 = 4010, // model configuration
  kE4011 = 4011, // name
  kE4012 = 4012, // size expression
  kE4013 = 4013, // program
  kE4014 = 4014, // buffer
  kE4015 = 4015, // command
  kE4016 = 4016, // argument of a command
  kE4017 = 4017, // kernel or variant
  kE4018 = 4018, // image
  kE4019 = 4019, // weight table
  kE4020 = 4020, // weight bytes
  kE4021 = 4021, // tokenizer tables
  kE4022 = 4022, // CPU level that the machine or the artifact lacks
  kE4023 = 4023, // unknown name of a CPU level
  kE4024 = 4024, // the artifact holds no weights
  kE4025 = 4025, // target
  kE4026 = 4026, // no code for this GPU
  kE5001 = 5001, // out of memory
  kE5002 = 5002, // invalid argument
  kE5003 = 5003, // empty prompt
  kE5004 = 5004, // unknown token id
  kE5005 = 5005, // prompt longer than context or cache
  kE5006 = 5006, // request parameter out of range
  kE5007 = 5007, // NumericError: a value that is not finite
  kE5008 = 5008, // engine options
  kE5009 = 5009, // no such probe kernel
  kE5010 = 5010, // threads cannot be started
  kE5011 = 5011, // the artifact has no tokenizer
  kE5012 = 5012, // the artifact has no such program
  kE5013 = 5013, // a compiled program broke its contract
  kE5014 = 5014, // the caller's buffer is too small
  kE5015 = 5015, // code cannot be mapped as executable
  kE5016 = 5016, // the CUDA driver library cannot be loaded
  kE5017 = 5017, // no GPU, or not this one
  kE5018 = 5018, // the CUDA driver is too old
  kE5019 = 5019, // the CUDA driver refuses the code
  kE5020 = 5020, // the GPU failed and the context is lost
  kE5021 = 5021, // another error of the CUDA driver
  kE5022 = 5022, // the context was lost earlier
  kE5101 = 5101, // ranks: variables of the launcher, rendezvous
  kE5102 = 5102, // the rendezvous address cannot be used
  kE5103 = 5103, // the rendezvous file is stale or unreadable
  kE5104 = 5104, // a rank has not joined in time
  kE5105 = 5105, // ranks differ: artifact, kernel interface, plan
  kE5106 = 5106, // a rank was lost
  kE5107 = 5107, // a rank stalled
  kE5108 = 5108, // ranks disagree on what comes next
  kE5109 = 5109, // another rank failed
  kE5110 = 5110, // the communicator library cannot be loaded
  kE5111 = 5111, // an error of MPI
  kE5112 = 5112, // placement of experts
  kE5113 = 5113, // malformed bytes from a peer
  kE5114 = 5114, // the group failed earlier
  kE5115 = 5115, // an error of NCCL
};

// Owns an optional moray_status; empty means success.
class [[nodiscard]] Status {
public:
  Status() = default;
  explicit Status(moray_status *owned) : handle(owned) {}
  Status(Status &&other) noexcept : handle(std::exchange(other.handle, nullptr)) {}
  Status &operator=(Status &&other) noexcept {
    std::swap(handle, other.handle);
    return *this;
  }
  ~Status() { moray_status_free(handle); }

  bool ok() const { return handle == nullptr; }
  const moray_status *get() const { return handle; }
  // Hands the status to a caller of the C API.
  moray_status *release() { return std::exchange(handle, nullptr); }

private:
  moray_status *handle = nullptr;
};

// An error whose message is "error[E<code>]: " and the formatted text.
Status fail(Code code, const char *format, ...) __attribute__((format(printf, 2, 3)));

} // namespace moray::rt

#define MORAY_TRY(expression)                                                                                          \
  if (::moray::rt::Status moray_try_status = (expression); !moray_try_status.ok())                                     \
  return moray_try_status
