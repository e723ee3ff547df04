// Encodes and decodes messages; both ends run on machines of one byte order.
#include "runtime/engine/messages.h"
#include <cstring>

namespace moray::rt {

void Outbox::append(const void *bytes, size_t count) {
  const auto *begin = static_cast<const uint8_t *>(bytes);
  data.insert(data.end(), begin, begin + count);
}

void Outbox::add(const moray_sequence &sequence) {
  const moray_sequence_options &options = sequence.options;
  const Message message = {MessageKind::Add, 0, sequence.number, options.logits_rows, sequence.promptTokens, 0, 0};
  const SequenceTerms terms = {options.temperature,      options.top_p,        options.top_k,
                               options.max_tokens,       options.seed,         options.ignore_eos != 0,
                               options.prompt_only != 0, sequence.keepsLogits, sequence.keepsLogProbs};
  append(&message, sizeof(message));
  append(&terms, sizeof(terms));
  append(sequence.tokens.data(), sequence.promptTokens * sizeof(int32_t));
}

void Outbox::cancel(uint64_t sequence) {
  const Message message = {MessageKind::Cancel, 0, sequence, 0, 0, 0, 0};
  append(&message, sizeof(message));
}

void Outbox::out(const Message &message, const float *logits) {
  append(&message, sizeof(message));
  append(logits, message.count * sizeof(float));
}

void Outbox::progress(uint64_t sequence, uint64_t rows) {
  const Message message = {MessageKind::Progress, 0, sequence, rows, 0, 0, 0};
  append(&message, sizeof(message));
}

Status Inbox::take(void *target, uint64_t bytes) {
  if (bytes > data.size() - at)
    return fail(kE5113,
                "rank %u sent a message of %zu bytes that ends too early; start all ranks from one installation", from,
                data.size());
  if (target)
    memcpy(target, data.data() + at, bytes);
  at += bytes;
  return {};
}

Status Inbox::next(Message &message) {
  MORAY_TRY(take(&message, sizeof(message)));
  if (message.kind > MessageKind::Progress || message.count > data.size())
    return fail(kE5113,
                "rank %u sent a message of the unknown kind %u or size %llu; start all ranks from one "
                "installation",
                from, static_cast<unsigned>(message.kind), static_cast<unsigned long long>(message.count));
  return {};
}

Status Inbox::terms(SequenceTerms &terms) { return take(&terms, sizeof(terms)); }

Status Inbox::ids(uint64_t count, std::vector<int32_t> &ids) {
  ids.resize(count);
  return take(ids.data(), count * sizeof(int32_t));
}

Status Inbox::floats(uint64_t count, float *target) { return take(target, count * sizeof(float)); }

} // namespace moray::rt
