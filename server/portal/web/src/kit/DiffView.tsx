import { Text } from '@mantine/core';
import { useMemo } from 'react';
import { t } from '../messages/t';
import { diff, show, type Change } from './diff';
import { plain } from './safeText';
import classes from './DiffView.module.css';

/** What a change did, field by field. */
export function DiffView({ before, after }: { before: unknown; after: unknown }) {
  const changes = useMemo(() => diff(before, after), [before, after]);
  return <ChangeList changes={changes} />;
}

export function ChangeList({ changes }: { changes: Change[] }) {
  if (changes.length === 0) {
    return (
      <Text size="sm" c="dimmed">
        {t('kit.noDifference')}
      </Text>
    );
  }
  return (
    <div className={classes.frame}>
      <table className={classes.table}>
        <thead className="visually-hidden">
          <tr>
            <th>{t('kit.field')}</th>
            <th>{t('kit.before')}</th>
            <th>{t('kit.after')}</th>
          </tr>
        </thead>
        <tbody>
          {changes.map((change, i) => (
            <tr key={`${change.path}${i}`} data-op={change.op}>
              <th scope="row">{plain(change.path) || t('kit.value')}</th>
              <td>{change.op !== 'added' && <del>{plain(show(change.before))}</del>}</td>
              <td>{change.op !== 'removed' && <ins>{plain(show(change.after))}</ins>}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
