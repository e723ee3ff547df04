/* The public C99 interface of the Moray runtime: load an artifact, inspect it, turn text into tokens and back, generate
 * and score.
 *
 * Conventions. Every function that can fail returns `moray_status *`: NULL is success, anything else is an error that
 * the caller frees. Outputs come last and are written only on success (where a count is useful on failure too, it says
 * so). Handles are opaque. A model is immutable and may be used by any number of threads and engines; it must outlive
 * them. An engine, its sequences and a decoder each belong to one thread at a time. Text is UTF-8, sizes are bytes,
 * times are nanoseconds, token ids are int32. Option structs are filled by their `_init` function first, which also
 * records their size for later versions of this header. */
#ifndef MORAY_RUNTIME_H
#define MORAY_RUNTIME_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define MORAY_API __attribute__((visibility("default")))
#define MORAY_CHECKED __attribute__((warn_unused_result))
#else
#define MORAY_API
#define MORAY_CHECKED
#endif

/* ---- status ---- */

typedef struct moray_status moray_status;

/* The numeric part of the error code: 4xxx artifact, 5xxx runtime and engine. 0 for NULL. */
MORAY_API int moray_status_code(const moray_status *status);
/* What a tool should exit with: 2 usage, 4 artifact incompatible, 5 integrity, 6 resources, 7 request failed, 8 device
 * fault, 9 another rank, 70 internal. */
MORAY_API int moray_status_exit_code(const moray_status *status);
/* "error[E4003]: found ..., expected ...; how to fix". Owned by the status. "ok" for NULL. */
MORAY_API const char *moray_status_message(const moray_status *status);
MORAY_API void moray_status_free(moray_status *status);

/* ---- the library and the machine ---- */

/* A piece of text that is not terminated by a zero; owned by the handle it came from. */
typedef struct moray_string {
  const char *data;
  size_t size;
} moray_string;

MORAY_API const char *moray_runtime_version(void);
/* Best CPU level of this machine: "x86-64-v3", "avx512", "amx", or "none". */
MORAY_API const char *moray_runtime_cpu_level(void);
/* Bytes that can be allocated now, as the engine judges it before it allocates. */
MORAY_API uint64_t moray_runtime_available_memory(void);

/* ---- model ---- */

typedef struct moray_model moray_model;

typedef struct moray_model_options {
  size_t struct_size;
  int verify_weights; /* nonzero: hash every weight now (reads the whole file); default 0: metadata and code only */
} moray_model_options;

MORAY_API void moray_model_options_init(moray_model_options *options);
/* Maps the file and checks it completely; no kernel is mapped and no weight is read. options may be NULL. */
MORAY_API MORAY_CHECKED moray_status *moray_model_load(const char *path, const moray_model_options *options,
                                                       moray_model **model);
MORAY_API void moray_model_unload(moray_model *model); /* NULL is allowed */
/* Hashes the stored weights and names the first one that differs. */
MORAY_API MORAY_CHECKED moray_status *moray_model_verify_weights(const moray_model *model);

typedef struct moray_model_config {
  moray_string family;
  uint32_t vocab, hidden, layers, heads;
  uint32_t max_positions;
  uint32_t cache_width; /* elements per token and layer */
  uint32_t cache_page;  /* tokens per page */
  uint32_t experts, experts_per_token;
  uint32_t first_expert_layer; /* layers from here on have experts; `layers` where none has */
  uint64_t expert_bytes;       /* stored weights of one expert in one layer */
  uint64_t parameters;
  int32_t bos; /* -1: none */
  const int32_t *eos;
  size_t eos_count;
  float temperature, top_p; /* defaults of the checkpoint */
  uint32_t top_k;
  int weights_embedded;
  int has_tokenizer;
  int can_score; /* every target has a score program */
  uint64_t file_bytes, metadata_bytes, code_bytes, weight_bytes;
} moray_model_config;

MORAY_API void moray_model_query_config(const moray_model *model, moray_model_config *config);

/* The model as compiled for one kind of device: programs over the shared weights, and their kernels. */
typedef struct moray_target_info {
  moray_string name;     /* "cpu", "cuda:sm_80" */
  moray_string device;   /* "cpu", "cuda" */
  uint32_t sm;           /* lowest compute capability that runs it (80: sm_80); 0 on a CPU */
  moray_string numerics; /* "ref32", "bf16", "w8a16", "fp8" */
  moray_string cache_dtype;
  int deterministic;
  uint64_t active_weight_bytes; /* weight bytes one decoded token needs */
  uint64_t active_flops;        /* of one prompt token, logits not counted */
  uint64_t weight_bytes;        /* stored weights that its programs use */
  uint64_t code_bytes;          /* images that its kernels use */
  size_t kernel_count, program_count;
} moray_target_info;

typedef struct moray_kernel_info {
  moray_string name;
  moray_string klass; /* "gemm", "row", ..., "probe" */
  uint32_t operand_count;
  size_t variant_count;
  size_t launch_count; /* launches of this kernel in one step, over all layers */
} moray_kernel_info;

typedef struct moray_variant_info {
  moray_string kind;    /* "x86", "ptx", "cubin" */
  moray_string level;   /* "x86-64-v3", ...; empty on a GPU */
  uint32_t sm;          /* PTX: runs from this compute capability on; cubin: on its major version from this minor on */
  uint32_t ptx_version; /* 10 * major + minor; also of the PTX that a cubin was made from; 0 on a CPU */
  moray_string config;  /* tile configuration, free text */
  uint64_t code_bytes;  /* GPU: of the whole image */
  size_t stage_count;   /* launches of a GPU kernel, in order; 0 on a CPU */
} moray_variant_info;

typedef struct moray_stage_info {
  moray_string entry;
  uint32_t threads;                       /* of a block */
  uint32_t static_shared, dynamic_shared; /* bytes of a block */
  uint32_t registers;                     /* of a thread; 0: not known */
} moray_stage_info;

typedef struct moray_program_info {
  moray_string name;
  moray_string kind; /* "step", "layer", "sample", "score", "step-dist", "step-overlap" */
  size_t buffer_count, command_count;
  size_t launch_count; /* launches of one run, calls expanded */
} moray_program_info;

typedef struct moray_weight_info {
  moray_string name;
  moray_string dtype;
  const uint64_t *dims;
  size_t dim_count;
  uint64_t row_pitch, bytes; /* bytes of one stored tensor */
  int per_layer;
  size_t tensor_count; /* stored tensors: 1, or the layers that have it */
} moray_weight_info;

/* An index beyond the count is error 5002. */
MORAY_API size_t moray_model_target_count(const moray_model *model); /* at least 1 */
MORAY_API MORAY_CHECKED moray_status *moray_model_query_target(const moray_model *model, size_t target,
                                                               moray_target_info *info);
MORAY_API MORAY_CHECKED moray_status *moray_model_query_kernel(const moray_model *model, size_t target, size_t kernel,
                                                               moray_kernel_info *info);
MORAY_API MORAY_CHECKED moray_status *moray_model_query_variant(const moray_model *model, size_t target, size_t kernel,
                                                                size_t variant, moray_variant_info *info);
MORAY_API MORAY_CHECKED moray_status *moray_model_query_stage(const moray_model *model, size_t target, size_t kernel,
                                                              size_t variant, size_t stage, moray_stage_info *info);
MORAY_API MORAY_CHECKED moray_status *moray_model_query_program(const moray_model *model, size_t target, size_t program,
                                                                moray_program_info *info);
MORAY_API size_t moray_model_weight_count(const moray_model *model);
MORAY_API MORAY_CHECKED moray_status *moray_model_query_weight(const moray_model *model, size_t index,
                                                               moray_weight_info *info);

typedef struct moray_provenance {
  moray_string compiler, source;
  uint64_t input_hash;
  size_t flag_count, phase_count;
} moray_provenance;

MORAY_API void moray_model_query_provenance(const moray_model *model, moray_provenance *provenance);
MORAY_API MORAY_CHECKED moray_status *moray_model_query_flag(const moray_model *model, size_t index,
                                                             moray_string *flag);
MORAY_API MORAY_CHECKED moray_status *moray_model_query_phase(const moray_model *model, size_t index,
                                                              moray_string *phase);

/* ---- text ---- */

enum { MORAY_BOS_AUTO = 0, MORAY_BOS_YES = 1, MORAY_BOS_NO = 2 };

typedef struct moray_tokenize_options {
  size_t struct_size;
  int bos;           /* MORAY_BOS_*; AUTO: as the tokenizer's configuration says */
  int parse_special; /* nonzero (default): added tokens in the text become their ids; 0 for untrusted text */
} moray_tokenize_options;

MORAY_API void moray_tokenize_options_init(moray_tokenize_options *options);
/* Writes at most `capacity` ids. `*count` is the number needed, also when it exceeds the capacity (error 5014). options
 * may be NULL. */
MORAY_API MORAY_CHECKED moray_status *moray_model_tokenize(const moray_model *model, const char *text, size_t size,
                                                           const moray_tokenize_options *options, int32_t *ids,
                                                           size_t capacity, size_t *count);
/* Whole text of `ids`; `*size` is the number of bytes needed, also when it exceeds the capacity (error 5014). Unknown
 * ids add nothing. */
MORAY_API MORAY_CHECKED moray_status *moray_model_detokenize(const moray_model *model, const int32_t *ids, size_t count,
                                                             int skip_special, char *text, size_t capacity,
                                                             size_t *size);

/* Streaming text: never splits a code point; the pieces together equal moray_model_detokenize. */
typedef struct moray_decoder moray_decoder;
MORAY_API MORAY_CHECKED moray_status *moray_decoder_create(const moray_model *model, int skip_special,
                                                           moray_decoder **decoder);
MORAY_API void moray_decoder_destroy(moray_decoder *decoder);
/* The text that `id` completes, possibly empty; valid until the next call on the decoder. */
MORAY_API MORAY_CHECKED moray_status *moray_decoder_push(moray_decoder *decoder, int32_t id, moray_string *text);
/* What was held back; the decoder then starts anew. */
MORAY_API MORAY_CHECKED moray_status *moray_decoder_finish(moray_decoder *decoder, moray_string *text);

/* ---- group ----
 *
 * Processes that share the experts of one model, each with the same artifact and the same engine options. Every
 * sequence lives on one rank; the caller adds sequences on rank 0 alone, and gets tokens, logits and log-probabilities
 * there. A sequence has the same tokens and logits on any number of ranks. Ranks are told apart by the variables of the
 * launcher: Open MPI, PMI, torchrun, Slurm. Any error of a step ends the group: all ranks return the first cause and
 * then exit (exit code 9 where another rank is at fault); a lost or stalled rank is named within the deadline. */

typedef struct moray_group moray_group;

/* Where experts live. Every layer has ranks * slots_per_rank physical slots; slot p is on rank p / slots_per_rank, rank
 * r on node r * nodes / ranks. Every expert of every layer has at least one slot; several share its rows. Layers
 * without experts count, too; what stands there has to be valid and is not used. A placement changes no result. */
typedef struct moray_placement {
  uint32_t experts, ranks, nodes, layers, slots_per_rank;
  const int32_t *slots; /* [layers][ranks * slots_per_rank]: expert of each slot, -1: none */
} moray_placement;

typedef struct moray_group_options {
  size_t struct_size;
  const char *comm; /* NULL or "auto" (default): "mpi" for more than one rank on CPUs, "nccl" on GPUs, else "self"; or
                       one of them */
  const char *comm_library; /* NULL: libmoray_comm_mpi.so beside the runtime; else its path */
  const char *rendezvous;   /* NULL: as the launcher says; else "HOST:PORT" of rank 0, or "file:PATH" */
  uint32_t ranks;           /* ranks that the caller expects; 0 (default): as many as the launcher started */
  uint32_t deadline_ms;     /* longest silence of a rank; default 10000 */
  int force_dist;           /* nonzero: run the distributed step on one rank as well, for tests and measurements */
  uint32_t nodes;           /* ranks are divided evenly over so many nodes, rank r is on r * nodes / ranks; default 1 */
  /* What ranks send back to the home of a row. NULL or "exact" (default): the result of each expert, so that nothing
   * depends on the ranks, to the bit; "rank_sum": one weighted sum per rank; "node_sum": one per node. All ranks alike.
   */
  const char *combine;
  const moray_placement *placement; /* NULL: slots in the order of experts, spare ones for replicas of the first. Else
                                       for these ranks and nodes, and the same on all; read during the call */
  const char *nccl_library;         /* NULL: libnccl.so.2 where the loader looks; else its path */
  const volatile int *cancel; /* NULL, or what a signal handler makes nonzero to end the wait for other ranks (5104) */
} moray_group_options;

typedef struct moray_group_info {
  uint32_t rank, ranks;
  moray_string launcher; /* "Open MPI", ..., "none" */
} moray_group_info;

MORAY_API void moray_group_options_init(moray_group_options *options);
/* Reads the launcher's variables; the ranks meet when each creates its engine. Without a launcher: one rank. Errors
 * 5002, 5101, 5112 for the placement. options may be NULL. */
MORAY_API MORAY_CHECKED moray_status *moray_group_create(const moray_group_options *options, moray_group **group);
MORAY_API void moray_group_destroy(moray_group *group); /* NULL is allowed */
MORAY_API void moray_group_query_info(const moray_group *group, moray_group_info *info);

/* ---- engine ---- */

typedef struct moray_engine moray_engine;
typedef struct moray_sequence moray_sequence;

enum {
  MORAY_OVERLAP_OFF = 0,
  MORAY_OVERLAP_ON = 1,  /* error 5008 without a distributed step, 5012 where the artifact has no step for it */
  MORAY_OVERLAP_AUTO = 2 /* with more than one rank on CPUs, where the artifact has a step for it */
};

typedef struct moray_engine_options {
  size_t struct_size;
  uint32_t threads;       /* 0 (default): one per CPU this process may use */
  uint32_t max_rows;      /* T: rows of one step; 0: 256, or max_seqs where that is more */
  uint32_t max_seqs;      /* B: sequences that run at once; 0: 1 */
  uint32_t max_outs;      /* N: rows with logits in one step, at least max_seqs; 0: max_seqs */
  uint32_t prefill_chunk; /* most prompt rows of one sequence in one step; 0: max_rows */
  uint32_t
      context; /* most tokens of one sequence, prompt and result; 0: the model's maximum or 4096, whichever is less */
  uint64_t cache_tokens; /* tokens the cache holds for all sequences; 0: max_seqs * context */
  const char *cpu_level; /* NULL or "auto": the best level that machine and artifact share; else exactly this one */
  int random_weights;    /* nonzero: fill the weights of a --weights=none artifact from random_weights_seed */
  uint64_t random_weights_seed;
  int profile; /* nonzero: time every kernel (costs a clock read per launch; on a GPU, steps then run without graphs).
                  2: on a GPU, its L2 cache is flushed before every launch, outside of the time */
  const char *device;       /* NULL or "cpu" (default), "cuda" (device 0), "cuda:N"; never another one than asked for */
  const char *cuda_library; /* NULL: libcuda.so.1 of the system; else the path of a library with its interface */
  const char *arena; /* GPU memory. NULL or "packed": one block; "guarded": an allocation per buffer, for tests */
  int cuda_graphs;   /* 1 (default): a decode step is one CUDA graph; 0: single launches */
  int cuda_sync;     /* nonzero: wait after each launch, so that a device fault names its kernel; no graphs */
  const moray_group *group; /* NULL (default): one process; else it outlives the engine, which is its only one. CPU only
                               for more than one rank */
  int overlap; /* MORAY_OVERLAP_*: split every distributed step into two micro-batches of whole sequences, so that rows
                  of one travel while the other computes. max_rows and max_outs are those of a micro-batch then, and a
                  step takes up to twice as many. Changes no result. */
} moray_engine_options;

/* Bytes. CPU: of the host; `total` leaves out weights that are mapped from the file. GPU: of the device, but commands.
 */
typedef struct moray_memory_plan {
  uint64_t weights;     /* mapped from the file, filled at random, or copied to the device */
  uint64_t cache;       /* latent cache of all layers */
  uint64_t activations; /* one arena, buffers packed by lifetime */
  uint64_t scratch;     /* of all workers; GPU: of the largest kernel */
  uint64_t io;          /* token ids, tables, logits, sampling */
  uint64_t commands;    /* decoded programs */
  uint64_t exchange;    /* what is sent to and received from other GPUs */
  uint64_t total;       /* allocated */
  uint64_t available;   /* moray_runtime_available_memory, or free memory of the device, when the plan was made; 0: no
                           device was asked */
} moray_memory_plan;

typedef struct moray_engine_info {
  size_t target;          /* index of the artifact's target that runs */
  moray_string device;    /* "cpu", or the name that the driver gives the GPU */
  moray_string cpu_level; /* empty on a GPU */
  uint32_t sm;            /* compute capability of the GPU; 0 on a CPU */
  size_t bucket_count;    /* batch sizes with a graph of their own; 0 without graphs */
  uint32_t threads, max_rows, max_seqs, max_outs, prefill_chunk, context;
  uint64_t cache_pages;
  moray_memory_plan memory;
  uint64_t create_ns;
  uint64_t weight_bytes_read; /* GPU: weights copied to the device so far, of experts those that live on this rank */
} moray_engine_info;

MORAY_API void moray_engine_options_init(moray_engine_options *options);
/* The exact bytes an engine with these options would allocate; allocates nothing of it. */
MORAY_API MORAY_CHECKED moray_status *
moray_model_query_memory(const moray_model *model, const moray_engine_options *options, moray_memory_plan *plan);
MORAY_API MORAY_CHECKED moray_status *moray_engine_create(const moray_model *model, const moray_engine_options *options,
                                                          moray_engine **engine);
/* Ends the threads and frees all sequences of the engine as well. NULL is allowed. */
MORAY_API void moray_engine_destroy(moray_engine *engine);
MORAY_API void moray_engine_query_info(const moray_engine *engine, moray_engine_info *info);

/* The variant of a kernel that the engine runs. */
typedef struct moray_code_info {
  size_t variant;
  int from_ptx; /* the driver compiled it when the engine was created */
} moray_code_info;

MORAY_API MORAY_CHECKED moray_status *moray_engine_query_code(const moray_engine *engine, size_t kernel,
                                                              moray_code_info *info);

/* A decode step of up to `seqs` sequences runs as one graph, captured when such a step first comes. */
typedef struct moray_bucket_info {
  uint32_t seqs;
  size_t launches; /* kernels in the graph; 0: not captured yet */
} moray_bucket_info;

MORAY_API MORAY_CHECKED moray_status *moray_engine_query_bucket(const moray_engine *engine, size_t bucket,
                                                                moray_bucket_info *info);

typedef struct moray_sequence_options {
  size_t struct_size;
  float temperature; /* 0 (default): greedy */
  uint32_t top_k;    /* 0 (default): off */
  float top_p;       /* in (0, 1]; 1 (default): off */
  uint64_t seed;
  uint32_t max_tokens; /* at least 1; default 2^32 - 1: until the context is full */
  int ignore_eos;
  int prompt_only; /* nonzero: stop after the prompt, sample nothing (for logits and scoring) */
  /* Where set, the caller's memory receives results as the rows are computed; it must stay valid until the sequence is
   * done. */
  float *logits; /* [logits_rows, vocab]: row i belongs to position i, prompt or generated */
  size_t logits_rows;
  float
      *log_probs; /* [prompt length - 1]: natural logarithm of p(prompt[i + 1] | prompt[0..i]); needs a score program */
} moray_sequence_options;

typedef enum moray_finish {
  MORAY_FINISH_NONE = 0, /* still waiting or running */
  MORAY_FINISH_EOS = 1,  /* the last token is an end token */
  MORAY_FINISH_MAX_TOKENS = 2,
  MORAY_FINISH_CONTEXT = 3, /* the context is full */
  MORAY_FINISH_PROMPT = 4,  /* prompt_only: all rows are done */
  MORAY_FINISH_CANCELLED = 5,
  MORAY_FINISH_FAILED = 6 /* the step that it was part of failed */
} moray_finish;

MORAY_API void moray_sequence_options_init(moray_sequence_options *options);
/* Queues a prompt; it joins the batch at a later step, in the order of addition, when a place and cache pages are free.
 * Errors: empty prompt 5003, unknown id 5004, prompt does not fit the context 5005, sampling or count out of range
 * 5006. options may be NULL. */
MORAY_API MORAY_CHECKED moray_status *moray_sequence_add(moray_engine *engine, const int32_t *ids, size_t count,
                                                         const moray_sequence_options *options,
                                                         moray_sequence **sequence);
/* Takes at most `capacity` tokens that were not taken before; the end token is among them. `*finish` is final once all
 * are taken. */
MORAY_API void moray_sequence_poll(moray_sequence *sequence, int32_t *ids, size_t capacity, size_t *count,
                                   moray_finish *finish);
/* Leaves the batch before the next step. Harmless when it is done. */
MORAY_API void moray_sequence_cancel(moray_sequence *sequence);
/* Cancels if needed and frees. NULL is allowed. */
MORAY_API void moray_sequence_release(moray_sequence *sequence);

typedef struct moray_sequence_info {
  size_t prompt_tokens, generated_tokens;
  uint64_t queue_ns;       /* addition to first step */
  uint64_t first_token_ns; /* addition to first generated token (or to the end of a prompt_only sequence); 0: not yet */
  uint64_t last_token_ns;  /* addition to the latest token */
} moray_sequence_info;

MORAY_API void moray_sequence_query_info(const moray_sequence *sequence, moray_sequence_info *info);

typedef struct moray_step_info {
  uint32_t rows, decode_rows, seqs, outs; /* 0 rows: nothing to do; in a group also while messages travel */
  uint32_t running, waiting;              /* sequences after the step */
  uint64_t ns;
} moray_step_info;

/* Runs one step: decode rows of all running sequences, then prompt rows as capacity allows. Allocates nothing. info may
 * be NULL. On error (5007: a value that is not finite, naming layer and kernel) no sequence of the step gets a token;
 * they finish as FAILED. In a group: one step of all ranks; rows, decode_rows, seqs and outs are sums over the ranks,
 * and results of other ranks arrive with the following step: go on while `running` or `waiting` is not 0, and call it
 * at least every half deadline. */
MORAY_API MORAY_CHECKED moray_status *moray_engine_step(moray_engine *engine, moray_step_info *info);

/* Ranks other than 0: computes what rank 0 asks for until rank 0 destroys its engine; NULL then. Any error is final. On
 * rank 0 and without a group: error 5002. Other ranks call none of the functions on sequences and steps. */
MORAY_API MORAY_CHECKED moray_status *moray_group_serve(moray_engine *engine);
/* Rank 0: ends the group in order and says which rank was lost meanwhile (exit code 9); destroying the engine does it,
 * too, but silently. No sequence can be stepped afterwards. NULL on other ranks, without a group, and after a failure
 * that was reported before. */
MORAY_API MORAY_CHECKED moray_status *moray_group_end(moray_engine *engine);

/* On rank 0: all ranks change to another placement of their experts while they go on. It travels with the next step;
 * every rank gets the weights that it lacks in the background; when all have them, all change between the same two
 * steps, and `placements` of the statistics counts it. One at a time: 5002 while another is under way. 5112: it is for
 * other ranks, nodes, experts or layers, or a slot is wrong. Read during the call. */
MORAY_API MORAY_CHECKED moray_status *moray_engine_place(moray_engine *engine, const moray_placement *placement);

/* On rank 0: how many rows each expert was given since the engine was created, summed over the ranks: loads
 * [layers][experts]. Counted by distributed steps (5002 in a local one); takes steps until all ranks have answered. */
MORAY_API MORAY_CHECKED moray_status *moray_engine_expert_loads(moray_engine *engine, uint64_t *loads);

/* Convenience, each adds one sequence and steps until it is done; other sequences of the engine make progress too.
 * logits: [count, vocab] of all positions. log_probs: [count - 1]. */
MORAY_API MORAY_CHECKED moray_status *moray_engine_logits(moray_engine *engine, const int32_t *ids, size_t count,
                                                          float *logits);
MORAY_API MORAY_CHECKED moray_status *moray_engine_score(moray_engine *engine, const int32_t *ids, size_t count,
                                                         float *log_probs);

typedef struct moray_statistics {
  uint64_t steps, launches, barriers;
  uint64_t prompt_rows, decode_rows, sampled_tokens;
  uint64_t placements; /* changes of the placement so far */
  uint64_t step_ns;    /* inside compiled step programs */
  uint64_t sample_ns;  /* inside compiled sample and score programs */
  uint64_t host_ns;    /* batching and bookkeeping */
} moray_statistics;

MORAY_API void moray_engine_query_statistics(const moray_engine *engine, moray_statistics *statistics);

/* Times of one kernel since creation or the last reset; all zero without `profile`. */
typedef struct moray_kernel_profile {
  uint64_t launches, ns; /* all launches together */
  uint64_t median_ns;    /* of the first 4096 launches */
  /* A model of the latest launch: bytes of operands at the live counts (experts: as many as its rows can reach), each
   * read or written once, and multiply-adds * 2 of a matrix product; 0: no model of this class. */
  uint64_t bytes, flops;
} moray_kernel_profile;

MORAY_API MORAY_CHECKED moray_status *moray_engine_query_kernel_profile(const moray_engine *engine, size_t kernel,
                                                                        moray_kernel_profile *profile);
MORAY_API void moray_engine_reset_profile(moray_engine *engine);

/* ---- probes: the machine's limits, measured by compiled kernels of class "probe" (contract in schema/kernel_abi.h)
 * ---- */

typedef struct moray_probe_options {
  size_t struct_size;
  uint64_t bytes;      /* of memory, split over the workers; default 256 MiB */
  uint64_t iterations; /* passes over it; default 1 */
} moray_probe_options;

typedef struct moray_probe_result {
  uint64_t work; /* bytes read, or floating-point operations (a fused multiply-add is 2), as counted by the kernel */
  uint64_t ns;
} moray_probe_result;

MORAY_API void moray_probe_options_init(moray_probe_options *options);
/* Runs probe kernel `name` once, on all workers or multiprocessors, and times it. On a GPU `name` may also be "copy",
 * the driver's own copy of `bytes` between two places, bytes read and written both counted. The memory is allocated,
 * touched and freed by the call. options may be NULL. Errors: 5009 no probe of that name, 5001 no memory for it. */
MORAY_API MORAY_CHECKED moray_status *moray_engine_run_probe(moray_engine *engine, const char *name,
                                                             const moray_probe_options *options,
                                                             moray_probe_result *result);

#ifdef __cplusplus
}
#endif
#endif
