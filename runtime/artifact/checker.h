// The semantic checker: what the FlatBuffers verifier cannot know (indices, sizes, lifetimes, kinds, ranges).
#pragma once
#include "artifact_generated.h"
#include "runtime/artifact/artifact.h"

namespace moray::rt {

// Checks everything that later code relies on; after success no index, offset, enum or expression of the metadata needs
// a check. `weightSpan` receives the bytes from the start of the weights section to the end of the last weight.
Status checkArtifact(const schema::Artifact &artifact, const Bytes (&sections)[MORAY_SECTION_COUNT],
                     uint64_t &weightSpan);

// Parts of it, in the order in which they rely on each other.
class Checker {
public:
  Checker(const schema::Artifact &artifact, const Bytes (&sections)[MORAY_SECTION_COUNT])
      : root(artifact), sections(sections) {}

  Status checkModel() const;                       // checker.cpp
  Status checkSymbols() const;                     // checker.cpp
  Status checkImages() const;                      // check_code.cpp
  Status checkWeights(uint64_t &weightSpan) const; // checker.cpp
  Status checkTargets();                           // checker.cpp
  Status checkProvenance() const;                  // checker.cpp

private:
  Status checkName(const schema::Name *name, const char *what, size_t index) const;
  Status checkExpression(const flatbuffers::Vector<const schema::ExprOp *> *ops, const char *what, size_t index) const;
  Status checkWeight(const schema::Weight &weight, size_t index, uint64_t &weightSpan) const;
  Status checkOffsets(const schema::Weight &weight, size_t index, uint64_t &weightSpan) const;

  Status checkTarget(size_t index) const;
  // Of the current target.
  Status checkKernels() const;  // check_code.cpp
  Status checkPrograms() const; // check_programs.cpp

  Status checkPtx(const schema::Image &image, size_t index) const;
  Status checkCubin(const schema::Image &image, size_t index) const;
  Status checkVariant(const schema::Kernel &kernel, size_t kernelIndex, size_t index) const;
  Status checkCpuVariant(const schema::Variant &variant, size_t kernelIndex, size_t index) const;
  Status checkStage(const schema::Variant &variant, size_t kernelIndex, size_t index) const;

  Status checkProgramShape(const schema::Program &program, size_t index) const;
  Status checkBuffers(const schema::Program &program, size_t index) const;
  Status checkCommand(const schema::Program &program, size_t index, uint32_t position) const;
  Status checkCall(const schema::Program &program, size_t index, uint32_t position) const;
  Status checkCollective(const schema::Program &program, size_t index, uint32_t position) const;
  Status checkCollectiveOrder(const schema::Program &program, size_t index) const;
  Status checkOpenBuffers(const schema::Program &program, size_t index, uint32_t start, uint32_t wait) const;
  bool hasCommands(const schema::Program &program, bool (*matches)(const schema::Command &)) const;
  Status checkArg(const schema::Program &program, size_t index, uint32_t position, const schema::Arg &arg) const;
  Status checkLayerWeights(const schema::Program &layer, uint32_t begin, uint32_t end, size_t caller) const;
  Status checkLaunchCount() const;

  const schema::Artifact &root;
  const Bytes (&sections)[MORAY_SECTION_COUNT];
  const schema::Target *target = nullptr; // the one that is being checked
};

// Vectors may be absent in a FlatBuffer: absent is empty.
template <typename T> size_t sizeOf(const flatbuffers::Vector<T> *vector) { return vector ? vector->size() : 0; }

// The verifier looks at the alignment of a vector's length alone; elements of eight bytes may lie between their places.
template <typename T> bool isAligned(const flatbuffers::Vector<T> *vector) {
  return !vector || reinterpret_cast<uintptr_t>(vector->Data()) % 8 == 0;
}

template <typename E> bool isKnown(E value) {
  return static_cast<unsigned>(value) >= static_cast<unsigned>(E::MIN) &&
         static_cast<unsigned>(value) <= static_cast<unsigned>(E::MAX);
}

} // namespace moray::rt
