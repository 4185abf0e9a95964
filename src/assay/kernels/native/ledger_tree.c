/* The ledger state tree in memory, with all its leaves. Source: spec/ledger-state.md, LST-2 to LST-6.
 *
 * Inner nodes stand only where two leaves part: the halves without leaves in between are hashed and not kept. Nothing is
 * changed in place: an update makes new leaves and nodes beside the old ones, so that proofs under the old root may be
 * read meanwhile, and afterwards one of the two sets is given back.
 *
 * A reference is 0 for an empty subtree, 2i for node i, 2i + 1 for leaf i; item 0 of each pool is scratch. */
#include <stdlib.h>
#include <string.h>

#include "kernels_impl.h"

enum { PATH_BITS = 256, PATH_BYTES = 32, HASH_BYTES = 32 };

/* Both begin with the link of the list that they are in: free, fresh or dead. */
struct leaf {
  uint32_t next;
  uint8_t path[PATH_BYTES], value[HASH_BYTES];
};

struct node {
  uint32_t next, halves[2], fork; /* fork: the first bit in which its leaves differ */
  uint8_t hash[HASH_BYTES];       /* of the subtree at depth fork */
};

struct change {
  uint8_t path[PATH_BYTES], is_set, value[HASH_BYTES];
};

_Static_assert(sizeof(struct leaf) == ASSAY_LEDGER_LEAF, "the caller makes room for leaves");
_Static_assert(sizeof(struct node) == ASSAY_LEDGER_NODE, "the caller makes room for nodes");
_Static_assert(sizeof(struct change) == ASSAY_LEDGER_CHANGE, "the caller writes changes");

typedef struct assay_ledger_tree tree_t;
typedef uint32_t ref_t;

static int is_leaf(ref_t ref) { return ref & 1; }

static void *get_item(const struct assay_ledger_pool *pool, size_t size, uint32_t index) {
  return pool->chunks[index / ASSAY_LEDGER_CHUNK] + size * (index % ASSAY_LEDGER_CHUNK);
}

static struct leaf *get_leaf(const tree_t *tree, ref_t ref) {
  return get_item(&tree->leaves, sizeof(struct leaf), ref >> 1);
}

static struct node *get_node(const tree_t *tree, ref_t ref) {
  return get_item(&tree->nodes, sizeof(struct node), ref >> 1);
}

static uint32_t *get_link(const struct assay_ledger_pool *pool, size_t size, uint32_t index) {
  return get_item(pool, size, index);
}

static void push(struct assay_ledger_pool *pool, size_t size, uint32_t *list, uint32_t index) {
  *get_link(pool, size, index) = *list;
  *list = index;
}

/* Return a new item; 0, and say so, if there is no room. */
static uint32_t take(struct assay_ledger_pool *pool, size_t size) {
  uint32_t index = pool->free;
  if (index) {
    pool->free = *get_link(pool, size, index);
  } else if (pool->used < pool->room) {
    index = pool->used++;
  } else {
    pool->lacks = 1;
    return 0;
  }
  push(pool, size, &pool->fresh, index);
  pool->fresh_count++;
  return index;
}

/* Say that an item of the old tree is not in the new one. */
static void leave(struct assay_ledger_pool *pool, size_t size, uint32_t index) {
  push(pool, size, &pool->dead, index);
  pool->dead_count++;
}

static void settle_pool(struct assay_ledger_pool *pool, size_t size, int keep) {
  uint32_t index = keep ? pool->dead : pool->fresh;
  while (index) {
    const uint32_t next = *get_link(pool, size, index);
    push(pool, size, &pool->free, index);
    index = next;
  }
  pool->fresh = pool->dead = pool->fresh_count = pool->dead_count = pool->lacks = 0;
}

static unsigned get_bit(const uint8_t *path, unsigned bit) { return path[bit / 8] >> (7 - bit % 8) & 1; }

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

/* The path of some leaf below a reference that is not empty. */
static const uint8_t *get_path(const tree_t *tree, ref_t ref) {
  while (!is_leaf(ref)) ref = get_node(tree, ref)->halves[0];
  return get_leaf(tree, ref)->path;
}

static void hash_pair(const uint8_t *prefix, const uint8_t *left, const uint8_t *right, uint8_t *hash) {
  uint8_t pair[2 * HASH_BYTES];
  memcpy(pair, left, HASH_BYTES);
  memcpy(pair + HASH_BYTES, right, HASH_BYTES);
  assay_sha256_pairs(prefix, 1, pair, hash);
}

/* Write the hash of a subtree that stands at a depth: a lone leaf's is the same anywhere, a node's climbs past halves
 * without leaves. */
static void hash_at(const tree_t *tree, ref_t ref, unsigned depth, uint8_t *hash) {
  if (!ref) {
    memcpy(hash, tree->empty, HASH_BYTES);
    return;
  }
  if (is_leaf(ref)) {
    const struct leaf *leaf = get_leaf(tree, ref);
    hash_pair(tree->leaf_prefix, leaf->path, leaf->value, hash);
    return;
  }
  const struct node *node = get_node(tree, ref);
  memcpy(hash, node->hash, HASH_BYTES);
  if (node->fork == depth) return;
  const uint8_t *path = get_path(tree, ref);
  for (unsigned level = node->fork; level-- > depth;) {
    if (get_bit(path, level))
      hash_pair(tree->node_prefix, tree->empty, hash, hash);
    else
      hash_pair(tree->node_prefix, hash, tree->empty, hash);
  }
}

static ref_t make_leaf(tree_t *tree, const struct change *change) {
  const uint32_t index = take(&tree->leaves, sizeof(struct leaf));
  struct leaf *leaf = get_leaf(tree, index << 1);
  memcpy(leaf->path, change->path, PATH_BYTES);
  memcpy(leaf->value, change->value, HASH_BYTES);
  return index << 1 | 1;
}

/* Return the subtree over two halves that part at a bit. */
static ref_t make_node(tree_t *tree, unsigned fork, ref_t left, ref_t right) {
  if (!left || !right) return left ? left : right;
  if (tree->leaves.lacks || tree->nodes.lacks) return 0; /* a half may be scratch; all of it is thrown away */
  const uint32_t index = take(&tree->nodes, sizeof(struct node));
  struct node *node = get_node(tree, index << 1);
  uint8_t hashes[2][HASH_BYTES];
  node->fork = fork;
  node->halves[0] = left;
  node->halves[1] = right;
  hash_at(tree, left, fork + 1, hashes[0]);
  hash_at(tree, right, fork + 1, hashes[1]);
  hash_pair(tree->node_prefix, hashes[0], hashes[1], node->hash);
  return index << 1;
}

/* How many of the changes, which agree in the bits before, go to the left at a bit. */
static size_t find_middle(const struct change *changes, size_t count, unsigned bit) {
  size_t low = 0, high = count;
  while (low < high) {
    const size_t middle = (low + high) / 2;
    if (get_bit(changes[middle].path, bit))
      high = middle;
    else
      low = middle + 1;
  }
  return low;
}

/* Return the subtree over changes that all set a value, and another reference (or 0) that none of them belongs to. */
static ref_t build(tree_t *tree, const struct change *changes, size_t count, ref_t other) {
  if (!count) return other;
  if (count == 1 && !other) return make_leaf(tree, changes);
  unsigned fork = find_fork(changes[0].path, changes[count - 1].path);
  unsigned side = 0;
  if (other) {
    const uint8_t *path = get_path(tree, other);
    const unsigned parts = find_fork(changes[0].path, path);
    if (parts < fork) fork = parts;
    side = get_bit(path, fork);
  }
  const size_t middle = find_middle(changes, count, fork);
  const ref_t left = build(tree, changes, middle, side ? 0 : other);
  const ref_t right = build(tree, changes + middle, count - middle, side ? other : 0);
  return make_node(tree, fork, left, right);
}

/* Drop the changes that delete; nothing is there that they could delete. */
static size_t drop_deletions(struct change *changes, size_t count) {
  size_t kept = 0;
  for (size_t i = 0; i < count; i++)
    if (changes[i].is_set) changes[kept++] = changes[i];
  return kept;
}

/* Return what a lone leaf or nothing becomes by changes. */
static ref_t change_leaf(tree_t *tree, ref_t ref, struct change *changes, size_t count) {
  for (size_t i = 0; ref && i < count; i++) {
    if (memcmp(changes[i].path, get_leaf(tree, ref)->path, PATH_BYTES)) continue;
    leave(&tree->leaves, sizeof(struct leaf), ref >> 1);
    ref = 0;
  }
  return build(tree, changes, drop_deletions(changes, count), ref);
}

/* Return what a subtree at a depth becomes by sorted changes, whose paths agree with its own in so many bits. */
static ref_t change_subtree(tree_t *tree, ref_t ref, unsigned depth, struct change *changes, size_t count) {
  if (!count || tree->leaves.lacks || tree->nodes.lacks) return ref;
  if (!ref || is_leaf(ref)) return change_leaf(tree, ref, changes, count);
  const struct node *node = get_node(tree, ref);
  unsigned fork = node->fork, side = 0;
  if (fork > depth) { /* some of the changes may part from it before its own fork */
    const uint8_t *path = get_path(tree, ref);
    const unsigned first = find_fork(changes[0].path, path), last = find_fork(changes[count - 1].path, path);
    const unsigned parts = first < last ? first : last;
    if (parts < fork) {
      fork = parts;
      side = get_bit(path, fork);
    }
  }
  const size_t middle = find_middle(changes, count, fork);
  if (fork < node->fork) {
    const ref_t left = change_subtree(tree, side ? 0 : ref, fork + 1, changes, middle);
    const ref_t right = change_subtree(tree, side ? ref : 0, fork + 1, changes + middle, count - middle);
    return make_node(tree, fork, left, right);
  }
  const ref_t left = change_subtree(tree, node->halves[0], fork + 1, changes, middle);
  const ref_t right = change_subtree(tree, node->halves[1], fork + 1, changes + middle, count - middle);
  if (left == node->halves[0] && right == node->halves[1]) return ref;
  leave(&tree->nodes, sizeof(struct node), ref >> 1);
  return make_node(tree, fork, left, right);
}

static int compare_changes(const void *a, const void *b) { return memcmp(a, b, PATH_BYTES); }

void assay_ledger_tree_settle(tree_t *tree, int keep) {
  if (keep) {
    tree->root = tree->next_root;
    tree->count += (uint64_t)tree->leaves.fresh_count - tree->leaves.dead_count;
    memcpy(tree->hash, tree->next_hash, HASH_BYTES);
  }
  settle_pool(&tree->leaves, sizeof(struct leaf), keep);
  settle_pool(&tree->nodes, sizeof(struct node), keep);
  tree->next_root = tree->root;
  memcpy(tree->next_hash, tree->hash, HASH_BYTES);
}

int assay_ledger_tree_update(tree_t *tree, size_t count, uint8_t *changes) {
  assay_ledger_tree_settle(tree, 0);
  if (count) qsort(changes, count, sizeof(struct change), compare_changes);
  const ref_t root = change_subtree(tree, tree->root, 0, (struct change *)changes, count);
  const int lacking = (tree->leaves.lacks ? ASSAY_LEDGER_LEAVES : 0) | (tree->nodes.lacks ? ASSAY_LEDGER_NODES : 0);
  if (lacking) {
    assay_ledger_tree_settle(tree, 0);
    return lacking;
  }
  tree->next_root = root;
  hash_at(tree, root, 0, tree->next_hash);
  return 0;
}

size_t assay_ledger_tree_prove(const tree_t *tree, const uint8_t *path, uint8_t *siblings, uint8_t *other) {
  ref_t ref = tree->root;
  unsigned depth = 0;
  other[0] = 0;
  while (ref && !is_leaf(ref)) {
    const struct node *node = get_node(tree, ref);
    const unsigned parts = node->fork > depth ? find_fork(get_path(tree, ref), path) : PATH_BITS;
    const unsigned end = parts < node->fork ? parts : node->fork;
    for (; depth < end; depth++) memcpy(siblings + HASH_BYTES * depth, tree->empty, HASH_BYTES);
    if (depth < node->fork) { /* the whole subtree is in the other half */
      hash_at(tree, ref, depth + 1, siblings + HASH_BYTES * depth);
      return depth + 1;
    }
    const unsigned side = get_bit(path, depth);
    hash_at(tree, node->halves[!side], depth + 1, siblings + HASH_BYTES * depth);
    ref = node->halves[side];
    depth++;
  }
  if (ref) {
    const struct leaf *leaf = get_leaf(tree, ref);
    other[0] = memcmp(leaf->path, path, PATH_BYTES) != 0;
    memcpy(other + 1, leaf->path, PATH_BYTES);
    memcpy(other + 1 + PATH_BYTES, leaf->value, HASH_BYTES);
  }
  return depth;
}
