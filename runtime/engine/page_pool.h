// Hands out the pages of the latent cache.
#pragma once
#include <cstdint>
#include <vector>

namespace moray::rt {

// Pages 0..count-1. The order depends only on the history of calls: lowest first, then the latest returned first.
class PagePool {
public:
  void reset(uint32_t count) {
    total = count;
    freePages.clear();
    freePages.reserve(count);
    for (uint32_t page = count; page-- > 0;)
      freePages.push_back(static_cast<int32_t>(page));
  }
  uint32_t size() const { return total; }
  uint32_t available() const { return static_cast<uint32_t>(freePages.size()); }

  // The caller has made sure that `count` pages are available and that `pages` has the capacity.
  void take(uint32_t count, std::vector<int32_t> &pages) {
    for (uint32_t i = 0; i < count; ++i) {
      pages.push_back(freePages.back());
      freePages.pop_back();
    }
  }
  void giveBack(std::vector<int32_t> &pages) {
    while (!pages.empty()) {
      freePages.push_back(pages.back());
      pages.pop_back();
    }
  }

private:
  std::vector<int32_t> freePages;
  uint32_t total = 0;
};

} // namespace moray::rt
