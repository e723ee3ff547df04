// The C API of text: tokenise, detokenise, streaming decoder.
#include "runtime/capi/handles.h"
#include <cstring>

using namespace moray::rt;

struct moray_decoder {
  moray_decoder(const Tokenizer &tokenizer, const DecodeOptions &options) : stream(tokenizer, options) {}

  StreamDecoder stream;
  std::unique_ptr<char[]> text; // stream.maxChunkBytes()
};

void moray_tokenize_options_init(moray_tokenize_options *options) {
  initOptions(options);
  options->parse_special = 1;
}

static Status needTokenizer(const moray_model *model) {
  MORAY_TRY(needPointer(model, "model"));
  if (!model->hasTokenizer)
    return fail(kE5011,
                "the artifact has no tokenizer; give token ids, or compile a directory that has a tokenizer.json");
  return {};
}

template <typename T> static Status copyOut(const GrowingArray<T> &source, T *target, size_t capacity, size_t *count) {
  *count = source.size();
  if (source.size() > capacity)
    return fail(kE5014, "the result has %zu elements, the buffer has room for %zu; call again with a larger one",
                source.size(), capacity);
  if (!source.empty())
    memcpy(target, source.data(), source.size() * sizeof(T));
  return {};
}

static Status tokenize(const moray_model *model, Span<const char> text, const moray_tokenize_options *given,
                       int32_t *ids, size_t capacity, size_t *count) {
  MORAY_TRY(needTokenizer(model));
  MORAY_TRY(needPointer(text.empty() ? "" : text.data(), "text"));
  MORAY_TRY(needPointer(count, "count"));
  moray_tokenize_options options;
  MORAY_TRY(readOptions(given, moray_tokenize_options_init, "moray_tokenize_options", options));
  if (options.bos < MORAY_BOS_AUTO || options.bos > MORAY_BOS_NO)
    return fail(kE5002, "bos is %d, expected MORAY_BOS_AUTO, MORAY_BOS_YES or MORAY_BOS_NO", options.bos);
  EncodeOptions encode;
  encode.addBos = options.bos == MORAY_BOS_AUTO  ? AddBos::Auto
                  : options.bos == MORAY_BOS_YES ? AddBos::Yes
                                                 : AddBos::No;
  encode.parseSpecial = options.parse_special != 0;
  GrowingArray<int32_t> result;
  MORAY_TRY(model->tokenizer.encode(text, encode, result));
  return copyOut(result, ids, capacity, count);
}

moray_status *moray_model_tokenize(const moray_model *model, const char *text, size_t size,
                                   const moray_tokenize_options *options, int32_t *ids, size_t capacity,
                                   size_t *count) {
  return tokenize(model, {text, size}, options, ids, capacity, count).release();
}

static Status detokenize(const moray_model *model, Span<const int32_t> ids, int skipSpecial, char *text,
                         size_t capacity, size_t *size) {
  MORAY_TRY(needTokenizer(model));
  MORAY_TRY(needPointer(size, "size"));
  DecodeOptions options;
  options.skipSpecial = skipSpecial != 0;
  GrowingArray<char> result;
  MORAY_TRY(model->tokenizer.decode(ids, options, result));
  return copyOut(result, text, capacity, size);
}

moray_status *moray_model_detokenize(const moray_model *model, const int32_t *ids, size_t count, int skip_special,
                                     char *text, size_t capacity, size_t *size) {
  return detokenize(model, {ids, count}, skip_special, text, capacity, size).release();
}

static Status createDecoder(const moray_model *model, int skipSpecial, moray_decoder **result) {
  MORAY_TRY(needTokenizer(model));
  MORAY_TRY(needPointer(result, "decoder"));
  DecodeOptions options;
  options.skipSpecial = skipSpecial != 0;
  auto decoder = std::make_unique<moray_decoder>(model->tokenizer, options);
  decoder->text = std::make_unique<char[]>(decoder->stream.maxChunkBytes());
  *result = decoder.release();
  return {};
}

moray_status *moray_decoder_create(const moray_model *model, int skip_special, moray_decoder **decoder) {
  return createDecoder(model, skip_special, decoder).release();
}

void moray_decoder_destroy(moray_decoder *decoder) { delete decoder; }

moray_status *moray_decoder_push(moray_decoder *decoder, int32_t id, moray_string *text) {
  *text = {decoder->text.get(), decoder->stream.push(id, decoder->text.get())};
  return nullptr;
}

moray_status *moray_decoder_finish(moray_decoder *decoder, moray_string *text) {
  *text = {decoder->text.get(), decoder->stream.finish(decoder->text.get())};
  return nullptr;
}
