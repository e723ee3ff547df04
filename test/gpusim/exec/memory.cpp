// Loads and stores in all state spaces, prefetches and fences.
#include "test/gpusim/exec/access.h"

namespace gpusim {
namespace {

using ptx::Space;
using ptx::Type;

enum Flags : uint8_t { Strong = 1, Acquire = 2, Release = 4 };

// Calls body(lane, generic address) for each lane; bySpace has made offsets of addresses in windows.
template <class F> void forStrong(const Instr &instr, uint32_t lanes, const Addresses &addresses, F &&body) {
  forLanes(lanes, [&](unsigned lane) {
    bool offset = instr.space == Space::Shared || addresses[lane] < windowSize;
    body(lane, addresses[lane] + (offset ? sharedWindow : 0));
  });
}

// Where a lane's local or parameter bytes are; `defined` may be null.
struct Bytes {
  uint8_t *bytes, *defined;
};

Bytes localBytes(Warp &warp, const Instr &instr, unsigned lane, uint64_t address, uint32_t size, const char *what) {
  const Frame &frame = warp.frames[warp.frame];
  uint64_t end = frame.localBase + warp.program->functions[frame.function].frameBytes;
  if (address > end || size > end - address)
    badAddress(warp, instr, lane, address, size, Space::Local, what);
  size_t at = size_t(lane) * warp.localCapacity + address;
  return {warp.local.data() + at, warp.localDefined.data() + at};
}

template <class T> struct Loader {
  Warp &warp;
  const Instr &instr;
  uint64_t *destinations[4];

  Loader(Warp &warp, const Instr &instr) : warp(warp), instr(instr) {
    for (unsigned i = 0; i < instr.count; ++i)
      destinations[i] = warp.dest(instr.d[i]);
  }
  void take(unsigned lane, const uint8_t *bytes) const {
    for (unsigned i = 0; i < instr.count; ++i) {
      T value;
      std::memcpy(&value, bytes + i * sizeof(T), sizeof(T));
      destinations[i][lane] =
          static_cast<uint64_t>(static_cast<std::conditional_t<std::is_signed_v<T>, int64_t, uint64_t>>(value));
    }
  }
};

template <class T> void loadShared(const Loader<T> &loader, uint32_t lanes, const Addresses &addresses, uint32_t size) {
  Warp &warp = loader.warp;
  const Instr &instr = loader.instr;
  SharedAccess mode = instr.flags & Strong ? SharedAccess::StrongRead : SharedAccess::Read;
  uint64_t common = addresses[__builtin_ctz(lanes)], differing = 0;
  forLanes(lanes, [&](unsigned lane) { differing |= addresses[lane] ^ common; });
  if (!differing && mode == SharedAccess::Read && common + size <= warp.block->shared.size() &&
      warp.block->shadow.readSame(warp, lanes, static_cast<uint32_t>(common), size))
    return forLanes(lanes, [&](unsigned lane) { loader.take(lane, warp.block->shared.data() + common); });
  forLanes(lanes, [&](unsigned lane) {
    const uint8_t *bytes = sharedBytes(warp, instr, lane, addresses[lane], size, "reads");
    warp.block->shadow.access(warp, instr, lane, static_cast<uint32_t>(addresses[lane]), size, mode);
    loader.take(lane, bytes);
  });
}

template <class T>
void loadGlobal(const Loader<T> &loader, uint32_t lanes, const Addresses &addresses, uint32_t size, Space space) {
  GlobalSpan span(loader.warp, loader.instr, lanes, addresses, size, "reads");
  forLanes(lanes, [&](unsigned lane) {
    HostRange range = span.at(lane, addresses[lane]);
    if (!allDefined(range.defined, size))
      undefinedBytes(loader.warp, loader.instr, lane, addresses[lane], size, space);
    loader.take(lane, range.bytes);
  });
}

template <class T> void load(Warp &warp, const Instr &instr, uint32_t lanes) {
  Addresses addresses;
  gatherAddresses(warp, instr.memory, lanes, addresses);
  Loader<T> loader(warp, instr);
  uint32_t size = sizeof(T) * instr.count;
  bySpace(instr.space, lanes, addresses, [&](Space space, uint32_t some) {
    checkAligned(warp, instr, some, addresses, size, space);
    switch (space) {
    case Space::Shared:
      return loadShared(loader, some, addresses, size);
    case Space::Local:
      return forLanes(some, [&](unsigned lane) {
        Bytes local = localBytes(warp, instr, lane, addresses[lane], size, "reads");
        // The padding of structures passed by value may be undefined; named parameters are not checked.
        if (!instr.memory.frameRelative && !allDefined(local.defined, size))
          undefinedBytes(warp, instr, lane, addresses[lane], size, Space::Local);
        loader.take(lane, local.bytes);
      });
    case Space::Param: {
      const std::vector<uint8_t> &params = warp.block->launch->params;
      return forLanes(some, [&](unsigned lane) {
        if (addresses[lane] > params.size() || size > params.size() - addresses[lane])
          badAddress(warp, instr, lane, addresses[lane], size, Space::Param, "reads");
        loader.take(lane, params.data() + addresses[lane]);
      });
    }
    default:
      return loadGlobal(loader, some, addresses, size, space);
    }
  });
  if (instr.flags & Strong)
    forStrong(instr, lanes, addresses,
              [&](unsigned lane, uint64_t location) { warp.observe(lane, location, instr.flags & Acquire); });
}

// A lane's value, its elements side by side.
template <class T> struct Storer {
  const Instr &instr;
  const uint64_t *sources[4];

  Storer(Warp &warp, const Instr &instr) : instr(instr) {
    for (unsigned i = 0; i < instr.count; ++i)
      sources[i] = warp.source(instr.s[i]);
  }
  void put(unsigned lane, uint8_t *bytes) const {
    for (unsigned i = 0; i < instr.count; ++i) {
      T value = static_cast<T>(sources[i][lane]);
      std::memcpy(bytes + i * sizeof(T), &value, sizeof(T));
    }
  }
};

template <class T>
void storeShared(Warp &warp, const Storer<T> &storer, uint32_t lanes, const Addresses &addresses, uint32_t size) {
  const Instr &instr = storer.instr;
  SharedAccess mode = instr.flags & Strong ? SharedAccess::StrongWrite : SharedAccess::Write;
  forLanes(lanes, [&](unsigned lane) {
    uint8_t *bytes = sharedBytes(warp, instr, lane, addresses[lane], size, "writes");
    uint8_t value[32];
    storer.put(lane, value);
    warp.block->shadow.access(warp, instr, lane, static_cast<uint32_t>(addresses[lane]), size, mode, value);
    std::memcpy(bytes, value, size);
  });
}

template <class T> void store(Warp &warp, const Instr &instr, uint32_t lanes) {
  Addresses addresses;
  gatherAddresses(warp, instr.memory, lanes, addresses);
  Storer<T> storer(warp, instr);
  uint32_t size = sizeof(T) * instr.count;
  bySpace(instr.space, lanes, addresses, [&](Space space, uint32_t some) {
    checkAligned(warp, instr, some, addresses, size, space);
    switch (space) {
    case Space::Shared:
      return storeShared(warp, storer, some, addresses, size);
    case Space::Local:
      return forLanes(some, [&](unsigned lane) {
        Bytes local = localBytes(warp, instr, lane, addresses[lane], size, "writes");
        storer.put(lane, local.bytes);
        std::memset(local.defined, 1, size);
      });
    case Space::Param:
      badAddress(warp, instr, __builtin_ctz(some), addresses[__builtin_ctz(some)], size, Space::Param,
                 "writes (parameters are constant)");
    default: {
      GlobalSpan span(warp, instr, some, addresses, size, "writes");
      return forLanes(some, [&](unsigned lane) {
        HostRange range = span.writable(lane, addresses[lane]);
        storer.put(lane, range.bytes);
        std::memset(range.defined, 1, size);
      });
    }
    }
  });
  if (instr.flags & Strong)
    forStrong(instr, lanes, addresses,
              [&](unsigned lane, uint64_t location) { warp.publish(lane, location, instr.flags & Release, true); });
}

Handler loadHandler(Type type) {
  switch (ptx::bytesOf(type)) {
  case 1:
    return type == Type::S8 ? load<int8_t> : load<uint8_t>;
  case 2:
    return type == Type::S16 ? load<int16_t> : load<uint16_t>;
  case 4:
    return type == Type::S32 ? load<int32_t> : load<uint32_t>;
  case 8:
    return load<uint64_t>;
  default:
    return nullptr;
  }
}

Handler storeHandler(Type type) {
  switch (ptx::bytesOf(type)) {
  case 1:
    return store<uint8_t>;
  case 2:
    return store<uint16_t>;
  case 4:
    return store<uint32_t>;
  case 8:
    return store<uint64_t>;
  default:
    return nullptr;
  }
}

void nothing(Warp &, const Instr &, uint32_t) {}

// Semantics and scopes change nothing in values: blocks see each other's plain accesses in order. Strong accesses to
// shared memory do not race with each other and, with fences, order others.
void takeSemantics(Decoder &decoder) {
  bool acquire = decoder.flag("acquire"), release = decoder.flag("release");
  bool strong = decoder.flag("volatile");
  strong |= decoder.flag("relaxed");
  strong |= decoder.flag("mmio");
  decoder.flag("weak");
  decoder.takeAny({"cta", "cluster", "gpu", "sys"});
  decoder.flag("unified");
  decoder.out.flags = (strong || acquire || release ? Strong : 0) | (acquire ? Acquire : 0) | (release ? Release : 0);
}

unsigned takeVector(Decoder &decoder) {
  std::string_view vector = decoder.takeAny({"v2", "v4"});
  return vector.empty() ? 1 : vector[1] - '0';
}

void decodeAccess(Decoder &decoder) {
  bool isLoad = decoder.opcode() != "st";
  Instr &out = decoder.out;
  takeSemantics(decoder);
  out.space = decoder.space();
  decoder.flag("nc");
  decoder.ignoreCacheOperators();
  out.count = static_cast<uint8_t>(takeVector(decoder));
  out.type = decoder.type();
  out.width = static_cast<uint8_t>(ptx::bytesOf(out.type));
  size_t addressAt = isLoad ? 1 : 0;
  decoder.expectOperands(2, 3); // the third one is a cache policy
  out.memory = decoder.memory(addressAt, out.space);
  std::vector<const ptx::Operand *> list = decoder.elements(1 - addressAt);
  if (list.size() != out.count)
    decoder.fail("the vector has " + std::to_string(list.size()) + " elements, the instruction says " +
                 std::to_string(out.count));
  if (out.width * out.count > 16)
    decoder.fail("an access of more than 16 bytes");
  for (unsigned i = 0; i < out.count; ++i) {
    if (isLoad)
      out.d[i] = decoder.destination(*list[i], out.type);
    else
      out.s[i] = decoder.value(*list[i], out.type);
  }
  setHandler(decoder, isLoad ? loadHandler(out.type) : storeHandler(out.type));
}

void decodePrefetch(Decoder &decoder) {
  if (decoder.opcode() == "discard" || decoder.opcode() == "applypriority")
    decoder.require(80, 74, "'" + decoder.opcode() + "'");
  decoder.space();
  decoder.takeAny({"L1", "L2"});
  decoder.ignoreCacheOperators();
  decoder.out.run = nothing;
}

// A cache policy is a hint: any value will do.
void decodePolicy(Decoder &decoder) {
  decoder.flag("fractional");
  decoder.flag("range");
  decoder.space();
  decoder.ignoreCacheOperators();
  decoder.type();
  decoder.require(80, 74, "createpolicy");
  decoder.out.d[0] = decoder.destination(0);
  decoder.out.run = [](Warp &warp, const Instr &instr, uint32_t lanes) {
    forLanes(lanes, [d = warp.dest(instr.d[0])](unsigned lane) { d[lane] = 0; });
  };
}

void decodeFence(Decoder &decoder) {
  decoder.takeAny({"acq_rel", "sc", "acquire", "release"});
  decoder.takeAny({"cta", "gl", "gpu", "sys", "cluster"});
  decoder.expectOperands(0, 0);
  decoder.out.run = [](Warp &warp, const Instr &, uint32_t lanes) { warp.fence(lanes); };
}

} // namespace

void addMemoryOps(DecodeTable &table) {
  table["ld"] = table["ldu"] = table["st"] = decodeAccess;
  table["prefetch"] = table["prefetchu"] = table["applypriority"] = table["discard"] = decodePrefetch;
  table["createpolicy"] = decodePolicy;
  table["membar"] = table["fence"] = decodeFence;
}

} // namespace gpusim
