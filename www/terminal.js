// The terminal: xterm.js behind a few functions. Line editing is Rust (crates/web/src/line_editor.rs).
import { Terminal } from "@xterm/xterm";
import { FitAddon } from "@xterm/addon-fit";
import "@xterm/xterm/css/xterm.css";

/** The page's tokens as xterm wants them. */
function themeOf(element) {
  const style = getComputedStyle(element);
  const token = (name) => style.getPropertyValue(name).trim();
  return {
    background: token("--panel"),
    foreground: token("--ink"),
    cursor: token("--accent"),
    cursorAccent: token("--panel"),
    selectionBackground: token("--select"),
    black: token("--ink-3"),
    red: token("--bad"),
    green: token("--ok"),
    yellow: token("--warn"),
    blue: token("--flow-a"),
    magenta: token("--flow-c"),
    cyan: token("--accent"),
    white: token("--ink-2"),
    brightBlack: token("--ink-3"),
    brightRed: token("--bad"),
    brightGreen: token("--ok"),
    brightYellow: token("--nat"),
    brightBlue: token("--flow-a"),
    brightMagenta: token("--flow-c"),
    brightCyan: token("--accent"),
    brightWhite: token("--ink"),
  };
}

/** Makes the terminal in `parent`; `onData` gets what was typed or pasted, `onResize` the columns. */
function createTerminal(parent, onData, onResize) {
  const style = getComputedStyle(parent);
  const terminal = new Terminal({
    fontFamily: style.getPropertyValue("--font-mono").trim(),
    fontSize: 12,
    lineHeight: 1.25,
    theme: themeOf(parent),
    cursorBlink: false,
    scrollback: 5000,
    screenReaderMode: true,
    allowProposedApi: false,
  });
  const fit = new FitAddon();
  terminal.loadAddon(fit);
  terminal.open(parent);
  terminal.textarea?.setAttribute("aria-label", "Terminal on your machine");
  // Tab leaves the terminal for the next control, as everywhere else on the page.
  terminal.attachCustomKeyEventHandler((event) => event.key !== "Tab");
  terminal.onData(onData);
  terminal.onResize(({ cols }) => onResize(cols));
  const refit = () => parent.clientWidth > 40 && parent.clientHeight > 20 && fit.fit();
  new ResizeObserver(refit).observe(parent);
  refit();
  return {
    write: (bytes) => terminal.write(bytes),
    columns: () => terminal.cols,
    focus: () => terminal.focus(),
    retheme() {
      terminal.options.theme = themeOf(parent);
    },
    /** Everything that stands in it, for tests. */
    text() {
      const buffer = terminal.buffer.active;
      let text = "";
      for (let row = 0; row < buffer.length; row++) {
        const line = buffer.getLine(row);
        if (!line) continue;
        if (row > 0 && !line.isWrapped) text += "\n";
        text += line.translateToString(true);
      }
      return text.trimEnd();
    },
  };
}

globalThis.podwireHost = { ...globalThis.podwireHost, createTerminal };
