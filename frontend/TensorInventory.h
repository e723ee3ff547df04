// The tensors that a configuration implies (spec model.md 3) and their comparison with a checkpoint's headers.
#ifndef MORAY_FRONTEND_TENSORINVENTORY_H
#define MORAY_FRONTEND_TENSORINVENTORY_H

#include "frontend/Checkpoint.h"
#include "frontend/ModelConfig.h"

#include <cstdint>
#include <string>
#include <vector>

namespace moray::frontend {

// What a tensor is, which decides what may be stored in it.
enum class TensorRole {
  Linear,     // [out, in]; FP8 with block scales in an FP8 checkpoint
  Plain,      // never quantised: embedding, head, norms, router, MTP projection
  Bias,       // [out] of a linear
  RouterBias, // [experts], F32 by preference
};

// One tensor (or one tensor per expert) that a model or a layer must have.
struct TensorSlot {
  std::string id;              // unique within its list, e.g. "q_a", "gate_e"; becomes part of the weight symbol
  std::string name;            // tensor name; "{l}" stands for the layer, "{e}" for the expert
  std::vector<uint64_t> shape; // of one tensor
  TensorRole role = TensorRole::Plain;
  uint64_t experts = 0;  // number of tensors when `name` has an "{e}", else 0
  bool optional = false; // MTP copies of embedding and head
};

// A slot with its stored type.
struct StoredSlot {
  TensorSlot slot;
  DType dtype = DType::BF16; // F8E4M3, BF16, F32 (or F16, router bias only); experts all agree
  // For F8E4M3: the template of the scale's name and its type (F32 or F8E8M0); shape ceil(shape / 128).
  std::string scaleName;
  DType scaleDType = DType::F32;
  std::vector<uint64_t> scaleShape() const;
  bool isQuantized() const { return dtype == DType::F8E4M3; }
};

struct Inventory {
  std::vector<StoredSlot> model;               // embed, norm, head (no head when tied)
  std::vector<std::vector<StoredSlot>> layers; // main layers 0 .. L-1
  std::vector<std::vector<StoredSlot>> mtp;    // layers L .. L+D-1: checked, not part of the main model
  uint64_t parameters = 0;                     // main model, scales not counted
  uint64_t mtpParameters = 0;                  // MTP layers, without their copies of embedding and head
  uint64_t tensors = 0, bytes = 0;             // everything expected (scales, MTP and present copies included)
};

// Slots by structure alone.
std::vector<TensorSlot> modelSlots(const ModelConfig &config);
std::vector<TensorSlot> layerSlots(const ModelConfig &config, int64_t layer);
std::vector<TensorSlot> mtpSlots(const ModelConfig &config, int64_t layer);

// Replaces "{l}" and "{e}".
std::string tensorName(const std::string &nameTemplate, int64_t layer, int64_t expert);

// Inventory of a configuration without weights: linears are FP8 iff quantization_config says so; MTP copies are
// counted. Error: E2104 when the parameter total does not fit 62 bits.
Expected<Inventory> inventoryFromConfig(const ModelConfig &config);

// Inventory of a checkpoint; reads no tensor bytes. With `strict` an unexplained tensor is an error, else a warning.
// Errors: E2201 missing tensor, E2202 unexplained tensor, E2203 shape, E2204 dtype, E2205 scale missing, E2206 scale
// without FP8 weight, E2207 scale shape, E2208 scale dtype, E2209 FP8 on a non-linear tensor, E2210 FP8 without
// quantization_config, E2211 quantization_config without FP8, E2212 lm_head missing, E2213 router bias against
// topk_method, E2214 MTP layers against num_nextn_predict_layers, E2215 q projections against q_lora_rank, E2216 dtypes
// differ between experts, E2217 stacked experts.
Expected<Inventory> inventoryFromCheckpoint(const ModelConfig &config, const Checkpoint &checkpoint, bool strict,
                                            Warnings &warnings);

} // namespace moray::frontend

#endif // MORAY_FRONTEND_TENSORINVENTORY_H
