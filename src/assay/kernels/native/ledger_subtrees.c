/* Subtrees of the ledger state tree, many in one call. Source: spec/ledger-state.md. */
#include <string.h>

#include "kernels_impl.h"

enum { PATH_BITS = 256, LEAF_BYTES = 64, PATH_BYTES = 32 };

static int get_bit(const uint8_t *path, unsigned bit) { return path[bit / 8] >> (7 - bit % 8) & 1; }

/* The first bit in which two paths differ; PATH_BITS: none. */
static unsigned find_fork(const uint8_t *a, const uint8_t *b) {
  for (unsigned i = 0; i < PATH_BYTES; i++) {
    if (a[i] == b[i]) continue;
    unsigned bit = 8 * i;
    while (get_bit(a, bit) == get_bit(b, bit)) bit++;
    return bit;
  }
  return PATH_BITS;
}

/* Write the hash of the subtree at depth over count >= 1 sorted leaves and return whether it is a node, not a lone leaf.
 * leaves: path and value hash; hashes: of the leaves, 32 bytes each. */
static int hash_subtree(const struct assay_ledger_tree *tree, unsigned depth, size_t count, const uint8_t *leaves,
                        const uint8_t *hashes, uint8_t *hash) {
  if (count == 1) {
    memcpy(hash, hashes, 32);
    return 0;
  }
  const unsigned fork = find_fork(leaves, leaves + LEAF_BYTES * (count - 1));
  size_t middle = 1;
  while (middle + 1 < count && fork < PATH_BITS && !get_bit(leaves + LEAF_BYTES * middle, fork)) middle++;
  uint8_t pair[64];
  hash_subtree(tree, fork + 1, middle, leaves, hashes, pair);
  hash_subtree(tree, fork + 1, count - middle, leaves + LEAF_BYTES * middle, hashes + 32 * middle, pair + 32);
  assay_sha256_pairs(tree->node_prefix, 1, pair, hash);
  for (unsigned level = fork; level-- > depth;) {
    const int is_right = get_bit(leaves, level);
    memcpy(pair + 32 * is_right, hash, 32);
    memcpy(pair + 32 * !is_right, tree->empty, 32);
    assay_sha256_pairs(tree->node_prefix, 1, pair, hash);
  }
  return 1;
}

void assay_ledger_subtrees(const struct assay_ledger_tree *tree, uint32_t depth, size_t count, const uint64_t *offsets,
                           const uint8_t *leaves, uint8_t *hashes, uint8_t *found) {
  assay_sha256_pairs(tree->leaf_prefix, (size_t)offsets[count], leaves, hashes);
  for (size_t i = 0; i < count; i++) {
    const size_t first = (size_t)offsets[i], size = (size_t)offsets[i + 1] - first;
    found[33 * i] = 0;
    if (!size) continue;
    const int is_node =
        hash_subtree(tree, depth, size, leaves + LEAF_BYTES * first, hashes + 32 * first, found + 33 * i + 1);
    found[33 * i] = is_node ? 2 : 1;
  }
}
