// Collects everything the C API says about an artifact into one JSON value.
#include "moray-inspect/inspect.h"

#include <cinttypes>

namespace moray::tools {

using Json = nlohmann::ordered_json;

namespace {

Json describeConfig(const moray_model_config &config, const moray_target_info &target) {
  return {{"family", text(config.family)},
          {"numerics", text(target.numerics)},
          {"deterministic", target.deterministic != 0},
          {"parameters", config.parameters},
          {"vocab", config.vocab},
          {"hidden", config.hidden},
          {"layers", config.layers},
          {"heads", config.heads},
          {"experts", config.experts},
          {"experts_per_token", config.experts_per_token},
          {"max_positions", config.max_positions},
          {"cache",
           {{"width", config.cache_width}, {"dtype", text(target.cache_dtype)}, {"page_tokens", config.cache_page}}},
          {"active_weight_bytes", target.active_weight_bytes},
          {"active_flops", target.active_flops},
          {"bos", config.bos},
          {"eos", std::vector<int32_t>(config.eos, config.eos + config.eos_count)},
          {"sampling", {{"temperature", config.temperature}, {"top_k", config.top_k}, {"top_p", config.top_p}}},
          {"weights_embedded", config.weights_embedded != 0},
          {"has_tokenizer", config.has_tokenizer != 0},
          {"can_score", config.can_score != 0}};
}

int describeProvenance(const Model &model, Json &out) {
  moray_provenance provenance;
  moray_model_query_provenance(model.get(), &provenance);
  char hash[17];
  std::snprintf(hash, sizeof hash, "%016" PRIx64, provenance.input_hash);
  out = {{"compiler", text(provenance.compiler)}, {"source", text(provenance.source)}, {"input_hash", hash}};
  out["flags"] = Json::array();
  out["phases"] = Json::array();
  moray_string item;
  for (size_t i = 0; i < provenance.flag_count; ++i) {
    if (int code = report(moray_model_query_flag(model.get(), i, &item)))
      return code;
    out["flags"].push_back(text(item));
  }
  for (size_t i = 0; i < provenance.phase_count; ++i) {
    if (int code = report(moray_model_query_phase(model.get(), i, &item)))
      return code;
    out["phases"].push_back(text(item));
  }
  return kExitOk;
}

int describePrograms(const Model &model, const moray_target_info &target, Json &out) {
  out = Json::array();
  for (size_t i = 0; i < target.program_count; ++i) {
    moray_program_info info;
    if (int code = report(moray_model_query_program(model.get(), 0, i, &info)))
      return code;
    out.push_back({{"name", text(info.name)},
                   {"kind", text(info.kind)},
                   {"buffers", info.buffer_count},
                   {"commands", info.command_count},
                   {"launches", info.launch_count}});
  }
  return kExitOk;
}

int describeKernels(const Model &model, const moray_target_info &target, Json &out) {
  out = Json::array();
  for (size_t i = 0; i < target.kernel_count; ++i) {
    moray_kernel_info info;
    if (int code = report(moray_model_query_kernel(model.get(), 0, i, &info)))
      return code;
    Json kernel = {{"name", text(info.name)},
                   {"class", text(info.klass)},
                   {"operands", info.operand_count},
                   {"launches_per_step", info.launch_count},
                   {"variants", Json::array()}};
    for (size_t v = 0; v < info.variant_count; ++v) {
      moray_variant_info variant;
      if (int code = report(moray_model_query_variant(model.get(), 0, i, v, &variant)))
        return code;
      kernel["variants"].push_back(
          {{"level", text(variant.level)}, {"code_bytes", variant.code_bytes}, {"config", text(variant.config)}});
    }
    out.push_back(kernel);
  }
  return kExitOk;
}

int describeWeights(const Model &model, Json &out) {
  out = Json::array();
  for (size_t i = 0; i < moray_model_weight_count(model.get()); ++i) {
    moray_weight_info info;
    if (int code = report(moray_model_query_weight(model.get(), i, &info)))
      return code;
    out.push_back({{"name", text(info.name)},
                   {"dtype", text(info.dtype)},
                   {"dims", std::vector<uint64_t>(info.dims, info.dims + info.dim_count)},
                   {"row_pitch", info.row_pitch},
                   {"bytes", info.bytes},
                   {"tensors", info.tensor_count}});
  }
  return kExitOk;
}

int describeMemory(const Model &model, const moray_engine_options &options, Json &out) {
  moray_memory_plan plan;
  if (int code = report(moray_model_query_memory(model.get(), &options, &plan)))
    return code;
  out = {{"batch", options.max_seqs ? options.max_seqs : 1}};
  if (options.context)
    out["context"] = options.context;
  out.update({{"weights", plan.weights},
              {"cache", plan.cache},
              {"activations", plan.activations},
              {"scratch", plan.scratch},
              {"io", plan.io},
              {"commands", plan.commands},
              {"total", plan.total},
              {"available", plan.available}});
  return kExitOk;
}

} // namespace

int describe(const Model &model, const moray_engine_options &options, Json &out) {
  moray_model_config config;
  moray_model_query_config(model.get(), &config);
  out["schema"] = "moray.inspect/1";
  out["file"] = {{"bytes", config.file_bytes},
                 {"metadata_bytes", config.metadata_bytes},
                 {"code_bytes", config.code_bytes},
                 {"weight_bytes", config.weight_bytes}};
  moray_target_info target;
  if (int code = report(moray_model_query_target(model.get(), 0, &target)))
    return code;
  out["config"] = describeConfig(config, target);
  if (int code = describeProvenance(model, out["provenance"]))
    return code;
  if (int code = describePrograms(model, target, out["programs"]))
    return code;
  if (int code = describeKernels(model, target, out["kernels"]))
    return code;
  if (int code = describeWeights(model, out["weights"]))
    return code;
  return describeMemory(model, options, out["memory"]);
}

} // namespace moray::tools
