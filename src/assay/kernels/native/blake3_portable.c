/* BLAKE3 compression, the truth of its variants. */
#include "blake3_impl.h"
#include "blake3_rounds.h"

#define ADD(x, y) ((x) + (y))
#define XOR(x, y) ((x) ^ (y))
#define ROT16(x) rotr(x, 16)
#define ROT12(x) rotr(x, 12)
#define ROT8(x) rotr(x, 8)
#define ROT7(x) rotr(x, 7)
#define ONE(half, ...) half(v, m, __VA_ARGS__)

static inline uint32_t rotr(uint32_t x, unsigned n) { return x >> n | x << (32 - n); }

static void compress(uint32_t cv[8], const uint8_t *block, uint32_t length, uint64_t counter, uint32_t flags) {
  uint32_t v[16], m[16];
  for (int i = 0; i < 16; i++) m[i] = load_le32(block + 4 * i);
  memcpy(v, cv, 32);
  memcpy(v + 8, blake3_iv, 16);
  v[12] = (uint32_t)counter;
  v[13] = (uint32_t)(counter >> 32);
  v[14] = length;
  v[15] = flags;
  ROUNDS(ONE);
  for (int i = 0; i < 8; i++) cv[i] = v[i] ^ v[i + 8];
}

void assay_blake3_hash_portable(const struct assay_blake3_group *group) {
  for (size_t lane = 0; lane < group->count; lane++) {
    uint32_t cv[8];
    memcpy(cv, blake3_iv, 32);
    for (size_t b = 0; b < group->blocks; b++) {
      const uint64_t counter = (uint64_t)group->counter_high[lane] << 32 | group->counter_low[lane];
      compress(cv, group->inputs[lane] + BLAKE3_BLOCK * b, BLAKE3_BLOCK, counter,
               blake3_flags(b, group->blocks, group->first, group->last[lane]));
    }
    for (int i = 0; i < 8; i++) store_le32(group->outputs[lane] + 4 * i, cv[i]);
  }
}

void assay_blake3_compress_portable(size_t count, struct assay_blake3_states *states) {
  for (size_t lane = 0; lane < count; lane++) {
    uint32_t cv[8];
    const uint64_t counter = (uint64_t)states->counter_high[lane] << 32 | states->counter_low[lane];
    for (int i = 0; i < 8; i++) cv[i] = states->cv[i][lane];
    compress(cv, states->blocks[lane], states->lengths[lane], counter, states->flags[lane]);
    for (int i = 0; i < 8; i++) states->cv[i][lane] = cv[i];
  }
}
