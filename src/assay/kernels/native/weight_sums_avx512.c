/* The five sums with AVX-512: lanes 0 to 7 and 8 to 15 in two registers a sum. fma is used where the product is exact: same bits. */
#include <immintrin.h>
#include <string.h>

#include "kernels_impl.h"

/* Lanes 0 to 7 or 8 to 15 of every sum. */
struct lanes {
  __m512d change, squares, magnitude, before, after;
};

static inline __m512d load_f64(const uint8_t *p) { return _mm512_loadu_pd(p); }
static inline __m512d load_f32(const uint8_t *p) { return _mm512_cvtps_pd(_mm256_loadu_ps((const float *)p)); }
static inline __m512d load_f16(const uint8_t *p) {
  return _mm512_cvtps_pd(_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p)));
}
static inline __m512d load_bf16(const uint8_t *p) {
  const __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p));
  return _mm512_cvtps_pd(_mm256_castsi256_ps(_mm256_slli_epi32(wide, 16)));
}

static inline __m512d multiply_add(__m512d a, __m512d b, __m512d s, int exact) {
  return exact ? _mm512_fmadd_pd(a, b, s) : _mm512_add_pd(s, _mm512_mul_pd(a, b));
}

static inline void add(struct lanes *s, __m512d a, __m512d b, int exact) {
  const __m512d d = _mm512_sub_pd(b, a);
  s->change = _mm512_add_pd(s->change, _mm512_abs_pd(d));
  s->squares = _mm512_add_pd(s->squares, _mm512_mul_pd(d, d));
  s->magnitude = _mm512_add_pd(s->magnitude, _mm512_abs_pd(a));
  s->before = multiply_add(a, a, s->before, exact);
  s->after = multiply_add(b, b, s->after, exact);
}

static inline double halve(__m512d low, __m512d high) {
  const __m512d v = _mm512_add_pd(low, high);
  const __m256d four = _mm256_add_pd(_mm512_castpd512_pd256(v), _mm512_extractf64x4_pd(v, 1));
  const __m128d two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));
  return _mm_cvtsd_f64(two) + _mm_cvtsd_f64(_mm_unpackhi_pd(two, two));
}

static inline struct lanes start_lanes(void) {
  const __m512d zero = _mm512_setzero_pd();
  return (struct lanes){zero, zero, zero, zero, zero};
}

#define SUMS(NAME, SIZE, EXACT)                                                                               \
  static void sums_##NAME(size_t count, const uint8_t *a, const uint8_t *b, double *sums) {                   \
    for (size_t start = 0; start < count; start += ASSAY_WEIGHT_BLOCK, sums += 5) {                           \
      const size_t end = count - start < ASSAY_WEIGHT_BLOCK ? count : start + ASSAY_WEIGHT_BLOCK;             \
      struct lanes low = start_lanes(), high = start_lanes();                                                 \
      size_t i = start;                                                                                       \
      for (; i + 16 <= end; i += 16) {                                                                        \
        add(&low, load_##NAME(a + SIZE * i), load_##NAME(b + SIZE * i), EXACT);                               \
        add(&high, load_##NAME(a + SIZE * (i + 8)), load_##NAME(b + SIZE * (i + 8)), EXACT);                  \
      }                                                                                                       \
      if (i < end) { /* zeros beyond the end change no sum */                                                 \
        uint8_t ends[2][16 * SIZE] = {{0}};                                                                   \
        memcpy(ends[0], a + SIZE * i, SIZE * (end - i));                                                      \
        memcpy(ends[1], b + SIZE * i, SIZE * (end - i));                                                      \
        add(&low, load_##NAME(ends[0]), load_##NAME(ends[1]), EXACT);                                         \
        add(&high, load_##NAME(ends[0] + SIZE * 8), load_##NAME(ends[1] + SIZE * 8), EXACT);                  \
      }                                                                                                       \
      sums[0] = halve(low.change, high.change);                                                              \
      sums[1] = halve(low.squares, high.squares);                                                            \
      sums[2] = halve(low.magnitude, high.magnitude);                                                        \
      sums[3] = halve(low.before, high.before);                                                              \
      sums[4] = halve(low.after, high.after);                                                                \
    }                                                                                                         \
  }

SUMS(f16, 2, 1)
SUMS(bf16, 2, 1)
SUMS(f32, 4, 1)
SUMS(f64, 8, 0)

void assay_weight_sums_avx512(uint32_t type, size_t count, const uint8_t *earlier, const uint8_t *later, double *sums) {
  switch (type) {
    case ASSAY_F16: sums_f16(count, earlier, later, sums); break;
    case ASSAY_BF16: sums_bf16(count, earlier, later, sums); break;
    case ASSAY_F32: sums_f32(count, earlier, later, sums); break;
    default: sums_f64(count, earlier, later, sums);
  }
}
