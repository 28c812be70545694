// The internet checksum's sum (RFC 1071) over a buffer: nothing of Node in here, so that the fuzzer links it alone.
//
// The sum of 16-bit words in machine order, folded, is the byte-swapped sum of the same words in network order (RFC 1071,
// 2B), so the loops add machine words as wide as they like and swap once at the end. Wide words are added as 32-bit halves
// in 64-bit lanes: no carry can be lost in less than 2^32 additions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

inline uint64_t Load64(const uint8_t* at) {
  uint64_t word;
  memcpy(&word, at, sizeof word);
  return word;
}

// Whole words, then the rest of fewer than 8 bytes padded with zeros. Two additions for 8 bytes: fast enough without SIMD.
inline uint64_t SumPlain(const uint8_t* at, size_t len) {
  uint64_t low = 0, high = 0;
  for (; len >= 8; at += 8, len -= 8) {
    uint64_t word = Load64(at);
    low += word & 0xffffffff;
    high += word >> 32;
  }
  uint64_t rest = 0;
  memcpy(&rest, at, len);
  return low + high + (rest & 0xffffffff) + (rest >> 32);
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) inline uint64_t SumAvx2(const uint8_t* at, size_t len) {
  const __m256i half = _mm256_set1_epi64x(0xffffffff);
  __m256i low = _mm256_setzero_si256(), high = low, low2 = low, high2 = low;
  for (; len >= 64; at += 64, len -= 64) {
    __m256i a = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at));
    __m256i b = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at + 32));
    low = _mm256_add_epi64(low, _mm256_and_si256(a, half));
    high = _mm256_add_epi64(high, _mm256_srli_epi64(a, 32));
    low2 = _mm256_add_epi64(low2, _mm256_and_si256(b, half));
    high2 = _mm256_add_epi64(high2, _mm256_srli_epi64(b, 32));
  }
  __m256i all = _mm256_add_epi64(_mm256_add_epi64(low, high), _mm256_add_epi64(low2, high2));
  uint64_t lanes[4];
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(lanes), all);
  return lanes[0] + lanes[1] + lanes[2] + lanes[3] + SumPlain(at, len);
}

inline bool HasAvx2() {
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx2");
}
inline const bool kAvx2 = HasAvx2();
#endif

inline uint64_t Sum(const uint8_t* at, size_t len) {
#if defined(__x86_64__)
  if (kAvx2 && len >= 128) return SumAvx2(at, len);
#endif
  return SumPlain(at, len);
}

inline uint32_t Fold(uint64_t sum) {
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<uint32_t>(sum);
}

// Folded, un-complemented sum of the bytes as big-endian words, an odd last byte padded with zero, plus `initial`.
inline uint32_t InternetSum(const uint8_t* at, size_t len, uint32_t initial) {
  uint32_t sum = len == 0 ? 0 : Fold(Sum(at, len));
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
  sum = __builtin_bswap16(static_cast<uint16_t>(sum));
#endif
  return Fold(static_cast<uint64_t>(sum) + initial);
}
