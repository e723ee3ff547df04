// Generates a continuation token by token, and writes the logits of a prompt.
#include "common/npy.h"
#include "moray-run/run.h"

#include <cerrno>
#include <chrono>
#include <cstring>
#include <nlohmann/json.hpp>

namespace moray::tools {

namespace {

// Everything one generation produced.
struct Result {
  std::vector<int32_t> ids;
  std::string text;
  moray_finish finish = MORAY_FINISH_NONE;
  moray_sequence_info info = {};
};

const char *finishName(moray_finish finish) {
  switch (finish) {
  case MORAY_FINISH_EOS:
    return "eos";
  case MORAY_FINISH_MAX_TOKENS:
    return "max_tokens";
  case MORAY_FINISH_CONTEXT:
    return "context";
  case MORAY_FINISH_CANCELLED:
    return "cancelled";
  case MORAY_FINISH_FAILED:
    return "failed";
  default:
    return "prompt";
  }
}

double perSecond(size_t tokens, uint64_t ns) {
  return ns ? 1e9 * static_cast<double>(tokens) / static_cast<double>(ns) : 0;
}

double decodeRate(const moray_sequence_info &info) {
  return info.generated_tokens > 1 ? perSecond(info.generated_tokens - 1, info.last_token_ns - info.first_token_ns) : 0;
}

void printTiming(const RunOptions &options, const moray_sequence_info &info) {
  std::fprintf(
      stderr,
      "\ntiming: load %.1f ms, first token %.1f ms, prompt %zu tokens %.1f tokens/s, decode %zu tokens %.1f tokens/s\n",
      options.loadMs, options.loadMs + info.first_token_ns / 1e6, info.prompt_tokens,
      perSecond(info.prompt_tokens, info.first_token_ns), info.generated_tokens, decodeRate(info));
}

// Bytes that are not UTF-8 (a token can end inside a character) become U+FFFD.
int printObject(const nlohmann::ordered_json &object) {
  std::string line = object.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
  return writeOut(line.data(), line.size());
}

int printJson(const RunOptions &options, const std::vector<int32_t> &prompt, const Result &result) {
  nlohmann::ordered_json object;
  object["schema"] = "moray.run/1";
  object["prompt_ids"] = prompt;
  object["generated_ids"] = result.ids;
  object["text"] = result.text;
  object["finish"] = finishName(result.finish);
  object["timings"] = {{"load_ms", options.loadMs},
                       {"first_token_ms", options.loadMs + result.info.first_token_ns / 1e6},
                       {"prompt_tokens_per_s", perSecond(prompt.size(), result.info.first_token_ns)},
                       {"decode_tokens_per_s", decodeRate(result.info)}};
  return printObject(object);
}

// Takes what the engine has produced; appends to the result and streams it unless JSON is wanted.
int takeTokens(const RunOptions &options, moray_sequence *sequence, moray_decoder *decoder, Result &result) {
  int32_t ids[64];
  size_t count = 0;
  do {
    moray_sequence_poll(sequence, ids, 64, &count, &result.finish);
    for (size_t i = 0; i < count; ++i) {
      result.ids.push_back(ids[i]);
      moray_string piece = {nullptr, 0};
      if (decoder)
        if (int code = report(moray_decoder_push(decoder, ids[i], &piece)))
          return code;
      std::string words = decoder ? text(piece) : (result.ids.size() > 1 ? "," : "") + std::to_string(ids[i]);
      result.text += decoder ? words : "";
      if (!options.json && !words.empty())
        if (int code = writeOut(words.data(), words.size()))
          return code;
    }
  } while (count == 64);
  return kExitOk;
}

// Steps until the sequence is done, the reader has left or the user interrupts.
int stepAll(const RunOptions &options, const Engine &engine, const Swap &swap, moray_sequence *sequence,
            moray_decoder *decoder, Result &result) {
  for (uint64_t step = 1; result.finish == MORAY_FINISH_NONE; ++step) {
    if (step == swap.step)
      if (int code = report(moray_engine_place(engine.get(), &swap.table.placement)))
        return code;
    if (interrupted())
      moray_sequence_cancel(sequence);
    if (int code = report(moray_engine_step(engine.get(), nullptr)))
      return code;
    if (int code = takeTokens(options, sequence, decoder, result))
      return code;
  }
  if (!decoder)
    return kExitOk;
  moray_string rest = {nullptr, 0};
  if (int code = report(moray_decoder_finish(decoder, &rest)))
    return code;
  result.text += text(rest);
  return options.json || rest.size == 0 ? int(kExitOk) : writeOut(rest.data, rest.size);
}

int addSequence(const Engine &engine, const std::vector<int32_t> &ids, const moray_sequence_options &options,
                Sequence &sequence) {
  moray_sequence *added = nullptr;
  int code = report(moray_sequence_add(engine.get(), ids.data(), ids.size(), &options, &added));
  sequence.reset(added);
  return code;
}

} // namespace

double nowMs() {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

int generate(const RunOptions &options, const Model &model, const Engine &engine, const Swap &swap,
             const std::vector<int32_t> &prompt) {
  moray_sequence_options sequenceOptions;
  moray_sequence_options_init(&sequenceOptions);
  moray_model_config config;
  moray_model_query_config(model.get(), &config);
  sequenceOptions.temperature = options.modelSampling ? config.temperature : options.temperature;
  sequenceOptions.top_k = options.modelSampling ? config.top_k : options.topK;
  sequenceOptions.top_p = options.modelSampling ? config.top_p : options.topP;
  sequenceOptions.seed = options.seed;
  sequenceOptions.ignore_eos = options.ignoreEos;
  if (options.maxTokens)
    sequenceOptions.max_tokens = options.maxTokens;
  Sequence sequence;
  if (int code = addSequence(engine, prompt, sequenceOptions, sequence))
    return code;

  // Without a tokenizer in the artifact the ids themselves are printed.
  Decoder decoder;
  if (config.has_tokenizer) {
    moray_decoder *created = nullptr;
    if (int code = report(moray_decoder_create(model.get(), /*skip_special=*/1, &created)))
      return code;
    decoder.reset(created);
  }
  Result result;
  int code = stepAll(options, engine, swap, sequence.get(), decoder.get(), result);
  moray_sequence_query_info(sequence.get(), &result.info);
  moray_statistics statistics;
  moray_engine_query_statistics(engine.get(), &statistics);
  if (code == kExitOk && swap.step != 0 && statistics.placements == 0)
    code = fail("E1011", "the text ended before all ranks had the weights for '" + options.swap + "'",
                "ask for more tokens, or an earlier step", kExitUsage);
  if (code == kExitOk && options.json)
    code = printJson(options, prompt, result);
  if (code == kExitOk || code == kExitClosedPipe)
    printTiming(options, result.info);
  return code == kExitOk && result.finish == MORAY_FINISH_CANCELLED ? interruptedExit() : code;
}

int writeLogits(const RunOptions &options, const Model &model, const Engine &engine,
                const std::vector<int32_t> &prompt) {
  moray_model_config config;
  moray_model_query_config(model.get(), &config);
  std::vector<float> logits(prompt.size() * config.vocab);
  if (int code = report(moray_engine_logits(engine.get(), prompt.data(), prompt.size(), logits.data())))
    return code;
  if (!writeNpy(options.logitsFile, logits.data(), prompt.size(), config.vocab))
    return fail("E1003", "cannot write '" + options.logitsFile + "': " + std::strerror(errno),
                "check the folder and the free space", kExitResources);
  if (!options.json)
    return kExitOk;
  nlohmann::ordered_json object;
  object["schema"] = "moray.run/1";
  object["prompt_ids"] = prompt;
  object["logits"] = {{"file", options.logitsFile}, {"shape", {prompt.size(), config.vocab}}};
  return printObject(object);
}

} // namespace moray::tools
