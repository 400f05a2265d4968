// Trunk writes its loader as an inline script. This gives the built page a Content-Security-Policy that
// allows that script by its hash, the page's own files, WebAssembly, and no other script.
import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** Gives the page in a directory its policy. */
export function writePolicy(dir) {
  const page = join(dir, "index.html");
  const html = readFileSync(page, "utf8");
  const inline = [...html.matchAll(/<script(?![^>]*\ssrc=)[^>]*>([\s\S]*?)<\/script>/g)];
  const hashes = inline.map(([, text]) => `'sha256-${createHash("sha256").update(text).digest("base64")}'`);
  const policy = [
    "default-src 'none'",
    `script-src 'self' 'wasm-unsafe-eval' ${hashes.join(" ")}`.trim(),
    // CodeMirror and xterm write their style sheets when they start.
    "style-src 'self' 'unsafe-inline'",
    "img-src 'self' data:",
    "font-src 'self'",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
  ].join("; ");
  const meta = `<meta http-equiv="Content-Security-Policy" content="${policy}">`;
  writeFileSync(page, html.replace("<!-- policy -->", meta));
}
