/* BLAKE3 for eight lanes. */
#include "blake3_impl.h"
#include "transpose_avx2.h"
#define LANES 8

/* Sixteen registers are too few for sixteen state words and what is on its way: the third row stays in memory. */
#define ROW_C(v, c) parked[(c)-8]
#define PARK                                                                                                           \
  BLAKE3_KEEP_IN_MEMORY(parked[0]);                                                                                    \
  BLAKE3_KEEP_IN_MEMORY(parked[1]);                                                                                    \
  BLAKE3_KEEP_IN_MEMORY(parked[2]);                                                                                    \
  BLAKE3_KEEP_IN_MEMORY(parked[3])

typedef __m256i VEC;

#define ADD(x, y) _mm256_add_epi32(x, y)
#define XOR(x, y) _mm256_xor_si256(x, y)
#define ROT16(x) _mm256_shuffle_epi8(x, by16)
#define ROT12(x) _mm256_or_si256(_mm256_srli_epi32(x, 12), _mm256_slli_epi32(x, 20))
#define ROT8(x) _mm256_shuffle_epi8(x, by8)
#define ROT7(x) _mm256_or_si256(_mm256_srli_epi32(x, 7), _mm256_slli_epi32(x, 25))
#define SET(x) _mm256_set1_epi32((int)(x))

#include "blake3_rounds.h"

static inline VEC load(const void *p) { return _mm256_loadu_si256((const __m256i *)p); }
static inline void store(void *p, VEC x) { _mm256_storeu_si256((__m256i *)p, x); }

static inline void load_blocks(VEC m[16], const uint8_t *const *inputs, size_t offset) {
  for (int i = 0; i < LANES; i++) {
    m[i] = load(inputs[i] + offset);
    m[i + 8] = load(inputs[i] + offset + 32);
  }
  transpose(m);
  transpose(m + 8);
}

static inline void start_rows(VEC v[16], VEC parked[4], VEC low, VEC high, VEC length, VEC flags) {
  for (int i = 0; i < 4; i++) parked[i] = SET(blake3_iv[i]);
  v[12] = low;
  v[13] = high;
  v[14] = length;
  v[15] = flags;
}

/* The chaining value: both halves of the state, added. */
static inline void add_halves(VEC v[16], const VEC parked[4]) {
  for (int i = 0; i < 4; i++) {
    v[i] = XOR(v[i], parked[i]);
    v[i + 4] = XOR(v[i + 4], v[i + 12]);
  }
}

#define ONE(half, ...) half(v, m, __VA_ARGS__)
#define CONSTANTS                                                                                                      \
  VEC by16 = _mm256_set_epi8(13, 12, 15, 14, 9, 8, 11, 10, 5, 4, 7, 6, 1, 0, 3, 2, 13, 12, 15, 14, 9, 8, 11, 10,  \
                                   5, 4, 7, 6, 1, 0, 3, 2);                                                            \
  VEC by8 = _mm256_set_epi8(12, 15, 14, 13, 8, 11, 10, 9, 4, 7, 6, 5, 0, 3, 2, 1, 12, 15, 14, 13, 8, 11, 10, 9, 4, 7,  \
                            6, 5, 0, 3, 2, 1);                                                                         \
  BLAKE3_KEEP_IN_MEMORY(by16);                                                                                         \
  BLAKE3_KEEP_IN_MEMORY(by8)

/* Up to eight lanes, from lane `from` of the group on. */
static void hash_eight(const struct assay_blake3_group *group, size_t from) {
  CONSTANTS;
  const size_t left = group->count - from, count = left < LANES ? left : LANES;
  const uint8_t *inputs[LANES];
  for (size_t i = 0; i < LANES; i++) inputs[i] = group->inputs[from + (i < count ? i : 0)];
  VEC v[16], m[16], parked[4];
  for (int i = 0; i < 8; i++) v[i] = SET(blake3_iv[i]);
  for (size_t b = 0; b < group->blocks; b++) {
    VEC flags = SET(b == 0 ? group->first : 0);
    if (b + 1 == group->blocks) flags = _mm256_or_si256(flags, load(group->last + from));
    for (int i = 0; i < LANES; i++) BLAKE3_PREFETCH(inputs[i], BLAKE3_BLOCK * b);
    load_blocks(m, inputs, BLAKE3_BLOCK * b);
    start_rows(v, parked, load(group->counter_low + from), load(group->counter_high + from), SET(BLAKE3_BLOCK), flags);
    BLAKE3_KEEP_IN_MEMORY(m);
    ROUNDS(ONE);
    add_halves(v, parked);
  }
  transpose(v);
  for (size_t lane = 0; lane < count; lane++) store(group->outputs[from + lane], v[lane]);
}

void assay_blake3_hash_avx2(const struct assay_blake3_group *group) {
  for (size_t from = 0; from < group->count; from += LANES) hash_eight(group, from);
}

void assay_blake3_compress_avx2(size_t count, struct assay_blake3_states *states) {
  CONSTANTS;
  for (size_t from = 0; from < count; from += LANES) {
    const uint8_t *inputs[LANES];
    for (size_t i = 0; i < LANES; i++) inputs[i] = states->blocks[from + i < count ? from + i : from];
    VEC v[16], m[16], parked[4];
    for (int i = 0; i < 8; i++) v[i] = load(states->cv[i] + from);
    load_blocks(m, inputs, 0);
    start_rows(v, parked, load(states->counter_low + from), load(states->counter_high + from), load(states->lengths + from),
               load(states->flags + from));
    BLAKE3_KEEP_IN_MEMORY(m);
    ROUNDS(ONE);
    add_halves(v, parked);
    for (int i = 0; i < 8; i++) store(states->cv[i] + from, v[i]);
  }
}
