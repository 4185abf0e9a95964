/* Rows become columns: 16 vectors of 16 words. */
#ifndef ASSAY_TRANSPOSE_AVX512_H
#define ASSAY_TRANSPOSE_AVX512_H

#include <immintrin.h>

static inline void transpose(__m512i r[16]) {
  __m512i t[16];
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
  }
  for (int i = 0; i < 16; i += 4) { /* r[i + j]: word 4q + j of rows i .. i + 3, in quarter q */
    r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  for (int j = 0; j < 4; j++) {
    const __m512i even0 = _mm512_shuffle_i32x4(r[j], r[j + 4], 0x88), odd0 = _mm512_shuffle_i32x4(r[j], r[j + 4], 0xdd);
    const __m512i even1 = _mm512_shuffle_i32x4(r[j + 8], r[j + 12], 0x88);
    const __m512i odd1 = _mm512_shuffle_i32x4(r[j + 8], r[j + 12], 0xdd);
    t[j] = _mm512_shuffle_i32x4(even0, even1, 0x88);
    t[j + 8] = _mm512_shuffle_i32x4(even0, even1, 0xdd);
    t[j + 4] = _mm512_shuffle_i32x4(odd0, odd1, 0x88);
    t[j + 12] = _mm512_shuffle_i32x4(odd0, odd1, 0xdd);
  }
  for (int i = 0; i < 16; i++) r[i] = t[i];
}

#endif
