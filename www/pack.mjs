// Takes the page's module apart for the way: operations to operations, offsets to offsets, constants to constants.
// Servers compress that by a fifth better than the module as it is. www/unpack.js puts it together again, byte for byte;
// the page does it when it starts, in about a tenth of a second.
//
// What is sent is a module, too: an empty one with a section of its own, so that every server knows its type.
import { transform } from "esbuild";
import { createHash } from "node:crypto";
import { readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import {
  ALIGNMENTS, BODIES, CONSTANTS, LISTS, LONG_CONST, LONG_CONSTANTS, OF_OP, OPS, TABLES,
  floatBytes, integers, integersOfSecond, isAccess, isLocal, localCode, offsets, recent, unpack,
} from "./unpack.js";

function leb(value) {
  const bytes = [];
  for (; value > 127; value >>>= 7) bytes.push((value & 127) | 128);
  return [...bytes, value];
}

/** Reads a module's numbers, and puts them into lists. */
class Reader {
  lists = Array.from({ length: LISTS }, () => []);
  at = 8;
  locals = recent();

  constructor(module) {
    this.module = module;
  }

  number() {
    for (let value = 0, shift = 0; ; shift += 7) {
      const byte = this.module[this.at++];
      value |= (byte & 127) << shift;
      if (byte < 128) return value;
    }
  }

  copyBytes(list, count) {
    for (; count > 0; count--) this.lists[list].push(this.module[this.at++]);
  }

  /** Copies so many integers, and is the last one's value. */
  copy(list, count) {
    let value = 0;
    for (; count > 0; count--) {
      const start = this.at;
      value = this.number();
      const end = this.at;
      this.at = start;
      this.copyBytes(list, end - start);
    }
    return value;
  }

  body() {
    const end = this.number() + this.at;
    this.copy(BODIES, 2 * this.copy(BODIES, 1));
    this.locals.reset();
    let constant = null; // waits for the operation after it
    for (let before = 0, local = 0; this.at < end; ) {
      const op = this.module[this.at++];
      const own = OF_OP + op;
      const start = this.at;
      let code = op;
      let rank = 0;
      if (op === 0x41) {
        this.number();
        if (this.at - start > 3) code = LONG_CONST;
      } else if (isLocal(op)) {
        local = this.number();
        rank = this.locals.rank(local);
        this.locals.take(rank);
        code = localCode(op, rank);
      }
      if (constant) this.lists[CONSTANTS + code].push(...constant);
      constant = code === 0x41 ? this.module.subarray(start, this.at) : null;
      this.lists[OPS].push(code);
      if (isLocal(op)) {
        if (code === op) this.lists[own].push(...leb(rank));
      } else if (op === 0x41) {
        if (code === LONG_CONST) this.lists[LONG_CONSTANTS].push(...this.module.subarray(start, this.at));
      } else if (isAccess(op)) {
        this.copy(ALIGNMENTS, 1);
        this.copy(offsets(op, before, local), 1);
      } else if (op === 0x0e) this.copy(own, this.copy(own, 1) + 1);
      else if (op === 0x11) {
        this.copy(own, 1);
        this.copy(TABLES, 1);
      } else if (op === 0xfc) this.copy(own, integersOfSecond(this.copy(own, 1)));
      else if (floatBytes(op)) this.copyBytes(own, floatBytes(op));
      else this.copy(own, integers(op));
      before = op;
    }
  }
}

/** The packed form of a module. */
export function pack(module) {
  const reader = new Reader(module);
  while (module[reader.at] !== 10) {
    reader.at++;
    reader.at = reader.number() + reader.at;
  }
  const head = module.subarray(0, reader.at++);
  const tail = module.subarray(reader.number() + reader.at);
  const functions = reader.number();
  for (let i = 0; i < functions; i++) reader.body();
  const lists = reader.lists.map((list, i) => [i, Buffer.from(list)]).filter(([, list]) => list.length > 0);
  const numbers = [module.length, functions, head.length, tail.length, lists.length];
  for (const [i, list] of lists) numbers.push(i, list.length);
  const content = Buffer.concat([
    Buffer.from("\x02pw"), Buffer.from(numbers.flatMap(leb)), ...lists.map(([, list]) => list), head, tail,
  ]);
  const size = Buffer.from([0, 128, 128, 128, 128, 0]);
  for (let i = 0; i < 5; i++) size[i + 1] |= (content.length >>> (7 * i)) & 127;
  const packed = Buffer.concat([Buffer.from("\0asm\x01\0\0\0"), size, content]);
  // Nothing goes out that would not come back.
  if (!WebAssembly.validate(packed) || Buffer.compare(unpack(packed), module) !== 0) {
    throw new Error("www/pack.mjs does not know all that is in the module");
  }
  return packed;
}

const only = (list, what) => {
  if (list.length !== 1) throw new Error(`www/pack.mjs wants one ${what}, and there are ${list.length}`);
  return list[0];
};

/** Packs the module of the built page in a directory, and lets the page unpack it. */
export async function packPage(dir) {
  const name = only(readdirSync(dir).filter((name) => name.endsWith(".wasm")), "module");
  const packed = pack(readFileSync(join(dir, name)));
  const hash = createHash("sha256").update(packed).digest("hex").slice(0, 16);
  rmSync(join(dir, name));
  writeFileSync(join(dir, `web-${hash}.wasm`), packed);

  const source = join(dirname(fileURLToPath(import.meta.url)), "unpack.js");
  const script = readFileSync(source, "utf8").replaceAll(/^export /gm, "");
  const { code } = await transform(script, { minify: true, target: "es2022" });
  const page = join(dir, "index.html");
  const html = readFileSync(page, "utf8").replaceAll(name, `web-${hash}.wasm`);
  const init = only([...html.matchAll(/init\(\{ module_or_path: ('[^']*') \}\)/g)], "start of the module");
  const start = html.replace(init[0], () => `init({ module_or_path: await fetchModule(${init[1]}) })`);
  writeFileSync(page, start.replace('<script type="module">\n', (tag) => tag + code));
}
