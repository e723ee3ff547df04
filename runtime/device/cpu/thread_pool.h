// A fixed group of workers that run one job together; the calling thread is worker 0.
#pragma once
#include "runtime/base/status.h"
#include "runtime/device/cpu/spin_barrier.h"
#include <memory>
#include <pthread.h>

namespace moray::rt {

class ThreadPool {
public:
  // What every worker runs; the job itself uses barrier() to keep in step.
  using Job = void (*)(void *context, uint32_t worker);

  ThreadPool() = default;
  ~ThreadPool();
  ThreadPool(const ThreadPool &) = delete;
  ThreadPool &operator=(const ThreadPool &) = delete;

  // Starts `threads` - 1 threads. 5010 where the system refuses.
  Status start(uint32_t threads);
  uint32_t size() const { return count; }
  SpinBarrier &barrier() { return *sync; }

  // Runs the job on all workers and returns when all have finished. Kernels' floating-point mode is set meanwhile.
  void run(Job job, void *context);
  template <typename Function> void run(Function &&function) {
    run([](void *context, uint32_t worker) { (*static_cast<Function *>(context))(worker); }, &function);
  }

  // Processors this process may use.
  static uint32_t processors();

private:
  struct Worker {
    ThreadPool *pool;
    uint32_t index;
    pthread_t thread;
  };
  static void *workerMain(void *argument);

  uint32_t count = 0;
  uint32_t started = 0;
  std::unique_ptr<SpinBarrier> sync;
  std::unique_ptr<Worker[]> workers;
  Job job = nullptr; // null ends the workers
  void *context = nullptr;
};

} // namespace moray::rt
