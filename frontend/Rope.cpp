// Rotary frequencies, table multiplier and softmax scale (spec model.md 4.4).
#include "frontend/ModelConfig.h"

#include <algorithm>
#include <cmath>

namespace moray::frontend {

namespace {

// Steps 1-4 of spec 4.4.3: blends theta_i / s and theta_i over a ramp of pair indices.
void applyYarn(const RopeConfig &rope, int64_t width, std::vector<double> &frequencies) {
  auto dim = [&](double rotations) {
    return width * std::log(rope.originalPositions / (2 * M_PI * rotations)) / (2 * std::log(rope.theta));
  };
  double low = dim(rope.betaFast), high = dim(rope.betaSlow);
  if (rope.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high =
      std::min(high, static_cast<double>(width - 1)); // the full width, although the index counts pairs: as published
  if (low == high)
    high += 0.001;
  for (size_t i = 0; i < frequencies.size(); ++i) {
    double ramp = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
    frequencies[i] = frequencies[i] / rope.factor * ramp + frequencies[i] * (1 - ramp);
  }
}

// Spec 4.4.4: long wavelengths are divided by the factor, short ones kept, those between blended.
void applyLlama3(const RopeConfig &rope, std::vector<double> &frequencies) {
  for (double &frequency : frequencies) {
    double wavelength = 2 * M_PI / frequency;
    if (wavelength < rope.originalPositions / rope.highFreqFactor)
      continue;
    if (wavelength > rope.originalPositions / rope.lowFreqFactor) {
      frequency /= rope.factor;
      continue;
    }
    double blend =
        (rope.originalPositions / wavelength - rope.lowFreqFactor) / (rope.highFreqFactor - rope.lowFreqFactor);
    frequency = (1 - blend) * frequency / rope.factor + blend * frequency;
  }
}

} // namespace

std::vector<float> RopeConfig::inverseFrequencies(int64_t width) const {
  std::vector<double> frequencies(width / 2);
  for (size_t i = 0; i < frequencies.size(); ++i)
    frequencies[i] = std::pow(theta, -2.0 * static_cast<double>(i) / static_cast<double>(width));
  if (kind == RopeKind::Yarn)
    applyYarn(*this, width, frequencies);
  else if (kind == RopeKind::Llama3)
    applyLlama3(*this, frequencies);
  else if (kind == RopeKind::Linear)
    for (double &frequency : frequencies)
      frequency /= factor;
  return std::vector<float>(frequencies.begin(), frequencies.end());
}

double RopeConfig::yarnM(double k) const {
  return kind != RopeKind::Yarn || factor <= 1 ? 1.0 : 0.1 * k * std::log(factor) + 1.0;
}

double RopeConfig::tableMultiplier() const {
  if (kind != RopeKind::Yarn)
    return 1.0;
  if (attentionFactor)
    return *attentionFactor;
  return mscale != 0 && mscaleAllDim != 0 ? yarnM(mscale) / yarnM(mscaleAllDim) : yarnM(1);
}

double ModelConfig::softmaxScale() const {
  double scale = 1 / std::sqrt(static_cast<double>(qkDim()));
  if (rope.mscaleAllDim != 0)
    scale *= rope.yarnM(rope.mscaleAllDim) * rope.yarnM(rope.mscaleAllDim);
  return scale;
}

} // namespace moray::frontend
