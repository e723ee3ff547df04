// Turning parsed instructions into executable ones: what the instruction families' decoders work with.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "test/gpusim/exec/program.h"
#include "test/gpusim/ptx/lexer.h"

namespace gpusim {

// One instruction being decoded. Modifiers are consumed one by one; what is left over at the end is an error.
class Decoder {
public:
  Decoder(Program &program, Function &function, const ptx::ModuleSyntax &module)
      : program(program), function(function), module(module) {}

  // Decodes one instruction and appends it (and helpers it needs) to the program.
  void decode(const ptx::Instruction &instruction);

  // Modifiers.
  bool flag(std::string_view name); // consumes the first one of that name
  bool hasFlag(std::string_view name) const;
  std::string_view takeAny(std::initializer_list<std::string_view> names); // the one present, or empty
  ptx::Type type();         // consumes the first type; an error if there is none
  ptx::Type optionalType(); // None if there is none
  FpMode fpMode();          // consumes .rn/.rz/.rm/.rp, .ftz, .sat
  ptx::Space space();       // consumes the state space; Generic if there is none
  void ignoreCacheOperators();
  const std::string &opcode() const { return source->opcode; }

  // Operands, by position.
  size_t operandCount() const { return source->operands.size(); }
  const ptx::Operand &operand(size_t i) const;
  void expectOperands(size_t least, size_t most);
  // A type given with a register must have its width (or less where the instruction widens).
  int32_t destination(size_t i, ptx::Type type = ptx::Type::None);
  int32_t destination(const ptx::Operand &operand, ptx::Type type = ptx::Type::None);
  int32_t value(size_t i, ptx::Type type); // a register, constant or special register
  int32_t value(const ptx::Operand &operand, ptx::Type type);
  int32_t constant(uint64_t bits);
  int32_t predicateDestination(const ptx::Operand &operand); // -1 for _
  // A predicate source, perhaps negated or constant.
  void predicateSource(const ptx::Operand &operand, int32_t &slot, bool &negated);
  uint64_t immediate(size_t i) const;
  bool isImmediate(size_t i) const { return i < operandCount() && operand(i).kind == ptx::Operand::Immediate; }
  MemoryOperand memory(size_t i, ptx::Space &space);
  std::vector<const ptx::Operand *> elements(size_t i) const; // of a vector, or the operand itself
  uint32_t slotList(std::vector<int32_t> list);               // index into Program::slotLists
  int32_t temporary() { return static_cast<int32_t>(function.registerSlots++); }
  uint32_t label(size_t i) const; // instruction index within the function's syntax

  void require(unsigned sm, unsigned version, const std::string &what) const;
  [[noreturn]] void fail(const std::string &message) const;

  Instr out;
  Program &program;
  Function &function;
  const ptx::ModuleSyntax &module;

private:
  void checkWidth(const ptx::Operand &operand, ptx::Type type) const;
  int32_t sharedAddress(uint32_t variable, uint64_t offset);
  uint64_t floatBits(const ptx::Operand &operand, ptx::Type type) const;

  const ptx::Instruction *source = nullptr;
  std::vector<std::string> modifiers; // "" once consumed
  std::map<std::pair<uint64_t, uint32_t>, int32_t> poolIndex;
  int32_t sink = noSlot;
};

using DecodeFunction = void (*)(Decoder &);
using DecodeTable = std::unordered_map<std::string, DecodeFunction>;

// Each instruction family adds its opcodes.
void addArithmeticOps(DecodeTable &table);
void addBitOps(DecodeTable &table);
void addApproxOps(DecodeTable &table);
void addCompareOps(DecodeTable &table);
void addConvertOps(DecodeTable &table);
void addMoveOps(DecodeTable &table);
void addMemoryOps(DecodeTable &table);
void addAtomicOps(DecodeTable &table);
void addAsyncCopyOps(DecodeTable &table);
void addControlOps(DecodeTable &table);
void addBarrierOps(DecodeTable &table);
void addWarpOps(DecodeTable &table);
void addMatrixOps(DecodeTable &table);

// Throws ptx::SyntaxError. Fills everything of the program but the variables' addresses.
void link(Program &program, const ptx::ModuleSyntax &module);

// The arithmetic opcodes (add, mul, min, ...) once their type is known; opcode() tells which.
void decodeInteger(Decoder &decoder, ptx::Type type);
void decodeFloat(Decoder &decoder, ptx::Type type);
void decodeHalf(Decoder &decoder, ptx::Type type);

// bar.warp.sync, once .warp has been consumed (warp_ops.cpp).
void decodeWarpBarrier(Decoder &decoder);

// Emits mov of a special register (move.cpp).
void decodeSpecial(Decoder &decoder, const std::string &name, int32_t destination);

} // namespace gpusim
