/* Dispatch and combine between GPUs: the kernels of class Exchange that every cuda target of a model with experts
 * carries, what they receive, and the layout of everything that they share with the host. Plain C.
 *
 * One exchange of MoE layer `layer` on every rank; micro-batches have sets of buffers, handles and steps of their own:
 *   exchange.plan    who gets which rows and slots: send_meta, the handle; adds to the load counters
 *   exchange.pack    rows (and scales) for each destination: send_rows, send_scales
 *     --> all ranks: meta, rows, scales; those of rank s arrive at block s of recv_meta, xr, scales_r
 *   exchange.check   every recv_meta: a bad one sets the fault word and counts as empty in what follows
 *   exchange.merge   tokens_r, offsets_r: received slots sorted by (expert, source rank, the source's order)
 *     the experts: e_r, a row for each received slot
 *   exchange.return  results for each source: send_results
 *     --> all ranks: results; those of rank d arrive at block d of recv_results
 *   exchange.finish  e in the order of the home's slots, gates_out
 *
 * What crosses the wire has fixed sizes, equal on all ranks, that follow most_rows (T): the most live rows of any rank,
 * or of the bucket that a graph was captured for. Block r of a buffer belongs to rank r. The block of the rank itself
 * is not sent: the kernels write it into the receiving buffer directly, and block `rank` of a sending buffer stays
 * unused. Beyond the live counts blocks are undefined and are never read here; they are sent all the same, so fill
 * sending buffers once after allocation where undefined bytes must not be copied.
 *
 * Launching. Stage 0 of the kernel, 1-D grid as below, the threads of the stage, no dynamic shared memory, no scratch
 * (address 0). Parameters: the operands in the order below (device addresses, 256-byte aligned; 0 where said), then the
 * trailing parameters of kernel_abi.h, of which `live` (ROWS), `fault` and `layer` are used; capacities may be 0.
 * Whatever changes from step to step is read from device memory (`live`, step, table), so all of it may be captured.
 * Loops stride over the grid: grids of pack, return and finish are a matter of speed alone. */
#ifndef MORAY_EXCHANGE_ABI_H
#define MORAY_EXCHANGE_ABI_H

#include <stdint.h>

/* Position of operands. */
enum { /* exchange.plan, grid = ranks */
       MORAY_PLAN_PARAMS,
       MORAY_PLAN_STEP,
       MORAY_PLAN_TOKENS,    /* int32 [offsets[E]] row of each slot, sorted by (expert, row) */
       MORAY_PLAN_OFFSETS,   /* int32 [E + 1] */
       MORAY_PLAN_TABLE,     /* of this layer */
       MORAY_PLAN_LOADS,     /* uint64 [E] of this layer, added to: slots of each logical expert of this rank; or 0 */
       MORAY_PLAN_HANDLE,    /* written */
       MORAY_PLAN_SEND_META, /* written */
       MORAY_PLAN_RECV_META, /* block `rank` is written */
       MORAY_PLAN_OPERANDS
};
enum { /* exchange.pack, grid = moray_exchange_grid(ranks * T) */
       MORAY_PACK_PARAMS,
       MORAY_PACK_STEP,
       MORAY_PACK_HANDLE,
       MORAY_PACK_X,           /* [rows] rows of row_bytes */
       MORAY_PACK_SCALES,      /* [rows] rows of scale_bytes; 0 where scale_bytes is 0, as the other scales */
       MORAY_PACK_SEND_ROWS,   /* written */
       MORAY_PACK_SEND_SCALES, /* written */
       MORAY_PACK_XR,          /* block `rank` is written */
       MORAY_PACK_SCALES_R,    /* block `rank` is written */
       MORAY_PACK_OPERANDS
};
enum { /* exchange.check, grid = ranks */
       MORAY_CHECK_PARAMS,
       MORAY_CHECK_STEP,
       MORAY_CHECK_TABLE, /* that of exchange.plan */
       MORAY_CHECK_RECV_META,
       MORAY_CHECK_HANDLE, /* written */
       MORAY_CHECK_OPERANDS
};
enum { /* exchange.merge, grid = experts */
       MORAY_MERGE_PARAMS,
       MORAY_MERGE_STEP,
       MORAY_MERGE_RECV_META,
       MORAY_MERGE_HANDLE,    /* written */
       MORAY_MERGE_TOKENS_R,  /* written: int32, at most ranks * moray_exchange_slots: source * T + row of the source */
       MORAY_MERGE_OFFSETS_R, /* written: int32 [E + 1] */
       MORAY_MERGE_OPERANDS
};
enum { /* exchange.return, grid = moray_exchange_grid(ranks * moray_exchange_slots) */
       MORAY_RETURN_PARAMS,
       MORAY_RETURN_STEP,
       MORAY_RETURN_HANDLE,
       MORAY_RETURN_ER,           /* [offsets_r[E]] rows of result_bytes */
       MORAY_RETURN_SEND_RESULTS, /* written */
       MORAY_RETURN_RECV_RESULTS, /* block `rank` is written */
       MORAY_RETURN_OPERANDS
};
enum { /* exchange.finish, grid = moray_exchange_grid(T * top) */
       MORAY_FINISH_PARAMS,
       MORAY_FINISH_STEP,
       MORAY_FINISH_HANDLE,
       MORAY_FINISH_RECV_RESULTS,
       MORAY_FINISH_GATES,     /* f32 [rows, top] */
       MORAY_FINISH_E,         /* written: [offsets[E]] rows of result_bytes */
       MORAY_FINISH_GATES_OUT, /* written: f32 [rows, top]; may be the same as gates */
       MORAY_FINISH_OPERANDS
};

#define MORAY_EXCHANGE_MOST_RANKS 1024u
#define MORAY_EXCHANGE_MOST_EXPERTS 1024u
#define MORAY_EXCHANGE_MOST_ROWS 65536u /* T; and ranks * moray_exchange_slots < 2^31 */

/* What a call site never changes. Device memory. */
typedef struct moray_exchange_params {
  int32_t rank, ranks;
  int32_t experts;        /* E: logical */
  int32_t top;            /* K: experts of a row */
  int32_t slots_per_rank; /* physical slots */
  int32_t row_bytes;      /* of x; > 0, a multiple of 4 (of 16 is faster), as the next two */
  int32_t scale_bytes;    /* 0: no scales */
  int32_t result_bytes;   /* of e; > 0 */
} moray_exchange_params;

/* What the host uploads before each step (and for each micro-batch). Device memory. live[ROWS] <= most_rows. */
typedef struct moray_exchange_step {
  uint32_t step_lo, step_hi; /* number of the step, the same on all ranks */
  int32_t most_rows;         /* T: the same on all ranks, that of the captured graph where there is one */
  int32_t reserved;
} moray_exchange_step;

/* Placement of one layer as this rank sees it, int32 words: {placement, first[E + 1], resident[E], ranks[first[E]]}.
 * placement: any word that says which placement this is, the same on all ranks. The slot (row, e) is computed by rank
 * ranks[first[e] + (rank + row) % (first[e + 1] - first[e])]. resident[e] is 1 where this rank has a slot of e, else 0.
 */
enum { MORAY_TABLE_FIRST = 1 };
static inline uint64_t moray_exchange_table_resident(uint64_t experts) { return 2 + experts; }
static inline uint64_t moray_exchange_table_ranks(uint64_t experts) { return 2 + 2 * experts; }
/* Most bytes of a table; `slots`: physical ones of all ranks. */
static inline uint64_t moray_exchange_table_bytes(uint64_t experts, uint64_t slots) {
  return 4 * (moray_exchange_table_ranks(experts) + slots);
}

/* Most slots that one rank sends to another. */
static inline uint64_t moray_exchange_slots(const moray_exchange_params *p, uint64_t most_rows) {
  return most_rows * (uint64_t)(p->top < p->slots_per_rank ? p->top : p->slots_per_rank);
}

/* A meta block, int32 words: header, offsets[E + 1] (first slot of each expert), slot_rows (index of each slot's row
 * among the rows sent; moray_exchange_slots of them). */
#define MORAY_META_MAGIC 0x4c50584d /* "MXPL" */
enum {
  MORAY_META_WORD_MAGIC,
  MORAY_META_LAYER,
  MORAY_META_STEP_LO,
  MORAY_META_STEP_HI,
  MORAY_META_SOURCE, /* rank that sends it */
  MORAY_META_RANKS,
  MORAY_META_EXPERTS,
  MORAY_META_TOP,
  MORAY_META_SLOTS_PER_RANK,
  MORAY_META_ROW_BYTES,
  MORAY_META_SCALE_BYTES,
  MORAY_META_RESULT_BYTES,
  MORAY_META_MOST_ROWS,
  MORAY_META_PLACEMENT,
  MORAY_META_ROWS,
  MORAY_META_SLOTS,
  MORAY_META_OFFSETS
};
/* Bytes of one block, a multiple of 16. */
static inline uint64_t moray_exchange_meta_bytes(const moray_exchange_params *p, uint64_t most_rows) {
  uint64_t words = MORAY_META_OFFSETS + (uint64_t)p->experts + 1 + moray_exchange_slots(p, most_rows);
  return (words + 3) / 4 * 16;
}

/* Blocks of the other buffers; a buffer has `ranks` of them. */
static inline uint64_t moray_exchange_rows_bytes(const moray_exchange_params *p, uint64_t most_rows) {
  return most_rows * (uint64_t)p->row_bytes;
}
static inline uint64_t moray_exchange_scales_bytes(const moray_exchange_params *p, uint64_t most_rows) {
  return most_rows * (uint64_t)p->scale_bytes;
}
static inline uint64_t moray_exchange_results_bytes(const moray_exchange_params *p, uint64_t most_rows) {
  return moray_exchange_slots(p, most_rows) * (uint64_t)p->result_bytes;
}

/* The handle: from plan to finish, private to the kernels but for its first words. int32 words: {received slots, home
 * slots, 14 reserved, sent[R], valid[R], rows[R * T], slot_place[T * K], result_place[R * slots]} with slots =
 * moray_exchange_slots. sent: rows for each destination, listed in rows. valid: 1 where the meta of a source is good.
 * slot_place: where the result of a home slot arrives; result_place: where the result of a received slot is sent from;
 * both rank * slots + position. */
enum { MORAY_HANDLE_RECEIVED = 0, MORAY_HANDLE_HOME = 1, MORAY_HANDLE_SENT = 16 };
static inline uint64_t moray_exchange_handle_bytes(const moray_exchange_params *p, uint64_t most_rows) {
  uint64_t ranks = (uint64_t)p->ranks;
  return 4 * (MORAY_HANDLE_SENT + ranks * (2 + most_rows + moray_exchange_slots(p, most_rows)) +
              most_rows * (uint64_t)p->top);
}

/* Blocks for `items` rows to copy, a warp each. */
#define MORAY_EXCHANGE_WARPS 8u
#define MORAY_EXCHANGE_MOST_BLOCKS 2048u
static inline uint32_t moray_exchange_grid(uint64_t items) {
  uint64_t blocks = (items + MORAY_EXCHANGE_WARPS - 1) / MORAY_EXCHANGE_WARPS;
  return blocks == 0 ? 1 : blocks > MORAY_EXCHANGE_MOST_BLOCKS ? MORAY_EXCHANGE_MOST_BLOCKS : (uint32_t)blocks;
}

/* The fault word after an exchange: the top bit, which no other kernel sets, the reason, the source rank, layer + 1. */
enum {
  MORAY_EXCHANGE_TOO_MANY = 1,  /* live[ROWS] of this rank exceeds most_rows: nothing is sent */
  MORAY_EXCHANGE_NO_META = 2,   /* what a rank sent is no meta block */
  MORAY_EXCHANGE_DISAGREE = 3,  /* another layer, step, placement or other sizes than here */
  MORAY_EXCHANGE_MALFORMED = 4, /* counts or indices out of range, experts that do not live here */
};
#define MORAY_EXCHANGE_FAULT 0x80000000u
static inline uint32_t moray_exchange_fault(uint32_t reason, uint32_t source, uint32_t layer) {
  return MORAY_EXCHANGE_FAULT | reason << 28 | source << 16 | (layer + 1);
}
static inline uint32_t moray_exchange_fault_reason(uint32_t fault) { return fault >> 28 & 7; }
static inline uint32_t moray_exchange_fault_source(uint32_t fault) { return fault >> 16 & 0xfff; }
static inline uint32_t moray_exchange_fault_layer(uint32_t fault) { return (fault & 0xffff) - 1; }

#endif
