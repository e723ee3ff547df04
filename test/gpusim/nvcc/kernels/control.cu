// Predicates and divergence of every shape, calls, recursion and local memory.
#include <stdint.h>

#define THREAD int i = blockIdx.x * blockDim.x + threadIdx.x

extern "C" __global__ void nested_ifs(const int *a, int *out, int n) {
  THREAD;
  if (i >= n)
    return;
  int x = a[i], r;
  if (x & 1) {
    if (x & 2)
      r = (x & 4) ? 1 : out[i] + 2;
    else
      r = x > 100 ? 3 + out[i] : 4;
  } else {
    if (x & 8) {
      r = 5;
      if ((x & 48) == 48)
        r += out[i] * 2;
    } else
      r = -x;
  }
  out[i] = r;
}

// Trip counts differ by lane; some leave by break, some iterations are skipped.
extern "C" __global__ void loop_break_continue(const uint32_t *a, uint32_t *out, int n) {
  THREAD;
  if (i >= n)
    return;
  uint32_t x = a[i], sum = 0;
  for (uint32_t k = 0; k < (x & 63); ++k) {
    if ((x >> (k & 31) & 3) == 3)
      continue;
    sum = sum * 3 + k;
    if ((sum & 255) == 77)
      break;
    for (uint32_t j = k; j < 40; j += (x & 7) + 1) {
      if (j == 13)
        goto next;
      sum ^= j << (j & 15);
    }
    sum += 5;
  next:;
  }
  out[i] = sum;
}

extern "C" __global__ void switches(const uint32_t *a, uint32_t *out, int n) {
  THREAD;
  if (i >= n)
    return;
  uint32_t x = a[i], r = 0;
  switch (x % 11) {
  case 0: r = x * 3; break;
  case 1: r = x ^ 0x5555; break;
  case 2: r = x >> 3; // falls through
  case 3: r += 17; break;
  case 4: for (uint32_t k = 0; k < (x & 15); ++k) r += k * k; break;
  case 5: r = __popc(x); break;
  case 6: r = x / 7; break;
  case 7: r = ~x; break;
  case 9: r = 1; // falls through
  default: r = r * 2 + x % 13;
  }
  out[i] = r;
}

// A branch table, which nvcc makes of inline PTX only.
extern "C" __global__ void branch_table(const uint32_t *a, uint32_t *out, int n) {
  THREAD;
  if (i >= n)
    return;
  uint32_t r, x = a[i] & 3;
  asm volatile("{ table: .branchtargets L0, L1, L2, L3; brx.idx %1, table;"
               " L0: mov.u32 %0, 10; bra L4; L1: mov.u32 %0, 21; bra L4; L2: mov.u32 %0, 32; bra.uni L4; L3: mov.u32 %0, 43; L4: }"
               : "=r"(r) : "r"(x));
  out[i] = r;
}

extern "C" __global__ void early_return(const int *a, int *out, int n) {
  THREAD;
  if (i >= n)
    return;
  out[i] = -1;
  if (a[i] < 0)
    return;
  out[i] = -2;
  for (int k = 0; k < a[i]; ++k) {
    if (k * k > a[i])
      return;
    out[i] = k;
  }
}

extern "C" __global__ void collatz(const uint32_t *a, uint32_t *out, int n) {
  THREAD;
  if (i >= n)
    return;
  uint64_t x = a[i];
  uint32_t steps = 0;
  while (x > 1) {
    x = x & 1 ? 3 * x + 1 : x / 2;
    ++steps;
  }
  out[i] = steps;
}

// A spin lock between the lanes of one warp: legal since lanes make progress on their own.
extern "C" __global__ void lanes_take_turns(uint32_t *lock, uint32_t *order) {
  bool done = false;
  while (!done) {
    if (atomicCAS(lock, 0u, 1u) == 0u) {
      uint32_t at = order[0];
      order[0] = at + 1;
      order[1 + at] = threadIdx.x;
      __threadfence();
      atomicExch(lock, 0u);
      done = true;
    }
  }
}

//===------------------------------------------------------------------===//

struct Vector { float x, y, z; int tag; };
struct Params { int n; float scale; int64_t offset; unsigned char flags[5]; short step; Vector v; };

extern "C" __global__ void struct_param(const float *a, float *out, Params p) {
  THREAD;
  if (i < p.n)
    out[i] = a[i] * p.scale + (float)p.offset + p.flags[i % 5] * p.step + p.v.y * p.v.tag;
}

__device__ __noinline__ Vector cross(Vector a, Vector b) {
  return {a.y * b.z - a.z * b.y, a.z * b.x - a.x * b.z, a.x * b.y - a.y * b.x, a.tag + b.tag};
}

extern "C" __global__ void call_with_structs(const Vector *a, const Vector *b, Vector *out, int n) {
  THREAD;
  if (i < n)
    out[i] = cross(a[i], b[i]);
}

__device__ __noinline__ int fibonacci(int n) { return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2); }
__device__ __noinline__ uint32_t ackermann(uint32_t m, uint32_t n) {
  if (m == 0)
    return n + 1;
  return ackermann(m - 1, n == 0 ? 1 : ackermann(m, n - 1));
}

extern "C" __global__ void recursion(uint32_t *out) {
  out[threadIdx.x] = fibonacci(threadIdx.x % 11) * 1000 + ackermann(threadIdx.x % 3, threadIdx.x % 4);
}

__device__ __noinline__ void sortFour(int *values) {
  for (int i = 1; i < 4; ++i)
    for (int j = i; j > 0 && values[j - 1] > values[j]; --j) {
      int t = values[j];
      values[j] = values[j - 1];
      values[j - 1] = t;
    }
}

// Arrays that are indexed by data live in local memory; their address is passed to a function.
extern "C" __global__ void local_arrays(const int *a, int *out, int n) {
  THREAD;
  if (i >= n)
    return;
  int values[4], histogram[8] = {0, 0, 0, 0, 0, 0, 0, 0};
  for (int k = 0; k < 4; ++k)
    values[k] = a[4 * i + k];
  sortFour(values);
  for (int k = 0; k < 16; ++k)
    ++histogram[values[k % 4] * (k + 1) & 7];
  out[2 * i] = values[a[4 * i] & 3];
  int sum = 0;
  for (int k = 0; k < 8; ++k)
    sum = sum * 7 + histogram[(k + a[4 * i + 1]) & 7];
  out[2 * i + 1] = sum;
}

typedef int (*Operation)(int, int);
__device__ __noinline__ int plus(int a, int b) { return a + b; }
__device__ __noinline__ int times(int a, int b) { return a * b; }
__device__ __noinline__ int minus(int a, int b) { return a - b; }

// Calls from diverged lanes with different arguments.
extern "C" __global__ void divergent_calls(const int *a, const int *b, int *out, int n) {
  THREAD;
  if (i >= n)
    return;
  int r;
  if (a[i] % 3 == 0)
    r = plus(a[i], b[i]);
  else if (a[i] % 3 == 1)
    r = times(a[i], minus(b[i], 2));
  else
    r = minus(a[i], b[i]);
  out[i] = r;
}
