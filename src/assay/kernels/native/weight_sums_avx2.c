/* The five sums with AVX2: four registers a sum would not fit, so each block is read twice: for lanes 0 to 7, and for 8 to 15.
 * fma where the product is exact: same bits. */
#include <immintrin.h>
#include <string.h>

#include "kernels_impl.h"

/* Four neighbouring lanes of every sum. */
struct lanes {
  __m256d change, squares, magnitude, before, after;
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
  s->before = multiply_add(a, a, s->before, exact);
  s->after = multiply_add(b, b, s->after, exact);
}

static inline double halve(__m256d v0, __m256d v4, __m256d v8, __m256d v12) {
  const __m256d four = _mm256_add_pd(_mm256_add_pd(v0, v8), _mm256_add_pd(v4, v12));
  const __m128d two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));
  return _mm_cvtsd_f64(two) + _mm_cvtsd_f64(_mm_unpackhi_pd(two, two));
}

static inline struct lanes start_lanes(void) {
  const __m256d zero = _mm256_setzero_pd();
  return (struct lanes){zero, zero, zero, zero, zero};
}

#define HALVE(FIELD) halve(s[0].FIELD, s[1].FIELD, s[2].FIELD, s[3].FIELD)

#define SUMS(NAME, SIZE, EXACT)                                                                               \
  static inline void add_half_##NAME(struct lanes s[2], const uint8_t *a, const uint8_t *b, size_t count) {   \
    struct lanes low = s[0], high = s[1];                                                                     \
    for (size_t i = 0; i < count; i += 16) {                                                                  \
      add(&low, load_##NAME(a + SIZE * i), load_##NAME(b + SIZE * i), EXACT);                                 \
      add(&high, load_##NAME(a + SIZE * (i + 4)), load_##NAME(b + SIZE * (i + 4)), EXACT);                    \
    }                                                                                                         \
    s[0] = low, s[1] = high;                                                                                  \
  }                                                                                                           \
  static void sums_##NAME(size_t count, const uint8_t *a, const uint8_t *b, double *sums) {                   \
    for (size_t start = 0; start < count; start += ASSAY_WEIGHT_BLOCK, sums += 5) {                           \
      const size_t length = count - start < ASSAY_WEIGHT_BLOCK ? count - start : ASSAY_WEIGHT_BLOCK;          \
      const size_t whole = length / 16 * 16, rest = length - whole;                                           \
      const uint8_t *one = a + SIZE * start, *other = b + SIZE * start;                                       \
      struct lanes s[4] = {start_lanes(), start_lanes(), start_lanes(), start_lanes()};                       \
      add_half_##NAME(s, one, other, whole);                                                                  \
      add_half_##NAME(s + 2, one + SIZE * 8, other + SIZE * 8, whole);                                        \
      if (rest) { /* zeros beyond the end change no sum */                                                    \
        uint8_t ends[2][16 * SIZE] = {{0}};                                                                   \
        memcpy(ends[0], one + SIZE * whole, SIZE * rest);                                                     \
        memcpy(ends[1], other + SIZE * whole, SIZE * rest);                                                   \
        add_half_##NAME(s, ends[0], ends[1], 16);                                                             \
        add_half_##NAME(s + 2, ends[0] + SIZE * 8, ends[1] + SIZE * 8, 16);                                   \
      }                                                                                                       \
      sums[0] = HALVE(change);                                                                               \
      sums[1] = HALVE(squares);                                                                              \
      sums[2] = HALVE(magnitude);                                                                            \
      sums[3] = HALVE(before);                                                                               \
      sums[4] = HALVE(after);                                                                                \
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
