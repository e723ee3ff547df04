// The token loop allocates nothing: counts malloc calls while the engine steps, through the shared library.
#include "runtime_test.h"
#include <atomic>
#include <cstdlib>
#include <functional>

#if defined(__SANITIZE_ADDRESS__)
#define MORAY_TEST_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define MORAY_TEST_ASAN 1
#endif
#endif

namespace {
std::atomic<bool> counting{false};
std::atomic<size_t> allocations{0};

void countOne() {
  if (counting.load(std::memory_order_relaxed))
    allocations.fetch_add(1, std::memory_order_relaxed);
}
} // namespace

#ifdef MORAY_TEST_ASAN
extern "C" int __sanitizer_install_malloc_and_free_hooks(void (*)(const volatile void *, size_t),
                                                         void (*)(const volatile void *));
static const int installed = __sanitizer_install_malloc_and_free_hooks(
    [](const volatile void *, size_t) { countOne(); }, [](const volatile void *) {});
#else
// glibc's own names of the functions that this program replaces for itself and its libraries.
extern "C" {
void *__libc_malloc(size_t);
void *__libc_calloc(size_t, size_t);
void *__libc_realloc(void *, size_t);
void *__libc_memalign(size_t, size_t);
void *malloc(size_t size) {
  countOne();
  return __libc_malloc(size);
}
void *calloc(size_t count, size_t size) {
  countOne();
  return __libc_calloc(count, size);
}
void *realloc(void *old, size_t size) {
  countOne();
  return __libc_realloc(old, size);
}
void *aligned_alloc(size_t alignment, size_t size) {
  countOne();
  return __libc_memalign(alignment, size);
}
}
#endif

using namespace moray::test;

static size_t countAllocations(const std::function<void()> &work) {
  allocations = 0;
  counting = true;
  work();
  counting = false;
  return allocations;
}

TEST(Allocation, TheCounterCounts) {
#ifdef MORAY_TEST_ASAN
  ASSERT_NE(installed, 0);
#endif
  EXPECT_GE(countAllocations([] {
              void *volatile memory = malloc(100); // volatile: or the pair is optimised away
              free(memory);
            }),
            1u);
  // Calls from inside the library are seen as well.
  EXPECT_GE(countAllocations([] { moray_status_free(moray_model_load("/none", nullptr, nullptr)); }), 1u);
}

TEST(Allocation, TheTokenLoopAllocatesNothing) {
  const ToyModel model;
  ToyEngine engine(model, engineOptions(4, 16, 2));
  std::vector<moray_sequence *> sequences;
  for (int i = 0; i < 6; ++i) {
    moray_sequence_options options = greedy(8 + static_cast<uint32_t>(i));
    options.temperature = i % 2 ? 2.0f : 0.0f;
    sequences.push_back(engine.add({1, 2, 3, 4, 5, 6, 7, i}, options));
  }
  engine.step(); // the workers run; a sanitizer allocates as they start
  size_t steps = 0, tokens = 0;
  const size_t count = countAllocations([&] {
    moray_step_info info = {1, 0, 0, 0, 0, 0, 0};
    int32_t ids[4];
    size_t taken = 0;
    moray_finish finish;
    while (info.rows != 0) {
      moray_status *status = moray_engine_step(engine, &info);
      ++steps;
      for (moray_sequence *sequence : sequences) {
        moray_sequence_poll(sequence, ids, 4, &taken, &finish);
        tokens += taken;
      }
      if (status)
        break;
    }
  });
  EXPECT_EQ(count, 0u);
  EXPECT_GT(steps, 10u);
  EXPECT_EQ(tokens, size_t{8 + 9 + 10 + 11 + 12 + 13});
}
