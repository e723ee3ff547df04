// Plans the rows of each step and collects what the steps return.
#include "test/Reference/Session.h"

using namespace mlir;
using namespace moray::reference;

namespace {
struct Sequence {
  std::vector<int32_t> tokens; // prompt, then generated
  int64_t promptLength = 0, done = 0, firstNumber = 0;
  std::vector<int32_t> pages;
};

/// The rows of one sequence in one step.
struct Share {
  size_t sequence;
  int64_t count;
  bool decode;
};

class Session {
public:
  Session(Interpreter &interpreter, const std::vector<std::vector<int32_t>> &prompts, const SessionOptions &options);
  FailureOr<SessionResult> run();

private:
  std::vector<Share> plan() const;
  StepInput makeStep(const std::vector<Share> &shares) const;
  void collect(const std::vector<Share> &shares, const StepInput &input, const StepResult &step);

  Interpreter &interpreter;
  const SessionOptions &options;
  std::unique_ptr<Cache> cache;
  std::vector<Sequence> sequences;
  int64_t promptTokens = 0;
  SessionResult result;
};
} // namespace

Session::Session(Interpreter &interpreter, const std::vector<std::vector<int32_t>> &prompts,
                 const SessionOptions &options)
    : interpreter(interpreter), options(options), cache(interpreter.makeCache()) {
  for (const std::vector<int32_t> &prompt : prompts) {
    Sequence sequence;
    sequence.tokens = prompt;
    sequence.promptLength = prompt.size();
    sequence.firstNumber = promptTokens;
    promptTokens += prompt.size();
    int64_t length = prompt.size() + options.greedy, page = cache ? cache->page : 1;
    for (int64_t i = 0; i < (length + page - 1) / page; ++i)
      sequence.pages.push_back(i * prompts.size() + prompts.size() - 1 - sequences.size());
    sequences.push_back(std::move(sequence));
  }
}

/// What each sequence does next, decode rows first.
std::vector<Share> Session::plan() const {
  std::vector<Share> decode, prefill;
  for (size_t i = 0; i < sequences.size(); ++i) {
    const Sequence &sequence = sequences[i];
    int64_t open = sequence.tokens.size() - sequence.done;
    bool generates = sequence.done >= sequence.promptLength;
    if (open == 0)
      continue;
    int64_t count = options.chunk > 0 ? std::min(options.chunk, open) : open;
    (generates || options.decodeForm ? decode : prefill).push_back({i, count, generates || options.decodeForm});
  }
  decode.insert(decode.end(), prefill.begin(), prefill.end());
  return decode;
}

StepInput Session::makeStep(const std::vector<Share> &shares) const {
  StepInput input;
  Rows &rows = input.rows;
  std::vector<int32_t> tokens, outs;
  for (const Share &share : shares) {
    const Sequence &sequence = sequences[share.sequence];
    rows.cuRows.push_back(tokens.size());
    for (int64_t position = sequence.done; position < sequence.done + share.count; ++position) {
      outs.push_back(tokens.size());
      tokens.push_back(sequence.tokens[position]);
      rows.positions.push_back(position);
      rows.rowSeq.push_back(rows.pageTable.size());
      input.tokenNumbers.push_back(position < sequence.promptLength ? sequence.firstNumber + position : -1);
    }
    rows.ctxLen.push_back(sequence.done + share.count);
    rows.pageTable.push_back(sequence.pages);
    rows.decodeRows += share.decode ? share.count : 0;
  }
  rows.cuRows.push_back(tokens.size());
  input.tokens = Tensor::vector(std::move(tokens));
  input.outRows = Tensor::vector(std::move(outs));
  return input;
}

static void keepRow(Tensor &table, int64_t count, int64_t index, const Tensor &source, int64_t row) {
  if (table.shape.empty())
    table = Tensor(Element::F32, {count, source.width()});
  std::copy_n(source.row(row), source.width(), table.row(index));
}

void Session::collect(const std::vector<Share> &shares, const StepInput &input, const StepResult &step) {
  int64_t row = 0;
  for (const Share &share : shares) {
    Sequence &sequence = sequences[share.sequence];
    for (int64_t i = 0; i < share.count; ++i, ++row)
      if (int64_t number = input.tokenNumbers[row]; number >= 0) {
        keepRow(result.logits, promptTokens, number, step.logits, row);
        keepRow(result.hidden, promptTokens, number, step.hidden, row);
      }
    sequence.done += share.count;
    bool atEnd = sequence.done == static_cast<int64_t>(sequence.tokens.size());
    if (atEnd && static_cast<int64_t>(result.greedy[share.sequence].size()) < options.greedy) {
      int32_t token = argmax(step.logits.row(row - 1), step.logits.width());
      result.greedy[share.sequence].push_back(token);
      if (static_cast<int64_t>(result.greedy[share.sequence].size()) < options.greedy)
        sequence.tokens.push_back(token);
    }
  }
}

FailureOr<SessionResult> Session::run() {
  if (!cache)
    return failure();
  interpreter.forced = options.forced;
  interpreter.recorded = &result.routing;
  interpreter.recordedTokens = promptTokens;
  result.greedy.resize(sequences.size());
  for (std::vector<Share> shares = plan(); !shares.empty(); shares = plan()) {
    StepInput input = makeStep(shares);
    FailureOr<StepResult> step = interpreter.step(input, *cache);
    if (failed(step))
      return failure();
    collect(shares, input, *step);
  }
  interpreter.recorded = nullptr;
  interpreter.forced = nullptr;
  return std::move(result);
}

FailureOr<SessionResult> moray::reference::runSession(Interpreter &interpreter,
                                                      const std::vector<std::vector<int32_t>> &prompts,
                                                      const SessionOptions &options) {
  return Session(interpreter, prompts, options).run();
}
