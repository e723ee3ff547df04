// Expanded and absorbed attention over a paged cache against test/golden/ops/attention.
#include "OpsGolden.h"

using namespace moray::reference;

namespace {
/// The golden batch: all keys appended, then the queries as the rows of a step.
struct Batch {
  explicit Batch(const std::string &name) : golden("attention"), prefix("mla." + name + ".") {
    const Tensor &latent = get("latent"), &rope = get("rope"), &q = get("q");
    cache = std::make_unique<Cache>(latent.width(), rope.width(), 16, Element::F32);
    shape.heads = q.shape[1];
    shape.nope = q.shape[2] - rope.width();
    shape.value = get("context").shape[2];
    shape.scale = get("sigma").values[0];
    const std::vector<int32_t> &keys = get("cu_keys").ints, &queries = get("cu_queries").ints;
    Rows all;
    for (size_t s = 0; s + 1 < keys.size(); ++s) {
      int32_t count = keys[s + 1] - keys[s];
      std::vector<int32_t> pages;
      for (int32_t page = 0; page * 16 < count; ++page)
        pages.push_back(page * 3 + 2 - s); // the sequences share the pool
      for (int32_t i = 0; i < count; ++i)
        all.positions.push_back(i), all.rowSeq.push_back(s);
      for (int32_t i = queries[s]; i < queries[s + 1]; ++i)
        rows.positions.push_back(get("query_position").ints[i]), rows.rowSeq.push_back(s);
      all.pageTable.push_back(pages), rows.pageTable.push_back(pages);
      all.ctxLen.push_back(count), rows.ctxLen.push_back(count);
    }
    append({cache.get(), 0}, all, latent, rope);
    query = reshaped(q, {q.shape[0], q.shape[1] * q.shape[2]});
  }
  const Tensor &get(const std::string &name) const { return golden[prefix + name]; }

  OpsGolden golden;
  std::string prefix;
  std::unique_ptr<Cache> cache;
  AttentionShape shape;
  Rows rows;
  Tensor query;
};
} // namespace

TEST(Attention, Expanded) {
  for (std::string name : {"small", "full"}) {
    Batch batch(name);
    Tensor actual = attention(batch.query, {batch.cache.get(), 0}, batch.rows, Matrix::of(batch.get("kv_b"), nullptr),
                              batch.shape, Activation::AsRows, 0, Element::F32);
    EXPECT_LE(maxDifference(actual, batch.get("context")), 2e-6 * rms(batch.get("context"))) << name;
  }
}

TEST(Attention, Absorbed) {
  for (std::string name : {"small", "full"}) {
    Batch batch(name);
    batch.rows.decodeRows = batch.rows.count();
    Matrix kvB = Matrix::of(batch.get("kv_b"), nullptr);
    Tensor into(Element::F32, {batch.rows.count(), batch.shape.heads * batch.shape.value});
    Tensor absorbed = absorbQuery(batch.query, batch.rows, kvB, batch.shape, Element::F32);
    Tensor latent =
        latentAttention(absorbed, batch.query, {batch.cache.get(), 0}, batch.rows, batch.shape, Element::F32);
    Tensor actual = absorbValue(latent, batch.rows, kvB, into, batch.shape, Element::F32);
    EXPECT_LE(maxDifference(actual, batch.get("context")), 2e-6 * rms(batch.get("context"))) << name;
  }
}

TEST(Attention, RowsOfTheOtherFormStayUnwritten) {
  Batch batch("small");
  batch.rows.decodeRows = 3;
  Matrix kvB = Matrix::of(batch.get("kv_b"), nullptr);
  Tensor prefill =
      attention(batch.query, {batch.cache.get(), 0}, batch.rows, kvB, batch.shape, Activation::AsRows, 3, Element::F32);
  Tensor decode = absorbQuery(batch.query, batch.rows, kvB, batch.shape, Element::F32);
  for (int64_t t = 0; t < batch.rows.count(); ++t) {
    EXPECT_EQ(std::isnan(prefill.row(t)[0]), t < 3);
    EXPECT_EQ(std::isnan(decode.row(t)[0]), t >= 3);
  }
}
