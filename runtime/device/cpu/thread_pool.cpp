// Worker threads: created once, released by the same barrier that keeps launches apart.
#include "runtime/device/cpu/thread_pool.h"
#include "runtime/device/cpu/cpu_level.h"
#include <cstring>
#include <sched.h>

namespace moray::rt {

// About 40 us: longer than the waits of a decode step, short enough to let others work where processors are shared.
static constexpr uint64_t kSpinCycles = 100000;
static constexpr size_t kStackBytes = 1u << 20;

uint32_t ThreadPool::processors() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) != 0)
    return 1;
  const int count = CPU_COUNT(&set);
  return count < 1 ? 1 : static_cast<uint32_t>(count);
}

Status ThreadPool::start(uint32_t threads) {
  count = threads;
  sync = std::make_unique<SpinBarrier>(threads, threads <= processors() ? kSpinCycles : 0);
  workers = std::make_unique<Worker[]>(threads);
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, kStackBytes);
  int error = 0;
  for (started = 1; started < threads; ++started) {
    workers[started] = {this, started, {}};
    error = pthread_create(&workers[started].thread, &attributes, workerMain, &workers[started]);
    if (error != 0)
      break;
  }
  pthread_attr_destroy(&attributes);
  if (error == 0)
    return {};
  // Arrive for the threads that do not exist, so that the destructor can release the others.
  sync->excuse(threads - started);
  return fail(kE5010, "thread %u of %u cannot be started: %s; use fewer threads", started, threads, strerror(error));
}

ThreadPool::~ThreadPool() {
  if (!sync)
    return;
  job = nullptr;
  sync->arrive();
  for (uint32_t i = 1; i < started; ++i)
    pthread_join(workers[i].thread, nullptr);
}

void *ThreadPool::workerMain(void *argument) {
  const Worker &worker = *static_cast<Worker *>(argument);
  ThreadPool &pool = *worker.pool;
  const ScopedFloatMode mode;
  for (;;) {
    pool.sync->arrive(); // wait for a job
    if (!pool.job)
      return nullptr;
    pool.job(pool.context, worker.index);
    pool.sync->arrive(); // the job is done
  }
}

void ThreadPool::run(Job newJob, void *newContext) {
  const ScopedFloatMode mode;
  job = newJob;
  context = newContext;
  sync->arrive();
  job(context, 0);
  sync->arrive();
}

} // namespace moray::rt
