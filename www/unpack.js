// Puts the module together again that www/pack.mjs has taken apart; both walk through it in the same way.
// It becomes part of the page's inline script.

/** The lists of numbers and what they hold. The lists of `OF_OP` and `CONSTANTS` are one for each operation. */
export const BODIES = 0; // local variables of each function
export const OPS = 1; // the operations
export const LONG_CONSTANTS = 2;
export const ALIGNMENTS = 3;
export const TABLES = 4; // of indirect calls
export const OFFSETS = 5; // to 12: of stores and loads, by what they are relative to
const HEADER = 13;
export const OF_OP = 16; // to 271: numbers that come with an operation
export const CONSTANTS = 272; // to 527: short constants, by the operation that takes them
export const LISTS = 528;

/** Stands for `i32.const` with a number of four bytes or more, which is an address. No operation has this number. */
export const LONG_CONST = 0xff;
/** Stand, these four, for `local.get` of one of the three locals used last and `local.set` of the last; no more numbers follow. */
const RECENT = 0xd8;
/** What stands in the list for a use of a local. */
export const localCode = (op, rank) =>
  op === 0x20 && rank < 3 ? RECENT + rank : op === 0x21 && rank === 0 ? RECENT + 3 : op;
/** Bytes before the first number: the header of a module, then that of its only section, which is called `pw`. */
export const START = 17;

/** In which list the offset of a load or store stands: those from the top of the stack are alike. */
export const offsets = (op, before, local) =>
  OFFSETS + (op < 0x36 ? 4 : 0) + (before === 0x20 && local < 3 ? local : 3);
export const isLocal = (op) => op >= 0x20 && op <= 0x22;
export const isAccess = (op) => op >= 0x28 && op <= 0x3e;
/** How many bytes of a number follow that is no integer. */
export const floatBytes = (op) => (op === 0x43 ? 4 : op === 0x44 ? 8 : 0);
const ONE = [2, 3, 4, 0x0c, 0x0d, 0x10, 0x23, 0x24, 0x25, 0x26, 0x3f, 0x40, 0x42, 0xd0, 0xd2];
/** How many integers follow, for all operations without a case of their own. */
export const integers = (op) => (ONE.includes(op) ? 1 : 0);
/** How many integers follow an operation of the second page. */
export const integersOfSecond = (op) => (op < 8 ? 0 : op < 16 && op % 2 === 0 ? 2 : 1);

/** Numbers in the order in which they were used last, counted from the most recent; at first in their own. */
export function recent() {
  const order = Int32Array.from({ length: 50_000 }, (_, i) => i);
  let used = 0;
  return {
    /** The number of this rank, which is now the most recent. */
    take(rank) {
      const number = order[rank];
      for (let i = rank; i > 0; i--) order[i] = order[i - 1];
      order[0] = number;
      used = Math.max(used, rank);
      return number;
    },
    rank: (number) => order.indexOf(number),
    reset() {
      for (; used >= 0; used--) order[used] = used;
      used = 0;
    },
  };
}

/** The bytes of the module. */
export function unpack(packed) {
  if (packed[15] !== 0x70 || packed[16] !== 0x77) throw new Error("this is not what www/pack.mjs has packed");
  const next = new Int32Array(LISTS);
  const number = (list) => {
    for (let value = 0, shift = 0; ; shift += 7) {
      const byte = packed[next[list]++];
      value |= (byte & 127) << shift;
      if (byte < 128) return value;
    }
  };
  next[HEADER] = START;
  const out = new Uint8Array(number(HEADER));
  let to = 0;
  let functions = number(HEADER);
  const [head, tail] = [number(HEADER), number(HEADER)];
  const lengths = [];
  for (let lists = number(HEADER); lists > 0; lists--) lengths.push([number(HEADER), number(HEADER)]);
  let at = next[HEADER];
  for (const [list, length] of lengths) {
    next[list] = at;
    at += length;
  }

  const copyAll = (from, count) => {
    out.set(packed.subarray(from, from + count), to);
    to += count;
  };
  const write = (value) => {
    for (; value > 127; value >>>= 7) out[to++] = value | 128;
    out[to++] = value;
  };
  /** Copies so many integers, and is the last byte of the last. */
  const copy = (list, count) => {
    let byte = 0;
    let from = next[list];
    for (; count > 0; count--) {
      do out[to++] = byte = packed[from++];
      while (byte > 127);
    }
    next[list] = from;
    return byte;
  };
  /** What `part` writes, after its length. */
  const measured = (part) => {
    const start = to + 5;
    to = start;
    part();
    const length = to - start;
    to = start - 5;
    write(length);
    out.copyWithin(to, start, start + length);
    to += length;
  };
  const locals = recent();
  const body = () => {
    copy(BODIES, 2 * copy(BODIES, 1));
    locals.reset();
    let depth = 0;
    for (let before = 0, local = 0, op = 0; depth >= 0; before = op) {
      const code = packed[next[OPS]++];
      const used = code - RECENT;
      const isRecent = used >= 0 && used <= 3;
      op = code === LONG_CONST ? 0x41 : isRecent ? (used < 3 ? 0x20 : 0x21) : code;
      const own = OF_OP + op;
      out[to++] = op;
      if (isLocal(op)) {
        local = locals.take(isRecent ? used % 3 : number(own));
        write(local);
      } else if (code === LONG_CONST) copy(LONG_CONSTANTS, 1);
      else if (op === 0x41) copy(CONSTANTS + packed[next[OPS]], 1);
      else if (isAccess(op)) {
        copy(ALIGNMENTS, 1);
        copy(offsets(op, before, local), 1);
      } else if (op === 0x0e) {
        const count = number(own);
        write(count);
        copy(own, count + 1);
      } else if (op === 0x11) {
        copy(own, 1);
        copy(TABLES, 1);
      } else if (op === 0xfc) copy(own, integersOfSecond(copy(own, 1)));
      else if (floatBytes(op)) {
        copyAll(next[own], floatBytes(op));
        next[own] += floatBytes(op);
      } else copy(own, integers(op));
      if (op >= 2 && op <= 4) depth++;
      if (op === 0x0b) depth--;
    }
  };

  copyAll(at, head);
  out[to++] = 10;
  measured(() => {
    write(functions);
    for (; functions > 0; functions--) measured(body);
  });
  copyAll(at + head, tail);
  return out;
}

/** The bytes of the module that is packed at an address. */
export async function fetchModule(url) {
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(`${url}: ${answer.status}`);
  return unpack(new Uint8Array(await answer.arrayBuffer()));
}
