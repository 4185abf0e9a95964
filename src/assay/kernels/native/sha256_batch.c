/* SHA-256 of many messages, and Merkle roots made of it: messages are handed to the kernel side by side. */
#include <string.h>

#include "kernels_impl.h"
#include "sha256_constants.h"

/* Many lanes are for another kernel than few. */
static void compress(size_t count, uint32_t (*states)[8], const uint8_t *const *blocks) {
  if (count >= assay_kernels.sha256_wide_from) assay_kernels.sha256_wide(count, states, blocks);
  else assay_kernels.sha256_compress(count, states, blocks);
}

/* One message on its way: whole blocks where they stand, then one or two of its padded end. */
struct stream {
  const uint8_t *message;
  uint64_t block, whole, total;
  size_t index;
};

static void finish(const uint32_t state[8], uint8_t digest[32]) {
  for (int i = 0; i < 8; i++) assay_store_be32(digest + 4 * i, state[i]);
}

/* Write the end of a message, its padding and length; returns the number of blocks, 1 or 2. */
static uint64_t pad(uint8_t tail[128], const uint8_t *message, uint64_t length) {
  const size_t rest = (size_t)(length % 64), blocks = rest < 56 ? 1 : 2;
  memset(tail, 0, 128);
  if (rest) memcpy(tail, message + (length - rest), rest);
  tail[rest] = 0x80;
  assay_store_be32(tail + 64 * blocks - 8, (uint32_t)(length >> 29));
  assay_store_be32(tail + 64 * blocks - 4, (uint32_t)(length << 3));
  return blocks;
}

/* Hash count <= ASSAY_MAX_LANES messages; they may differ in length. A finished one gives its lane to the last. */
static void hash_group(size_t count, const uint8_t *data, const uint64_t *offsets, uint8_t *digests) {
  uint32_t states[ASSAY_MAX_LANES][8];
  uint8_t tails[ASSAY_MAX_LANES][128];
  const uint8_t *blocks[ASSAY_MAX_LANES];
  struct stream streams[ASSAY_MAX_LANES];
  for (size_t i = 0; i < count; i++) {
    const uint8_t *message = data + offsets[i];
    const uint64_t length = offsets[i + 1] - offsets[i], whole = length / 64;
    streams[i] = (struct stream){message, 0, whole, whole + pad(tails[i], message, length), i};
    memcpy(states[i], assay_sha256_start, 32);
  }
  for (size_t live = count; live;) {
    for (size_t lane = 0; lane < live; lane++) {
      struct stream *s = &streams[lane];
      const int ends = s->block >= s->whole;
      blocks[lane] = ends ? tails[s->index] + 64 * (s->block - s->whole) : s->message + 64 * s->block;
      s->block++;
    }
    compress(live, states, blocks);
    for (size_t lane = live; lane-- > 0;) {
      if (streams[lane].block < streams[lane].total) continue;
      finish(states[lane], digests + 32 * streams[lane].index);
      live--;
      memmove(states[lane], states[live], 32);
      streams[lane] = streams[live];
    }
  }
}

void assay_sha256_many(size_t count, const uint8_t *data, const uint64_t *offsets, uint8_t *digests) {
  for (size_t i = 0; i < count; i += ASSAY_MAX_LANES) {
    const size_t group = count - i < ASSAY_MAX_LANES ? count - i : ASSAY_MAX_LANES;
    hash_group(group, data, offsets + i, digests + 32 * i);
  }
}

/* Hash count <= ASSAY_MAX_LANES messages: prefix || 64 bytes; the digests may overwrite the pairs. */
static void hash_pairs(size_t count, const uint8_t *prefix, const uint8_t *pairs, uint8_t *digests) {
  uint32_t states[ASSAY_MAX_LANES][8];
  uint8_t messages[ASSAY_MAX_LANES][128];
  const uint8_t *blocks[ASSAY_MAX_LANES];
  for (size_t i = 0; i < count; i++) {
    memcpy(messages[i], prefix, 3);
    memcpy(messages[i] + 3, pairs + 64 * i, 64);
    memset(messages[i] + 67, 0, 61);
    messages[i][67] = 0x80;
    assay_store_be32(messages[i] + 124, 67 * 8);
    memcpy(states[i], assay_sha256_start, 32);
    blocks[i] = messages[i];
  }
  compress(count, states, blocks);
  for (size_t i = 0; i < count; i++) blocks[i] += 64;
  compress(count, states, blocks);
  for (size_t i = 0; i < count; i++) finish(states[i], digests + 32 * i);
}

void assay_sha256_pairs(const uint8_t *prefix, size_t count, const uint8_t *pairs, uint8_t *digests) {
  for (size_t i = 0; i < count; i += ASSAY_MAX_LANES) {
    const size_t group = count - i < ASSAY_MAX_LANES ? count - i : ASSAY_MAX_LANES;
    hash_pairs(group, prefix, pairs + 64 * i, digests + 32 * i);
  }
}

void assay_merkle_root(const uint8_t *prefix, size_t count, uint8_t *hashes) {
  while (count > 1) {
    const size_t pairs = count / 2;
    assay_sha256_pairs(prefix, pairs, hashes, hashes);
    if (count % 2) memmove(hashes + 32 * pairs, hashes + 32 * (count - 1), 32);
    count = pairs + count % 2;
  }
}
