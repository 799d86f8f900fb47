import { currentLocale, t } from '../messages/t';

export const number = (value: number) => value.toLocaleString(currentLocale());

const SIZES = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];

export function bytes(value: number | null | undefined): string {
  if (value === null || value === undefined) return '–';
  let size = value;
  let unit = 0;
  while (size >= 1024 && unit < SIZES.length - 1) {
    size /= 1024;
    unit++;
  }
  return `${size.toLocaleString(currentLocale(), { maximumFractionDigits: size < 10 && unit > 0 ? 1 : 0 })} ${SIZES[unit]}`;
}

/** 5400 → "1 h 30 min"; at most the two largest units. */
export function duration(seconds: number): string {
  const units: [number, string][] = [
    [86_400, 'd'],
    [3_600, 'h'],
    [60, 'min'],
    [1, 's'],
  ];
  let rest = Math.max(0, Math.round(seconds));
  const parts: string[] = [];
  for (const [size, name] of units) {
    const n = Math.floor(rest / size);
    if (n > 0) {
      parts.push(`${number(n)} ${name}`);
      rest -= n * size;
    } else if (parts.length > 0) {
      break;
    }
    if (parts.length === 2) break;
  }
  return parts.join(' ') || '0 s';
}

export function dateTime(value: string | Date): string {
  return new Date(value).toLocaleString(currentLocale(), { dateStyle: 'medium', timeStyle: 'short' });
}

/** With seconds and zone, for the audit log and tooltips. */
export function exactTime(value: string | Date): string {
  return new Date(value).toLocaleString(currentLocale(), {
    year: 'numeric',
    month: 'short',
    day: 'numeric',
    hour: '2-digit',
    minute: '2-digit',
    second: '2-digit',
    timeZoneName: 'short',
  });
}

export function relativeTime(value: string | Date, now: number): string {
  const seconds = (new Date(value).getTime() - now) / 1000;
  const size = Math.abs(seconds);
  if (size < 10) return t('kit.now');
  // "In 1 day", never "tomorrow": 32 hours from now may be the day after.
  const format = new Intl.RelativeTimeFormat(currentLocale(), { numeric: 'always', style: 'short' });
  if (size < 60) return format.format(Math.round(seconds), 'second');
  if (size < 3_600) return format.format(Math.round(seconds / 60), 'minute');
  if (size < 86_400) return format.format(Math.round(seconds / 3_600), 'hour');
  if (size < 30 * 86_400) return format.format(Math.round(seconds / 86_400), 'day');
  if (size < 365 * 86_400) return format.format(Math.round(seconds / (30 * 86_400)), 'month');
  return format.format(Math.round(seconds / (365 * 86_400)), 'year');
}
