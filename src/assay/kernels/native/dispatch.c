/* The only file that asks the processor. One table says which variant of which kernel needs which instruction sets. */
#include "kernels_impl.h"

#ifndef ASSAY_SOURCE_DIGEST
#define ASSAY_SOURCE_DIGEST "unknown"
#endif

struct row {
  uint32_t needs;
  struct assay_kernels kernels; /* NULL: no variant of its own */
};

/* The truth of every kernel; it runs everywhere. */
#define PORTABLE                                                                                                       \
  {                                                                                                                    \
    .sha256_compress = assay_sha256_compress_portable, .sha256_wide = assay_sha256_compress_portable,                  \
    .sha256_wide_from = ASSAY_MAX_LANES, .blake3_hash = assay_blake3_hash_portable,                                    \
    .blake3_compress = assay_blake3_compress_portable, .weight_sums = assay_weight_sums_portable,                      \
  }

/* Later rows win. */
static const struct row rows[] = {
    {0, PORTABLE},
#if ASSAY_X86_64
    {ASSAY_AVX2, {.sha256_wide = assay_sha256_compress_avx2, .sha256_wide_from = 3}},
    {ASSAY_SHA, {.sha256_compress = assay_sha256_compress_sha, .sha256_wide = assay_sha256_compress_sha}},
    {ASSAY_AVX512, {.sha256_wide = assay_sha256_compress_avx512, .sha256_wide_from = 3}},
    {ASSAY_AVX512 | ASSAY_SHA, {.sha256_wide_from = 14}},
    {ASSAY_AVX2, {.blake3_hash = assay_blake3_hash_avx2, .blake3_compress = assay_blake3_compress_avx2}},
    {ASSAY_AVX2, {.weight_sums = assay_weight_sums_avx2}},
    {ASSAY_AVX512, {.weight_sums = assay_weight_sums_avx512}},
    {ASSAY_AVX512, {.blake3_hash = assay_blake3_hash_avx512, .blake3_compress = assay_blake3_compress_avx512}},
#endif
};

struct assay_kernels assay_kernels = PORTABLE;

const char *assay_source_digest(void) { return ASSAY_SOURCE_DIGEST; }

#if ASSAY_X86_64
#include <cpuid.h>

static uint64_t read_xcr0(void) {
  uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (uint64_t)high << 32 | low;
}

static int has(uint32_t reg, unsigned bit) { return (int)(reg >> bit & 1u); }

uint32_t assay_detect_features(void) {
  uint32_t a, b, c, d, features = 0;
  if (!__get_cpuid(1, &a, &b, &c, &d)) return 0;
  const int sse41 = has(c, 19), ssse3 = has(c, 9), fma = has(c, 12), avx = has(c, 28), f16c = has(c, 29);
  const uint64_t saved = has(c, 27) ? read_xcr0() : 0; /* what the operating system saves on a switch */
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return 0;
  if (has(b, 29) && sse41 && ssse3) features |= ASSAY_SHA;
  if ((saved & 0x06) == 0x06 && avx && fma && f16c && has(b, 5) && has(b, 8)) features |= ASSAY_AVX2;
  const int avx512 = has(b, 16) && has(b, 17) && has(b, 30) && has(b, 31);
  if ((saved & 0xe6) == 0xe6 && avx512 && (features & ASSAY_AVX2)) features |= ASSAY_AVX512;
  return features;
}
#else
uint32_t assay_detect_features(void) { return 0; }
#endif

/* Take each entry that a row has. */
static void overlay(struct assay_kernels *into, const struct assay_kernels *from) {
  if (from->sha256_compress) into->sha256_compress = from->sha256_compress;
  if (from->weight_sums) into->weight_sums = from->weight_sums;
  if (from->sha256_wide) into->sha256_wide = from->sha256_wide;
  if (from->sha256_wide_from) into->sha256_wide_from = from->sha256_wide_from;
  if (from->blake3_hash) into->blake3_hash = from->blake3_hash;
  if (from->blake3_compress) into->blake3_compress = from->blake3_compress;
}

uint32_t assay_use_features(uint32_t allowed) {
  uint32_t used = assay_detect_features() & allowed;
  if (!(used & ASSAY_AVX2)) used &= ~ASSAY_AVX512;
  struct assay_kernels chosen = {0};
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
    if ((rows[i].needs & used) == rows[i].needs) overlay(&chosen, &rows[i].kernels);
  assay_kernels = chosen;
  return used;
}
