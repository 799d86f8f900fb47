import { useMemo } from 'react';
import { t } from '../messages/t';
import { lineDiff } from './lineDiff';
import { plain } from './safeText';
import classes from './TextDiff.module.css';

const SIGNS = { same: ' ', added: '+', removed: '−' };

/** Two texts compared line by line. */
export function TextDiff({ before, after }: { before: string; after: string }) {
  const lines = useMemo(() => lineDiff(before, after), [before, after]);
  return (
    <pre className={classes.diff} tabIndex={0} aria-label={t('kit.difference')}>
      {lines.map((line, i) => (
        <div key={i} data-op={line.op} className={classes.line}>
          <span aria-hidden>{SIGNS[line.op]} </span>
          {plain(line.text) || '\u00a0'}
        </div>
      ))}
    </pre>
  );
}
