/* BLAKE3 for sixteen lanes, and twice sixteen: a second state hides the latency of the first. */
#include "blake3_impl.h"
#include "blake3_rounds.h"
#include "transpose_avx512.h"

#define LANES 16

typedef __m512i VEC;

#define ADD(x, y) _mm512_add_epi32(x, y)
#define XOR(x, y) _mm512_xor_si512(x, y)
#define ROT16(x) _mm512_ror_epi32(x, 16)
#define ROT12(x) _mm512_ror_epi32(x, 12)
#define ROT8(x) _mm512_ror_epi32(x, 8)
#define ROT7(x) _mm512_ror_epi32(x, 7)
#define SET(x) _mm512_set1_epi32((int)(x))

static inline void load_blocks(VEC m[16], const uint8_t *const *inputs, size_t offset) {
  for (int i = 0; i < LANES; i++) m[i] = _mm512_loadu_si512(inputs[i] + offset);
  for (int i = 0; i < LANES; i++) BLAKE3_PREFETCH(inputs[i], offset);
  transpose(m);
}

static inline void start_rows(VEC v[16], VEC low, VEC high, VEC length, VEC flags) {
  for (int i = 0; i < 4; i++) v[8 + i] = SET(blake3_iv[i]);
  v[12] = low;
  v[13] = high;
  v[14] = length;
  v[15] = flags;
}

static inline void store_outputs(VEC cv[8], uint8_t *const *outputs, size_t count) {
  VEC rows[16];
  for (int i = 0; i < 8; i++) rows[i] = cv[i];
  for (int i = 8; i < 16; i++) rows[i] = _mm512_setzero_si512();
  transpose(rows);
  for (size_t lane = 0; lane < count; lane++)
    _mm256_storeu_si256((__m256i *)outputs[lane], _mm512_castsi512_si256(rows[lane]));
}

#define ONE(half, ...) half(v, m, __VA_ARGS__)

/* Up to sixteen lanes, from lane `from` of the group on. */
static void hash_one(const struct assay_blake3_group *group, size_t from) {
  const size_t left = group->count - from, count = left < LANES ? left : LANES;
  const uint8_t *inputs[LANES];
  for (size_t i = 0; i < LANES; i++) inputs[i] = group->inputs[from + (i < count ? i : 0)];
  const VEC low = _mm512_loadu_si512(group->counter_low + from), high = _mm512_loadu_si512(group->counter_high + from);
  const VEC last = _mm512_loadu_si512(group->last + from);
  VEC v[16], m[16];
  for (int i = 0; i < 8; i++) v[i] = SET(blake3_iv[i]);
  for (size_t b = 0; b < group->blocks; b++) {
    VEC flags = SET(b == 0 ? group->first : 0);
    if (b + 1 == group->blocks) flags = _mm512_or_si512(flags, last);
    load_blocks(m, inputs, BLAKE3_BLOCK * b);
    start_rows(v, low, high, SET(BLAKE3_BLOCK), flags);
    ROUNDS(ONE);
    for (int i = 0; i < 8; i++) v[i] = XOR(v[i], v[i + 8]);
  }
  store_outputs(v, group->outputs + from, count);
}

#define TWO(half, ...)                                                                                                 \
  half(v, m, __VA_ARGS__);                                                                                             \
  half(w, n, __VA_ARGS__)

/* Thirty-two lanes, from lane 0 of a full group on. */
static void hash_two(const struct assay_blake3_group *group) {
  VEC v[16], w[16], m[16], n[16];
  for (int i = 0; i < 8; i++) v[i] = w[i] = SET(blake3_iv[i]);
  for (size_t b = 0; b < group->blocks; b++) {
    const VEC first = SET(b == 0 ? group->first : 0);
    const __mmask16 ends = b + 1 == group->blocks ? 0xffff : 0;
    load_blocks(m, group->inputs, BLAKE3_BLOCK * b);
    load_blocks(n, group->inputs + LANES, BLAKE3_BLOCK * b);
    start_rows(v, _mm512_loadu_si512(group->counter_low), _mm512_loadu_si512(group->counter_high), SET(BLAKE3_BLOCK),
               _mm512_or_si512(first, _mm512_maskz_loadu_epi32(ends, group->last)));
    start_rows(w, _mm512_loadu_si512(group->counter_low + LANES), _mm512_loadu_si512(group->counter_high + LANES),
               SET(BLAKE3_BLOCK), _mm512_or_si512(first, _mm512_maskz_loadu_epi32(ends, group->last + LANES)));
    BLAKE3_KEEP_IN_MEMORY(m);
    BLAKE3_KEEP_IN_MEMORY(n);
    ROUNDS(TWO);
    for (int i = 0; i < 8; i++) {
      v[i] = XOR(v[i], v[i + 8]);
      w[i] = XOR(w[i], w[i + 8]);
    }
  }
  store_outputs(v, group->outputs, LANES);
  store_outputs(w, group->outputs + LANES, LANES);
}

void assay_blake3_hash_avx512(const struct assay_blake3_group *group) {
  if (group->count == 2 * LANES) {
    hash_two(group);
    return;
  }
  for (size_t from = 0; from < group->count; from += LANES) hash_one(group, from);
}

void assay_blake3_compress_avx512(size_t count, struct assay_blake3_states *states) {
  for (size_t from = 0; from < count; from += LANES) {
    const uint8_t *inputs[LANES];
    for (size_t i = 0; i < LANES; i++) inputs[i] = states->blocks[from + i < count ? from + i : from];
    VEC v[16], m[16];
    for (int i = 0; i < 8; i++) v[i] = _mm512_loadu_si512(states->cv[i] + from);
    for (int i = 0; i < LANES; i++) m[i] = _mm512_loadu_si512(inputs[i]);
    transpose(m);
    start_rows(v, _mm512_loadu_si512(states->counter_low + from), _mm512_loadu_si512(states->counter_high + from),
               _mm512_loadu_si512(states->lengths + from), _mm512_loadu_si512(states->flags + from));
    ROUNDS(ONE);
    for (int i = 0; i < 8; i++) _mm512_storeu_si512(states->cv[i] + from, XOR(v[i], v[i + 8]));
  }
}
