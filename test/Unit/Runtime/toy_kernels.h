// The kernels of the toy model: machine code in a section of its own, which the tests copy into artifacts as an image.
#ifndef MORAY_TEST_TOY_KERNELS_H
#define MORAY_TEST_TOY_KERNELS_H

#include "kernel_abi.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { TOY_VOCAB = 64, TOY_PAGE = 4, TOY_LAYERS = 3, TOY_EXPERTS = 5 };

// Bounds of the section, from the linker.
extern const uint8_t __start_toykernels[];
extern const uint8_t __stop_toykernels[];

#define TOY_KERNEL(name) void name(const moray_kernel_args *args, uint64_t task, void *scratch, uint32_t *fault)

TOY_KERNEL(toy_embed);  // tokens, x
TOY_KERNEL(toy_append); // x, rows (5 pointers), cache
TOY_KERNEL(toy_attend); // x, rows (5 pointers), cache, per-layer weight, local buffer
TOY_KERNEL(toy_logits); // x, out_rows, table, logits
TOY_KERNEL(toy_sample); // logits, params, sampled
TOY_KERNEL(toy_score);  // logits, targets, log_probs
TOY_KERNEL(toy_probe);  // data, sink
TOY_KERNEL(toy_route);  // x, tokens, offsets: each row goes to one expert
TOY_KERNEL(toy_expert); // x, tokens, offsets, e [slot]
TOY_KERNEL(toy_merge);  // e, tokens, offsets, x

#ifdef __cplusplus
}
#endif
#endif
