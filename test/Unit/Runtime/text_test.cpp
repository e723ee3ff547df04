// The text functions of the C API on a tokenizer of three letters and an end token; the tokenizer itself has tests of
// its own.
#include "runtime_test.h"

using namespace moray::test;
using namespace moray::schema;

namespace {

// a = 0, b = 1, c = 2, the added special token <e> = 3; BOS is b.
std::unique_ptr<TokenizerT> letters() {
  auto table = std::make_unique<TokenizerT>();
  for (char c : std::string("abc<e>"))
    table->token_bytes.push_back(static_cast<uint8_t>(c));
  table->token_offsets = {0, 1, 2, 3, 6};
  table->token_flags = {0, 0, 0, static_cast<uint8_t>(TokenFlags::Special) | static_cast<uint8_t>(TokenFlags::Added)};
  table->byte_tokens.assign(256, -1);
  for (int i = 0; i < 3; ++i)
    table->byte_tokens['a' + i] = i;
  table->sets.emplace_back(0, 0, 0, 0);
  table->bos = 1;
  return table;
}

std::string textOf(moray_string text) { return {text.data, text.size}; }

} // namespace

TEST(Text, BothDirections) {
  ToyArtifact toy;
  toy.metadata.tokenizer = letters();
  const ToyModel model(toy);
  moray_tokenize_options options;
  moray_tokenize_options_init(&options);
  options.bos = MORAY_BOS_YES;
  int32_t ids[8];
  size_t count = 0;
  EXPECT_OK(moray_model_tokenize(model.get(), "cab", 3, &options, ids, 8, &count));
  EXPECT_EQ(std::vector<int32_t>(ids, ids + count), (std::vector<int32_t>{1, 2, 0, 1}));
  const int32_t written[] = {2, 3, 0, 77};
  char text[8];
  EXPECT_OK(moray_model_detokenize(model.get(), written, 4, 0, text, 8, &count));
  EXPECT_EQ(std::string(text, count), "c<e>a");
  EXPECT_OK(moray_model_detokenize(model.get(), written, 4, 1, text, 8, &count));
  EXPECT_EQ(std::string(text, count), "ca");
}

TEST(Text, SmallBuffersAreToldWhatTheyNeed) {
  ToyArtifact toy;
  toy.metadata.tokenizer = letters();
  const ToyModel model(toy);
  size_t count = 0;
  EXPECT_FAILS(moray_model_tokenize(model.get(), "abcabc", 6, nullptr, nullptr, 0, &count), "E5014", "6 elements");
  EXPECT_EQ(count, 6u);
  const int32_t ids[] = {3, 3};
  char text[2];
  EXPECT_FAILS(moray_model_detokenize(model.get(), ids, 2, 0, text, 2, &count), "E5014", "room for 2");
  EXPECT_EQ(count, 6u);
  moray_tokenize_options options;
  moray_tokenize_options_init(&options);
  options.bos = 9;
  EXPECT_FAILS(moray_model_tokenize(model.get(), "a", 1, &options, nullptr, 0, &count), "E5002", "bos is 9");
}

TEST(Text, StreamsPieces) {
  ToyArtifact toy;
  toy.metadata.tokenizer = letters();
  const ToyModel model(toy);
  moray_decoder *decoder = nullptr;
  EXPECT_OK(moray_decoder_create(model.get(), 1, &decoder));
  std::string all;
  moray_string text;
  for (int32_t id : {0, 3, 2, 99, 1}) {
    EXPECT_OK(moray_decoder_push(decoder, id, &text));
    all += textOf(text);
  }
  EXPECT_OK(moray_decoder_finish(decoder, &text));
  EXPECT_EQ(all + textOf(text), "acb");
  moray_decoder_destroy(decoder);
}
