/* The CPU kernel interface: what compiled code receives and what the runtime must provide. Plain C, versioned by
 * MORAY_ABI_ID.
 *
 * A kernel is `void k(const moray_kernel_args *, uint64_t task, void *scratch, uint32_t *fault)`. The runtime calls it
 * once per task in [0, tasks), each task exactly once, tasks of one launch in any order and on any worker; launches are
 * separated by barriers. Callers set MXCSR to 0x1F80 (round to nearest, no flush to zero). Kernels call nothing,
 * allocate nothing and keep no state. */
#ifndef MORAY_KERNEL_ABI_H
#define MORAY_KERNEL_ABI_H

#include <stdint.h>

#define MORAY_ABI_ID 2u

/* Index into `live`. Rows of a step are sorted [decode | prefill]; rows >= live[ROWS] do not exist. */
enum { MORAY_LIVE_ROWS = 0, MORAY_LIVE_DECODE_ROWS = 1, MORAY_LIVE_SEQS = 2, MORAY_LIVE_OUTS = 3 };

typedef struct moray_kernel_args {
  /* One pointer per operand, then one per result, in the order of the kernel region. An operand of type !lm.rows is
   * five pointers: positions [T], row_seq [T], cu_rows [B+1], page_table [B, P], ctx_len [B], all int32. Activations
   * are row-major without padding; weights have padded rows (artifact.fbs). Every pointer is 64-byte aligned. */
  void *const *operands;
  const int32_t *live;     /* 4 counts */
  const uint64_t *symbols; /* capacities T, B, N, P, C in the order of SymbolId */
  uint64_t layer;          /* global layer number; 0 outside layers */
} moray_kernel_args;

/* `fault` points to a word shared by all workers, 0 before the step. A kernel whose row reduction is not finite stores
 * layer + 1. */
typedef void (*moray_kernel_fn)(const moray_kernel_args *args, uint64_t task, void *scratch, uint32_t *fault);

/* Kernels of class Probe measure the machine. Operands: data (64-byte aligned) and sink (64 bytes per task). One task
 * per worker: symbols[T] = tasks, symbols[B] = bytes of data per task (a multiple of 4096), layer = iterations. Task t
 * works on data[t * symbols[B] ...), `layer` times, and stores the work done (bytes read, or flops with a multiply-add
 * as 2) as uint64 at sink + 64 * t; the rest of its 64 bytes may take a checksum that keeps the loop alive. `tasks` is
 * Symbol(T). */

/* The GPU kernel interface. A stage is a `.entry` with 8-byte parameters only, in this order: the operands as in
 * moray_kernel_args (device addresses, 256-byte aligned where a buffer begins), then MORAY_GPU_TRAILING more:
 *   live      address of the 4 counts (int32), device memory
 *   scratch   address of the kernel's scratch memory, 256-byte aligned. Its first MORAY_GPU_COUNTER_BYTES are zero when
 *             a kernel begins and zero again when it ends (counters: who arrives last); the rest is undefined. A kernel
 *             whose scratch_bytes is 0 gets no scratch memory.
 *   fault     address of the fault word (uint32), as above
 *   T, B, N, P, C   capacities as numbers
 *   layer     as above
 * The grid is 1-D and computed by the host from capacities and live counts that may be larger than the device's `live`
 * (a graph is captured for full buckets): kernels take counts from device memory and let surplus blocks end. Blocks of
 * one launch run in any order, none waits for another. */
#define MORAY_GPU_TRAILING 9u
#define MORAY_GPU_COUNTER_BYTES 1024u
enum { MORAY_GPU_LIVE = 0, MORAY_GPU_SCRATCH = 1, MORAY_GPU_FAULT = 2, MORAY_GPU_SYMBOLS = 3, MORAY_GPU_LAYER = 8 };

/* One row of sampling parameters. temperature <= 0: greedy. top_k 0: off. top_p 1: off. `position` is the position of
 * the token drawn. */
typedef struct moray_sample_params {
  uint64_t seed;
  uint32_t position;
  float temperature;
  uint32_t top_k;
  float top_p;
} moray_sample_params;

/* Preamble of the file: the first 4096 bytes, little endian, readable by every version. Sections: 0 metadata, 1 code, 2
 * weights. */
#define MORAY_MAGIC "MORAY\r\n\032"
#define MORAY_FORMAT_VERSION 3u
#define MORAY_PREAMBLE_BYTES 4096u
enum { MORAY_SECTION_METADATA = 0, MORAY_SECTION_CODE = 1, MORAY_SECTION_WEIGHTS = 2, MORAY_SECTION_COUNT = 3 };

typedef struct moray_section {
  uint64_t offset; /* from the start of the file; page (4096) aligned */
  uint64_t size;
  uint64_t hash; /* XXH3-64; 0 for weights, which are hashed tensor by tensor in the metadata */
} moray_section;

typedef struct moray_preamble {
  char magic[8];
  uint32_t format_version;
  uint32_t abi_id;
  uint64_t file_size;
  moray_section sections[MORAY_SECTION_COUNT];
  uint8_t reserved[4096 - 8 - 8 - 8 - 3 * 24 - 8]; /* zero */
  uint64_t checksum;                               /* XXH3-64 of the bytes before it */
} moray_preamble;

#endif
