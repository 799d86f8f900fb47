/** A run of text with one look, as a terminal would show it. */
export type Span = { text: string; bold?: boolean; dim?: boolean; colour?: number };

// Escape sequences: CSI, OSC (ended by BEL or ST), other string sequences, and two-byte escapes.
// eslint-disable-next-line no-control-regex
const ESCAPES = /\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[PX^_][^\x1b]*(?:\x1b\\)?|\x1b[ -/]*[0-~]|\x9b[0-?]*[ -/]*[@-~]/g;

// Controls that would reorder or hide text: shown by their code, never obeyed.
// eslint-disable-next-line no-control-regex
const CONTROLS = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u2028\u2029\u202a-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]|[\u{e0000}-\u{e007f}]/gu;

const visible = (text: string) =>
  text.replace(CONTROLS, (found) => `⟨${(found.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, '0')}⟩`);

/** Text from an endpoint on one line or many, without any escape sequence and with controls made visible. */
export const plain = (text: string) => visible(text.replace(ESCAPES, ''));

/** What is left of a line after its carriage returns: progress bars write over themselves. */
function overwrite(line: string): string {
  const trimmed = line.endsWith('\r') ? line.slice(0, -1) : line;
  const at = trimmed.lastIndexOf('\r');
  return at < 0 ? trimmed : trimmed.slice(at + 1);
}

/** Splits output into lines as a terminal would leave them. */
export function toLines(output: string): string[] {
  const lines = output.split('\n');
  if (lines.at(-1) === '') lines.pop();
  return lines.map(overwrite);
}

/** Makes spans of a line: colours and weights are kept, every other sequence is dropped. */
export function toSpans(line: string): Span[] {
  const spans: Span[] = [];
  let look: Omit<Span, 'text'> = {};
  let from = 0;
  const push = (text: string) => {
    if (text) spans.push({ ...look, text: visible(text) });
  };
  for (const match of line.matchAll(ESCAPES)) {
    push(line.slice(from, match.index));
    from = match.index + match[0].length;
    const codes = /^\x1b\[([\d;]*)m$/.exec(match[0]); // eslint-disable-line no-control-regex
    if (codes) look = restyle(look, (codes[1] ?? '').split(';').map(Number));
  }
  push(line.slice(from));
  return spans;
}

function restyle(look: Omit<Span, 'text'>, codes: number[]): Omit<Span, 'text'> {
  let next = { ...look };
  for (let i = 0; i < codes.length; i++) {
    const code = codes[i] ?? 0;
    if (code === 0) next = {};
    else if (code === 1) next.bold = true;
    else if (code === 2) next.dim = true;
    else if (code === 22) {
      delete next.bold;
      delete next.dim;
    } else if (code >= 30 && code <= 37) next.colour = code - 30;
    else if (code >= 90 && code <= 97) next.colour = code - 90 + 8;
    else if (code === 39) delete next.colour;
    else if (code === 38 || code === 48) i += codes[i + 1] === 2 ? 4 : 2; // 24-bit and indexed colours are skipped
  }
  return next;
}
