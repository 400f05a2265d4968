// Bundles what the page takes from npm into www/generated: the editor, the terminal, xterm's style sheet.
// Trunk runs it before every build; it does nothing while nothing has changed.
import { build } from "esbuild";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createHash } from "node:crypto";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const out = join(here, "generated");
const sources = ["build.mjs", "editor.js", "terminal.js", "../package-lock.json"];

const hash = createHash("sha256");
for (const source of sources) hash.update(readFileSync(join(here, source)));
const stamp = hash.digest("hex");
const stampFile = join(out, "stamp");
const products = ["editor.js", "terminal.js", "terminal.css"];
const isFresh =
  existsSync(stampFile) &&
  readFileSync(stampFile, "utf8") === stamp &&
  products.every((name) => existsSync(join(out, name)));

if (!isFresh) {
  mkdirSync(out, { recursive: true });
  await build({
    entryPoints: [join(here, "editor.js"), join(here, "terminal.js")],
    outdir: out,
    bundle: true,
    minify: true,
    format: "esm",
    target: "es2022",
    // xterm and CodeMirror keep to it: what begins so is called by nobody else, and never by a string.
    mangleProps: /^_/,
    legalComments: "none",
    logLevel: "warning",
  });
  writeFileSync(stampFile, stamp);
}
