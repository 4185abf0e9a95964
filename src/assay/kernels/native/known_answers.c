/* Each kernel in use answers questions whose answers are known, before anything relies on it. */
#include <string.h>

#include "kernels_impl.h"

/* SHA-256 of the bytes 0, 1, 2 ... of lengths 0, 3, 55, 56, 64, 119 and 200, side by side; then the root over them. */
static const size_t sha256_lengths[] = {0, 3, 55, 56, 64, 119, 200};
#define MESSAGES (sizeof sha256_lengths / sizeof sha256_lengths[0])

static const uint8_t sha256_root[32] = {
    0xbe, 0x94, 0x30, 0x4c, 0x26, 0x67, 0xea, 0x26, 0x36, 0xce, 0x61, 0x9f, 0xd2, 0x60, 0xb7, 0xb7,
    0x58, 0xa4, 0x36, 0x9a, 0x5d, 0xff, 0xc0, 0x1a, 0xe9, 0xc0, 0x0e, 0x33, 0xe5, 0xa1, 0x32, 0x57,
};

static int is_sha256_right(void) {
  uint8_t data[512], digests[32 * MESSAGES];
  uint64_t offsets[MESSAGES + 1] = {0};
  const uint8_t prefix[3] = {1, 7, 0};
  for (size_t m = 0; m < MESSAGES; m++) {
    for (size_t i = 0; i < sha256_lengths[m]; i++) data[offsets[m] + i] = (uint8_t)i;
    offsets[m + 1] = offsets[m] + sha256_lengths[m];
  }
  assay_sha256_many(MESSAGES, data, offsets, digests);
  assay_merkle_root(prefix, MESSAGES, digests);
  return memcmp(digests, sha256_root, 32) == 0;
}

/* The weight sums of a pattern with every exponent from small to large, both signs and subnormals; a block and 11 more. */
#define WEIGHTS (ASSAY_WEIGHT_BLOCK + 11)

static const uint64_t weight_sums[4][5] = {
    {0x40e84e13d37d8000, 0x41537be63b8ca205, 0x40ea49918592e000, 0x414b07d383b7ec0b, 0x414aca7e44cba5dc},
    {0x4106234e35c00000, 0x4191f3278a876635, 0x4107e6413f000000, 0x4188b5bef813b472, 0x4188f9fc816b6af7},
    {0x41062fbeb35ac660, 0x41920a41fe8d0a2e, 0x4107f64cac46d840, 0x4188d62b6fa0944f, 0x41891a7649f5b426},
    {0x410643d5dd4c4609, 0x41920c4cd65a24d7, 0x410809bc319a2629, 0x4188fc7f3de309f9, 0x4188f4d325de0047},
};

/* Element i of one side, in an element type, as bits. */
static uint64_t make_weight(uint32_t type, uint32_t side, uint32_t i) {
  const uint32_t x = (i + side * 977u) * 2654435761u;
  const int small = i % 32 == 5;
  const uint32_t single = (x & 0x807fffffu) | (small ? 0 : 120 + i % 16) << 23;
  switch (type) {
    case ASSAY_F16: return (x >> 16 & 0x83ffu) | (small ? 0 : 8 + i % 14) << 10;
    case ASSAY_BF16: return single >> 16;
    case ASSAY_F32: return single;
    default: return (uint64_t)((x & 0x800fffffu) | (small ? 0 : 1016 + i % 16) << 20) << 32 | x;
  }
}

static int are_weight_sums_right(void) {
  static const uint8_t sizes[4] = {2, 2, 4, 8};
  uint8_t sides[2][8 * WEIGHTS];
  for (uint32_t type = 0; type < 4; type++) {
    double sums[2][5];
    for (uint32_t side = 0; side < 2; side++)
      for (uint32_t i = 0; i < WEIGHTS; i++) {
        const uint64_t bits = make_weight(type, side, i);
        for (size_t byte = 0; byte < sizes[type]; byte++) sides[side][sizes[type] * i + byte] = (uint8_t)(bits >> 8 * byte);
      }
    assay_weight_sums(type, WEIGHTS, sides[0], sides[1], sums[0]);
    for (size_t s = 0; s < 5; s++) sums[0][s] += sums[1][s];
    if (memcmp(sums[0], weight_sums[type], sizeof sums[0])) return 0;
  }
  return 1;
}

/* BLAKE3 of the first bytes of a sequence of period 251, side by side; forty chunks fill all lanes. The root over them. */
static const uint64_t blake3_lengths[] = {0, 1, 63, 64, 65, 1023, 1024, 1025, 3072, 40000};
#define BUFFERS (sizeof blake3_lengths / sizeof blake3_lengths[0])

static const uint8_t blake3_root[32] = {
    0x98, 0x88, 0x8e, 0x3c, 0x94, 0x55, 0x6f, 0x46, 0xbd, 0xef, 0x59, 0x97, 0xf0, 0x7a, 0x69, 0x5a,
    0xad, 0xc7, 0xda, 0x9f, 0x78, 0xfb, 0x31, 0x9c, 0xc2, 0x0b, 0xdf, 0x0f, 0xd1, 0xbf, 0x2a, 0x5c,
};

static int is_blake3_right(void) {
  uint8_t data[40000], digests[32 * BUFFERS];
  const uint8_t *inputs[BUFFERS];
  const uint8_t prefix[3] = {1, 7, 0};
  for (size_t i = 0; i < sizeof data; i++) data[i] = (uint8_t)(i % 251);
  for (size_t b = 0; b < BUFFERS; b++) inputs[b] = data;
  assay_blake3_many(BUFFERS, inputs, blake3_lengths, digests);
  assay_merkle_root(prefix, BUFFERS, digests);
  return memcmp(digests, blake3_root, 32) == 0;
}

const char *assay_find_wrong_kernel(void) {
  if (!is_sha256_right()) return "sha256";
  if (!are_weight_sums_right()) return "weight_sums";
  if (!is_blake3_right()) return "blake3";
  return NULL;
}
