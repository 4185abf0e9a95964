/* Private: the signatures that the variants of a kernel share, and the table of those in use. */
#ifndef ASSAY_KERNELS_IMPL_H
#define ASSAY_KERNELS_IMPL_H

#include "assay_kernels.h"

#if defined(__x86_64__) || defined(_M_X64)
#define ASSAY_X86_64 1
#else
#define ASSAY_X86_64 0
#endif

/* The widest kernel works on this many independent inputs side by side. */
#define ASSAY_MAX_LANES 16

/* Compress one 64-byte block into each of count states, count <= ASSAY_MAX_LANES. */
typedef void assay_sha256_compress_fn(size_t count, uint32_t (*states)[8], const uint8_t *const *blocks);

assay_sha256_compress_fn assay_sha256_compress_portable;
#if ASSAY_X86_64
assay_sha256_compress_fn assay_sha256_compress_sha;
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
  assay_sha256_compress_fn *sha256_compress;
  assay_weight_sums_fn *weight_sums;
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
