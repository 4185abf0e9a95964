/* SHA-256 compression by the SHA extensions, two streams at a time: their rounds do not wait for each other. */
#include <immintrin.h>

#include "kernels_impl.h"
#include "sha256_constants.h"

/* Two registers hold a state as the instructions want it. */
struct pair {
  __m128i abef, cdgh;
};

static inline struct pair load_state(const uint32_t state[8]) {
  const __m128i dcba = _mm_loadu_si128((const __m128i *)&state[0]);
  const __m128i hgfe = _mm_loadu_si128((const __m128i *)&state[4]);
  const __m128i cdab = _mm_shuffle_epi32(dcba, 0xb1);
  const __m128i efgh = _mm_shuffle_epi32(hgfe, 0x1b);
  return (struct pair){_mm_alignr_epi8(cdab, efgh, 8), _mm_blend_epi16(efgh, cdab, 0xf0)};
}

static inline void store_state(uint32_t state[8], struct pair s) {
  const __m128i feba = _mm_shuffle_epi32(s.abef, 0x1b);
  const __m128i dchg = _mm_shuffle_epi32(s.cdgh, 0xb1);
  _mm_storeu_si128((__m128i *)&state[0], _mm_blend_epi16(feba, dchg, 0xf0));
  _mm_storeu_si128((__m128i *)&state[4], _mm_alignr_epi8(dchg, feba, 8));
}

/* Four rounds with the message words w. */
static inline struct pair four_rounds(struct pair s, __m128i w, int t) {
  __m128i wk = _mm_add_epi32(w, _mm_loadu_si128((const __m128i *)&assay_sha256_k[t]));
  s.cdgh = _mm_sha256rnds2_epu32(s.cdgh, s.abef, wk);
  wk = _mm_shuffle_epi32(wk, 0x0e);
  s.abef = _mm_sha256rnds2_epu32(s.abef, s.cdgh, wk);
  return s;
}

/* The next four message words from the last sixteen. */
static inline __m128i schedule(__m128i w0, __m128i w1, __m128i w2, __m128i w3) {
  const __m128i sum = _mm_add_epi32(_mm_sha256msg1_epu32(w0, w1), _mm_alignr_epi8(w3, w2, 4));
  return _mm_sha256msg2_epu32(sum, w3);
}

static inline void load_block(__m128i w[4], const uint8_t *block) {
  const __m128i swap = _mm_set_epi64x(0x0c0d0e0f08090a0bLL, 0x0405060700010203LL);
  for (int i = 0; i < 4; i++) w[i] = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(block + 16 * i)), swap);
}

static inline struct pair add(struct pair a, struct pair b) {
  return (struct pair){_mm_add_epi32(a.abef, b.abef), _mm_add_epi32(a.cdgh, b.cdgh)};
}

static void compress_two(uint32_t *state0, uint32_t *state1, const uint8_t *block0, const uint8_t *block1) {
  const struct pair start0 = load_state(state0), start1 = load_state(state1);
  struct pair s0 = start0, s1 = start1;
  __m128i u[4], v[4];
  load_block(u, block0);
  load_block(v, block1);
  for (int t = 0; t < 48; t += 16)
    for (int i = 0; i < 4; i++) {
      s0 = four_rounds(s0, u[i], t + 4 * i);
      s1 = four_rounds(s1, v[i], t + 4 * i);
      u[i] = schedule(u[i], u[(i + 1) % 4], u[(i + 2) % 4], u[(i + 3) % 4]);
      v[i] = schedule(v[i], v[(i + 1) % 4], v[(i + 2) % 4], v[(i + 3) % 4]);
    }
  for (int i = 0; i < 4; i++) {
    s0 = four_rounds(s0, u[i], 48 + 4 * i);
    s1 = four_rounds(s1, v[i], 48 + 4 * i);
  }
  store_state(state0, add(s0, start0));
  store_state(state1, add(s1, start1));
}

static void compress_one(uint32_t *state, const uint8_t *block) {
  const struct pair start = load_state(state);
  struct pair s = start;
  __m128i u[4];
  load_block(u, block);
  for (int t = 0; t < 48; t += 16)
    for (int i = 0; i < 4; i++) {
      s = four_rounds(s, u[i], t + 4 * i);
      u[i] = schedule(u[i], u[(i + 1) % 4], u[(i + 2) % 4], u[(i + 3) % 4]);
    }
  for (int i = 0; i < 4; i++) s = four_rounds(s, u[i], 48 + 4 * i);
  store_state(state, add(s, start));
}

void assay_sha256_compress_sha(size_t count, uint32_t (*states)[8], const uint8_t *const *blocks) {
  size_t i = 0;
  for (; i + 2 <= count; i += 2) compress_two(states[i], states[i + 1], blocks[i], blocks[i + 1]);
  if (i < count) compress_one(states[i], blocks[i]);
}
