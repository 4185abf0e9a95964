/* The truth of the five sums in plain C: sixteen lanes, halved; blocks of 4,096 elements, added in order. */
#include <string.h>

#include "kernels_impl.h"

static double widen_f16(uint16_t bits) {
  const uint32_t sign = (uint32_t)(bits & 0x8000u) << 16, exponent = bits >> 10 & 31u, fraction = bits & 0x3ffu;
  float value;
  uint32_t wide;
  if (exponent == 0) { /* zero or subnormal: a multiple of 2^-24, exact in float */
    value = (float)fraction * 0x1p-24f;
    return sign ? -(double)value : (double)value;
  }
  wide = sign | (exponent == 31 ? 0x7f800000u : (exponent + 112) << 23) | fraction << 13;
  memcpy(&value, &wide, 4);
  return value;
}

static double load(uint32_t type, const uint8_t *data, size_t i) {
  float single;
  double value;
  uint16_t half;
  uint32_t wide;
  switch (type) {
    case ASSAY_F16:
      memcpy(&half, data + 2 * i, 2);
      return widen_f16(half);
    case ASSAY_BF16:
      memcpy(&half, data + 2 * i, 2);
      wide = (uint32_t)half << 16;
      memcpy(&single, &wide, 4);
      return single;
    case ASSAY_F32:
      memcpy(&single, data + 4 * i, 4);
      return single;
    default:
      memcpy(&value, data + 8 * i, 8);
      return value;
  }
}

static double halve(double lanes[16]) {
  for (int half = 8; half; half /= 2)
    for (int lane = 0; lane < half; lane++) lanes[lane] += lanes[lane + half];
  return lanes[0];
}

void assay_weight_sums_portable(uint32_t type, size_t count, const uint8_t *earlier, const uint8_t *later, double *sums) {
  for (size_t start = 0; start < count; start += ASSAY_WEIGHT_BLOCK, sums += 5) {
    const size_t end = count - start < ASSAY_WEIGHT_BLOCK ? count : start + ASSAY_WEIGHT_BLOCK;
    double lanes[5][16] = {{0}};
    for (size_t i = start; i < end; i++) {
      const double a = load(type, earlier, i), b = load(type, later, i), d = b - a;
      const size_t lane = (i - start) % 16;
      lanes[0][lane] += d < 0 ? -d : d;
      lanes[1][lane] += d * d;
      lanes[2][lane] += a < 0 ? -a : a;
      lanes[3][lane] += a * a;
      lanes[4][lane] += b * b;
    }
    for (int s = 0; s < 5; s++) sums[s] = halve(lanes[s]);
  }
}
