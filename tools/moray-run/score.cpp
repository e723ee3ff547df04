// Scores a text: log-probabilities of its tokens in windows, and their perplexity.
#include "moray-run/run.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

namespace moray::tools {

// Scores ids[begin, end) after one BOS (if the model has one) and appends the log-probabilities.
static int scoreWindow(const Engine &engine, int32_t bos, const std::vector<int32_t> &ids, size_t begin, size_t end,
                       std::vector<float> &logProbs) {
  std::vector<int32_t> window;
  if (bos >= 0)
    window.push_back(bos);
  window.insert(window.end(), ids.begin() + begin, ids.begin() + end);
  if (window.size() < 2)
    return kExitOk; // a lone token has nothing before it
  size_t scored = logProbs.size();
  logProbs.resize(scored + window.size() - 1);
  return report(moray_engine_score(engine.get(), window.data(), window.size(), logProbs.data() + scored));
}

int score(const RunOptions &options, const Model &model, const Engine &engine) {
  std::string text;
  if (!readFile(options.scoreFile, text))
    return kExitUsage;
  if (text.empty())
    return fail("E1005", "the text to score is empty", "give a file with text", kExitUsage);
  std::vector<int32_t> ids;
  if (int code = tokenize(model, text, MORAY_BOS_NO, ids))
    return code;

  moray_model_config config;
  moray_model_query_config(model.get(), &config);
  std::vector<float> logProbs;
  double begin = nowMs();
  for (size_t from = 0; from < ids.size(); from += options.window - 1) {
    if (interrupted())
      return interruptedExit();
    if (int code = scoreWindow(engine, config.bos, ids, from, std::min<size_t>(ids.size(), from + options.window - 1),
                               logProbs))
      return code;
  }
  if (logProbs.empty())
    return fail("E1005", "the text to score has one token and nothing before it", "give a longer text", kExitUsage);
  double seconds = (nowMs() - begin) / 1e3, sum = 0;
  for (float logProb : logProbs)
    sum -= logProb;
  double nll = sum / static_cast<double>(logProbs.size());
  if (options.json) {
    nlohmann::ordered_json object = {{"schema", "moray.score/1"},   {"tokens", logProbs.size()},
                                     {"window", options.window},    {"nll", nll},
                                     {"perplexity", std::exp(nll)}, {"ids", ids},
                                     {"log_probs", logProbs}};
    std::string line = object.dump() + "\n";
    if (int code = writeOut(line.data(), line.size()))
      return code;
  } else {
    std::printf("perplexity %.6f, nll %.6f per token, %zu tokens, window %u\n", std::exp(nll), nll, logProbs.size(),
                options.window);
  }
  std::fprintf(stderr, "timing: load %.1f ms, score %zu tokens %.1f tokens/s\n", options.loadMs, logProbs.size(),
               static_cast<double>(logProbs.size()) / seconds);
  return flushOut();
}

} // namespace moray::tools
