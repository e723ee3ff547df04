// Brings parts of a mapped file into memory in the background, so that the steps that read them need not wait.
#pragma once
#include "runtime/base/span.h"
#include <atomic>
#include <pthread.h>
#include <vector>

namespace moray::rt {

class PageFetcher {
public:
  PageFetcher() = default;
  PageFetcher(const PageFetcher &) = delete;
  PageFetcher &operator=(const PageFetcher &) = delete;
  // Stops between two parts.
  ~PageFetcher() { stop(); }

  // Begins to fetch; the memory outlives the fetcher. Where the system gives no thread it only asks for the pages.
  void start(std::vector<Bytes> parts);
  bool started() const { return running; }
  bool done() const { return finished; }
  void stop();

private:
  static void *main(void *fetcher);

  std::vector<Bytes> parts;
  pthread_t thread = {};
  bool running = false;
  std::atomic<bool> finished{false}, stopping{false};
};

} // namespace moray::rt
