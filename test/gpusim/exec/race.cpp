// The happens-before checks behind race.h.
#include "test/gpusim/exec/race.h"

#include <algorithm>

#include "test/gpusim/exec/warp.h"

namespace gpusim {

//===----------------------------------------------------------------------===//
// Knowledge
//===----------------------------------------------------------------------===//

bool Knowledge::coversPartly(unsigned warp, uint32_t lanes, uint32_t epoch) const {
  for (; lanes; lanes &= lanes - 1)
    if (partial[warp * 32 + __builtin_ctz(lanes)] < epoch)
      return false;
  return true;
}

void Knowledge::join(const Knowledge &other) {
  for (unsigned i = 0; i < maxWarps; ++i)
    whole[i] = std::max(whole[i], other.whole[i]);
  if (other.partial.empty())
    return;
  partial.resize(maxWarps * 32);
  for (size_t i = 0; i < partial.size(); ++i)
    partial[i] = std::max(partial[i], other.partial[i]);
}

void Knowledge::learn(unsigned warp, uint32_t lanes, uint32_t epoch, bool wholeWarp) {
  if (wholeWarp) {
    whole[warp] = std::max(whole[warp], epoch);
    return;
  }
  partial.resize(maxWarps * 32);
  forLanes(lanes, [&](unsigned lane) { partial[warp * 32 + lane] = std::max(partial[warp * 32 + lane], epoch); });
}

void Join::arrive(Warp &warp, uint32_t lanes) {
  if (!sum)
    sum = std::make_unique<Knowledge>();
  const Knowledge *last = nullptr;
  forLanes(lanes, [&](unsigned lane) {
    const Knowledge *known = warp.known[lane].get();
    if (known && known != last)
      sum->join(*known);
    last = known;
  });
  sum->learn(warp.index, lanes, warp.epoch, (warp.live & ~lanes) == 0);
  ++warp.epoch;
}

void Join::exited(const Warp &warp) {
  if (sum)
    sum->learn(warp.index, 0, warp.epoch, true);
}

KnowledgeRef Join::finish() { return KnowledgeRef(sum.release()); }

//===----------------------------------------------------------------------===//
// Shared memory
//===----------------------------------------------------------------------===//

void SharedShadow::reset(uint32_t size) {
  words.assign((size + 3) / 4, Cell{});
  bytes.clear();
  freeBytes.clear();
  readSets.clear();
  freeReadSets.clear();
  groups.assign(1, 0);
}

uint32_t SharedShadow::openGroup() {
  groups.push_back(0);
  return static_cast<uint32_t>(groups.size() - 1);
}

void SharedShadow::race(const Access &access, uint32_t offset, const char *earlier, unsigned warp, unsigned lane) {
  bool reads = access.mode == SharedAccess::Read || access.mode == SharedAccess::StrongRead ||
               access.mode == SharedAccess::WarpRead;
  std::string detail = std::string(reads ? "reads" : "writes") + " a byte of shared memory that thread " +
                       std::to_string(warp * 32 + lane) + " (warp " + std::to_string(warp) + ", lane " +
                       std::to_string(lane) + ") " + earlier + " without a barrier in between";
  access.warp.fault(Report::Race, access.instr, access.lane, detail, offset, "shared",
                    access.warp.block->sharedName(offset));
}

// An asynchronous copy counts as a write at the time of its wait.
void SharedShadow::settle(Cell &cell, const Access &access, uint32_t offset) {
  uint32_t epoch = groups[cell.async];
  if (!epoch)
    access.warp.fault(Report::AsyncNotWaited, access.instr, access.lane,
                      "touches the destination of a cp.async of thread " + std::to_string(cell.writer) +
                          ", which has not waited for it",
                      offset, "shared", access.warp.block->sharedName(offset));
  cell.writeEpoch = epoch;
  cell.async = 0;
}

void SharedShadow::checkWriter(const Cell &cell, const Access &access, uint32_t offset, uint32_t size) {
  if (!cell.writeEpoch || (access.strong && (cell.flags & StrongWriter)))
    return;
  unsigned warp = cell.writer / 32, lane = cell.writer % 32;
  if (cell.writer == access.thread && access.mode != SharedAccess::WarpRead)
    return;
  if (access.known && access.known->covers(warp, 1u << lane, cell.writeEpoch))
    return;
  const uint8_t *now = access.warp.block->shared.data() + offset;
  if (access.data && warp == access.warpIndex && !std::memcmp(now, access.data + (offset - access.offset), size))
    return; // equal values by lanes of one warp
  race(access, offset, "wrote", warp, lane);
}

void SharedShadow::recordManyReads(Cell &cell, const Access &access) {
  uint32_t set;
  if (cell.readWarp != manyReaders) {
    if (freeReadSets.empty()) {
      freeReadSets.push_back(static_cast<uint32_t>(readSets.size()));
      readSets.emplace_back();
    }
    set = freeReadSets.back();
    freeReadSets.pop_back();
    readSets[set].clear();
    readSets[set].push_back({cell.readWarp, cell.strongReads != 0, cell.readLanes, cell.readEpoch});
    cell.readWarp = manyReaders;
    cell.readLanes = set;
    cell.readEpoch = 1;
  } else {
    set = cell.readLanes;
  }
  std::vector<ReadEntry> &entries = readSets[set];
  for (ReadEntry &entry : entries)
    if (entry.warp == access.warpIndex && entry.epoch == access.epoch) {
      entry.lanes |= access.lanes;
      entry.strong = entry.strong && access.strong;
      return;
    }
  entries.erase(std::remove_if(entries.begin(), entries.end(),
                               [&](const ReadEntry &entry) {
                                 return access.known && access.known->covers(entry.warp, entry.lanes, entry.epoch);
                               }),
                entries.end());
  entries.push_back({access.warpIndex, access.strong, access.lanes, access.epoch});
}

void SharedShadow::read(Cell &cell, const Access &access, uint32_t offset) {
  if (!(cell.flags & Defined))
    access.warp.fault(Report::Uninitialised, access.instr, access.lane, "reads shared memory that was never written",
                      offset, "shared", access.warp.block->sharedName(offset));
  checkWriter(cell, access, offset, 0);
  if (cell.readEpoch == access.epoch && cell.readWarp == access.warpIndex) {
    cell.readLanes |= access.lanes;
    cell.strongReads = cell.strongReads && access.strong;
  } else if (!cell.readEpoch || (cell.readWarp != manyReaders && access.known &&
                                 access.known->covers(cell.readWarp, cell.readLanes, cell.readEpoch))) {
    cell.readEpoch = access.epoch;
    cell.readWarp = access.warpIndex;
    cell.readLanes = access.lanes;
    cell.strongReads = access.strong;
  } else {
    recordManyReads(cell, access);
  }
}

void SharedShadow::checkReaders(Cell &cell, const Access &access, uint32_t offset) {
  auto check = [&](unsigned warp, uint32_t lanes, uint32_t epoch, bool strong) {
    if (warp == access.warpIndex)
      lanes &= ~(1u << access.lane);
    if (!lanes || (strong && access.strong) || (access.known && access.known->covers(warp, lanes, epoch)))
      return;
    for (; lanes; lanes &= lanes - 1) { // name one that is not ordered
      unsigned lane = __builtin_ctz(lanes);
      if (!access.known || !access.known->covers(warp, 1u << lane, epoch))
        race(access, offset, "read", warp, lane);
    }
  };
  if (cell.readWarp != manyReaders)
    return check(cell.readWarp, cell.readLanes, cell.readEpoch, cell.strongReads != 0);
  for (const ReadEntry &entry : readSets[cell.readLanes])
    check(entry.warp, entry.lanes, entry.epoch, entry.strong);
  freeReadSets.push_back(cell.readLanes);
}

void SharedShadow::write(Cell &cell, const Access &access, uint32_t offset, uint32_t size) {
  checkWriter(cell, access, offset, size);
  if (cell.readEpoch)
    checkReaders(cell, access, offset);
  cell.writeEpoch = access.epoch;
  cell.writer = access.thread;
  cell.flags = Defined | (access.strong ? StrongWriter : 0);
  cell.async = access.async;
  cell.readEpoch = 0;
  cell.readWarp = 0;
  cell.readLanes = 0;
}

void SharedShadow::touch(Cell &cell, const Access &access, uint32_t offset, uint32_t size) {
  if (cell.async)
    settle(cell, access, offset);
  switch (access.mode) {
  case SharedAccess::Read:
  case SharedAccess::StrongRead:
  case SharedAccess::WarpRead:
    return read(cell, access, offset);
  case SharedAccess::Atomic:
    if (!(cell.flags & Defined))
      access.warp.fault(Report::Uninitialised, access.instr, access.lane,
                        "an atomic on shared memory that was never written", offset, "shared",
                        access.warp.block->sharedName(offset));
    [[fallthrough]];
  default:
    return write(cell, access, offset, size);
  }
}

SharedShadow::Cell *SharedShadow::split(uint32_t word) {
  Cell &cell = words[word];
  if (cell.flags & Split)
    return bytes[cell.readLanes].data();
  uint32_t index;
  if (freeBytes.empty()) {
    index = static_cast<uint32_t>(bytes.size());
    bytes.emplace_back();
  } else {
    index = freeBytes.back();
    freeBytes.pop_back();
  }
  Cell copy = cell;
  for (unsigned i = 0; i < 4; ++i) {
    bytes[index][i] = copy;
    if (copy.readEpoch && copy.readWarp == manyReaders && i) {
      // Each byte owns its set of readers.
      uint32_t set = static_cast<uint32_t>(readSets.size());
      readSets.push_back(std::vector<ReadEntry>(readSets[copy.readLanes]));
      bytes[index][i].readLanes = set;
    }
  }
  cell = Cell{};
  cell.flags = Split;
  cell.readLanes = index;
  return bytes[index].data();
}

void SharedShadow::access(Warp &warp, const Instr &instr, unsigned lane, uint32_t offset, uint32_t size,
                          SharedAccess mode, const uint8_t *data, uint32_t async) {
  bool strong = mode == SharedAccess::StrongRead || mode == SharedAccess::StrongWrite || mode == SharedAccess::Atomic;
  uint32_t lanes = mode == SharedAccess::WarpRead ? warp.live : 1u << lane;
  Access access{warp,
                instr,
                lane,
                offset,
                mode,
                data,
                async,
                warp.known[lane].get(),
                static_cast<uint16_t>(warp.thread(lane)),
                static_cast<uint16_t>(warp.index),
                warp.epoch,
                lanes,
                strong};
  bool reads = mode == SharedAccess::Read || mode == SharedAccess::StrongRead || mode == SharedAccess::WarpRead;
  for (uint32_t end = offset + size; offset < end;) {
    uint32_t word = offset / 4, upTo = std::min(end, (word + 1) * 4), part = upTo - offset;
    Cell &cell = words[word];
    if (part == 4 && !(cell.flags & Split)) {
      touch(cell, access, offset, 4);
    } else {
      Cell *cells = split(word);
      for (uint32_t byte = offset; byte < upTo; ++byte)
        touch(cells[byte % 4], access, byte, 1);
      if (part == 4 && !reads) { // all four bytes have one history again
        uint32_t index = words[word].readLanes;
        words[word] = bytes[index][3];
        freeBytes.push_back(index);
      }
    }
    offset = upTo;
  }
}

} // namespace gpusim
