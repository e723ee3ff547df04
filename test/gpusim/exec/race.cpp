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
  size_t chunks = (size + chunkBytes - 1) / chunkBytes, cellsOfChunk = chunkBytes / 4;
  if (chunks != written.size())
    words.assign(chunks * cellsOfChunk, Cell{});
  for (size_t i = 0; i < chunks && chunks == written.size(); ++i)
    if (written[i])
      std::fill_n(words.begin() + static_cast<ptrdiff_t>(i * cellsOfChunk), cellsOfChunk, Cell{});
  written.assign(chunks, 0);
  bytes.clear();
  freeBytes.clear();
  readSets.clear();
  crowds.clear();
  settledEpochs.fill(0);
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
  if (access.known.covers(warp, 1u << lane, cell.writeEpoch))
    return;
  const uint8_t *now = access.warp.block->shared.data() + offset;
  if (access.data && warp == access.warpIndex && !std::memcmp(now, access.data + (offset - access.offset), size))
    return; // equal values by lanes of one warp
  race(access, offset, "wrote", warp, lane);
}

uint32_t SharedShadow::newReadSet() {
  if (freeReadSets.empty()) {
    readSets.emplace_back();
    return static_cast<uint32_t>(readSets.size() - 1);
  }
  uint32_t set = freeReadSets.back();
  freeReadSets.pop_back();
  readSets[set].warps = readSets[set].strong = 0;
  readSets[set].earlier.clear();
  return set;
}

void SharedShadow::recordManyReads(Cell &cell, const Access &access) {
  auto add = [](ReadSet &set, unsigned warp, uint32_t lanes, uint32_t epoch, bool strong) {
    uint32_t bit = 1u << warp;
    set.warps |= bit;
    set.strong = strong ? set.strong | bit : set.strong & ~bit;
    set.lanes[warp] = lanes;
    set.epoch[warp] = epoch;
  };
  if (cell.readWarp != manyReaders) {
    uint32_t index = newReadSet();
    add(readSets[index], cell.readWarp, cell.readLanes, cell.readEpoch, cell.strongReads);
    cell.readWarp = manyReaders;
    cell.readLanes = index;
    cell.readEpoch = 1;
  }
  ReadSet &set = readSets[cell.readLanes];
  unsigned warp = access.warpIndex;
  bool known = set.warps >> warp & 1, strong = set.strong >> warp & 1;
  uint32_t lanes = access.lanes;
  if (known && set.epoch[warp] == access.epoch) {
    lanes |= set.lanes[warp];
    strong = strong && access.strong;
  } else {
    if (known && !access.known.covers(warp, set.lanes[warp], set.epoch[warp]))
      set.earlier.push_back({access.warpIndex, strong, set.lanes[warp], set.epoch[warp]});
    strong = access.strong;
  }
  add(set, warp, lanes, access.epoch, strong);
}

void SharedShadow::read(Cell &cell, const Access &access, uint32_t offset) {
  if (!(cell.flags & Defined))
    access.warp.fault(Report::Uninitialised, access.instr, access.lane, "reads shared memory that was never written",
                      offset, "shared", access.warp.block->sharedName(offset));
  checkWriter(cell, access, offset, 0);
  if (cell.flags & Crowded)
    checkCrowd(access, offset, /*reads=*/true);
  if (cell.readEpoch == access.epoch && cell.readWarp == access.warpIndex) {
    cell.readLanes |= access.lanes;
    cell.strongReads = cell.strongReads && access.strong;
  } else if (!cell.readEpoch ||
             (cell.readWarp != manyReaders && access.known.covers(cell.readWarp, cell.readLanes, cell.readEpoch))) {
    cell.readEpoch = access.epoch;
    cell.readWarp = access.warpIndex;
    cell.readLanes = access.lanes;
    cell.strongReads = access.strong;
  } else {
    recordManyReads(cell, access);
  }
}

template <class Visitor> void SharedShadow::forEachReader(const Cell &cell, Visitor visit) const {
  if (!cell.readEpoch)
    return;
  if (cell.readWarp != manyReaders) {
    visit(cell.readWarp, cell.readLanes, cell.readEpoch, cell.strongReads != 0);
    return;
  }
  const ReadSet &set = readSets[cell.readLanes];
  for (uint32_t left = set.warps; left; left &= left - 1) {
    unsigned warp = __builtin_ctz(left);
    visit(warp, set.lanes[warp], set.epoch[warp], (set.strong >> warp & 1) != 0);
  }
  for (const ReadEntry &entry : set.earlier)
    visit(entry.warp, entry.lanes, entry.epoch, entry.strong);
}

void SharedShadow::checkReaders(Cell &cell, const Access &access, uint32_t offset) {
  forEachReader(cell, [&](unsigned warp, uint32_t lanes, uint32_t epoch, bool strong) {
    if (warp == access.warpIndex)
      lanes &= ~(1u << access.lane);
    if (!lanes || (strong && access.strong) || access.known.covers(warp, lanes, epoch))
      return;
    for (; lanes; lanes &= lanes - 1) { // name one that is not ordered
      unsigned lane = __builtin_ctz(lanes);
      if (!access.known.covers(warp, 1u << lane, epoch))
        race(access, offset, "read", warp, lane);
    }
  });
}

// A strong write does not conflict with strong accesses before it, so it need not come after them. Those that it does
// not come after are kept for plain accesses, which may be ordered after the last writer alone; a plain write before it
// is kept for strong accesses. True if there is anything to keep.
bool SharedShadow::keepCrowd(const Cell &cell, const Access &access, uint32_t offset) {
  std::vector<CrowdEntry> &crowd = crowds[offset];
  auto obsolete = [&](const CrowdEntry &entry) {
    return entry.epoch <= settledEpochs[entry.warp] ||
           (entry.past < PlainRead && access.known.covers(entry.warp, entry.lanes, entry.epoch));
  };
  crowd.erase(std::remove_if(crowd.begin(), crowd.end(), obsolete), crowd.end());
  auto keep = [&](unsigned warp, uint32_t lanes, uint32_t epoch, Past past) {
    if (warp == access.warpIndex && past < PlainRead)
      lanes &= ~(1u << access.lane);
    CrowdEntry added{static_cast<uint16_t>(warp), past, lanes, epoch};
    if (!lanes || obsolete(added))
      return;
    for (CrowdEntry &entry : crowd)
      if (entry.warp == warp && entry.epoch == epoch && entry.past == past) {
        entry.lanes |= lanes;
        return;
      }
    crowd.push_back(added);
  };
  if (cell.writeEpoch)
    keep(cell.writer / 32, 1u << cell.writer % 32, cell.writeEpoch,
         cell.flags & StrongWriter ? StrongWrite : PlainWrite);
  forEachReader(cell, [&](unsigned warp, uint32_t lanes, uint32_t epoch, bool strong) {
    keep(warp, lanes, epoch, strong ? StrongRead : PlainRead);
  });
  if (!crowd.empty())
    return true;
  crowds.erase(offset);
  return false;
}

void SharedShadow::checkCrowd(const Access &access, uint32_t offset, bool reads) {
  for (const CrowdEntry &entry : crowds[offset]) {
    bool read = entry.past == StrongRead || entry.past == PlainRead;
    if ((reads && read) || (access.strong && entry.past < PlainRead))
      continue;
    uint32_t lanes = entry.lanes;
    if (entry.warp == access.warpIndex && access.mode != SharedAccess::WarpRead)
      lanes &= ~(1u << access.lane);
    for (; lanes; lanes &= lanes - 1) {
      unsigned lane = __builtin_ctz(lanes);
      if (!access.known.covers(entry.warp, 1u << lane, entry.epoch))
        race(access, offset, read ? "read" : "wrote", entry.warp, lane);
    }
  }
}

void SharedShadow::write(Cell &cell, const Access &access, uint32_t offset, uint32_t size) {
  checkWriter(cell, access, offset, size);
  if (cell.readEpoch)
    checkReaders(cell, access, offset);
  if (cell.flags & Crowded)
    checkCrowd(access, offset, /*reads=*/false);
  bool crowded = access.strong && keepCrowd(cell, access, offset);
  if (!access.strong && (cell.flags & Crowded))
    crowds.erase(offset);
  if (cell.readEpoch && cell.readWarp == manyReaders)
    freeReadSets.push_back(cell.readLanes);
  cell.writeEpoch = access.epoch;
  cell.writer = access.thread;
  cell.flags = Defined | (access.strong ? StrongWriter : 0) | (crowded ? Crowded : 0);
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
    if (i && (copy.flags & Crowded))
      crowds[4 * word + i] = std::vector<CrowdEntry>(crowds[4 * word]);
    if (copy.readEpoch && copy.readWarp == manyReaders && i) {
      // Each byte owns its set of readers.
      uint32_t set = newReadSet();
      readSets[set] = readSets[copy.readLanes];
      bytes[index][i].readLanes = set;
    }
  }
  cell = Cell{};
  cell.flags = Split;
  cell.readLanes = index;
  return bytes[index].data();
}

//===----------------------------------------------------------------------===//
// The common cases: whole words whose history is ordered before the access
//===----------------------------------------------------------------------===//

inline bool SharedShadow::settled(Cell &cell) {
  if (!cell.async)
    return true;
  if (!groups[cell.async])
    return false;
  cell.writeEpoch = groups[cell.async];
  cell.async = 0;
  return true;
}

// `thread`: the reader, whose own writes are ordered; ~0 where several lanes read.
inline bool SharedShadow::readFast(Cell &cell, const Knowledge &known, unsigned warp, uint32_t epoch, uint32_t lanes,
                                   unsigned thread) {
  if ((cell.flags & (Defined | Split | Crowded)) != Defined || !settled(cell))
    return false;
  if (cell.writeEpoch > known.whole[cell.writer / 32] && cell.writer != thread)
    return false;
  if (cell.readWarp == manyReaders) {
    ReadSet &set = readSets[cell.readLanes];
    uint32_t bit = 1u << warp;
    if (!(set.warps & bit) || set.epoch[warp] != epoch) {
      if ((set.warps & bit) && set.epoch[warp] > known.whole[warp])
        return false;
      set.lanes[warp] = 0;
      set.epoch[warp] = epoch;
      set.warps |= bit;
    }
    set.lanes[warp] |= lanes;
    set.strong &= ~bit;
    return true;
  }
  if (cell.readEpoch != epoch || cell.readWarp != warp) {
    if (cell.readEpoch > known.whole[cell.readWarp]) // also not taken when there is no reader
      return false;
    cell.readEpoch = epoch;
    cell.readWarp = static_cast<uint16_t>(warp);
    cell.readLanes = 0;
  }
  cell.readLanes |= lanes;
  cell.strongReads = 0;
  return true;
}

inline bool SharedShadow::writeFast(Cell &cell, const Knowledge &known, unsigned thread, uint32_t epoch,
                                    uint32_t async) {
  unsigned warp = thread / 32;
  if ((cell.flags & (Split | Crowded)) || cell.readWarp == manyReaders || !settled(cell))
    return false;
  if (cell.writeEpoch > known.whole[cell.writer / 32] && cell.writer != thread)
    return false;
  if (cell.readEpoch > known.whole[cell.readWarp] && !(cell.readWarp == warp && cell.readLanes == 1u << thread % 32))
    return false;
  cell = Cell{};
  cell.writeEpoch = epoch;
  cell.writer = static_cast<uint16_t>(thread);
  cell.flags = Defined;
  cell.async = async;
  return true;
}

bool SharedShadow::readSame(const Warp &warp, uint32_t lanes, uint32_t offset, uint32_t size) {
  if (offset % 4 || size % 4)
    return false;
  unsigned first = __builtin_ctz(lanes);
  for (uint32_t left = lanes; left; left &= left - 1)
    if (warp.known[__builtin_ctz(left)].get() != warp.known[first].get())
      return false;
  for (uint32_t i = 0; i < size; i += 4)
    if (!readFast(words[(offset + i) / 4], *warp.known[first], warp.index, warp.epoch, lanes, ~0u))
      return false; // what was recorded so far is true all the same
  return true;
}

void SharedShadow::access(Warp &warp, const Instr &instr, unsigned lane, uint32_t offset, uint32_t size,
                          SharedAccess mode, const uint8_t *data, uint32_t async) {
  const Knowledge &known = *warp.known[lane];
  uint32_t end = offset + size;
  written[offset / chunkBytes] = written[(end - 1) / chunkBytes] = 1; // of reads only defined bytes pass
  if (offset % 4 == 0 && size % 4 == 0) {
    if (mode == SharedAccess::Read || mode == SharedAccess::WarpRead) {
      bool whole = mode == SharedAccess::WarpRead;
      uint32_t readers = whole ? warp.live : 1u << lane;
      unsigned thread = whole ? ~0u : warp.thread(lane);
      while (offset < end && readFast(words[offset / 4], known, warp.index, warp.epoch, readers, thread))
        offset += 4;
    } else if (mode == SharedAccess::Write || mode == SharedAccess::AsyncWrite) {
      while (offset < end && writeFast(words[offset / 4], known, warp.thread(lane), warp.epoch, async))
        offset += 4;
    }
    if (offset == end)
      return;
  }
  bool strong = mode == SharedAccess::StrongRead || mode == SharedAccess::StrongWrite || mode == SharedAccess::Atomic;
  uint32_t lanes = mode == SharedAccess::WarpRead ? warp.live : 1u << lane;
  Access access{warp,
                instr,
                lane,
                end - size,
                mode,
                data,
                async,
                *warp.known[lane],
                static_cast<uint16_t>(warp.thread(lane)),
                static_cast<uint16_t>(warp.index),
                warp.epoch,
                lanes,
                strong};
  bool reads = mode == SharedAccess::Read || mode == SharedAccess::StrongRead || mode == SharedAccess::WarpRead;
  while (offset < end) {
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
        if (words[word].flags & Crowded)
          crowds[4 * word] = std::vector<CrowdEntry>(crowds[4 * word + 3]);
        freeBytes.push_back(index);
      }
    }
    offset = upTo;
  }
}

} // namespace gpusim
