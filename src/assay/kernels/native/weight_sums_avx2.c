/* The six sums with AVX2: lanes 0 to 3 and 4 to 7 in two registers a sum. fma where the product is exact: same bits. */
#include <immintrin.h>
#include <string.h>

#include "kernels_impl.h"

/* Lanes 0 to 3 or 4 to 7 of every sum. */
struct lanes {
  __m256d change, squares, magnitude, product, before, after;
};

static inline __m256d load_f64(const uint8_t *p) { return _mm256_loadu_pd((const double *)p); }
static inline __m256d load_f32(const uint8_t *p) { return _mm256_cvtps_pd(_mm_loadu_ps((const float *)p)); }
static inline __m256d load_f16(const uint8_t *p) {
  return _mm256_cvtps_pd(_mm_cvtph_ps(_mm_loadl_epi64((const __m128i *)p)));
}
static inline __m256d load_bf16(const uint8_t *p) {
  const __m128i wide = _mm_cvtepu16_epi32(_mm_loadl_epi64((const __m128i *)p));
  return _mm256_cvtps_pd(_mm_castsi128_ps(_mm_slli_epi32(wide, 16)));
}

static inline __m256d multiply_add(__m256d a, __m256d b, __m256d s, int exact) {
  return exact ? _mm256_fmadd_pd(a, b, s) : _mm256_add_pd(s, _mm256_mul_pd(a, b));
}

static inline void add(struct lanes *s, __m256d a, __m256d b, int exact) {
  const __m256d sign = _mm256_set1_pd(-0.0), d = _mm256_sub_pd(b, a);
  s->change = _mm256_add_pd(s->change, _mm256_andnot_pd(sign, d));
  s->squares = _mm256_add_pd(s->squares, _mm256_mul_pd(d, d));
  s->magnitude = _mm256_add_pd(s->magnitude, _mm256_andnot_pd(sign, a));
  s->product = multiply_add(a, b, s->product, exact);
  s->before = multiply_add(a, a, s->before, exact);
  s->after = multiply_add(b, b, s->after, exact);
}

static inline double halve(__m256d low, __m256d high) {
  const __m256d four = _mm256_add_pd(low, high);
  const __m128d two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));
  return _mm_cvtsd_f64(two) + _mm_cvtsd_f64(_mm_unpackhi_pd(two, two));
}

static inline struct lanes start_lanes(void) {
  const __m256d zero = _mm256_setzero_pd();
  return (struct lanes){zero, zero, zero, zero, zero, zero};
}

#define SUMS(NAME, SIZE, EXACT)                                                                               \
  static void sums_##NAME(size_t count, const uint8_t *a, const uint8_t *b, double *sums) {                   \
    for (size_t start = 0; start < count; start += ASSAY_WEIGHT_BLOCK) {                                      \
      const size_t end = count - start < ASSAY_WEIGHT_BLOCK ? count : start + ASSAY_WEIGHT_BLOCK;             \
      struct lanes low = start_lanes(), high = start_lanes();                                                 \
      size_t i = start;                                                                                       \
      for (; i + 8 <= end; i += 8) {                                                                          \
        add(&low, load_##NAME(a + SIZE * i), load_##NAME(b + SIZE * i), EXACT);                               \
        add(&high, load_##NAME(a + SIZE * (i + 4)), load_##NAME(b + SIZE * (i + 4)), EXACT);                  \
      }                                                                                                       \
      if (i < end) { /* zeros beyond the end change no sum */                                                 \
        uint8_t ends[2][8 * SIZE] = {{0}};                                                                    \
        memcpy(ends[0], a + SIZE * i, SIZE * (end - i));                                                      \
        memcpy(ends[1], b + SIZE * i, SIZE * (end - i));                                                      \
        add(&low, load_##NAME(ends[0]), load_##NAME(ends[1]), EXACT);                                         \
        add(&high, load_##NAME(ends[0] + SIZE * 4), load_##NAME(ends[1] + SIZE * 4), EXACT);                  \
      }                                                                                                       \
      sums[0] += halve(low.change, high.change);                                                              \
      sums[1] += halve(low.squares, high.squares);                                                            \
      sums[2] += halve(low.magnitude, high.magnitude);                                                        \
      sums[3] += halve(low.product, high.product);                                                            \
      sums[4] += halve(low.before, high.before);                                                              \
      sums[5] += halve(low.after, high.after);                                                                \
    }                                                                                                         \
  }

SUMS(f16, 2, 1)
SUMS(bf16, 2, 1)
SUMS(f32, 4, 1)
SUMS(f64, 8, 0)

void assay_weight_sums_avx2(uint32_t type, size_t count, const uint8_t *earlier, const uint8_t *later, double *sums) {
  switch (type) {
    case ASSAY_F16: sums_f16(count, earlier, later, sums); break;
    case ASSAY_BF16: sums_bf16(count, earlier, later, sums); break;
    case ASSAY_F32: sums_f32(count, earlier, later, sums); break;
    default: sums_f64(count, earlier, later, sums);
  }
}
