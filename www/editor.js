// The editor: CodeMirror with YAML behind three functions. Everything else is Rust (crates/web/src/glue.rs).
import { EditorState } from "@codemirror/state";
import {
  EditorView,
  drawSelection,
  highlightActiveLine,
  highlightActiveLineGutter,
  keymap,
  lineNumbers,
} from "@codemirror/view";
import { defaultKeymap, history, historyKeymap, indentWithTab } from "@codemirror/commands";
import { HighlightStyle, bracketMatching, indentOnInput, indentUnit, syntaxHighlighting } from "@codemirror/language";
import { yaml } from "@codemirror/lang-yaml";
import { tags } from "@lezer/highlight";

// Colours are the page's tokens, so that a change of theme needs nothing here.
const theme = EditorView.theme({
  "&": { height: "100%", color: "var(--ink)", backgroundColor: "transparent" },
  "&.cm-focused": { outline: "none" },
  ".cm-scroller": { fontFamily: "var(--font-mono)", fontSize: "var(--t-s)", lineHeight: "1.6" },
  ".cm-content": { caretColor: "var(--accent)", padding: "var(--s-2) 0" },
  ".cm-cursor, .cm-dropCursor": { borderLeftColor: "var(--accent)", borderLeftWidth: "2px" },
  "&.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground, .cm-selectionBackground": {
    backgroundColor: "var(--select)",
  },
  ".cm-gutters": { backgroundColor: "transparent", color: "var(--ink-3)", border: "none" },
  ".cm-lineNumbers .cm-gutterElement": { padding: "0 10px 0 12px", minWidth: "34px" },
  ".cm-activeLine, .cm-activeLineGutter": { backgroundColor: "var(--line-active)" },
  ".cm-matchingBracket": { backgroundColor: "var(--accent-soft)" },
});

const colours = HighlightStyle.define([
  { tag: [tags.propertyName, tags.definition(tags.propertyName)], color: "var(--code-key)" },
  { tag: [tags.string, tags.content, tags.attributeValue], color: "var(--code-str)" },
  { tag: [tags.number, tags.bool, tags.null], color: "var(--code-num)" },
  { tag: [tags.comment, tags.meta], color: "var(--ink-3)" },
  { tag: [tags.separator, tags.punctuation, tags.squareBracket, tags.brace], color: "var(--ink-3)" },
]);

/** Makes the editor in `parent`; `onChange(name, text)` is called when the person has typed. */
function createEditor(parent, onChange, onApply) {
  const states = new Map();
  let current = null;
  let isQuiet = false;
  const extensions = [
    lineNumbers(),
    history(),
    drawSelection(),
    indentOnInput(),
    bracketMatching(),
    highlightActiveLine(),
    highlightActiveLineGutter(),
    indentUnit.of("  "),
    EditorState.tabSize.of(2),
    yaml(),
    syntaxHighlighting(colours),
    theme,
    EditorView.contentAttributes.of({ "aria-label": "Manifest" }),
    keymap.of([
      { key: "Mod-Enter", run: () => (onApply(), true) },
      ...defaultKeymap,
      ...historyKeymap,
      indentWithTab,
    ]),
    EditorView.updateListener.of((update) => {
      if (update.docChanged && !isQuiet && current !== null) onChange(current, update.state.doc.toString());
    }),
  ];
  const fresh = (text) => EditorState.create({ doc: text, extensions });
  const view = new EditorView({ state: fresh(""), parent });
  return {
    /** Shows a file; each keeps its own cursor and history. */
    open(name, text) {
      if (current !== null) states.set(current, view.state);
      const known = states.get(name);
      current = name;
      isQuiet = true;
      view.setState(known ?? fresh(text));
      this.setText(text);
      isQuiet = false;
    },
    /** Replaces the text, if it is another. */
    setText(text) {
      if (view.state.doc.toString() === text) return;
      const wasQuiet = isQuiet;
      isQuiet = true;
      view.dispatch({ changes: { from: 0, to: view.state.doc.length, insert: text } });
      isQuiet = wasQuiet;
    },
    /** A file is gone. */
    forget(name) {
      states.delete(name);
      if (current === name) current = null;
    },
    focus() {
      view.focus();
    },
  };
}

globalThis.podwireHost = { ...globalThis.podwireHost, createEditor };
