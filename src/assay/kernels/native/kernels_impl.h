/* Private: the signatures that the variants of a kernel share, and the table of those in use. */
#ifndef ASSAY_KERNELS_IMPL_H
#define ASSAY_KERNELS_IMPL_H

#include "assay_kernels.h"

#if !defined(ASSAY_X86_64) /* a build may say 0, to try what other machines get */
#if defined(__x86_64__) || defined(_M_X64)
#define ASSAY_X86_64 1
#else
#define ASSAY_X86_64 0
#endif
#endif

/* The widest kernel works on this many independent inputs side by side. */
#define ASSAY_MAX_LANES 16

/* Compress one 64-byte block into each of count states, count <= ASSAY_MAX_LANES. */
typedef void assay_sha256_compress_fn(size_t count, uint32_t (*states)[8], const uint8_t *const *blocks);

assay_sha256_compress_fn assay_sha256_compress_portable;
#if ASSAY_X86_64
assay_sha256_compress_fn assay_sha256_compress_sha, assay_sha256_compress_avx2, assay_sha256_compress_avx512;
#endif

/* The most inputs that a BLAKE3 kernel is handed at once. */
#define ASSAY_BLAKE3_LANES 32

/* Inputs of the same number of full 64-byte blocks: chunks, or pairs of children. Source: the BLAKE3 paper, section 2. */
struct assay_blake3_group {
  size_t count, blocks;
  uint32_t first;                    /* flags of the first block */
  uint32_t last[ASSAY_BLAKE3_LANES]; /* further flags of the last block */
  uint32_t counter_low[ASSAY_BLAKE3_LANES], counter_high[ASSAY_BLAKE3_LANES];
  const uint8_t *inputs[ASSAY_BLAKE3_LANES];
  uint8_t *outputs[ASSAY_BLAKE3_LANES]; /* a chaining value of 32 bytes each */
};

/* States that differ in everything, for one block each; word i of lane l is cv[i][l]. */
struct assay_blake3_states {
  uint32_t cv[8][ASSAY_BLAKE3_LANES];
  uint32_t lengths[ASSAY_BLAKE3_LANES], flags[ASSAY_BLAKE3_LANES];
  uint32_t counter_low[ASSAY_BLAKE3_LANES], counter_high[ASSAY_BLAKE3_LANES];
  const uint8_t *blocks[ASSAY_BLAKE3_LANES];
};

typedef void assay_blake3_hash_fn(const struct assay_blake3_group *group);
typedef void assay_blake3_compress_fn(size_t count, struct assay_blake3_states *states);

assay_blake3_hash_fn assay_blake3_hash_portable;
assay_blake3_compress_fn assay_blake3_compress_portable;
#if ASSAY_X86_64
assay_blake3_hash_fn assay_blake3_hash_avx2, assay_blake3_hash_avx512;
assay_blake3_compress_fn assay_blake3_compress_avx2, assay_blake3_compress_avx512;
#endif

/* Elements of a block of the weight sums. */
#define ASSAY_WEIGHT_BLOCK 4096u

/* See assay_weight_sums. */
typedef void assay_weight_sums_fn(uint32_t type, size_t count, const uint8_t *earlier, const uint8_t *later, double *sums);

assay_weight_sums_fn assay_weight_sums_portable;
#if ASSAY_X86_64
assay_weight_sums_fn assay_weight_sums_avx2;
assay_weight_sums_fn assay_weight_sums_avx512;
#endif

/* One entry per kernel that has variants. */
struct assay_kernels {
  assay_weight_sums_fn *weight_sums;
  assay_sha256_compress_fn *sha256_compress; /* for few lanes */
  assay_sha256_compress_fn *sha256_wide;     /* for at least sha256_wide_from lanes */
  size_t sha256_wide_from;
  assay_blake3_hash_fn *blake3_hash;
  assay_blake3_compress_fn *blake3_compress;
};

/* The kernels in use; set by assay_use_features, portable before its first call. */
extern struct assay_kernels assay_kernels;

static inline uint32_t assay_load_be32(const uint8_t *p) {
  return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | (uint32_t)p[3];
}

static inline void assay_store_be32(uint8_t *p, uint32_t x) {
  p[0] = (uint8_t)(x >> 24);
  p[1] = (uint8_t)(x >> 16);
  p[2] = (uint8_t)(x >> 8);
  p[3] = (uint8_t)x;
}

#endif
