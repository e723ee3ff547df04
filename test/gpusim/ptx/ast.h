// A parsed PTX module: declarations and, for every function, its instructions with names resolved to slots and indices.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "test/gpusim/ptx/types.h"

namespace gpusim::ptx {

constexpr uint32_t noIndex = ~0u;

// What a name stands for where it is no register.
enum class SymbolKind : uint8_t {
  None,
  Variable,   // index in ModuleSyntax::variables (global, const or shared)
  Local,      // offset in the function's frame of local memory (local variables, .param variables of device functions)
  EntryParam, // offset in the kernel's parameters
  Function,   // index in ModuleSyntax::functions
  Label,      // index of an instruction of the function, once resolved
  Table,      // index in FunctionSyntax::branchTables
  Prototype,
};

struct Symbol {
  SymbolKind kind = SymbolKind::None;
  uint32_t index = 0;
  uint64_t size = 0;
};

struct Operand {
  enum Kind : uint8_t { Register, Predicate, Immediate, Special, Name, Address, Vector, Pair, List, Sink };
  Kind kind = Sink;
  bool negated = false;          // !p
  Type type = Type::None;        // of a register; of a floating-point literal F32 or F64
  uint32_t slot = 0;             // of a register or predicate
  uint64_t value = 0;            // of an immediate, or the offset of an address or name
  std::string name;              // special register (without %), or the name as written
  Symbol symbol;                 // of a name
  std::vector<Operand> elements; // of a vector, pair or list; of an address: its base (none: absolute)
};

struct Instruction {
  uint32_t line = 0;
  int32_t guard = -1; // predicate slot
  bool guardNegated = false;
  std::string opcode;
  std::vector<std::string> modifiers;
  std::vector<Operand> operands;
};

// A variable of state space global, const or shared (also those declared inside functions).
struct Variable {
  std::string name;
  Space space = Space::Global;
  uint32_t align = 1;
  uint64_t size = 0;
  bool dynamic = false;  // .extern .shared without size
  bool external = false; // declared elsewhere
  uint32_t line = 0;
  std::vector<uint8_t> bytes; // initial value; shorter than `size` when zeros follow
  struct Fixup {
    uint64_t offset; // in bytes
    unsigned width;  // 4 or 8
    Symbol target;   // a variable or function
    int64_t addend;
  };
  std::vector<Fixup> fixups;
};

// A formal parameter or return value; `offset` is in the kernel's parameters or in the function's local frame.
struct Param {
  std::string name;
  uint32_t offset = 0, size = 0, align = 1;
};

// A declaration of registers: name, or name0 ... name(count-1).
struct RegisterRange {
  std::string name;
  uint32_t slot, count;
  bool predicate;
};

struct FunctionSyntax {
  std::string name;
  uint32_t line = 0;
  bool entry = false;
  bool defined = false;
  std::vector<Param> params, returns;
  uint32_t paramBytes = 0;
  std::array<uint32_t, 3> maxThreads{}, requiredThreads{};
  uint32_t frameBytes = 0;                        // local variables and .param variables
  uint32_t registerSlots = 0, predicateSlots = 2; // predicates 0 and 1 are constants: false and true
  uint32_t registerWords = 0;                     // declared 32-bit registers
  std::vector<RegisterRange> registers;           // for debugging output
  std::vector<Instruction> body;
  std::vector<std::vector<uint32_t>> branchTables;
};

struct ModuleSyntax {
  unsigned version = 0; // major * 10 + minor
  unsigned sm = 0;
  std::vector<Variable> variables;
  std::vector<FunctionSyntax> functions;
};

} // namespace gpusim::ptx
