// The structs behind the opaque handles of the C API.
#pragma once
#include "moray/runtime.h"
#include "runtime/artifact/artifact.h"
#include "runtime/engine/engine.h"
#include "runtime/tokenizer/tokenizer.h"

struct moray_model {
  moray::rt::Artifact artifact;
  moray::rt::Tokenizer tokenizer;
  bool hasTokenizer = false;
};

struct moray_engine {
  std::unique_ptr<moray::rt::Engine> engine;
};

// Sets an options struct to zeros and its size; the rest of an `_init` function writes what is not zero.
template <typename Options> void initOptions(Options *options) {
  *options = Options();
  options->struct_size = sizeof(Options);
}

// Copies options that may be null, with `defaults`; 5002 for a struct of another version.
template <typename Options>
moray::rt::Status readOptions(const Options *options, void (*defaults)(Options *), const char *name, Options &result) {
  defaults(&result);
  if (!options)
    return {};
  if (options->struct_size != sizeof(Options))
    return moray::rt::fail(moray::rt::kE5002, "%s has struct_size %zu, expected %zu; fill it by its _init function",
                           name, options->struct_size, sizeof(Options));
  result = *options;
  return {};
}

// 5002 where a pointer that must be given is null.
inline moray::rt::Status needPointer(const void *pointer, const char *name) {
  return pointer ? moray::rt::Status() : moray::rt::fail(moray::rt::kE5002, "argument '%s' is NULL", name);
}
