// The internet checksum's sum (RFC 1071) over a buffer.
//
// The sum of 16-bit words in machine order, folded, is the byte-swapped sum of the same words in network order (RFC 1071,
// 2B), so the loops add machine words as wide as they like and swap once at the end. Wide words are added as 32-bit halves
// in 64-bit lanes: no carry can be lost in less than 2^32 additions.
#include "addon.h"

#include <cstdint>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

static inline uint64_t Load64(const uint8_t* at) {
  uint64_t word;
  memcpy(&word, at, sizeof word);
  return word;
}

// Whole words, then the rest of fewer than 8 bytes padded with zeros. Two additions for 8 bytes: fast enough without SIMD.
static uint64_t SumPlain(const uint8_t* at, size_t len) {
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
__attribute__((target("avx2"))) static uint64_t SumAvx2(const uint8_t* at, size_t len) {
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

static bool HasAvx2() {
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx2");
}
static const bool kAvx2 = HasAvx2();
#endif

static uint64_t Sum(const uint8_t* at, size_t len) {
#if defined(__x86_64__)
  if (kAvx2 && len >= 128) return SumAvx2(at, len);
#endif
  return SumPlain(at, len);
}

static uint32_t Fold(uint64_t sum) {
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<uint32_t>(sum);
}

static napi_value Checksum(napi_env env, napi_callback_info info) {
  napi_value args[4];
  size_t count = 4;
  int64_t off = 0, len = 0;
  uint32_t initial = 0;
  napi_typedarray_type type = napi_uint8_array;
  size_t size = 0;
  void* data = nullptr;
  if (napi_get_cb_info(env, info, &count, args, nullptr, nullptr) != napi_ok ||
      napi_get_typedarray_info(env, args[0], &type, &size, &data, nullptr, nullptr) != napi_ok ||
      type != napi_uint8_array || napi_get_value_int64(env, args[1], &off) != napi_ok ||
      napi_get_value_int64(env, args[2], &len) != napi_ok || napi_get_value_uint32(env, args[3], &initial) != napi_ok) {
    napi_throw_type_error(env, nullptr, "checksum(bytes: Uint8Array, off, len, initial)");
    return nullptr;
  }
  if (off < 0 || len < 0 || static_cast<uint64_t>(off) > size || static_cast<uint64_t>(len) > size - off) {
    napi_throw_range_error(env, nullptr, "checksum: off and len are outside of bytes");
    return nullptr;
  }
  uint32_t sum = len == 0 ? 0 : Fold(Sum(static_cast<const uint8_t*>(data) + off, static_cast<size_t>(len)));
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
  sum = __builtin_bswap16(static_cast<uint16_t>(sum));
#endif
  napi_value value = nullptr;
  napi_create_uint32(env, Fold(static_cast<uint64_t>(sum) + initial), &value);
  return value;
}

void ExportChecksum(Napi::Env env, Napi::Object exports) { ExportRaw(env, exports, "checksum", Checksum, nullptr); }
