import { exactTime, relativeTime } from './format';
import { useNow } from './clock';

/** "5 min. ago", with the exact time on hover and for machines. */
export function TimeAgo({ at, none = '–' }: { at: string | null | undefined; none?: string }) {
  const now = useNow();
  if (!at) return <>{none}</>;
  // The browser's own tooltip: a long table holds hundreds of these.
  return (
    <time dateTime={at} title={exactTime(at)} className="tnum">
      {relativeTime(at, Math.max(now, Date.now() - 15_000))}
    </time>
  );
}
