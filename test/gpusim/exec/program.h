// A module ready to execute: flat instructions with resolved register slots and a handler each.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "test/gpusim/exec/launch.h"
#include "test/gpusim/isa/isa.h"
#include "test/gpusim/ptx/ast.h"

namespace gpusim {

struct Warp;
struct Instr;
using Handler = void (*)(Warp &, const Instr &, uint32_t lanes);

constexpr int32_t noSlot = INT32_MIN;

// A memory operand: the lanes' values of `base` plus `offset`.
struct MemoryOperand {
  int32_t base = noSlot;      // as Instr::s; noSlot: none
  bool frameRelative = false; // plus the lane's frame of local memory
  uint64_t offset = 0;
};

// How an instruction takes part in scheduling.
enum class Control : uint8_t {
  None,   // runs for the active lanes and falls through
  Branch, // to `target`
  Table,  // to one of Program::branchTables[target]
  Call,
  Return,
  Exit,
  Sync, // may have to wait
};

struct Instr {
  Handler run = nullptr;
  uint32_t line = 0;
  int32_t guard = -1; // predicate slot
  bool guardNegated = false;
  Control control = Control::None;
  ptx::Type type = ptx::Type::None, type2 = ptx::Type::None;
  ptx::Space space = ptx::Space::Generic;
  uint8_t width = 0; // bytes of one element
  uint8_t count = 1; // elements of a vector
  uint8_t kind = 0;  // the handler's own: comparison, operation, ...
  uint8_t flags = 0; // the handler's own
  // Register slots: >= 0 in the frame, < 0 constant ~s of the function's pool.
  int32_t d[4] = {noSlot, noSlot, noSlot, noSlot};
  int32_t s[5] = {noSlot, noSlot, noSlot, noSlot, noSlot};
  // Predicate slots; -1 means none. p[2], p[3] are sources.
  int32_t p[4] = {-1, -1, -1, -1};
  bool negated[2] = {false, false}; // of p[2] and p[3]
  FpMode fp;
  MemoryOperand memory;
  uint32_t target = 0; // an instruction index, or an index into one of the program's tables
  uint64_t imm = 0;    // the handler's own
};

// Copies between the frames of a caller and its callee.
struct CallSite {
  uint32_t function = ptx::noIndex;         // ptx::noIndex: the address in s[0]
  std::vector<uint32_t> arguments, results; // offsets in the caller's frame
};

struct Slots {
  std::vector<int32_t> list;
};

// A value of a constant pool; those of shared variables depend on the kernel.
struct PoolEntry {
  uint64_t value = 0;
  uint32_t sharedVariable = ptx::noIndex; // plus the address of this variable
};

struct Function {
  std::string name;
  bool entry = false, defined = false;
  uint32_t begin = 0, end = 0; // instructions
  uint32_t registerSlots = 0, predicateSlots = 2;
  uint32_t frameBytes = 0;
  std::vector<ptx::Param> params, returns;
  std::vector<ptx::RegisterRange> registers;
  std::vector<PoolEntry> pool;
  std::vector<uint64_t> poolLanes; // [entry][32]; shared variables not yet added
  bool poolHasShared = false;
  std::vector<uint32_t> callees;
  std::vector<uint32_t> sharedVariables; // of its own instructions
};

struct SharedPlacement {
  uint32_t variable; // index in variables
  uint32_t offset, size;
};

// What one kernel needs beside its own function.
struct KernelLayout {
  std::vector<SharedPlacement> shared; // static ones by offset, then the dynamic ones at staticBytes
  uint32_t staticBytes = 0;
  std::vector<uint32_t> functions; // itself and all it may call
};

struct Program {
  DeviceModel device;
  unsigned version = 0, sm = 0;   // as the module says
  std::vector<std::string> lines; // of the module's text
  std::vector<Instr> code;
  std::vector<Function> functions;
  std::vector<KernelLayout> layouts; // by function; empty for device functions
  std::vector<ptx::Variable> variables;
  std::vector<uint64_t> addresses; // of variables in GlobalMemory; 0 for shared ones
  std::vector<CallSite> calls;
  std::vector<Slots> slotLists;
  std::vector<std::vector<uint32_t>> branchTables;

  const Function &functionAt(uint32_t pc) const;
  std::vector<uint32_t> successors(uint32_t pc) const; // within the function
  std::string lineText(unsigned line) const;           // trimmed
};

// Addresses of the generic windows. GlobalMemory hands out addresses elsewhere.
constexpr uint64_t sharedWindow = 0x20000000000ull, localWindow = 0x20100000000ull, paramWindow = 0x20200000000ull;
constexpr uint64_t windowSize = 1ull << 24;
constexpr uint64_t functionWindow = 0x20300000000ull; // address of function i: functionWindow + 16 * i

} // namespace gpusim
