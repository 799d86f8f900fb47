import { Textarea } from '@mantine/core';
import type { KeyboardEvent, ReactNode } from 'react';
import classes from './CodeInput.module.css';

type Props = { label: string; description?: ReactNode; value: string; onChange: (value: string) => void; error?: ReactNode; required?: boolean; minRows?: number; maxRows?: number; readOnly?: boolean };

/** A field for code: fixed width, no spelling, Tab indents (Escape then Tab leaves it, for the keyboard). */
export function CodeInput({ value, onChange, minRows = 12, maxRows = 28, ...rest }: Props) {
  function onKey(event: KeyboardEvent<HTMLTextAreaElement>) {
    const area = event.currentTarget;
    if (event.key === 'Escape') {
      area.dataset.leaving = 'yes';
      event.stopPropagation();
      return;
    }
    if (event.key !== 'Tab' || event.shiftKey || area.dataset.leaving || rest.readOnly) return;
    event.preventDefault();
    const { selectionStart: from, selectionEnd: to } = area;
    onChange(`${value.slice(0, from)}  ${value.slice(to)}`);
    requestAnimationFrame(() => area.setSelectionRange(from + 2, from + 2));
  }

  return (
    <Textarea
      {...rest}
      value={value}
      onChange={(event) => onChange(event.currentTarget.value)}
      onKeyDown={onKey}
      onBlur={(event) => delete event.currentTarget.dataset.leaving}
      autosize
      minRows={minRows}
      maxRows={maxRows}
      spellCheck={false}
      autoCapitalize="off"
      autoCorrect="off"
      wrap="off"
      classNames={{ input: classes.input ?? '' }}
    />
  );
}
