/* Private: what the files of BLAKE3 share. Source: the BLAKE3 paper, sections 2.1 to 2.4. */
#ifndef ASSAY_BLAKE3_IMPL_H
#define ASSAY_BLAKE3_IMPL_H

#include <string.h>

#include "kernels_impl.h"

enum {
  BLAKE3_CHUNK = 1024,
  BLAKE3_BLOCK = 64,
  BLAKE3_CHUNK_START = 1,
  BLAKE3_CHUNK_END = 2,
  BLAKE3_PARENT = 4,
  BLAKE3_ROOT = 8,
};

static const uint32_t blake3_iv[8] = {
    0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
};

static inline uint32_t load_le32(const uint8_t *p) {
  return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static inline void store_le32(uint8_t *p, uint32_t x) {
  p[0] = (uint8_t)x;
  p[1] = (uint8_t)(x >> 8);
  p[2] = (uint8_t)(x >> 16);
  p[3] = (uint8_t)(x >> 24);
}

/* Ask for what a lane needs half a chunk later: the rest of its chunk, then the chunk that it gets in the next group,
 * if the groups lie one after the other. A wrong guess costs nothing, and no address faults. */
#define BLAKE3_PREFETCH(input, offset)                                                                                 \
  _mm_prefetch((const char *)((uintptr_t)(input) + (offset) + BLAKE3_CHUNK / 2 +                                       \
                              ((offset) < BLAKE3_CHUNK / 2 ? 0 : (ASSAY_BLAKE3_LANES - 1) * BLAKE3_CHUNK)),            \
               _MM_HINT_T0)

/* The compiler shall leave these message words in memory: the state needs all registers. */
#define BLAKE3_KEEP_IN_MEMORY(words) __asm__("" : "+m"(words))

/* Flags of block number b of blocks: the first and the last have their own. */
static inline uint32_t blake3_flags(size_t b, size_t blocks, uint32_t first, uint32_t last) {
  return (b == 0 ? first : 0) | (b + 1 == blocks ? last : 0);
}

#endif
