// A thread that maps the pages of one part after the other.
#include "runtime/device/cpu/page_fetcher.h"
#include <sys/mman.h>
#include <unistd.h>

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22 // Linux 5.14
#endif

namespace moray::rt {

// Older systems read ahead instead. Failure changes speed only.
static void fetch(Bytes part) {
  const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const uintptr_t begin = reinterpret_cast<uintptr_t>(part.data()) & ~(page - 1);
  auto *address = reinterpret_cast<void *>(begin);
  const size_t bytes = reinterpret_cast<uintptr_t>(part.data()) + part.size() - begin;
  if (madvise(address, bytes, MADV_POPULATE_READ) != 0)
    madvise(address, bytes, MADV_WILLNEED);
}

void *PageFetcher::main(void *argument) {
  auto &fetcher = *static_cast<PageFetcher *>(argument);
  for (size_t i = 0; i < fetcher.parts.size() && !fetcher.stopping; ++i)
    fetch(fetcher.parts[i]);
  fetcher.finished = true;
  return nullptr;
}

void PageFetcher::start(std::vector<Bytes> wanted) {
  stop();
  parts = std::move(wanted);
  finished = stopping = false;
  running = !parts.empty() && pthread_create(&thread, nullptr, main, this) == 0;
  if (running)
    return;
  for (const Bytes &part : parts)
    madvise(const_cast<uint8_t *>(part.data()), part.size(), MADV_WILLNEED);
  finished = true;
}

void PageFetcher::stop() {
  stopping = true;
  if (running)
    pthread_join(thread, nullptr);
  running = false;
}

} // namespace moray::rt
