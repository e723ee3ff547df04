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

void Outbox::signal(MessageKind kind) {
  const Message message = {kind, 0, 0, 0, 0, 0, 0};
  append(&message, sizeof(message));
}

void Outbox::place(const comm::ModelPlacement &placement) {
  const uint64_t slots = placement.layer(0).slots();
  const Message message = {MessageKind::Place, 0, 0, 0, placement.layers() * slots, 0, 0};
  append(&message, sizeof(message));
  for (uint32_t layer = 0; layer < placement.layers(); ++layer)
    append(placement.layer(static_cast<int32_t>(layer)).slotExperts().data(), slots * sizeof(int32_t));
}

void Outbox::loads(Span<const uint64_t> loads) {
  const Message message = {MessageKind::Loads, 0, 0, 0, loads.size(), 0, 0};
  append(&message, sizeof(message));
  append(loads.data(), loads.size() * sizeof(uint64_t));
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
  if (message.kind > MessageKind::Loads || message.count > data.size())
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

Status Inbox::numbers(uint64_t count, std::vector<uint64_t> &numbers) {
  numbers.resize(count);
  return take(numbers.data(), count * sizeof(uint64_t));
}

Status Inbox::floats(uint64_t count, float *target) { return take(target, count * sizeof(float)); }

} // namespace moray::rt
