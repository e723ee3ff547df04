// Integer instructions of all widths: arithmetic, carry chains, bit fields, permutations, dot products.
#include <stdint.h>

#define INDEX int i = blockIdx.x * blockDim.x + threadIdx.x; if (i >= n) return
#define PUT(value) out[op++ * n + i] = (value)
#define ASM1(text, type, constraint, x) ({ type r; asm(text " %0, %1;" : "=" constraint(r) : constraint(x)); r; })
#define ASM2(text, x, y) ({ uint32_t r; asm(text " %0, %1, %2;" : "=r"(r) : "r"(x), "r"(y)); r; })
#define ASM3(text, x, y, z) ({ uint32_t r; asm(text " %0, %1, %2, %3;" : "=r"(r) : "r"(x), "r"(y), "r"(z)); r; })
#define ASM2L(text, x, y) ({ uint64_t r; asm(text " %0, %1, %2;" : "=l"(r) : "l"(x), "l"(y)); r; })
#define ASM2H(text, x, y) ({ uint16_t r; asm(text " %0, %1, %2;" : "=h"(r) : "h"(x), "h"(y)); r; })

extern "C" __global__ void int8_arith(const uint8_t *a, const uint8_t *b, uint8_t *out, int n) {
  INDEX;
  int op = 0;
  uint8_t x = a[i], y = b[i];
  PUT(x + y);
  PUT(x * y);
  PUT((int8_t)x >> (y & 7));
  PUT((int8_t)x / (int8_t)(y | 1));
  PUT(x % (y | 1));
  PUT((int8_t)x < (int8_t)y ? x : y);
}

extern "C" __global__ void int16_arith(const uint16_t *a, const uint16_t *b, uint16_t *out, int n) {
  INDEX;
  int op = 0;
  uint16_t x = a[i], y = b[i];
  PUT(ASM2H("add.u16", x, y));
  PUT(ASM2H("sub.s16", x, y));
  PUT(ASM2H("mul.lo.s16", x, y));
  PUT(ASM2H("mul.hi.u16", x, y));
  PUT(ASM2H("mul.hi.s16", x, y));
  PUT(ASM2H("min.s16", x, y));
  PUT(ASM2H("max.u16", x, y));
  PUT(ASM2H("and.b16", x, y));
  PUT(ASM2H("xor.b16", x, y));
  PUT(ASM2H("div.s16", x, (uint16_t)(y | 1)));
  PUT(ASM2H("rem.u16", x, (uint16_t)(y | 1)));
  uint16_t shifted;
  asm("shl.b16 %0, %1, %2;" : "=h"(shifted) : "h"(x), "r"((uint32_t)(y & 31)));
  PUT(shifted);
  asm("shr.s16 %0, %1, %2;" : "=h"(shifted) : "h"(x), "r"((uint32_t)(y & 31)));
  PUT(shifted);
}

extern "C" __global__ void int32_arith(const uint32_t *a, const uint32_t *b, const uint32_t *c, uint32_t *out, int n) {
  INDEX;
  int op = 0;
  uint32_t x = a[i], y = b[i], z = c[i];
  PUT(x + y);
  PUT(x - y);
  PUT(x * y);
  PUT(__umulhi(x, y));
  PUT(__mulhi((int)x, (int)y));
  PUT(ASM3("mad.lo.s32", x, y, z));
  PUT(ASM3("mad.hi.u32", x, y, z));
  PUT(ASM3("mad.hi.s32", x, y, z));
  PUT(__mul24((int)x, (int)y));
  PUT(__umul24(x, y));
  PUT(x / (y | 1));
  PUT(x % (y | 1));
  PUT((int)x / (int)(y % 1000 + 1));
  PUT((int)x % (int)(y % 1000 + 1));
  PUT(min((int)x, (int)y));
  PUT(max(x, y));
  PUT(abs((int)x));
  PUT(-x);
  PUT(ASM2("add.sat.s32", x, y));
  PUT(ASM2("sub.sat.s32", x, y));
  PUT(ASM3("sad.u32", x, y, z));
  PUT(ASM3("sad.s32", x, y, z));
  PUT(__hadd((int)x, (int)y));
  PUT(__urhadd(x, y));
}

extern "C" __global__ void int32_bits(const uint32_t *a, const uint32_t *b, const uint32_t *c, uint32_t *out, int n) {
  INDEX;
  int op = 0;
  uint32_t x = a[i], y = b[i], z = c[i];
  PUT(x & y);
  PUT(x | y);
  PUT(~x);
  PUT(ASM1("cnot.b32", uint32_t, "r", x));
  PUT(ASM2("shl.b32", x, y & 63));
  PUT(ASM2("shr.u32", x, y & 63));
  PUT(ASM2("shr.s32", x, y & 63));
  PUT(__popc(x));
  PUT(__clz(x));
  PUT(__ffs(x));
  PUT(__brev(x));
  PUT(ASM1("bfind.u32", uint32_t, "r", x));
  PUT(ASM1("bfind.s32", uint32_t, "r", x));
  PUT(ASM1("bfind.shiftamt.u32", uint32_t, "r", x));
  PUT(ASM3("bfe.u32", x, y & 255, z & 63));
  PUT(ASM3("bfe.s32", x, y & 255, z & 63));
  uint32_t inserted;
  asm("bfi.b32 %0, %1, %2, %3, %4;" : "=r"(inserted) : "r"(x), "r"(y), "r"(z & 63), "r"(z >> 8 & 63));
  PUT(inserted);
  PUT(__funnelshift_l(x, y, z));
  PUT(__funnelshift_r(x, y, z));
  PUT(__funnelshift_lc(x, y, z & 63));
  PUT(__funnelshift_rc(x, y, z & 63));
}

extern "C" __global__ void lop3_prmt(const uint32_t *a, const uint32_t *b, const uint32_t *c, uint32_t *out, int n) {
  INDEX;
  int op = 0;
  uint32_t x = a[i], y = b[i], z = c[i];
#define LOP3(table) ({ uint32_t r; asm("lop3.b32 %0, %1, %2, %3, " #table ";" : "=r"(r) : "r"(x), "r"(y), "r"(z)); r; })
  PUT(LOP3(0x96));
  PUT(LOP3(0xe8));
  PUT(LOP3(0xca));
  PUT(LOP3(0x01));
  PUT(LOP3(0x5a));
  PUT((x & y) | (~x & z));
  PUT(__byte_perm(x, y, z));
  PUT(ASM3("prmt.b32", x, y, z));
  PUT(ASM3("prmt.b32.f4e", x, y, z));
  PUT(ASM3("prmt.b32.b4e", x, y, z));
  PUT(ASM3("prmt.b32.rc8", x, y, z));
  PUT(ASM3("prmt.b32.ecl", x, y, z));
  PUT(ASM3("prmt.b32.ecr", x, y, z));
  PUT(ASM3("prmt.b32.rc16", x, y, z));
}

extern "C" __global__ void int64_arith(const uint64_t *a, const uint64_t *b, uint64_t *out, int n) {
  INDEX;
  int op = 0;
  uint64_t x = a[i], y = b[i];
  PUT(x + y);
  PUT(x - y);
  PUT(x * y);
  PUT(__umul64hi(x, y));
  PUT(__mul64hi((long long)x, (long long)y));
  PUT(x / (y | 1));
  PUT(x % (y | 1));
  PUT((int64_t)x / (int64_t)(y >> 40 | 1));
  PUT((int64_t)x % (int64_t)(y >> 40 | 1));
  PUT(ASM2L("min.s64", x, y));
  PUT(ASM2L("max.u64", x, y));
  PUT(ASM1("abs.s64", uint64_t, "l", x));
  PUT(ASM1("neg.s64", uint64_t, "l", x));
  PUT(x ^ y);
  PUT(~x);
  PUT((uint64_t)(uint32_t)x * (uint32_t)y);
  PUT((int64_t)(int32_t)x * (int32_t)y);
  PUT((int64_t)(int32_t)x * (int32_t)y + (int64_t)y);
  PUT(__popcll(x));
  PUT(__clzll(x));
  PUT(__brevll(x));
  PUT(__ffsll(x));
  uint64_t r;
  asm("shl.b64 %0, %1, %2;" : "=l"(r) : "l"(x), "r"((uint32_t)(y & 127)));
  PUT(r);
  asm("shr.s64 %0, %1, %2;" : "=l"(r) : "l"(x), "r"((uint32_t)(y & 127)));
  PUT(r);
  asm("bfe.s64 %0, %1, %2, %3;" : "=l"(r) : "l"(x), "r"((uint32_t)(y & 63)), "r"((uint32_t)(y >> 8 & 127)));
  PUT(r);
  asm("bfi.b64 %0, %1, %2, %3, %4;" : "=l"(r) : "l"(x), "l"(y), "r"((uint32_t)(x & 63)), "r"((uint32_t)(y >> 8 & 63)));
  PUT(r);
}

extern "C" __global__ void carry_chains(const uint32_t *a, const uint32_t *b, uint32_t *out, int n) {
  INDEX;
  const uint32_t *x = a + 4 * i, *y = b + 4 * i;
  uint32_t *sum = out + 14 * i, *difference = sum + 5, *mad = difference + 5;
  asm volatile("add.cc.u32 %0, %5, %9; addc.cc.u32 %1, %6, %10; addc.cc.u32 %2, %7, %11; addc.cc.u32 %3, %8, %12;"
               "addc.u32 %4, 0, 0;"
               : "=&r"(sum[0]), "=&r"(sum[1]), "=&r"(sum[2]), "=&r"(sum[3]), "=&r"(sum[4])
               : "r"(x[0]), "r"(x[1]), "r"(x[2]), "r"(x[3]), "r"(y[0]), "r"(y[1]), "r"(y[2]), "r"(y[3]));
  asm volatile("sub.cc.u32 %0, %5, %9; subc.cc.u32 %1, %6, %10; subc.cc.u32 %2, %7, %11; subc.cc.u32 %3, %8, %12;"
               "subc.u32 %4, 0, 0;"
               : "=&r"(difference[0]), "=&r"(difference[1]), "=&r"(difference[2]), "=&r"(difference[3]), "=&r"(difference[4])
               : "r"(x[0]), "r"(x[1]), "r"(x[2]), "r"(x[3]), "r"(y[0]), "r"(y[1]), "r"(y[2]), "r"(y[3]));
  // 64 = 32 * 32 + 64, then 96 bits with the carry of a high half.
  asm volatile("mad.lo.cc.u32 %0, %4, %5, %6; madc.hi.cc.u32 %1, %4, %5, %7; addc.u32 %2, 0, 0; mad.hi.u32 %3, %4, %5, %6;"
               : "=&r"(mad[0]), "=&r"(mad[1]), "=&r"(mad[2]), "=&r"(mad[3])
               : "r"(x[0]), "r"(y[0]), "r"(x[1]), "r"(y[1]));
}

extern "C" __global__ void int128_arith(const uint64_t *a, const uint64_t *b, uint64_t *out, int n) {
  INDEX;
  unsigned __int128 x = (unsigned __int128)a[2 * i + 1] << 64 | a[2 * i], y = (unsigned __int128)b[2 * i + 1] << 64 | b[2 * i];
  unsigned __int128 results[3] = {x + y, x - y, x * y};
  for (int k = 0; k < 3; ++k) {
    out[6 * i + 2 * k] = (uint64_t)results[k];
    out[6 * i + 2 * k + 1] = (uint64_t)(results[k] >> 64);
  }
}

extern "C" __global__ void dot_products(const uint32_t *a, const uint32_t *b, const uint32_t *c, uint32_t *out, int n) {
  INDEX;
  int op = 0;
  uint32_t x = a[i], y = b[i], z = c[i];
  PUT(__dp4a((int)x, (int)y, (int)z));
  PUT(__dp4a(x, y, z));
  PUT(ASM3("dp4a.u32.s32", x, y, z));
  PUT(__dp2a_lo((int)x, (int)y, (int)z));
  PUT(__dp2a_hi(x, y, z));
}

extern "C" __global__ void selections(const uint32_t *a, const uint32_t *b, const uint32_t *c, uint32_t *out, int n) {
  INDEX;
  int op = 0;
  uint32_t x = a[i], y = b[i], z = c[i], r;
  PUT(ASM2("set.lt.u32.s32", x, y));
  PUT(ASM2("set.hs.u32.u32", x, y));
  asm("set.ge.f32.s32 %0, %1, %2;" : "=f"(*(float *)&r) : "r"(x), "r"(y));
  PUT(r);
  asm("slct.u32.s32 %0, %1, %2, %3;" : "=r"(r) : "r"(x), "r"(y), "r"(z));
  PUT(r);
  asm("{ .reg .pred p, q; setp.lo.u32 p|q, %1, %2; selp.b32 %0, 1, 2, p; @q add.u32 %0, %0, 4; }" : "=r"(r) : "r"(x), "r"(y));
  PUT(r);
  asm("{ .reg .pred p, q; setp.gt.s32 q, %2, %3; setp.le.and.s32 p, %1, %2, q; selp.b32 %0, %1, %3, p; }"
      : "=r"(r) : "r"(x), "r"(y), "r"(z));
  PUT(r);
  asm("{ .reg .pred p, q, s; setp.ne.s32 q, %2, %3; setp.eq.xor.u32 p, %1, %2, !q; not.pred s, p; or.pred s, s, q;"
      " xor.pred s, s, p; @!s bra done; mov.u32 %0, 7; done: @!s mov.u32 %0, 9; }"
      : "=r"(r) : "r"(x & 3), "r"(y & 3), "r"(z & 3));
  PUT(r);
}
