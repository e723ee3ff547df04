// Writes the toy model with experts to a file, for tests that start processes: moray-write-toy FILE [TOKEN]. Prompts
// that begin with TOKEN fault in layer 1.
#include "toy_artifact.h"
#include <cstdio>
#include <cstdlib>

int main(int argc, char **argv) {
  if (argc < 2)
    return 2;
  moray::test::ToyArtifact toy;
  toy.addExperts();
  toy.addOverlap();
  // Room for what moray-check-batches asks for.
  using moray::schema::SymbolId;
  toy.metadata.model->max_positions = 1024;
  for (SymbolId id : {SymbolId::T, SymbolId::P, SymbolId::C, SymbolId::Rows, SymbolId::PrefillRows})
    toy.metadata.symbols_max[static_cast<size_t>(id)] = 1024;
  if (argc > 2)
    toy.layerWeight(1)[1] = moray::test::toyFirstKey(std::atoi(argv[2]));
  const std::vector<uint8_t> bytes = toy.serialize();
  FILE *out = fopen(argv[1], "wb");
  if (!out || fwrite(bytes.data(), 1, bytes.size(), out) != bytes.size() || fclose(out) != 0)
    return 6;
  return 0;
}
