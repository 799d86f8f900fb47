import { describe, expect, test } from 'vitest';
import { plain, toLines, toSpans } from './safeText';

describe('plain', () => {
  test.each([
    ['colours are dropped', '\x1b[31mred\x1b[0m', 'red'],
    ['a title of the window is dropped', 'a\x1b]0;evil\x07b', 'ab'],
    ['a link is dropped, its text stays', '\x1b]8;;http://x\x1b\\text\x1b]8;;\x1b\\', 'text'],
    ['the cursor does not move', 'a\x1b[2Jb\x1b[10;10Hc', 'abc'],
    ['a right-to-left override is shown, not obeyed', 'a\u202etxt.exe', 'a⟨202E⟩txt.exe'],
    ['a zero-width space is shown', 'a\u200bb', 'a⟨200B⟩b'],
    ['an unfinished sequence does not leak an escape', 'a\x1b', 'a⟨001B⟩'],
    ['a NUL is shown', 'a\0b', 'a⟨0000⟩b'],
    ['markup is only text', '<b>x</b>', '<b>x</b>'],
    ['tabs and new lines stay', 'a\tb\nc', 'a\tb\nc'],
  ])('%s', (_, given, wanted) => expect(plain(given)).toBe(wanted));
});

test('a progress bar leaves its last state', () => {
  expect(toLines('1%\r50%\r100%\nnext\r\n')).toEqual(['100%', 'next']);
});

test('a colour holds until it is reset', () => {
  expect(toSpans('a\x1b[1;31mb\x1b[39mc\x1b[0md')).toEqual([{ text: 'a' }, { text: 'b', bold: true, colour: 1 }, { text: 'c', bold: true }, { text: 'd' }]);
});

test('indexed and 24-bit colours are skipped with their arguments', () => {
  expect(toSpans('\x1b[38;5;31mx\x1b[48;2;1;2;3my')).toEqual([{ text: 'x' }, { text: 'y' }]);
});
