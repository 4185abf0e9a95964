/* SHA-256 compression for sixteen lanes. */
#include "kernels_impl.h"
#include "transpose_avx512.h"

#define LANES 16

typedef __m512i VEC;

#define ADD(x, y) _mm512_add_epi32(x, y)
#define ROR(x, n) _mm512_ror_epi32(x, n)
#define SHR(x, n) _mm512_srli_epi32(x, n)
#define XOR3(x, y, z) _mm512_ternarylogic_epi32(x, y, z, 0x96)
#define CHOOSE(x, y, z) _mm512_ternarylogic_epi32(x, y, z, 0xca)
#define MAJORITY(x, y, z) _mm512_ternarylogic_epi32(x, y, z, 0xe8)
#define SET(x) _mm512_set1_epi32((int)(x))

#include "sha256_lanes.h"

static void load_blocks(VEC w[16], size_t count, const uint8_t *const *blocks) {
  const VEC swap = _mm512_broadcast_i32x4(_mm_set_epi64x(0x0c0d0e0f08090a0bLL, 0x0405060700010203LL));
  for (size_t i = 0; i < LANES; i++)
    w[i] = _mm512_shuffle_epi8(_mm512_loadu_si512(blocks[i < count ? i : 0]), swap);
  transpose(w);
}

/* Words of states become vectors, or back: 16 states of 8 words. */
static void load_states(VEC s[8], size_t count, uint32_t (*states)[8]) {
  VEC rows[16];
  for (size_t i = 0; i < LANES; i++)
    rows[i] = _mm512_castsi256_si512(_mm256_loadu_si256((const __m256i *)states[i < count ? i : 0]));
  transpose(rows);
  for (int i = 0; i < 8; i++) s[i] = rows[i];
}

static void store_states(const VEC s[8], size_t count, uint32_t (*states)[8]) {
  VEC rows[16];
  for (int i = 0; i < 16; i++) rows[i] = s[i % 8];
  transpose(rows);
  for (size_t i = 0; i < count; i++) _mm256_storeu_si256((__m256i *)states[i], _mm512_castsi512_si256(rows[i]));
}

void assay_sha256_compress_avx512(size_t count, uint32_t (*states)[8], const uint8_t *const *blocks) {
  VEC s[8], start[8], w[16];
  load_states(s, count, states);
  load_blocks(w, count, blocks);
  for (int i = 0; i < 8; i++) start[i] = s[i];
  ALL_ROUNDS;
  for (int i = 0; i < 8; i++) s[i] = ADD(s[i], start[i]);
  store_states(s, count, states);
}
