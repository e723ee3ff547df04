// Reads golden files and measures how far a run is from them.
#include "test/Reference/Compare.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

using namespace moray;
using namespace moray::reference;

static std::optional<Tensor> convert(const frontend::TensorInfo &info, const std::vector<uint8_t> &bytes) {
  static const std::map<frontend::DType, Element> elements = {{frontend::DType::F32, Element::F32},
                                                              {frontend::DType::BF16, Element::BF16},
                                                              {frontend::DType::I32, Element::I32},
                                                              {frontend::DType::U8, Element::UI8}};
  auto element = elements.find(info.dtype);
  if (element == elements.end())
    return std::nullopt;
  Tensor out(element->second, std::vector<int64_t>(info.shape.begin(), info.shape.end()));
  for (int64_t i = 0; i < out.size(); ++i) {
    uint16_t half;
    switch (out.element) {
    case Element::BF16:
      std::memcpy(&half, bytes.data() + 2 * i, 2);
      out.values[i] = bf16FromBits(half);
      break;
    case Element::I32:
      std::memcpy(&out.ints[i], bytes.data() + 4 * i, 4);
      break;
    case Element::UI8:
      out.ints[i] = bytes[i];
      break;
    default:
      std::memcpy(&out.values[i], bytes.data() + 4 * i, 4);
    }
  }
  return out;
}

frontend::Expected<std::map<std::string, Tensor>> moray::reference::readTensors(const std::string &path) {
  frontend::Expected<frontend::SafetensorsFile> file = frontend::SafetensorsFile::open(path);
  if (!file)
    return file.error();
  std::map<std::string, Tensor> tensors;
  for (const frontend::TensorInfo &info : file->tensors()) {
    std::vector<uint8_t> bytes(info.bytes());
    if (frontend::Status status = file->read(info, 0, bytes.data(), bytes.size()); !status)
      return status.error();
    if (std::optional<Tensor> tensor = convert(info, bytes))
      tensors[info.name] = std::move(*tensor);
  }
  return tensors;
}

double moray::reference::maxRelativeError(const Tensor &actual, const Tensor &reference) {
  double worst = 0;
  if (actual.shape != reference.shape)
    return std::numeric_limits<double>::infinity();
  for (int64_t t = 0; t < reference.rows(); ++t) {
    double difference = 0, largest = 0;
    for (int64_t i = 0; i < reference.width(); ++i) {
      if (!std::isfinite(actual.row(t)[i]))
        return std::numeric_limits<double>::infinity();
      difference = std::max<double>(difference, std::fabs(actual.row(t)[i] - reference.row(t)[i]));
      largest = std::max<double>(largest, std::fabs(reference.row(t)[i]));
    }
    worst = std::max(worst, largest > 0      ? difference / largest
                            : difference > 0 ? std::numeric_limits<double>::infinity()
                                             : 0);
  }
  return worst;
}

Simdiff moray::reference::simdiff(const Tensor &actual, const Tensor &reference) {
  Simdiff result;
  double allProducts = 0, allNorms = 0;
  for (int64_t t = 0; t < reference.rows(); ++t) {
    double product = 0, norms = 0;
    for (int64_t i = 0; i < reference.width(); ++i) {
      double a = actual.row(t)[i], b = reference.row(t)[i];
      product += a * b;
      norms += a * a + b * b;
    }
    result.rows.push_back(1 - 2 * product / norms);
    allProducts += product;
    allNorms += norms;
  }
  result.total = 1 - 2 * allProducts / allNorms;
  return result;
}

frontend::Expected<Golden> Golden::read(const std::string &path) {
  auto tensors = readTensors(path);
  if (!tensors)
    return tensors.error();
  Golden golden;
  golden.tensors = std::move(*tensors);
  for (const char *name : {"input_ids", "cu_seqlens"})
    if (!golden.find(name))
      return frontend::Error::describe(2040, path, std::string("no tensor ") + name, "a golden run with its prompts",
                                       "");
  return golden;
}

const Tensor *Golden::find(const std::string &name) const {
  auto found = tensors.find(name);
  return found == tensors.end() ? nullptr : &found->second;
}

std::vector<std::vector<int32_t>> Golden::prompts() const {
  const std::vector<int32_t> &ids = find("input_ids")->ints, &starts = find("cu_seqlens")->ints;
  std::vector<std::vector<int32_t>> result;
  for (size_t i = 0; i + 1 < starts.size(); ++i)
    result.emplace_back(ids.begin() + starts[i], ids.begin() + starts[i + 1]);
  return result;
}

RoutingTable Golden::routing() const {
  RoutingTable table;
  for (const auto &[name, tensor] : tensors) {
    int layer = 0, end = 0;
    if (std::sscanf(name.c_str(), "router.%d.ids%n", &layer, &end) == 1 && end == static_cast<int>(name.size()))
      table.ids[layer] = tensor;
  }
  return table;
}

Comparison moray::reference::compare(const SessionResult &result, const Golden &golden) {
  Comparison comparison;
  if (const Tensor *logits = golden.find("logits"))
    comparison.logits = maxRelativeError(result.logits, *logits);
  if (const Tensor *hidden = golden.find("hidden.final"); hidden && hidden->shape == result.hidden.shape) {
    Simdiff difference = simdiff(result.hidden, *hidden);
    std::sort(difference.rows.begin(), difference.rows.end());
    comparison.hidden = difference.total;
    comparison.hiddenMax = difference.rows.back();
    comparison.hiddenMedian = difference.rows[difference.rows.size() / 2];
  }
  for (const auto &[layer, ids] : golden.routing().ids) {
    auto found = result.routing.ids.find(layer);
    comparison.routed += ids.rows();
    if (found != result.routing.ids.end() && found->second.shape == ids.shape)
      for (int64_t t = 0; t < ids.rows(); ++t)
        comparison.routedEqual += std::equal(ids.intRow(t), ids.intRow(t) + ids.width(), found->second.intRow(t));
  }
  const Tensor *greedy = golden.find("greedy.ids");
  for (size_t i = 0; greedy && i < result.greedy.size(); ++i) {
    const std::vector<int32_t> &tokens = result.greedy[i];
    if (tokens.empty() || static_cast<int64_t>(tokens.size()) > greedy->width())
      continue;
    ++comparison.greedy;
    comparison.greedyEqual += std::equal(tokens.begin(), tokens.end(), greedy->intRow(i));
  }
  return comparison;
}
