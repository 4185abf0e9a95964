/* SHA-256 compression for eight lanes. */
#include "kernels_impl.h"
#include "transpose_avx2.h"

#define LANES 8

typedef __m256i VEC;

#define ADD(x, y) _mm256_add_epi32(x, y)
#define ROR(x, n) _mm256_or_si256(_mm256_srli_epi32(x, n), _mm256_slli_epi32(x, 32 - (n)))
#define SHR(x, n) _mm256_srli_epi32(x, n)
#define XOR(x, y) _mm256_xor_si256(x, y)
#define XOR3(x, y, z) XOR(XOR(x, y), z)
#define CHOOSE(x, y, z) XOR(z, _mm256_and_si256(x, XOR(y, z)))
#define MAJORITY(x, y, z) XOR(y, _mm256_and_si256(XOR(x, y), XOR(y, z)))
#define SET(x) _mm256_set1_epi32((int)(x))

#include "sha256_lanes.h"

static inline VEC load(const void *p) { return _mm256_loadu_si256((const __m256i *)p); }

static void load_blocks(VEC w[16], size_t count, const uint8_t *const *blocks) {
  const VEC swap = _mm256_broadcastsi128_si256(_mm_set_epi64x(0x0c0d0e0f08090a0bLL, 0x0405060700010203LL));
  for (size_t i = 0; i < LANES; i++) {
    const uint8_t *block = blocks[i < count ? i : 0];
    w[i] = _mm256_shuffle_epi8(load(block), swap);
    w[i + 8] = _mm256_shuffle_epi8(load(block + 32), swap);
  }
  transpose(w);
  transpose(w + 8);
}

/* Up to eight lanes. */
static void compress_eight(size_t count, uint32_t (*states)[8], const uint8_t *const *blocks) {
  VEC s[8], start[8], w[16];
  for (size_t i = 0; i < LANES; i++) s[i] = load(states[i < count ? i : 0]);
  transpose(s);
  load_blocks(w, count, blocks);
  for (int i = 0; i < 8; i++) start[i] = s[i];
  ALL_ROUNDS;
  for (int i = 0; i < 8; i++) s[i] = ADD(s[i], start[i]);
  transpose(s);
  for (size_t i = 0; i < count; i++) _mm256_storeu_si256((__m256i *)states[i], s[i]);
}

void assay_sha256_compress_avx2(size_t count, uint32_t (*states)[8], const uint8_t *const *blocks) {
  for (size_t i = 0; i < count; i += LANES)
    compress_eight(count - i < LANES ? count - i : LANES, states + i, blocks + i);
}
