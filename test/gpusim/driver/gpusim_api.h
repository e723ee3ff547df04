// What libmoray_gpusim.so exports beyond the CUDA driver's names: reports and counters for tests.
#pragma once

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/// Positions in the answer of moray_gpusim_counters. New ones are added at the end.
enum {
  GPUSIM_DIRECT_LAUNCHES,    // kernels given to cuLaunchKernel outside of a capture
  GPUSIM_GRAPH_LAUNCHES,     // calls of cuGraphLaunch
  GPUSIM_LAST_GRAPH_KERNELS, // kernel nodes of the graph launched last
  GPUSIM_LAST_GRAPH_NODES,   // all nodes of the graph launched last
  GPUSIM_KERNELS_RUN,        // kernels executed so far, in graphs or not
  GPUSIM_SYNCHRONISATIONS,   // stream, event and context synchronisations asked for
  GPUSIM_BYTES_TO_DEVICE,    // copied so far
  GPUSIM_BYTES_TO_HOST,      // copied so far
  GPUSIM_ALLOCATIONS,        // successful cuMemAlloc calls
  GPUSIM_PEAK_BYTES,         // the most device memory held at once
  GPUSIM_REPORTS,            // reports so far
  GPUSIM_COUNTERS
};

/// Writes up to `count` counters to `values` and returns how many there are.
size_t moray_gpusim_counters(uint64_t *values, size_t count);

/// Writes all reports so far, one after another and each ended by a newline, cut to `size` bytes with the terminating
/// zero; `text` may be null when `size` is 0. Returns the bytes needed, with the zero.
size_t moray_gpusim_reports(char *text, size_t size);

/// Reports so far, including leaks.
size_t moray_gpusim_report_count(void);

/// For host functions, which may not call the driver, of libraries that simulate more of a machine: copies device
/// memory and, byte by byte, whether it was ever written (1 or 0). Returns a CUresult; a range that no allocation holds
/// is reported and becomes the context's sticky error, as in a kernel.
int moray_gpusim_read(uint64_t address, size_t bytes, void *data, uint8_t *written);
int moray_gpusim_write(uint64_t address, size_t bytes, const void *data, const uint8_t *written);

/// Adds a line to the reports.
void moray_gpusim_report(const char *text);

/// How many graphs, executable or not, hold a host function with this argument.
size_t moray_gpusim_graphs_with(const void *userData);

/// Forgets everything as if the library had just been loaded: contexts, reports, counters; reads the environment again.
/// For tests that run in one process; no other call may be in progress.
void moray_gpusim_reset(void);

#pragma GCC visibility pop

#ifdef __cplusplus
}
#endif
