import { en } from './en';

type Plural = { one: string; other: string };
type Catalogue = { [area: string]: { [key: string]: string | Plural } };
type Shape = typeof en;

/** Every message by "area.key"; a key that is not in the catalogue does not compile. */
export type MessageKey = { [A in keyof Shape & string]: `${A}.${keyof Shape[A] & string}` }[keyof Shape & string];

type Values = Record<string, string | number>;

const catalogue: Catalogue = en;
let locale = navigator.language || 'en';

/** The user's locale; numbers, dates and plurals follow it. */
export const currentLocale = () => locale;

/** Sets the locale for what is rendered from now on; one the browser does not know is ignored. */
export function setLocale(wanted: string) {
  try {
    locale = Intl.getCanonicalLocales(wanted)[0] ?? locale;
  } catch {
    return;
  }
  document.documentElement.lang = locale;
}

function find(key: string): string | Plural | undefined {
  const dot = key.indexOf('.');
  return catalogue[key.slice(0, dot)]?.[key.slice(dot + 1)];
}

/** The message for a key, with {names} filled in; `n` chooses between one and other. */
export function t(key: MessageKey, values: Values = {}): string {
  const found = find(key);
  if (found === undefined) return key;
  const text =
    typeof found === 'string'
      ? found
      : new Intl.PluralRules(locale).select(Number(values.n)) === 'one'
        ? found.one
        : found.other;
  return text.replace(/\{(\w+)\}/g, (whole, name: string) => {
    const value = values[name];
    if (value === undefined) return whole;
    return typeof value === 'number' ? value.toLocaleString(locale) : value;
  });
}

/** For names that come from the server (states, kinds): the message if there is one, else the name made readable. */
export function label(area: string, name: string): string {
  const found = catalogue[area]?.[name.replaceAll('.', '_')];
  if (typeof found === 'string') return found;
  const words = name.replace(/[_.-]+/g, ' ');
  return words.charAt(0).toUpperCase() + words.slice(1);
}
