/* The leaves of a run, put together again from the rows of its log. Source: spec/transcript.md; the frames of rows and
 * marks: storage/step_rows.py.
 *
 * A row in its most usual form holds the bytes of its leaf nearly as they are hashed. Any other row is left to the caller,
 * who decodes it. Rows are taken in groups, whose hashes are computed side by side. */
#include <string.h>

#include "kernels_impl.h"

enum {
  GROUP = 64,
  CHECK = 8,
  MARK = 28,       /* u32 0, 8 bytes of magic, u64, check */
  FIXED = 1 + 68,  /* array of ten fields; two digests */
  TAIL = 70,       /* loss root, no events, leaf */
  ITEM = 34,       /* a digest as MessagePack */
  MAX_NUMBER = 9,
  MAX_LOSS = 64,
  MAX_SCALARS_ROW = 255,
  MAX_LEAF = 4 + MAX_NUMBER + 8 * ITEM,
  MAX_ROW = 1024 * 1024,
};

static const uint8_t item_head[2] = {0xc4, 32};
static const uint8_t no_digest[32] = {0};

/* What a row in its most usual form consists of. */
struct row {
  const uint8_t *number, *root, *digests, *scalars, *loss_root, *leaf; /* root, scalars: NULL if there is none */
  size_t number_size, scalars_size;
  unsigned program;
};

static uint32_t load_le32(const uint8_t *p) {
  return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* Write a number as MessagePack's shortest integer; return its bytes. */
static size_t write_number(uint64_t number, uint8_t *p) {
  if (number < 0x80) return p[0] = (uint8_t)number, 1;
  const unsigned power = number < 0x100 ? 0 : number < 0x10000 ? 1 : number >> 32 ? 3 : 2;
  const size_t size = (size_t)1 << power;
  p[0] = (uint8_t)(0xcc + power);
  for (size_t i = 0; i < size; i++) p[1 + i] = (uint8_t)(number >> 8 * (size - 1 - i));
  return 1 + size;
}

static int is_item(const uint8_t *p) { return p[0] == item_head[0] && p[1] == item_head[1]; }

/* Take a row's bytes apart; 0: it has another form. All lengths must add up. */
static int read_row(const uint8_t *bytes, size_t size, uint64_t step, size_t programs, struct row *row) {
  uint8_t number[MAX_NUMBER];
  row->number_size = write_number(step, number);
  size_t at = 1 + row->number_size;
  if (size < at + 1 + 2 + 68 + 1 + 2 + TAIL) return 0;
  row->number = bytes + 1;
  if (bytes[0] != 0x9a || memcmp(row->number, number, row->number_size)) return 0;
  row->program = bytes[at++];
  if (row->program >= programs || row->program >= 0x80) return 0;
  if (bytes[at] != 0xc4 || (bytes[at + 1] != 0 && bytes[at + 1] != 32)) return 0;
  row->root = bytes[at + 1] ? bytes + at + 2 : NULL;
  at += 2 + (size_t)bytes[at + 1];
  if (size < at + 68 + 1 + 2 + TAIL) return 0;
  if (row->root && !memcmp(row->root, no_digest, 32)) return 0;
  row->digests = bytes + at;
  if (!is_item(row->digests) || !is_item(row->digests + ITEM)) return 0;
  at += 2 * ITEM;
  row->scalars = NULL;
  row->scalars_size = 0;
  if (bytes[at] == 0xc4) {
    row->scalars_size = bytes[at + 1];
    row->scalars = bytes + at + 2;
    at += 2 + row->scalars_size;
  } else if (bytes[at++] != 0xc0) {
    return 0;
  }
  if (row->scalars_size % 8 || size < at + 3 + TAIL) return 0;
  if (bytes[at] != 0x91 || bytes[at + 1] != 0xc4 || bytes[at + 2] > MAX_LOSS) return 0;
  if (size != at + 3 + (size_t)bytes[at + 2] + TAIL) return 0;
  row->loss_root = bytes + size - TAIL;
  row->leaf = bytes + size - 32;
  const uint8_t *events = row->loss_root + ITEM;
  return is_item(row->loss_root) && events[0] == 0xc4 && events[1] == 0 && is_item(events + 2);
}

static uint8_t *write_item(uint8_t *p, const uint8_t *digest) {
  memcpy(p, item_head, 2);
  memcpy(p + 2, digest, 32);
  return p + ITEM;
}

/* Write what is hashed to the id of a row's leaf; return its length. */
static size_t write_leaf(const struct assay_chain *chain, const struct row *row, const uint8_t *previous,
                         const uint8_t *scalars, uint8_t *message) {
  uint8_t *p = message;
  memcpy(p, chain->leaf_prefix, 2);
  p[2] = 0x9a;
  p[3] = 0; /* version */
  memcpy(p + 4, row->number, row->number_size);
  p += 4 + row->number_size;
  p = write_item(p, chain->programs + 32 * (size_t)row->program);
  p = write_item(p, previous);
  p = write_item(p, row->root ? row->root : no_digest);
  memcpy(p, row->digests, 2 * ITEM);
  p += 2 * ITEM;
  p = write_item(p, scalars);
  memcpy(p, row->loss_root, ITEM);
  p = write_item(p + ITEM, no_digest); /* events */
  return (size_t)(p - message);
}

/* A group of frames that follow each other: rows in their most usual form, up to a mark or to whatever ends the walk. */
struct group {
  size_t count;
  uint64_t end;
  const uint8_t *frames[GROUP];
  uint64_t sizes[GROUP];
  struct row rows[GROUP];
};

/* Collect rows from the chain's position on; return why the group ends. */
static int collect(const struct assay_chain *chain, const uint8_t *data, uint64_t size, uint64_t most, struct group *group) {
  group->count = 0;
  group->end = chain->position;
  while (group->count < GROUP && group->count < most) {
    const uint64_t left = size - group->end;
    if (!left) return ASSAY_CHAIN_END;
    if (left < 4) return ASSAY_CHAIN_DAMAGED;
    const uint8_t *frame = data + group->end;
    const uint64_t length = load_le32(frame);
    if (!length) return ASSAY_CHAIN_MARK;
    if (length > MAX_ROW || left < 4 + length + CHECK) return ASSAY_CHAIN_DAMAGED;
    struct row *row = &group->rows[group->count];
    const uint64_t step = chain->step + group->count + 1;
    if (!read_row(frame + 4, (size_t)length, step, chain->program_count, row)) return ASSAY_CHAIN_OTHER;
    if (!row->scalars && !group->count && !chain->has_scalars) return ASSAY_CHAIN_OTHER;
    group->frames[group->count] = frame;
    group->sizes[group->count++] = 4 + length;
    group->end += 4 + length + CHECK;
  }
  return ASSAY_CHAIN_END;
}

/* Digests of the scalars rows of a group; those of rows that keep the last one are left out. */
static void hash_scalars(const struct assay_chain *chain, const struct group *group, uint8_t *digests) {
  uint8_t messages[GROUP * (2 + MAX_SCALARS_ROW)], found[32 * GROUP];
  uint64_t offsets[GROUP + 1] = {0};
  size_t places[GROUP], count = 0;
  for (size_t i = 0; i < group->count; i++) {
    const struct row *row = &group->rows[i];
    if (!row->scalars) continue;
    uint8_t *message = messages + offsets[count];
    memcpy(message, chain->scalars_prefix, 2);
    memcpy(message + 2, row->scalars, row->scalars_size);
    places[count++] = i;
    offsets[count] = offsets[count - 1] + 2 + row->scalars_size;
  }
  assay_sha256_many(count, messages, offsets, found);
  for (size_t i = 0; i < count; i++) memcpy(digests + 32 * places[i], found + 32 * i, 32);
}

/* Compare the checks and the leaves of a group, and move the chain behind the rows that hold; return what the next is. */
static int verify(struct assay_chain *chain, const struct group *group) {
  uint8_t checks[32 * GROUP], scalars[32 * GROUP], leaves[32 * GROUP], messages[GROUP * MAX_LEAF];
  uint64_t offsets[GROUP + 1] = {0};
  const uint8_t *previous = chain->leaf, *row_in_force = chain->scalars;
  assay_blake3_many(group->count, group->frames, group->sizes, checks);
  hash_scalars(chain, group, scalars);
  for (size_t i = 0; i < group->count; i++) {
    if (group->rows[i].scalars) row_in_force = scalars + 32 * i;
    offsets[i + 1] = offsets[i] + write_leaf(chain, &group->rows[i], previous, row_in_force, messages + offsets[i]);
    previous = group->rows[i].leaf;
  }
  assay_sha256_many(group->count, messages, offsets, leaves);
  for (size_t i = 0; i < group->count; i++) {
    if (memcmp(checks + 32 * i, group->frames[i] + group->sizes[i], CHECK)) return ASSAY_CHAIN_DAMAGED;
    if (memcmp(leaves + 32 * i, group->rows[i].leaf, 32)) return ASSAY_CHAIN_DIFFERS;
    memcpy(chain->leaf, group->rows[i].leaf, 32);
    if (group->rows[i].scalars) memcpy(chain->scalars, scalars + 32 * i, 32), chain->has_scalars = 1;
    chain->step++;
    chain->position += group->sizes[i] + CHECK;
  }
  return ASSAY_CHAIN_END;
}

int assay_verify_rows(struct assay_chain *chain, const uint8_t *data, uint64_t size, uint64_t rows) {
  const uint64_t until = chain->step + rows;
  struct group group;
  while (chain->step < until) {
    const int next = collect(chain, data, size, until - chain->step, &group);
    const int found = verify(chain, &group);
    if (found != ASSAY_CHAIN_END) return found;
    if (next != ASSAY_CHAIN_END || chain->position == size) return next;
  }
  return ASSAY_CHAIN_END;
}
