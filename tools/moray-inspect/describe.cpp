// Collects everything the C API says about an artifact into one JSON value.
#include "moray-inspect/inspect.h"

#include <cinttypes>

namespace moray::tools {

using Json = nlohmann::ordered_json;

namespace {

Json describeConfig(const moray_model_config &config) {
  return {{"family", text(config.family)},
          {"parameters", config.parameters},
          {"vocab", config.vocab},
          {"hidden", config.hidden},
          {"layers", config.layers},
          {"heads", config.heads},
          {"experts", config.experts},
          {"experts_per_token", config.experts_per_token},
          {"max_positions", config.max_positions},
          {"cache", {{"width", config.cache_width}, {"page_tokens", config.cache_page}}},
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

int describePrograms(const Model &model, size_t target, size_t count, Json &out) {
  out = Json::array();
  for (size_t i = 0; i < count; ++i) {
    moray_program_info info;
    if (int code = report(moray_model_query_program(model.get(), target, i, &info)))
      return code;
    out.push_back({{"name", text(info.name)},
                   {"kind", text(info.kind)},
                   {"buffers", info.buffer_count},
                   {"commands", info.command_count},
                   {"launches", info.launch_count}});
  }
  return kExitOk;
}

// CPU code has a level; GPU code has chips, and a launch for each stage.
int describeVariant(const Model &model, size_t target, size_t kernel, size_t index, Json &out) {
  moray_variant_info info;
  if (int code = report(moray_model_query_variant(model.get(), target, kernel, index, &info)))
    return code;
  out = {{"kind", text(info.kind)}};
  if (info.stage_count == 0)
    out["level"] = text(info.level);
  else
    out.update({{"sm", info.sm}, {"ptx_version", info.ptx_version}});
  out.update({{"code_bytes", info.code_bytes}, {"config", text(info.config)}});
  for (size_t s = 0; s < info.stage_count; ++s) {
    moray_stage_info stage;
    if (int code = report(moray_model_query_stage(model.get(), target, kernel, index, s, &stage)))
      return code;
    out["stages"].push_back({{"entry", text(stage.entry)},
                             {"threads", stage.threads},
                             {"registers", stage.registers},
                             {"static_shared", stage.static_shared},
                             {"dynamic_shared", stage.dynamic_shared}});
  }
  return kExitOk;
}

int describeKernels(const Model &model, size_t target, size_t count, Json &out) {
  out = Json::array();
  for (size_t i = 0; i < count; ++i) {
    moray_kernel_info info;
    if (int code = report(moray_model_query_kernel(model.get(), target, i, &info)))
      return code;
    Json kernel = {{"name", text(info.name)},
                   {"class", text(info.klass)},
                   {"operands", info.operand_count},
                   {"launches_per_step", info.launch_count},
                   {"variants", Json::array()}};
    for (size_t v = 0; v < info.variant_count; ++v)
      if (int code = describeVariant(model, target, i, v, kernel["variants"].emplace_back()))
        return code;
    out.push_back(kernel);
  }
  return kExitOk;
}

int describeTargets(const Model &model, Json &out) {
  out = Json::array();
  for (size_t i = 0; i < moray_model_target_count(model.get()); ++i) {
    moray_target_info info;
    if (int code = report(moray_model_query_target(model.get(), i, &info)))
      return code;
    Json target = {{"name", text(info.name)},
                   {"device", text(info.device)},
                   {"sm", info.sm},
                   {"numerics", text(info.numerics)},
                   {"deterministic", info.deterministic != 0},
                   {"cache_dtype", text(info.cache_dtype)},
                   {"active_weight_bytes", info.active_weight_bytes},
                   {"active_flops", info.active_flops},
                   {"weight_bytes", info.weight_bytes},
                   {"code_bytes", info.code_bytes}};
    if (int code = describePrograms(model, i, info.program_count, target["programs"]))
      return code;
    if (int code = describeKernels(model, i, info.kernel_count, target["kernels"]))
      return code;
    out.push_back(std::move(target));
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
  out = {{"device", options.device}, {"batch", options.max_seqs ? options.max_seqs : 1}};
  if (options.context)
    out["context"] = options.context;
  out.update({{"weights", plan.weights},
              {"cache", plan.cache},
              {"activations", plan.activations},
              {"scratch", plan.scratch},
              {"io", plan.io},
              {"commands", plan.commands},
              {"exchange", plan.exchange},
              {"total", plan.total},
              {"available", plan.available}});
  return kExitOk;
}

} // namespace

int describe(const Model &model, moray_engine_options options, Json &out) {
  moray_model_config config;
  moray_model_query_config(model.get(), &config);
  out["schema"] = "moray.inspect/2";
  out["file"] = {{"bytes", config.file_bytes},
                 {"metadata_bytes", config.metadata_bytes},
                 {"code_bytes", config.code_bytes},
                 {"weight_bytes", config.weight_bytes}};
  out["config"] = describeConfig(config);
  if (int code = describeProvenance(model, out["provenance"]))
    return code;
  if (int code = describeTargets(model, out["targets"]))
    return code;
  if (int code = describeWeights(model, out["weights"]))
    return code;
  const std::string device = out["targets"][0]["device"];
  options.device = device.c_str();
  return describeMemory(model, options, out["memory"]);
}

} // namespace moray::tools
